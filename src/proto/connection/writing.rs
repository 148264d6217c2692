//! What goes out, and when the Close frame does (RFC 6455, 5.5.1 and 7.1).

use std::{io::IoSlice, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Connection, Phase};
use crate::{
    error::ConnectionError,
    message::Message,
    proto::send::{MaskKeys, Outbox, push_message},
};

impl Connection {
    /// Prepares what goes out next: when all that was accepted is out, the Close frame, if it is due.
    /// `all_fetched`: the outbox is empty, and stays so if the application may not write any more.
    #[inline]
    pub(crate) fn fill(&mut self, all_fetched: bool, keys: MaskKeys<'_>) {
        if self.stage.has_more() {
            self.stage.fill(keys);
        }
        if self.phase != Phase::Open {
            self.fill_close(all_fetched, keys);
        }
    }

    #[cold]
    fn fill_close(&mut self, all_fetched: bool, keys: MaskKeys<'_>) {
        let due = matches!(self.phase, Phase::Closing | Phase::Replying);
        let all_staged = all_fetched && !self.stage.has_unstaged();
        if due && !self.close_staged && all_staged && self.stage.is_idle() && !self.unflushed {
            self.stage_close(keys);
        }
    }

    fn stage_close(&mut self, keys: MaskKeys<'_>) {
        if self.stage.is_mid_frame() {
            // A frame of declared length was left incomplete: no Close frame can follow it.
            let error = if self.peer_close.is_some() { self.unsent() } else { ConnectionError::UnfinishedMessage };
            self.lost(error);
        } else if let Some(frame) = self.close.take() {
            self.stage.push_close(&frame, keys);
            self.close_staged = true;
        }
    }

    /// What the transport should be given, `most` bytes; the number of slices used.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], most: usize) -> usize {
        self.stage.slices(slices, most)
    }

    /// A message of `len` bytes may be written at once: nothing comes before it, and it is one small frame.
    pub(crate) fn takes_at_once(&self, len: usize) -> bool {
        self.has_nothing_to_say() && self.stage.is_small(len)
    }

    /// The frame of such a message.
    pub(crate) fn encode(&mut self, message: &Message, frame: &mut BytesMut, now: Instant, keys: MaskKeys<'_>) {
        self.keepalive.used(now);
        push_message(self.role, message, frame, keys);
    }

    /// That frame has been written, and is `len` bytes.
    pub(crate) fn wrote_at_once(&mut self, len: usize) {
        self.bytes_sent += len as u64;
        self.unflushed = true;
    }

    /// That frame is yet to be written, or what is left of it.
    pub(crate) fn stage(&mut self, frame: Bytes) {
        self.stage.push_frames(frame);
    }

    /// The same, if all there is for the transport is in one piece.
    pub(crate) fn only_slice(&self, most: usize) -> Option<&[u8]> {
        self.stage.only_slice(most)
    }

    /// Bytes fetched and not yet written; control frames do not count, nor does what is being compressed.
    pub(crate) fn unwritten(&self) -> usize {
        self.stage.data_len()
    }

    /// Nothing is ready to be written.
    pub(crate) fn is_write_idle(&self) -> bool {
        self.stage.is_idle()
    }

    /// Rounds of writing take long.
    pub(crate) fn is_compressing(&self) -> bool {
        self.stage.is_compressing()
    }

    /// The transport has taken `len` bytes.
    pub(crate) fn wrote(&mut self, len: usize, now: Instant) {
        self.stage.advance(len);
        self.bytes_sent += len as u64;
        self.unflushed = true;
        if let Some(since) = self.blocked.take() {
            self.write_paused += now.saturating_duration_since(since);
            self.keepalive.heard(now);
        }
        self.progress(now);
    }

    /// The connection is open, and all that it was given is on its way.
    pub(crate) fn has_nothing_to_say(&self) -> bool {
        self.phase == Phase::Open && !self.unflushed && self.stage.is_empty()
    }

    /// The transport is to be flushed when nothing is left to write.
    pub(crate) fn needs_flush(&self) -> bool {
        self.unflushed
    }

    /// It has been: what was written is on its way. Before that, nothing can be said to have ended cleanly.
    pub(crate) fn flushed(&mut self, now: Instant) {
        self.unflushed = false;
        if self.is_close_sent() && matches!(self.phase, Phase::Replying | Phase::Failing) {
            self.all_said(now);
        }
    }

    /// Our Close frame is on its way, and all before it.
    pub(super) fn is_close_sent(&self) -> bool {
        self.close_staged && self.stage.is_empty() && !self.unflushed
    }

    /// The transport takes no more for now; whether that is news.
    pub(crate) fn blocked(&mut self, now: Instant) -> bool {
        let is_new = self.blocked.is_none();
        if is_new {
            self.blocked = Some(now);
            self.write_pauses += 1;
        }
        is_new
    }

    /// The peer has closed and the transport is [`blocked`](Self::blocked): what it did not take is not sent any more.
    pub(crate) fn give_up_unsent(&mut self, outbox: &mut Outbox, now: Instant, keys: MaskKeys<'_>) {
        let waiting = outbox.len();
        outbox.clear();
        match self.stage.cut() {
            Some(0) if waiting == 0 => {}
            Some(_) => {
                self.failure.get_or_insert(self.unsent());
            }
            None => return self.lost(self.unsent()),
        }
        self.stage_close(keys);
        self.progress(now);
    }

    /// The transport is to be shut down for writing.
    pub(crate) fn wants_shutdown(&self) -> bool {
        self.phase == Phase::ShuttingDown
    }

    /// It has been, or cannot be.
    pub(crate) fn shut_down(&mut self) {
        if self.phase == Phase::ShuttingDown {
            // A failed connection is drained for a while, lest a reset destroy our Close frame on its way.
            let drain = self.failure.is_some() || self.peer_close.is_none();
            self.phase = if drain && !self.eof { Phase::Lingering } else { Phase::Done };
        }
    }

    /// The transport takes nothing any more. `all_fetched` as in [`fill`](Self::fill).
    pub(crate) fn write_failed(&mut self, error: std::io::Error, all_fetched: bool, now: Instant) {
        let nothing_lost = match self.close_staged {
            // All before it has been flushed.
            true => self.stage.is_last_item(),
            false => all_fetched && self.unwritten() == 0 && !self.unflushed,
        };
        self.stage.clear();
        self.unflushed = false;
        match self.phase {
            // The peer has closed and is gone: whether our answer reached it makes no difference any more.
            Phase::Replying | Phase::Grace if nothing_lost => self.phase = Phase::Done,
            Phase::Replying | Phase::Grace => self.lost(self.unsent()),
            Phase::Open | Phase::Closing => {
                self.failure = Some(error.into());
                self.enter(Phase::WriteBroken, now);
            }
            Phase::WriteBroken | Phase::Done => {}
            Phase::Failing | Phase::ShuttingDown | Phase::Lingering => self.phase = Phase::Done,
        }
    }

    /// The peer has closed, and waits for our Close frame.
    pub(crate) fn must_reply(&self) -> bool {
        self.phase == Phase::Replying && !self.close_staged
    }
}
