//! The task behind a connection, and the two bounded queues between transport and handles.
//!
//! It is a thin shell around [`proto::connection::Connection`](crate::proto::connection::Connection), whose driving
//! contract [`engine`] follows. This is the only place that reads the clock or spawns.

mod engine;
pub(crate) mod in_place;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod read_buffer;
pub(crate) mod shared;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::BytesMut;
use futures::channel::oneshot;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tracing::Instrument;

use self::{
    in_place::{InPlace, Io, Place},
    shared::Shared,
    turn::PATIENCE,
};
use crate::error::{ConnectionError, Outcome};

/// Starts the task. The receiver gets the outcome when the transport has been dropped.
pub(crate) fn spawn<T>(
    transport: T,
    leftover: BytesMut,
    shared: Arc<Shared>,
) -> (Arc<dyn InPlace>, oneshot::Receiver<Outcome>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (closed, receiver) = oneshot::channel();
    // Without the query, which may hold a token.
    let url = shared.negotiated.url.split('?').next().unwrap_or_default();
    let span = tracing::debug_span!("connection", role = ?shared.role, url);
    let driver = Driver::new(transport, leftover, shared);
    let place = driver.place.clone();
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
    (place, receiver)
}

/// Runs the engine when no half does, keeps the time, and sees the connection to its end.
struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    shared: Arc<Shared>,
    place: Arc<Place<T>>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When to look whether halves that were woken have come.
    look: Option<Instant>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn new(transport: T, leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let place = Arc::new(Place::new(transport, leftover, shared.clone()));
        Self { shared, place, sleep: None, look: None }
    }

    /// A half has done by itself what the driver was woken for.
    fn is_needless(&self) -> bool {
        let is_timed = self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed());
        let is_watching = self.look.is_some() || !self.shared.turn.begin_watch();
        is_timed && is_watching && self.shared.turn.is_halfs() && !self.shared.is_asked()
    }

    /// `Ready`: time has passed that changes something.
    fn poll_time(&mut self, io: &mut Io<T>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.turn.begin_watch() {
            self.look.get_or_insert_with(|| now() + PATIENCE);
        } else {
            self.look = None;
        }
        let Some(deadline) = [self.look, io.engine.deadline()].into_iter().flatten().min() else {
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
        if self.look.take_if(|look| *look <= now()).is_some() {
            self.shared.turn.look();
        }
        io.engine.timed_out();
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        this.shared.driver_is_polled(cx);
        if this.place.is_broken() {
            return Poll::Ready(Err(ConnectionError::RuntimeShutDown));
        }
        if this.is_needless() {
            return Poll::Pending;
        }
        let place = this.place.clone();
        let Some(mut io) = place.lock_or_come_back() else { return Poll::Pending };
        io.engine.begin(None);
        for _ in 0..io.engine.rounds() {
            let progress = io.round(this.shared.turn.is_drivers());
            if !io.engine.is_open() {
                this.shared.turn.end();
            }
            if let Some(outcome) = io.engine.outcome() {
                io.shut();
                return Poll::Ready(outcome);
            }
            if progress.is_pending() && this.poll_time(&mut io, cx).is_pending() {
                io.engine.rest();
                return Poll::Pending;
            }
        }
        this.shared.wake_driver();
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Drop for Driver<T> {
    fn drop(&mut self) {
        self.shared.turn.end();
        self.place.lock().shut();
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
