//! What comes in: from the transport to the reader's queue.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::Engine;
use crate::{
    driver::{
        in_place::Half,
        inbound::{CHUNK_COST, Queued, Sum},
        read_buffer::READ_BUFFER,
        shared::mask_key,
    },
    proto::connection::Event,
};

impl Engine {
    /// Decodes what is there, or reads more, as far as the reader and the peer keep up. `Ready`: it made progress.
    pub(in crate::driver) fn read<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.connection.wants_read() || self.is_reader_behind() {
            return Poll::Pending;
        }
        if self.is_decoded() {
            if self.shared.turn.is_listening() {
                return Poll::Pending;
            }
            ready!(self.read_transport(transport, cx));
        }
        self.decode();
        Poll::Ready(())
    }

    /// The reader has as much as it may have: nothing more is read or decoded until it has taken half. Not so if it is about to
    /// take it, and what there may be comes into memory that counts already: a transport that is then asked once more will tell
    /// when there is more, without the driver.
    fn is_reader_behind(&mut self) -> bool {
        if self.room > 0 || (self.has_delivered() && self.read.has_counted_room()) {
            return false;
        }
        let mut inbound = self.shared.inbound();
        let paused = self.connection.is_delivering() && inbound.pause();
        self.room = inbound.room();
        drop(inbound);
        self.connection.set_paused(paused, self.now);
        paused
    }

    fn read_transport<T: AsyncRead + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        let Self { connection, shared, .. } = self;
        let (buffer, len) = self.read.prepare(connection.last_frame(), || connection.ahead(), shared.wants_whole());
        // Before it is asked: it may wake while it is.
        self.shared.turn.listen();
        let read = ready!(poll_read_buf(Pin::new(transport), cx, &mut buffer.limit(len)));
        self.shared.turn.heard();
        match read {
            Ok(0) => self.connection.eof(),
            Ok(len) => {
                self.read.filled(len, self.half == Some(Half::Reader));
                self.connection.arrived(len, self.now);
            }
            Err(error) => self.connection.read_failed(error),
        }
        Poll::Ready(())
    }

    #[inline(never)]
    fn end_read(&mut self) {
        let chunks = self.batch.iter_mut().map(|queued| &mut queued.chunk);
        self.read.end_read(chunks, self.connection.ahead(), self.shared.wants_whole());
    }

    /// Decodes up to a queueful and hands it to the reader in one go.
    fn decode(&mut self) {
        if self.since_chunk > 0 && self.shared.inbound().is_empty() {
            self.since_chunk = 0;
        }
        let mut sum = Sum::default();
        let mut closed = false;
        loop {
            let before = self.read.input.len();
            let copies = self.read.copies();
            let queue = &mut self.batch;
            let deliver = |chunk| {
                let queued = Queued { chunk, cost: 0 };
                if queue.len() < queue.capacity() {
                    queue.push_back(queued);
                } else {
                    grow(queue, [queued]);
                }
            };
            let event = self.connection.receive(&mut self.read.input, copies, self.now, &mut mask_key, deliver);
            // What lies behind a chunk keeps its buffer alive as well, but no more than the rest of that one.
            let charge = self.read.charge(before - self.read.input.len());
            self.since_chunk = (self.since_chunk + charge).min(2 * READ_BUFFER);
            match event {
                Some(Event::Chunk) => {
                    // Counted as it came, so that what lies between chunks and keeps a buffer alive counts too.
                    let came = std::mem::take(&mut self.since_chunk);
                    if let Some(queued) = self.batch.back_mut() {
                        queued.cost = came.max(queued.chunk.data.len()) + CHUNK_COST;
                        sum.add(queued);
                    }
                    if sum.cost >= self.room || self.is_decoded() {
                        break;
                    }
                }
                Some(Event::Pong(number, trip)) => {
                    self.shared.outbound().set_round_trip(self.connection.round_trip());
                    // Those before it were answered by the same pong.
                    while let Some((_, answer)) = self.pings.pop_front_if(|(sent, _)| *sent <= number) {
                        let _ = answer.send(trip);
                    }
                }
                Some(Event::Close) => {
                    closed = true;
                    break;
                }
                None => break,
            }
        }

        let is_in_pieces = self.batch.back().is_some_and(|last| !last.chunk.last);
        if is_in_pieces || self.read.is_begun() {
            self.end_read();
        }
        if !self.connection.is_in_message() {
            self.read.end_message();
        }
        let mut inbound = self.shared.inbound();
        let reader = inbound.push(&mut self.batch, sum, self.connection.received());
        self.room = inbound.room();
        self.delivered |= inbound.has_queued();
        if closed && inbound.tell_when_caught_up() {
            self.connection.wait_for_reader(self.now);
        }
        drop(inbound);
        self.wake(reader, Half::Reader);
    }
}

/// Adds to a queue that is full. Growing may panic, for which what is added must lie in memory: here, as a copy, so that
/// where there is room a chunk is written to its place without a detour by the stack.
#[cold]
#[inline(never)]
fn grow(queue: &mut VecDeque<Queued>, queued: [Queued; 1]) {
    queue.extend(queued);
}
