//! What each receiver is given, and what it misses: exactly, without connections and without a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    cursor::Over,
    lane::Member,
    log::{Log, Taken},
    options::{Lag, ReceiverOptions, ReceiverStats, Start},
};
use crate::{
    close::CloseCode,
    message::MessageKind,
    proto::part::{Encoder, PART_MAX},
};

/// Payload of a message that counts for 1000 bytes.
const SIZE: usize = 872;

const EVERYTHING: usize = usize::MAX;

#[derive(Debug, Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Counter {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// A receiver that does nothing when it is called.
impl Member for Counter {
    fn runtime(&self) -> Option<tokio::runtime::Id> {
        None
    }

    fn serve(&self) {
        self.call();
    }

    fn call(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A source of messages whose payload is their number, repeated.
struct Source {
    log: Log,
    encoder: Encoder,
    now: Instant,
    wakes: Arc<Counter>,
    members: BTreeMap<u64, Arc<Counter>>,
}

impl Source {
    fn new() -> Self {
        Self {
            log: Log::new(),
            encoder: Encoder::new(None),
            now: Instant::now(),
            wakes: Arc::default(),
            members: BTreeMap::new(),
        }
    }

    fn join(&mut self, lag: Lag, budget: usize, start: Start) -> u64 {
        let mut joined = 0;
        let options = ReceiverOptions::default().budget(budget).lag(lag).start(start);
        let member = self.log.join(&options, false, |id| {
            joined = id;
            Arc::<Counter>::default()
        });
        self.members.insert(joined, member);
        joined
    }

    fn publish(&mut self, number: u8) {
        self.publish_sized(number, SIZE, false);
    }

    fn key(&mut self, number: u8) {
        self.publish_sized(number, SIZE, true);
    }

    fn publish_sized(&mut self, number: u8, size: usize, key: bool) {
        self.begin(key);
        let mut data = Bytes::from(vec![number; size]);
        let mut parts = Vec::new();
        while parts.is_empty() || !data.is_empty() {
            parts.push(self.encoder.part(&mut data, true));
        }
        self.log.push(parts, true, self.now).wake();
    }

    fn begin(&mut self, key: bool) {
        self.encoder.begin(MessageKind::Binary, None, false, 1);
        self.log.begin(key).wake();
    }

    fn chunk(&mut self, number: u8) {
        let part = self.encoder.part(&mut Bytes::from(vec![number; SIZE]), false);
        self.log.push([part], false, self.now).wake();
    }

    fn finish(&mut self) {
        let part = self.encoder.part(&mut Bytes::new(), true);
        self.log.push([part], true, self.now).wake();
    }

    fn poll_room(&mut self) -> Poll<()> {
        let waker = Waker::from(self.wakes.clone());
        self.log.poll_room(&mut Context::from_waker(&waker))
    }

    fn stats(&self, id: u64) -> ReceiverStats {
        self.log.stats(id, self.now).unwrap()
    }

    /// How often it has been called.
    fn calls(&self, id: u64) -> usize {
        self.members[&id].count()
    }

    /// `(messages, bytes)` that it has missed.
    fn missed(&self, id: u64) -> (u64, u64) {
        (self.stats(id).dropped_messages, self.stats(id).dropped_bytes)
    }
}

/// What a peer sees: messages put together from parts.
#[derive(Default)]
struct Peer {
    open: Option<Vec<u8>>,
    whole: Vec<u8>,
}

impl Peer {
    /// Takes about `room` bytes; what ends it, if nothing was left.
    fn take(&mut self, source: &mut Source, id: u64, room: usize) -> Taken {
        let mut given = VecDeque::new();
        let (taken, called) = source.log.take(id, room, &mut given);
        called.wake();
        let taken = if taken == Taken::All { Taken::Parts } else { taken };
        assert_eq!(given.is_empty(), taken != Taken::Parts);
        for entry in given {
            assert_eq!(self.open.is_none(), entry.part.first, "a message begins where the last has ended");
            let open = self.open.get_or_insert_default();
            open.extend_from_slice(&entry.part.payload);
            if entry.part.last {
                let message = self.open.take().unwrap();
                let number = message.first().copied().unwrap_or(0);
                assert!(message.iter().all(|byte| *byte == number), "of one piece");
                self.whole.push(number);
            }
        }
        taken
    }

    fn take_all(&mut self, source: &mut Source, id: u64) -> Vec<u8> {
        while self.take(source, id, EVERYTHING) == Taken::Parts {}
        std::mem::take(&mut self.whole)
    }
}

#[test]
fn wait_slows_the_source_and_nobody_misses_anything() {
    let mut source = Source::new();
    let (slow, quick) =
        (source.join(Lag::Wait, 3000, Start::Now), source.join(Lag::Disconnect(CloseCode::NORMAL), 9000, Start::Now));
    let (mut slow_peer, mut quick_peer) = (Peer::default(), Peer::default());
    for number in 1..=3 {
        assert!(source.poll_room().is_ready(), "{number}");
        source.publish(number);
    }
    assert!(source.poll_room().is_pending());
    assert_eq!(quick_peer.take_all(&mut source, quick), [1, 2, 3]);
    assert!(source.poll_room().is_pending());
    assert_eq!(slow_peer.take(&mut source, slow, 1), Taken::Parts);
    assert_eq!((source.wakes.count(), source.poll_room()), (0, Poll::Pending), "not half of it is free");
    assert_eq!(slow_peer.take(&mut source, slow, 1), Taken::Parts);
    assert_eq!((source.wakes.count(), source.poll_room()), (1, Poll::Ready(())));
    source.publish(4);
    assert_eq!(slow_peer.take_all(&mut source, slow), [1, 2, 3, 4]);
    assert_eq!(source.missed(slow), (0, 0));
}

#[test]
fn a_receiver_that_is_waited_for_may_leave() {
    let mut source = Source::new();
    let slow = source.join(Lag::Wait, 1000, Start::Now);
    source.publish(1);
    assert!(source.poll_room().is_pending());
    source.log.leave(slow).wake();
    assert_eq!((source.wakes.count(), source.poll_room()), (1, Poll::Ready(())));
    assert_eq!(source.log.totals(), (0, 1, 0), "nothing is kept");
}

#[test]
fn drop_oldest_leaves_what_is_new() {
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=10 {
        assert!(source.poll_room().is_ready());
        source.publish(number);
    }
    assert_eq!(source.missed(id), (7, 7 * SIZE as u64));
    assert_eq!(peer.take_all(&mut source, id), [8, 9, 10]);
    source.publish(11);
    assert_eq!(peer.take_all(&mut source, id), [11]);
    assert_eq!(source.stats(id).sent_messages, 4);
}

#[test]
fn drop_oldest_does_not_touch_the_message_that_is_being_given() {
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    source.publish_sized(1, 3 * PART_MAX, false);
    assert_eq!(peer.take(&mut source, id, 1), Taken::Parts);
    for number in 2..=6 {
        source.publish(number);
    }
    // Two parts of the first are more than the budget, so there is room for none but the newest.
    assert_eq!(peer.take_all(&mut source, id), [1, 6]);
    assert_eq!(source.missed(id), (4, 4 * SIZE as u64));
}

#[test]
fn drop_newest_leaves_what_came_first() {
    let mut source = Source::new();
    let id = source.join(Lag::DropNewest, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=10 {
        source.publish(number);
    }
    assert_eq!(peer.take(&mut source, id, 1), Taken::Parts);
    source.publish(11); // there is room again
    source.publish(12); // and now there is not
    assert_eq!(peer.take_all(&mut source, id), [1, 2, 3, 11]);
    assert_eq!(source.missed(id), (8, 8 * SIZE as u64));
    source.publish(13);
    assert_eq!(peer.take_all(&mut source, id), [13]);
}

#[test]
fn skip_to_key_waits_for_the_next_key() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 3000, Start::Now);
    let mut peer = Peer::default();
    source.key(1);
    source.publish(2);
    source.publish(3);
    source.publish(4); // one too many: all of it is of no use without what is missing
    assert_eq!(source.missed(id), (4, 4 * SIZE as u64));
    source.publish(5);
    source.key(6);
    source.publish(7);
    assert_eq!(peer.take_all(&mut source, id), [6, 7]);
    assert_eq!(source.missed(id), (5, 5 * SIZE as u64));
}

#[test]
fn skip_to_key_goes_on_with_a_key_that_is_there() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 5000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=6 {
        source.publish_sized(number, SIZE, [1, 4].contains(&number));
    }
    assert_eq!(peer.take_all(&mut source, id), [4, 5, 6]);
    assert_eq!(source.missed(id), (3, 3 * SIZE as u64));
}

