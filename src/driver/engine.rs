//! What moves bytes between the transport, the [`Connection`] and the queues: one round at a time, on behalf of the
//! driver or of a half.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{BufMut, BytesMut};
use futures::channel::oneshot;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::{
    in_place::Half,
    inbound::{self, CHUNK_COST, Queued, Sum},
    now,
    outbound::{Outbound, Requests, WriteState},
    read_buffer::{READ_BUFFER, ReadBuffer},
    shared::{Shared, mask_key},
};
use crate::{
    error::{ConnectionError, Outcome},
    proto::connection::{Connection, Event},
};

/// Slices of one vectored write.
const MAX_SLICES: usize = 64;

const ROUNDS: usize = 32;

/// The same where each of them may take milliseconds.
const COMPRESSING_ROUNDS: usize = 2;

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    read: ReadBuffer,
    /// Decoded, not yet queued.
    batch: VecDeque<Queued>,
    /// Bytes decoded since the last chunk.
    since_chunk: usize,
    /// How much the reader may be given; more by now, if it has consumed something.
    room: usize,
    /// Everything accepted has been fetched.
    all_fetched: bool,
    /// The handles know how it ended.
    told: bool,
    pings: VecDeque<(u64, oneshot::Sender<Duration>)>,
    /// Who has the turn, if not the driver: it need not be woken.
    half: Option<Half>,
    /// It has been given a chunk.
    delivered: bool,
    /// When the turn began.
    now: Instant,
}

impl Engine {
    pub(super) fn new(leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let now = now();
        let mut connection = Connection::new(shared.role, &shared.config, now);
        connection.arrived(leftover.len(), now);
        if let Some(codec) = shared.codec() {
            connection.enable_compression(&codec);
        }
        Self {
            connection,
            shared,
            read: ReadBuffer::holding(leftover),
            batch: VecDeque::new(),
            since_chunk: 0,
            room: 0,
            all_fetched: true,
            told: false,
            pings: VecDeque::new(),
            half: None,
            delivered: false,
            now,
        }
    }

    /// Somebody's turn begins. The clock is read once a turn, which lasts a few rounds; for a half's turn the time of the
    /// driver's last look will do, unless something is being measured.
    pub(super) fn begin(&mut self, half: Option<Half>) {
        if half.is_none() || !self.shared.turn.is_watched() || self.connection.is_measuring() {
            self.now = now();
        }
        self.half = half;
        self.delivered = false;
    }

    /// A round of writing and, if asked for, reading. `Ready`: there is more to do.
    pub(super) fn round<T>(&mut self, transport: &mut T, cx: &mut Context<'_>, reads: bool) -> Poll<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let written = self.write(transport, cx);
        let read = if reads { self.read(transport, cx) } else { Poll::Pending };
        self.tell();
        if written.is_ready() { written } else { read }
    }

    /// Nothing moves for now: other connections may have the read buffer. One that has been idle for a while gives back
    /// what else it holds.
    pub(super) fn rest(&mut self) {
        self.read.release();
        if self.half.is_none() && !self.shared.turn.is_watched() {
            inbound::give_back(&mut self.batch);
            self.shared.inbound().rest();
        }
    }

    /// The last read took all there was.
    pub(super) fn has_emptied_transport(&self) -> bool {
        self.is_decoded() && self.read.was_short()
    }

    /// Nothing more can be had without a read.
    fn is_decoded(&self) -> bool {
        self.read.is_decoded() && !self.connection.has_more()
    }

    /// The half whose turn it is has what it waits for.
    pub(super) fn has_delivered(&self) -> bool {
        self.delivered && self.half == Some(Half::Reader)
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Rounds of reading and writing before other tasks of the thread get their turn.
    pub(super) fn rounds(&self) -> usize {
        if self.is_compressing() { COMPRESSING_ROUNDS } else { ROUNDS }
    }

    /// Each round may take milliseconds.
    pub(super) fn is_compressing(&self) -> bool {
        self.connection.is_compressing()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.connection.deadline()
    }

    pub(super) fn timed_out(&mut self) {
        self.now = now();
        self.connection.timed_out(self.now, &mut mask_key);
        self.tell();
    }

    /// The outcome, once the transport may be dropped.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.connection.ending().filter(|_| self.connection.is_done())
    }

