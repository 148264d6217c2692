//! The task that owns the transport: it reads, writes, keeps the time, and talks to the handles over two bounded queues.
//!
//! It is a thin shell around [`proto::connection::Connection`](crate::proto::connection::Connection), whose driving
//! contract it follows. This is the only place that reads the clock or spawns.

pub(crate) mod inbound;
pub(crate) mod outbound;
mod read_buffer;
pub(crate) mod shared;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::channel::oneshot;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tokio_util::io::poll_read_buf;
use tracing::Instrument;

use self::{
    inbound::{CHUNK_COST, Queued},
    outbound::WriteState,
    read_buffer::{READ_BUFFER, ReadBuffer},
    shared::{Shared, mask_key},
};
use crate::{
    error::{ConnectionError, Outcome},
    proto::connection::{Connection, Event},
};

/// Slices of one vectored write.
const MAX_SLICES: usize = 64;

/// Rounds of reading and writing before other tasks of the thread get their turn.
const ROUNDS: usize = 32;

/// Starts the task. The receiver gets the outcome when the transport has been dropped.
pub(crate) fn spawn<T>(transport: T, leftover: BytesMut, shared: Arc<Shared>) -> oneshot::Receiver<Outcome>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (closed, receiver) = oneshot::channel();
    // Without the query, which may hold a token.
    let url = shared.negotiated.url.split('?').next().unwrap_or_default();
    let span = tracing::debug_span!("connection", role = ?shared.role, url);
    let driver = Driver::new(transport, leftover, shared);
    let task = async move {
        tracing::debug!("open");
        let outcome = driver.await;
        match &outcome {
            Ok(info) => tracing::debug!(close_code = %info.close_code, reason = info.reason, "closed"),
            Err(error) => tracing::debug!(%error, "ended uncleanly"),
        }
        let _ = closed.send(outcome);
    };
    tokio::spawn(task.instrument(span));
    receiver
}

struct Driver<T> {
    transport: T,
    shared: Arc<Shared>,
    connection: Connection,
    read: ReadBuffer,
    /// Decoded, not yet queued.
    batch: VecDeque<Queued>,
    /// Bytes decoded since the last chunk.
    since_chunk: usize,
    /// Everything accepted has been fetched.
    all_fetched: bool,
    /// The handles know how it ended.
    told: bool,
    pings: VecDeque<(u64, oneshot::Sender<Duration>)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn new(transport: T, leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let mut connection = Connection::new(shared.role, &shared.config, now());
        connection.arrived(leftover.len(), now());
        Self {
            transport,
            connection,
            shared,
            read: ReadBuffer::holding(leftover),
            batch: VecDeque::new(),
            since_chunk: 0,
            all_fetched: true,
            told: false,
            pings: VecDeque::new(),
            sleep: None,
        }
    }