#[test]
fn skip_to_key_drops_everything_before_a_key_that_comes_when_it_lags() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=4 {
        source.publish_sized(number, SIZE, [1, 4].contains(&number));
    }
    assert_eq!(peer.take_all(&mut source, id), [4]);
}

#[test]
fn disconnect_is_told_at_once_with_its_close_code() {
    let code = CloseCode::try_from(4008).unwrap();
    let mut source = Source::new();
    let id = source.join(Lag::Disconnect(code), 3000, Start::Now);
    let mut peer = Peer::default();
    assert_eq!(source.log.wait_for_end(id), None);
    for number in 1..=3 {
        source.publish(number);
    }
    assert_eq!(source.calls(id), 0);
    source.publish(4);
    assert_eq!(source.calls(id), 1);
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Over(Over::Lagged(code)));
    assert_eq!(source.log.totals().2, 0, "nothing is kept for it");
}

#[test]
fn a_message_in_chunks_is_dropped_whole_while_nothing_of_it_was_given() {
    for (lag, expected) in
        [(Lag::DropOldest, &[3u8][..]), (Lag::DropNewest, &[1, 3]), (Lag::SkipToKey, &[]), (Lag::Wait, &[1, 2, 3])]
    {
        let mut source = Source::new();
        let id = source.join(lag, 3000, Start::Now);
        source.publish(1);
        source.begin(false);
        for _ in 0..6 {
            source.chunk(2);
        }
        source.finish();
        let mut peer = Peer::default();
        assert_eq!(
            peer.take(&mut source, id, 1),
            if expected.first() == Some(&1) { Taken::Parts } else { Taken::Nothing }
        );
        source.publish(3);
        assert_eq!(peer.take_all(&mut source, id), expected, "{lag:?}");
        let dropped = source.stats(id).dropped_messages;
        assert_eq!(dropped, 3 - expected.len() as u64, "{lag:?}");
    }
}

