//! What goes out: from the outbox to the transport.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::MutexGuard,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use tokio::io::AsyncWrite;

use super::Engine;
use crate::{
    driver::{
        in_place::Half,
        now,
        outbound::{Outbound, Requests, WriteState},
        shared::mask_key,
    },
    message::Message,
    proto::{connection::Connection, spare},
};

/// Slices of one vectored write.
const MAX_SLICES: usize = 64;

impl Engine {
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
    pub(in crate::driver) fn exchange(&mut self) {
        let carried = Carried::over(&mut self.connection, &mut self.now, self.shared.outbound());
        self.carry_out(carried);
    }

    /// The same for who has the lock already.
    pub(in crate::driver) fn exchange_with(&mut self, outbound: MutexGuard<'_, Outbound>) {
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
    pub(super) fn write<T: AsyncWrite + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
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

    /// Writes a small message that nothing comes before, from where it is encoded. `None`: it is not taken. `Ready`: some of
    /// it is left.
    pub(in crate::driver) fn send<T: AsyncWrite + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
        message: &Message,
    ) -> Option<Poll<()>> {
        if self.shared.is_asked() || !self.connection.takes_at_once(message.len()) {
            return None;
        }
        self.shared.take_answer();
        self.begin(Some(Half::Writer));
        let mut frame = spare::take_scratch();
        self.connection.encode(message, &mut frame, self.now, &mut mask_key);
        let written = Pin::new(&mut *transport).poll_write(cx, &frame);
        let is_whole = matches!(written, Poll::Ready(Ok(len)) if len == frame.len());
        if is_whole {
            self.connection.wrote_at_once(frame.len());
            self.shared.outbound().sent_at_once(&self.connection);
            let _ = self.flush(transport, cx); // pending, it will wake
        } else {
            self.connection.stage(frame.split().freeze());
            let _ = self.note_written(written);
            self.shared.outbound().sent_at_once(&self.connection);
            self.exchange();
        }
        spare::keep_scratch(frame);
        Some(if is_whole { Poll::Pending } else { Poll::Ready(()) })
    }

    fn write_transport<T: AsyncWrite + Unpin>(&mut self, transport: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        let transport = Pin::new(transport);
        let written = match self.connection.only_slice(self.left) {
            Some(slice) => transport.poll_write(cx, slice), // a cheaper system call
            None => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let used = self.connection.slices(&mut slices, self.left);
                transport.poll_write_vectored(cx, &slices[..used])
            }
        };
        self.note_written(written)
    }

    /// What the transport said to what it was given.
    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<()> {
        match written {
            Poll::Ready(Ok(0)) => self.write_failed(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(len)) => {
                self.left -= len;
                self.connection.wrote(len, self.now);
            }
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
}

/// What has been carried over under the lock, and is done without it.
struct Carried {
    requests: Option<Box<Requests>>,
    writer: Option<Waker>,
    all_fetched: bool,
}

impl Carried {
    fn over(connection: &mut Connection, time: &mut Instant, mut outbound: MutexGuard<'_, Outbound>) -> Self {
        let requests = outbound.requests.take();
        // Before it is decided, under the lock, whether more is accepted: these may end that.
        if let Some(requests) = &requests {
            *time = now();
            if requests.discard {
                connection.discard(*time);
            }
            if requests.caught_up {
                connection.reader_caught_up(*time);
            }
        }
        if !connection.is_writable() && matches!(outbound.state, WriteState::Open) {
            outbound.state = WriteState::Closed;
        }
        if connection.is_write_broken() {
            outbound.state = WriteState::Broken;
        }
        connection.fetch(&mut outbound.outbox, *time);
        let all_fetched = outbound.outbox.len() == 0;
        let writer = outbound.report(connection);
        Self { requests, writer, all_fetched }
    }
}