    /// The transport is gone.
    pub(super) fn shut(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            end(&self.shared, Err(ConnectionError::RuntimeShutDown));
        }
        self.read.release();
        self.read = ReadBuffer::default();
        self.pings.clear();
        self.shared.outbound().closed = true;
    }

    // ---- writing ----

    /// Prepares what goes out next; whether there is something.
    fn prepare(&mut self, has_written: bool) -> bool {
        if self.shared.take_asked() || has_written || !self.connection.is_open() {
            self.exchange();
        }
        let waiting = self.connection.unwritten();
        self.connection.fill(self.all_fetched, &mut mask_key);
        let is_idle = self.connection.is_write_idle();
        if is_idle && waiting > 0 {
            // It has been compressed and come to nothing yet, so it is out of the way: the writer is to know.
            self.exchange();
        }
        !is_idle
    }

    /// Carries over what the application did, and back how far its data has got.
    pub(super) fn exchange(&mut self) {
        let carried = Carried::over(&mut self.connection, &mut self.now, self.shared.outbound());
        self.carry_out(carried);
    }

    /// The same for who has the lock already.
    pub(super) fn exchange_with(&mut self, outbound: MutexGuard<'_, Outbound>) {
        let carried = Carried::over(&mut self.connection, &mut self.now, outbound);
        self.carry_out(carried);
    }

    fn carry_out(&mut self, carried: Carried) {
        self.all_fetched = carried.all_fetched;
        self.wake(carried.writer, Half::Writer);

        let Some(requests) = carried.requests else { return };
        let now = self.now;
        if let Some(frame) = requests.close {
            self.connection.close(frame, now);
        }
        for ping in requests.pings {
            self.pings.push_back((self.connection.ping(now, &mut mask_key), ping));
        }
        if let Some(error) = requests.fail {
            self.connection.fail(error, now, &mut mask_key);
        }
        if requests.abort {
            self.connection.abort();
        }
    }

    /// Writes what there is, once. `Ready`: there is more.
    fn write<T: AsyncWrite + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        // As in every round of a connection that receives.
        if self.connection.has_nothing_to_say() && !self.shared.is_asked() {
            return Poll::Pending;
        }
        if self.prepare(false) {
            ready!(self.write_transport(transport, cx));
            if self.prepare(true) {
                return Poll::Ready(());
            }
        }
        if self.connection.unwritten() > 0 {
            return Poll::Ready(()); // compressing goes on in the next round
        }
        ready!(self.flush(transport, cx));
        // Nothing comes after the flush, unless it was the last.
        if self.connection.is_open() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Writes what has just been accepted, once. If it lies in one piece and there is nothing else, as with most answers, the
    /// transport gets it from there. `Ready`: there is more.
    pub(super) fn answer<T>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
        mut outbound: MutexGuard<'_, Outbound>,
    ) -> Poll<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let is_all = self.connection.takes_shortcuts() && !self.shared.is_asked();
        let Some(frames) = outbound.only_piece().filter(|_| is_all) else {
            self.exchange_with(outbound);
            return self.round(transport, cx, false);
        };
        let len = frames.len();
        let written = Pin::new(&mut *transport).poll_write(cx, frames);
        if matches!(written, Poll::Ready(Ok(written)) if written == len) {
            self.connection.wrote_unstaged(len, self.now);
            self.all_fetched = true;
            outbound.outbox.clear_written();
            let writer = outbound.report(&self.connection);
            drop(outbound);
            self.wake(writer, Half::Writer);
            let _ = self.flush(transport, cx);
            return Poll::Pending;
        }
        self.exchange_with(outbound);
        if written.is_pending() {
            return self.round(transport, cx, false);
        }
        self.connection.fill(self.all_fetched, &mut mask_key);
        let _ = self.written(written);
        Poll::Ready(())
    }

    fn write_transport<T: AsyncWrite + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        let transport = Pin::new(transport);
        let written = match self.connection.only_slice() {
            Some(slice) => transport.poll_write(cx, slice), // a cheaper system call
            None => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let used = self.connection.slices(&mut slices);
                transport.poll_write_vectored(cx, &slices[..used])
            }
        };
        self.written(written)
    }

    /// What the transport said to a write of what is staged.
    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<()> {
        match written {
            Poll::Ready(Ok(0)) => self.write_failed(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(len)) => self.connection.wrote(len, self.now),
            Poll::Ready(Err(error)) => self.write_failed(error),
            Poll::Pending => {
                self.now = now();
                if self.connection.blocked(self.now) {
                    let writer = self.shared.outbound().report(&self.connection);
                    self.wake(writer, Half::Writer);
                }
                // Once the unsent data is given up, our Close frame is next: another round writes it.
                if !self.connection.must_reply() {
                    return Poll::Pending;
                }
                let mut outbound = self.shared.outbound();
                self.connection.give_up_unsent(&mut outbound.outbox, self.now, &mut mask_key);
            }
        }
        Poll::Ready(())
    }

    fn flush<T: AsyncWrite + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.needs_flush() {
            match ready!(Pin::new(transport).poll_flush(cx)) {
                Ok(()) => self.connection.flushed(self.now),
                Err(error) => self.write_failed(error),
            }
            return Poll::Ready(());
        }
        if self.connection.wants_shutdown() {
            // Whether it succeeds makes no difference: nothing more is to be sent.
            let _ = ready!(Pin::new(transport).poll_shutdown(cx));
            self.connection.shut_down();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn write_failed(&mut self, error: io::Error) {
        self.connection.write_failed(error, self.all_fetched, self.now);
    }

    // ---- reading ----

    /// Decodes what is there, or reads more, as far as the reader and the peer keep up. `Ready`: it made progress.
    pub(super) fn read<T: AsyncRead + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
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

    /// The reader has as much as it may have: nothing more is read or decoded until it has taken half.
    fn is_reader_behind(&mut self) -> bool {
        if self.room > 0 {
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
        let (buffer, len) = self.read.prepare(self.connection.ahead(), self.shared.wants_whole());
        // Before it is asked: it may wake while it is.
        self.shared.turn.listen();
        let read = ready!(poll_read_buf(Pin::new(transport), cx, &mut buffer.limit(len)));
        self.shared.turn.heard();
        match read {
            Ok(0) => self.connection.eof(),
            Ok(len) => {
                self.read.filled(len);
                self.connection.arrived(len, self.now);
            }
            Err(error) => self.connection.read_failed(error),
        }
        Poll::Ready(())
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
                    if sum.cost >= self.room {
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

        if let Some(last) = self.batch.back_mut()
            && last.chunk.first
            && !last.chunk.last
            && self.shared.wants_whole()
        {
            self.read.gather(&mut last.chunk.data, self.connection.ahead());
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

    // ---- what the handles are told ----

    /// Tells the handles how it ended, once that is certain.
    fn tell(&mut self) {
        if !self.connection.is_open()
            && !self.told
            && let Some(ending) = self.connection.ending()
        {
            self.told = true;
            end(&self.shared, ending);
            self.pings.clear();
        }
    }

    /// Wakes a half, unless it is its turn: it will look by itself.
    fn wake(&self, waker: Option<Waker>, half: Half) {
        if let Some(waker) = waker
            && self.half != Some(half)
        {
            waker.wake();
        }
    }
}

/// What has been carried over under the lock, and is done without it.
struct Carried {
    requests: Option<Box<Requests>>,
    writer: Option<Waker>,
    all_fetched: bool,
}

impl Carried {
    fn over(connection: &mut Connection, now: &mut Instant, mut outbound: MutexGuard<'_, Outbound>) -> Self {
        let requests = outbound.requests.take();
        // Before it is decided, under the lock, whether more is accepted: these may end that.
        if let Some(requests) = &requests {
            *now = super::now();
            if requests.discard {
                connection.discard(*now);
            }
            if requests.caught_up {
                connection.reader_caught_up(*now);
            }
        }
        if !connection.is_writable() && matches!(outbound.state, WriteState::Open) {
            outbound.state = WriteState::Closed;
        }
        if connection.is_write_broken() {
            outbound.state = WriteState::Broken;
        }
        connection.fetch(&mut outbound.outbox, *now);
        let all_fetched = outbound.outbox.len() == 0;
        let writer = outbound.report(connection);
        Self { requests, writer, all_fetched }
    }
}

/// Adds to a queue that is full. Growing may panic, for which what is added must lie in memory: here, as a copy, so that
/// where there is room a chunk is written to its place without a detour by the stack.
#[cold]
#[inline(never)]
fn grow(queue: &mut VecDeque<Queued>, queued: [Queued; 1]) {
    queue.extend(queued);
}

/// Leaves the outcome where both halves find it.
pub(super) fn end(shared: &Shared, outcome: Outcome) {
    let state = match &outcome {
        Ok(_) => WriteState::Closed,
        Err(error) => WriteState::Failed(error.clone()),
    };
    let reader = shared.inbound().end(outcome);
    let writer = shared.outbound().end(state);
    for waker in [reader, writer].into_iter().flatten() {
        waker.wake();
    }
}
