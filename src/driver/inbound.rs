//! Chunks on their way from the driver to the reader: bounded in bytes, handed over by the queueful.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use super::now;
use crate::{error::Outcome, proto::recv::Chunk, stats::DirectionStats};

/// What a chunk counts for beyond its payload, so that floods of empty messages are bounded too.
/// It is what an entry takes in a queue that has doubled.
pub(crate) const CHUNK_COST: usize = 128;

/// Places that an empty queue keeps: enough for an exchange of small messages, less than a KiB.
const KEPT_PLACES: usize = 16;

/// A chunk and what it counts for.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) chunk: Chunk,
    pub(crate) cost: usize,
}

/// What a batch amounts to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) cost: usize,
    /// Ends of messages.
    pub(crate) messages: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, queued: &Queued) {
        self.cost += queued.cost;
        self.messages += u64::from(queued.chunk.last);
    }
}

/// What comes in and is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discard {
    Nothing,
    /// The rest of the message that is arriving.
    Message,
    Everything,
}

#[derive(Debug)]
pub(crate) struct Inbound {
    high_water_mark: usize,
    queue: VecDeque<Queued>,
    /// Cost of what is here or in the reader's hands.
    buffered: usize,
    discard: Discard,
    end: Option<Outcome>,
    reader: Option<Waker>,
    /// Since when the driver does not read, until half of the mark is free.
    paused: Option<Instant>,
    /// The driver wants to know when the reader has done with everything.
    tell_caught_up: bool,
    stats: DirectionStats,
}

/// What the reader finds in the queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Everything there was.
    Chunks,
    /// Nothing, for ever.
    End(Outcome),
    /// Nothing yet; the reader will be woken.
    Nothing,
}

/// Who is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Nobody,
    /// There is room again.
    Driver,
}

impl Inbound {
    pub(crate) fn new(high_water_mark: usize) -> Self {
        Self {
            high_water_mark,
            queue: VecDeque::new(),
            buffered: 0,
            discard: Discard::Nothing,
            end: None,
            reader: None,
            paused: None,
            tell_caught_up: false,
            stats: DirectionStats::default(),
        }
    }

    // ---- the driver's side ----

    /// Appends a batch, of which `sum` was counted; who is to be woken. `stats` is what the connection counts.
    pub(crate) fn push(&mut self, batch: &mut VecDeque<Queued>, mut sum: Sum, stats: DirectionStats) -> Option<Waker> {
        self.stats.bytes = stats.bytes;
        self.stats.frames = stats.frames;
        self.stats.control_frames = stats.control_frames;
        self.stats.messages += sum.messages;
        if self.discard != Discard::Nothing {
            self.drop_unwanted(batch, &mut sum);
        }
        self.buffered += sum.cost;
        if self.queue.is_empty() {
            std::mem::swap(&mut self.queue, batch);
        } else {
            self.queue.append(batch);
        }
        self.stats.buffered_max = self.stats.buffered_max.max(self.buffered);
        if self.queue.is_empty() { None } else { self.reader.take() }
    }

    fn drop_unwanted(&mut self, batch: &mut VecDeque<Queued>, sum: &mut Sum) {
        if self.discard == Discard::Everything {
            batch.clear();
            sum.cost = 0;
        }
        while self.discard == Discard::Message
            && let Some(queued) = batch.pop_front()
        {
            sum.cost -= queued.cost;
            if queued.chunk.last {
                self.discard = Discard::Nothing;
            }
        }
    }

    /// Bytes that may still be queued; none at the mark.
    pub(crate) fn room(&self) -> usize {
        self.high_water_mark.saturating_sub(self.buffered)
    }

    /// Nothing is here or in the reader's hands.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffered == 0
    }

    /// There is something for the reader to take.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Nothing moves any more: an empty queue does not keep its memory.
    pub(super) fn rest(&mut self) {
        give_back(&mut self.queue);
    }

    /// The reader, if it waits; it is to be woken.
    pub(super) fn stop_waiting(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Remembers that the driver waits for room, if there is none.
    pub(crate) fn pause(&mut self) -> bool {
        if self.room() > 0 {
            return false;
        }
        if self.paused.is_none() {
            self.paused = Some(now());
            self.stats.pauses += 1;
        }
        true
    }

    /// Whether there is something the reader has not consumed; then the driver is woken when it has and comes back for more.
    pub(crate) fn tell_when_caught_up(&mut self) -> bool {
        let behind = self.buffered > 0 && self.discard != Discard::Everything;
        self.tell_caught_up = behind;
        behind
    }

    pub(crate) fn end(&mut self, end: Outcome) -> Option<Waker> {
        self.end.get_or_insert(end);
        self.reader.take()
    }

    /// How it ended, once that is certain.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.end.clone()
    }

    // ---- the reader's side ----

    /// Gives back the room of chunks that have been consumed.
    pub(crate) fn credit(&mut self, cost: usize) -> Wake {
        self.buffered -= cost;
        if self.buffered <= self.high_water_mark / 2 { self.resume() } else { Wake::Nobody }
    }

    /// The reader comes back, and there is nothing: it has done with what it was given, and said what it had to say to that.
    /// When it was given the last of it, that was still to come. `true`: the driver wanted to know.
    pub(crate) fn come_back(&mut self) -> bool {
        self.buffered == 0 && std::mem::take(&mut self.tell_caught_up)
    }

    fn resume(&mut self) -> Wake {
        let Some(since) = self.paused.take() else { return Wake::Nobody };
        self.stats.paused += now() - since;
        Wake::Driver
    }

    /// Swaps everything queued into `local`, which is empty.
    pub(crate) fn take(&mut self, local: &mut VecDeque<Queued>, cx: &mut Context<'_>) -> Taken {
        if !self.queue.is_empty() {
            std::mem::swap(&mut self.queue, local);
            return Taken::Chunks;
        }
        // There is one spare queue, and it is here, where the driver finds it when nothing moves any more.
        if local.capacity() > self.queue.capacity() {
            std::mem::swap(&mut self.queue, local);
        }
        give_back(local);
        if let Some(end) = &self.end {
            return Taken::End(end.clone());
        }
        match &mut self.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Taken::Nothing
    }

    /// Drops the rest of the message whose beginning the reader has taken, and gives back `cost` besides.
    pub(crate) fn skip_message(&mut self, mut cost: usize) -> Wake {
        let mut found = false;
        while !found && let Some(queued) = self.queue.pop_front() {
            cost += queued.cost;
            found = queued.chunk.last;
        }
        if !found {
            self.discard = Discard::Message;
        }
        self.credit(cost)
    }

    /// Drops everything, now and later.
    pub(crate) fn discard(&mut self) {
        self.queue = VecDeque::new();
        self.buffered = 0;
        self.resume();
        self.discard = Discard::Everything;
        self.reader = None;
    }

    pub(crate) fn stats(&self) -> DirectionStats {
        let pausing = self.paused.map_or(Duration::ZERO, |since| now() - since);
        DirectionStats { buffered: self.buffered, paused: self.stats.paused + pausing, ..self.stats }
    }
}

/// An idle connection does not keep the places that a flood of small chunks took.
pub(super) fn give_back(queue: &mut VecDeque<Queued>) {
    if queue.is_empty() && queue.capacity() > KEPT_PLACES {
        *queue = VecDeque::new();
    }
}