    /// Carries over what the application did, and back how far its data has got.
    fn hand_over(&mut self) {
        let now = now();
        let mut outbound = self.shared.outbound();
        let requests = std::mem::take(&mut outbound.requests);
        // Before it is decided, under the lock, whether more is accepted: these may end that.
        if requests.discard {
            self.connection.discard(now);
        }
        if requests.caught_up {
            self.connection.reader_caught_up(now);
        }
        if !self.connection.is_writable() && matches!(outbound.state, WriteState::Open) {
            outbound.state = WriteState::Closed;
        }
        if self.connection.is_write_broken() {
            outbound.state = WriteState::Broken;
        }
        self.connection.fetch(&mut outbound.outbox, now);
        self.all_fetched = outbound.outbox.len() == 0;
        let writer = outbound.report(&self.connection);
        drop(outbound);
        wake(writer);

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

    /// Writes until there is nothing left or the transport takes no more. `Ready`: it made progress.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.hand_over();
        self.connection.fill(self.all_fetched, &mut mask_key);
        if self.connection.is_write_idle() {
            return self.flush(cx);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let used = self.connection.slices(&mut slices);
        match Pin::new(&mut self.transport).poll_write_vectored(cx, &slices[..used]) {
            Poll::Ready(Ok(0)) => self.write_failed(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(len)) => {
                self.connection.wrote(len, now());
            }
            Poll::Ready(Err(error)) => self.write_failed(error),
            Poll::Pending => {
                if self.connection.blocked(now()) {
                    let writer = self.shared.outbound().report(&self.connection);
                    wake(writer);
                }
                // Once the unsent data is given up, our Close frame is next: another round writes it.
                if !self.connection.must_reply() {
                    return Poll::Pending;
                }
                let mut outbound = self.shared.outbound();
                self.connection.give_up_unsent(&mut outbound.outbox, now(), &mut mask_key);
            }
        }
        Poll::Ready(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.needs_flush() {
            match ready!(Pin::new(&mut self.transport).poll_flush(cx)) {
                Ok(()) => self.connection.flushed(now()),
                Err(error) => self.write_failed(error),
            }
            return Poll::Ready(());
        }
        if self.connection.wants_shutdown() {
            // Whether it succeeds makes no difference: nothing more is to be sent.
            let _ = ready!(Pin::new(&mut self.transport).poll_shutdown(cx));
            self.connection.shut_down();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn write_failed(&mut self, error: io::Error) {
        self.connection.write_failed(error, self.all_fetched, now());
    }

    /// Decodes what is there, or reads more, as far as the reader and the peer keep up. `Ready`: it made progress.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.connection.wants_read() || self.is_reader_behind() {
            return Poll::Pending;
        }
        if self.read.is_decoded() {
            ready!(self.read_transport(cx));
        }
        self.decode()
    }

    /// The reader has as much as it may have: nothing more is read or decoded until it has taken half.
    fn is_reader_behind(&mut self) -> bool {
        let paused = self.connection.is_delivering() && self.shared.inbound().pause();
        self.connection.set_paused(paused, now());
        paused
    }

    fn read_transport(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(poll_read_buf(Pin::new(&mut self.transport), cx, self.read.prepare())) {
            Ok(0) => self.connection.eof(),
            Ok(len) => {
                self.read.filled(len);
                self.connection.arrived(len, now());
            }
            Err(error) => self.connection.read_failed(error),
        }
        Poll::Ready(())
    }

    /// Decodes up to a queueful and hands it to the reader in one go.
    fn decode(&mut self) -> Poll<()> {
        let inbound = self.shared.inbound();
        let room = inbound.room();
        if inbound.is_empty() {
            self.since_chunk = 0;
        }
        drop(inbound);
        let now = now();
        let mut cost = 0;
        let mut closed = false;
        loop {
            let before = self.read.input.len();
            let event = self.connection.receive(&mut self.read.input, now, &mut mask_key);
            // What lies behind a chunk keeps its buffer alive as well, but no more than the rest of that one.
            let charge = self.read.charge(before - self.read.input.len());
            self.since_chunk = (self.since_chunk + charge).min(2 * READ_BUFFER);
            match event {
                Some(Event::Chunk(mut chunk)) => {
                    if self.read.copies() {
                        chunk.data = bytes::Bytes::copy_from_slice(&chunk.data);
                    }
                    // Counted as it came, so that what lies between chunks and keeps a buffer alive counts too.
                    let came = std::mem::take(&mut self.since_chunk);
                    let queued = Queued { cost: came.max(chunk.data.len()) + CHUNK_COST, chunk };
                    cost += queued.cost;
                    self.batch.push_back(queued);
                    if cost >= room {
                        break;
                    }
                }
                Some(Event::Pong(number, trip)) => {
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

        let mut inbound = self.shared.inbound();
        let reader = inbound.push(&mut self.batch, self.connection.received());
        if closed && inbound.tell_when_caught_up() {
            self.connection.wait_for_reader(now);
        }
        drop(inbound);
        wake(reader);
        Poll::Ready(())
    }

    /// Tells the handles how it ended, once that is certain.
    fn tell(&mut self) {
        if !self.told
            && let Some(ending) = self.connection.ending()
        {
            self.told = true;
            end(&self.shared, ending);
            self.pings.clear();
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.connection.deadline() else {
            self.sleep = None;
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // A deadline that has moved on, as it does with every byte, is looked at when the old one has passed.
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        self.connection.timed_out(now(), &mut mask_key);
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        this.shared.driver.register(cx.waker());
        for _ in 0..ROUNDS {
            let progress = [this.write(cx), this.read(cx), this.poll_deadline(cx)];
            this.tell();
            if this.connection.is_done()
                && let Some(outcome) = this.connection.ending()
            {
                return Poll::Ready(outcome);
            }
            if progress.iter().all(Poll::is_pending) {
                this.read.release();
                inbound::give_back(&mut this.batch);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if !self.told {
            end(&self.shared, Err(ConnectionError::RuntimeShutDown));
        }
        self.shared.outbound().closed = true;
    }
}

/// Leaves the outcome where both halves find it.
fn end(shared: &Shared, outcome: Outcome) {
    let state = match &outcome {
        Ok(_) => WriteState::Closed,
        Err(error) => WriteState::Failed(error.clone()),
    };
    let reader = shared.inbound().end(outcome);
    let writer = shared.outbound().end(state);
    wake(reader);
    wake(writer);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