#[test]
fn a_message_in_chunks_that_was_begun_is_never_torn() {
    for lag in [Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey] {
        let mut source = Source::new();
        let id = source.join(lag, 3000, Start::Now);
        let mut peer = Peer::default();
        source.begin(true);
        source.chunk(1);
        assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Parts);
        for _ in 0..3 {
            source.chunk(1);
            assert!(peer.open.is_some());
        }
        source.chunk(1);
        let taken = peer.take(&mut source, id, EVERYTHING);
        assert_eq!(taken, Taken::Over(Over::Lagged(CloseCode::TRY_AGAIN_LATER)), "{lag:?}");
    }
    // Its end alone is no reason to lose it.
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    source.begin(false);
    source.chunk(1);
    peer.take(&mut source, id, EVERYTHING);
    for _ in 0..3 {
        source.chunk(1);
    }
    source.finish();
    assert_eq!(peer.take_all(&mut source, id), [1]);
}

#[test]
fn a_message_left_unfinished_ends_those_that_have_part_of_it_and_only_those() {
    let mut source = Source::new();
    let [has_part, has_none, left_out] = [(); 3].map(|()| source.join(Lag::DropNewest, 1500, Start::Now));
    let mut peers = [Peer::default(), Peer::default(), Peer::default()];
    source.publish(1);
    for (peer, id) in peers.iter_mut().zip([has_part, has_none]) {
        assert_eq!(peer.take_all(&mut source, id), [1]);
    }
    source.publish(2); // which fills the third
    for (peer, id) in peers.iter_mut().zip([has_part, has_none]) {
        assert_eq!(peer.take_all(&mut source, id), [2]);
    }
    source.begin(false);
    source.chunk(3);
    assert_eq!(peers[0].take(&mut source, has_part, EVERYTHING), Taken::Parts);
    source.log.cut().wake();
    source.publish(4);
    assert_eq!(peers[0].take(&mut source, has_part, EVERYTHING), Taken::Over(Over::Unfinished));
    assert_eq!(peers[1].take_all(&mut source, has_none), [4]);
    assert_eq!(peers[2].take_all(&mut source, left_out), [1, 2]);
}

#[test]
fn a_message_that_was_leaked_is_cut_by_the_next() {
    let mut source = Source::new();
    let (has_part, has_none) = (source.join(Lag::Wait, 9000, Start::Now), source.join(Lag::Wait, 9000, Start::Now));
    let mut peer = Peer::default();
    source.begin(false);
    source.chunk(1);
    assert_eq!(peer.take(&mut source, has_part, EVERYTHING), Taken::Parts);
    source.publish(2);
    assert_eq!(peer.take(&mut source, has_part, EVERYTHING), Taken::Over(Over::Unfinished));
    assert_eq!(Peer::default().take_all(&mut source, has_none), [2]);
}

