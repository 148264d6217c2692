//! Joining and leaving at any time, what is kept meanwhile, and the end.

use super::*;
use crate::{close::CloseCode, proto::part::PART_MAX};

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
