//! What each receiver is given, and what it misses: exactly, without connections and without a clock.

mod joining;
mod lagging;
mod random;

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

use super::{
    lane::Member,
    log::{Log, Taken},
    options::{Lag, ReceiverOptions, ReceiverStats, Start},
};
use crate::{message::MessageKind, proto::part::Encoder};

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
