//! Chunks on their way from the driver to the reader: bounded in bytes, handed over by the queueful.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
};

use crate::{error::Outcome, proto::recv::Chunk, stats::Stats};

/// What a chunk counts for beyond its payload, so that floods of empty messages are bounded too.
pub(crate) const CHUNK_COST: usize = 64;

/// A chunk and what it counts for.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) chunk: Chunk,
    pub(crate) cost: usize,
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
    /// The driver does not read until half of the mark is free.
    paused: bool,
    /// The driver wants to know when the reader has taken everything.
    tell_caught_up: bool,
    stats: Stats,
}

/// What the reader finds in the queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Everything there was.
    Chunks,
    /// Nothing, for ever.
    End(Outcome),
    /// Nothing yet; the reader will be woken.
    Nothing(Wake),
}

/// Who is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Nobody,
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
            paused: false,
            tell_caught_up: false,
            stats: Stats::default(),
        }
    }

    // ---- the driver's side ----

    /// Appends a batch; who is to be woken.
    pub(crate) fn push(&mut self, batch: &mut VecDeque<Queued>, bytes_received: u64) -> Option<Waker> {
        self.stats.bytes_received = bytes_received;
        for queued in batch.drain(..) {
            let last = queued.chunk.last;
            self.stats.messages_received += u64::from(last);
            match self.discard {
                Discard::Nothing => {
                    self.buffered += queued.cost;
                    self.queue.push_back(queued);
                }
                Discard::Message if last => self.discard = Discard::Nothing,
                Discard::Message | Discard::Everything => {}
            }
        }
        self.stats.read_buffered_max = self.stats.read_buffered_max.max(self.buffered);
        if self.queue.is_empty() { None } else { self.reader.take() }
    }

    /// Bytes that may still be queued; none at the mark.
    pub(crate) fn room(&self) -> usize {
        self.high_water_mark.saturating_sub(self.buffered)
    }

    /// Remembers that the driver waits for room, if there is none.
    pub(crate) fn pause(&mut self) -> bool {
        if self.room() > 0 {
            return false;
        }
        self.stats.read_pauses += u64::from(!std::mem::replace(&mut self.paused, true));
        true
    }

    /// Whether there is something the reader has not consumed; then the driver is woken when it has.
    pub(crate) fn tell_when_caught_up(&mut self) -> bool {
        let behind = self.buffered > 0 && self.discard != Discard::Everything;
        self.tell_caught_up = behind;
        behind
    }

    pub(crate) fn end(&mut self, end: Outcome) -> Option<Waker> {
        self.end.get_or_insert(end);
        self.reader.take()
    }

    // ---- the reader's side ----

    /// Gives back the room of chunks that have been consumed.
    pub(crate) fn credit(&mut self, cost: usize) -> Wake {
        self.buffered -= cost;
        let resume = self.paused && self.buffered <= self.high_water_mark / 2;
        self.paused &= !resume;
        if resume { Wake::Driver } else { Wake::Nobody }
    }

    /// Swaps everything queued into `local`, which is empty.
    pub(crate) fn take(&mut self, local: &mut VecDeque<Queued>, cx: &mut Context<'_>) -> Taken {
        if !self.queue.is_empty() {
            std::mem::swap(&mut self.queue, local);
            return Taken::Chunks;
        }
        if let Some(end) = &self.end {
            return Taken::End(end.clone());
        }
        match &mut self.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let caught_up = std::mem::take(&mut self.tell_caught_up);
        Taken::Nothing(if caught_up { Wake::Driver } else { Wake::Nobody })
    }

    /// Drops the rest of the message whose beginning the reader has taken.
    pub(crate) fn skip_message(&mut self) -> Wake {
        let mut cost = 0;
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
        self.paused = false;
        self.discard = Discard::Everything;
        self.reader = None;
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { read_buffered: self.buffered, ..self.stats }
    }
}