#[test]
fn late_receivers_begin_where_they_asked_to() {
    let mut source = Source::new();
    source.publish(1);
    source.key(2);
    source.publish(3);
    let now = source.join(Lag::Wait, 10_000, Start::Now);
    let key = source.join(Lag::Wait, 10_000, Start::Key);
    let small = source.join(Lag::Wait, 1500, Start::Key);
    // In the middle of a message nobody begins but with a key before it.
    source.begin(false);
    source.chunk(4);
    let mid_now = source.join(Lag::Wait, 10_000, Start::Now);
    let mid_key = source.join(Lag::Wait, 10_000, Start::Key);
    source.chunk(4);
    source.finish();
    source.publish(5);
    source.key(6);
    let expected: [(u64, &[u8]); 5] =
        [(now, &[4, 5, 6]), (key, &[2, 3, 4, 5, 6]), (small, &[6]), (mid_now, &[5, 6]), (mid_key, &[2, 3, 4, 5, 6])];
    for (id, numbers) in expected {
        assert_eq!(Peer::default().take_all(&mut source, id), numbers);
    }
    assert_eq!(source.missed(mid_now), (0, 0), "what came before it joined it has not missed");
}

#[test]
fn what_is_kept_for_those_who_join_late_is_bounded() {
    let mut source = Source::new();
    source.log.keep = 4000;
    source.key(1);
    for number in 2..=4 {
        source.publish(number);
    }
    assert_eq!(source.log.totals().2, 4000);
    source.publish(5);
    assert_eq!(source.log.totals().2, 0);
    let id = source.join(Lag::Wait, 10_000, Start::Key);
    source.publish(6);
    source.key(7);
    assert_eq!(Peer::default().take_all(&mut source, id), [7]);
}

#[test]
fn a_receiver_that_never_takes_anything_keeps_no_more_than_its_budget() {
    let mut source = Source::new();
    source.log.keep = 0;
    for lag in [Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey] {
        source.join(lag, 100_000, Start::Now);
    }
    let quick = source.join(Lag::Wait, 100_000, Start::Now);
    let mut peer = Peer::default();
    for number in 0..10_000u32 {
        source.publish_sized(number as u8, SIZE, number % 1000 == 0);
        assert_eq!(peer.take_all(&mut source, quick), [number as u8]);
        assert!(source.log.totals().2 <= 101_000, "{number}: {:?}", source.log.totals());
    }
}

#[test]
fn who_waits_is_woken_once_and_who_does_not_is_not() {
    let mut source = Source::new();
    let (waiting, busy) = (source.join(Lag::Wait, 10_000, Start::Now), source.join(Lag::Wait, 10_000, Start::Now));
    let (mut waiter, mut worker) = (Peer::default(), Peer::default());
    assert_eq!(waiter.take(&mut source, waiting, EVERYTHING), Taken::Nothing);
    for number in 1..=5 {
        source.publish(number);
    }
    assert_eq!((source.calls(waiting), source.calls(busy)), (1, 0));
    assert_eq!(waiter.take_all(&mut source, waiting), [1, 2, 3, 4, 5]);
    assert_eq!(worker.take_all(&mut source, busy), [1, 2, 3, 4, 5]);
    assert_eq!(source.log.totals().2, 0);
}

#[test]
fn leaving_happens_between_messages() {
    let mut source = Source::new();
    let id = source.join(Lag::Wait, 1 << 20, Start::Now);
    let mut peer = Peer::default();
    source.publish_sized(1, 3 * PART_MAX, false);
    source.publish(2);
    assert_eq!(peer.take(&mut source, id, 1), Taken::Parts);
    source.log.ask_to_leave(id).wake();
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Parts);
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Left);
    assert_eq!(peer.whole, [1]);
}

#[test]
fn who_leaves_takes_along_what_was_kept_for_it_alone() {
    let mut source = Source::new();
    let [slow, slower, quick] = [(); 3].map(|()| source.join(Lag::Wait, 5000, Start::Now));
    let mut peer = Peer::default();
    for number in 1..=5 {
        source.publish(number);
    }
    assert_eq!(peer.take_all(&mut source, quick), [1, 2, 3, 4, 5]);
    peer = Peer::default();
    peer.take(&mut source, slow, 3000);
    assert!(source.poll_room().is_pending(), "the slower one is waited for");
    assert_eq!(source.log.totals().2, 5000);
    source.log.leave(slower).wake();
    assert_eq!((source.wakes.count(), source.log.totals().2), (1, 2000));
    assert!(source.poll_room().is_ready());
    source.log.leave(quick).wake();
    assert_eq!(source.log.totals().2, 2000);
    source.log.leave(slow).wake();
    assert_eq!(source.log.totals(), (0, 5, 0));
}

#[test]
fn lag_is_told_in_bytes_and_time() {
    let mut source = Source::new();
    let id = source.join(Lag::Wait, 10_000, Start::Now);
    source.publish(1);
    source.now += Duration::from_secs(2);
    source.publish(2);
    source.now += Duration::from_secs(1);
    assert_eq!((source.stats(id).lag_bytes, source.stats(id).lag_time), (2000, Duration::from_secs(3)));
    Peer::default().take(&mut source, id, 1);
    assert_eq!((source.stats(id).lag_bytes, source.stats(id).lag_time), (1000, Duration::from_secs(1)));
    Peer::default().take(&mut source, id, 1);
    assert_eq!((source.stats(id).lag_bytes, source.stats(id).lag_time), (0, Duration::ZERO));
}

#[test]
fn the_end_of_the_source_comes_after_everything_published() {
    let mut source = Source::new();
    let id = source.join(Lag::Wait, 10_000, Start::Now);
    let mut peer = Peer::default();
    source.publish(1);
    let end = Some((CloseCode::NORMAL, "over".to_owned()));
    source.log.end(end.clone()).wake();
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Parts);
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::SourceEnd(end));
}

#[derive(Clone, Debug)]
enum Step {
    Publish { size: usize, key: bool },
    Begin { key: bool },
    Chunk,
    Finish,
    Cut,
    Take { receiver: usize, room: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3000usize, any::<bool>()).prop_map(|(size, key)| Step::Publish { size, key }),
        1 => Just(Step::Publish { size: 2 * PART_MAX + 5, key: false }),
        1 => any::<bool>().prop_map(|key| Step::Begin { key }),
        4 => Just(Step::Chunk),
        2 => Just(Step::Finish),
        1 => Just(Step::Cut),
        6 => (0..5usize, 1..4000usize).prop_map(|(receiver, room)| Step::Take { receiver, room }),
    ]
}

proptest! {
    /// Whatever happens: nothing is torn, nothing comes twice or out of order, and every message was given or is counted
    /// as missed.
    #[test]
    fn every_message_is_given_whole_or_missed(steps in prop::collection::vec(step(), 1..120)) {
        let code = CloseCode::try_from(4000).unwrap();
        let policies = [Lag::Wait, Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey, Lag::Disconnect(code)];
        let mut source = Source::new();
        let ids = policies.map(|lag| source.join(lag, 5000, Start::Now));
        let mut peers = policies.map(|_| Peer::default());
        let mut over = [false; 5];
        let (mut number, mut open, mut cuts) = (0u8, false, 0u64);
        for step in steps {
            match step {
                Step::Publish { .. } | Step::Begin { .. } if open => {}
                Step::Publish { size, key } => {
                    number += 1;
                    source.publish_sized(number, size.max(1), key);
                }
                Step::Begin { key } => {
                    number += 1;
                    open = true;
                    source.begin(key);
                }
                Step::Chunk if open => source.chunk(number),
                Step::Finish if open => {
                    source.chunk(number);
                    source.finish();
                    open = false;
                }
                Step::Cut if open => {
                    source.log.cut().wake();
                    cuts += 1;
                    open = false;
                }
                Step::Chunk | Step::Finish | Step::Cut => {}
                Step::Take { receiver, room } => {
                    let taken = peers[receiver].take(&mut source, ids[receiver], room);
                    over[receiver] |= matches!(taken, Taken::Over(_));
                }
            }
        }
        if open {
            source.chunk(number);
            source.finish();
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            while match peer.take(&mut source, ids[at], EVERYTHING) {
                Taken::Parts => true,
                Taken::Over(_) => { over[at] = true; false }
                _ => false,
            } {}
            prop_assert!(peer.whole.is_sorted_by(|a, b| a < b), "{:?}: {:?}", policies[at], peer.whole);
            let stats = source.stats(ids[at]);
            prop_assert_eq!(stats.sent_messages, peer.whole.len() as u64);
            if !over[at] {
                let seen = stats.sent_messages + stats.dropped_messages;
                prop_assert!(seen <= u64::from(number) && seen >= u64::from(number) - cuts, "{:?}", policies[at]);
                prop_assert!(peer.open.is_none());
                prop_assert_eq!(stats.lag_bytes, 0);
            }
        }
        if !over[0] {
            prop_assert_eq!(source.missed(ids[0]).0.saturating_sub(cuts), 0, "nobody who is waited for misses anything");
        }
    }
}
