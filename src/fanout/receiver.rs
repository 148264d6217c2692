//! What serves one receiver: takes from the log what its connection has room for.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::FutureExt;

use super::{
    Hub,
    cursor::Over,
    log::{Entry, Taken},
    options::{ReceiverEnd, ReceiverStats},
};
use crate::{
    close::CloseCode,
    stream::{Closed, Writable},
};

/// Batches before other tasks of the thread get their turn.
const ROUNDS: usize = 32;

/// How a receiver ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// Why.
    pub end: ReceiverEnd,
    /// What it got, and what it missed.
    pub stats: ReceiverStats,
    /// Its writable, between two messages if it is still open. Dropped, it closes the connection with 1001 as usual.
    pub writable: Writable,
}

/// A receiver of a [`Fanout`](super::Fanout): a future that gives the connection what is published, until either ends.
/// Made by [`Audience::join`](super::Audience::join), and usually spawned as a task.
///
/// # Dropping
/// It leaves at once, and its writable is dropped: a message that it has part of is cut, never made to look finished.
/// To leave between two messages, and to keep the connection, use [`ReceiverHandle::leave`].
///
/// ```no_run
/// # async fn example(audience: wsstream::fanout::Audience, ws: wsstream::WebSocketStream) {
/// use wsstream::fanout::ReceiverOptions;
///
/// let (_, writable) = ws.split(); // the readable dropped: what it sends is discarded
/// let received = audience.join(writable, ReceiverOptions::default()).await;
/// println!("{:?}: missed {} messages", received.end, received.stats.dropped_messages);
/// # }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver {
    hub: Arc<Hub>,
    id: u64,
    /// Until the end.
    writable: Option<Writable>,
    closed: Closed,
    /// Whom `closed` wakes.
    watcher: Option<Waker>,
    /// The connection has accepted something and not written it.
    is_unwritten: bool,
    batch: VecDeque<Arc<Entry>>,
    /// The connection is being closed for this.
    ending: Option<ReceiverEnd>,
    /// When it left the source.
    stats: Option<ReceiverStats>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("id", &self.id).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(super) fn new(hub: Arc<Hub>, id: u64, writable: Writable) -> Self {
        let closed = writable.closed();
        Self {
            hub,
            id,
            writable: Some(writable),
            closed,
            watcher: None,
            is_unwritten: false,
            batch: VecDeque::new(),
            ending: None,
            stats: None,
        }
    }

    /// A handle to watch the receiver, and to have it leave, while its future runs.
    pub fn handle(&self) -> ReceiverHandle {
        ReceiverHandle { hub: self.hub.clone(), id: self.id }
    }

    /// Closes the connection, and has the end awaited.
    fn close(&mut self, close_code: CloseCode, reason: &str, end: ReceiverEnd) {
        if let Some(writable) = &mut self.writable {
            // It is closing once polled.
            let _ = writable.close(close_code, reason).now_or_never();
        }
        self.ending = Some(end);
        self.leave();
    }

    /// Nothing more can be given to it: the source must not wait for it, nor keep anything.
    fn leave(&mut self) {
        let stats = self.hub.stats(self.id);
        self.stats = self.stats.or(stats);
        self.hub.leave(self.id);
    }

    fn give_up(&mut self, over: Over) {
        match over {
            Over::Lagged(close_code) => {
                // It must be closed whatever the policy says.
                let close_code = if close_code.is_sendable() { close_code } else { CloseCode::POLICY_VIOLATION };
                self.close(close_code, "too slow", ReceiverEnd::Lagged(close_code))
            }
            Over::Unfinished => {
                self.close(CloseCode::INTERNAL_ERROR, "a message was left unfinished", ReceiverEnd::Unfinished)
            }
        }
    }

    /// Moves parts from the log to the connection. `Ready`: it is over, or ending.
    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReceiverEnd>> {
        let Some(writable) = &mut self.writable else { return Poll::Pending };
        if self.is_unwritten {
            self.is_unwritten = writable.poll_flushed(cx).is_pending();
        }
        for _ in 0..ROUNDS {
            let room = match writable.poll_has_room(cx) {
                Poll::Ready(Ok(room)) => room.max(1),
                Poll::Ready(Err(_)) => {
                    self.leave();
                    return self.closed.poll_unpin(cx).map(|outcome| Some(ReceiverEnd::Connection(outcome)));
                }
                Poll::Pending => {
                    let Some(over) = self.hub.log().wait_for_end(self.id, cx) else { return Poll::Pending };
                    self.give_up(over);
                    return Poll::Ready(None);
                }
            };
            let (taken, wakers) = self.hub.log().take(self.id, room, &mut self.batch, cx);
            wakers.wake();
            match taken {
                Taken::Parts | Taken::All => {
                    // Sent by this task itself, where the transport takes it.
                    let written = writable.poll_parts(self.batch.iter().map(|entry| &entry.part), cx);
                    self.batch.clear();
                    self.is_unwritten = written.is_pending();
                    // If it is not accepted, the next round finds out why.
                    if taken == Taken::All && !matches!(written, Poll::Ready(Err(_))) {
                        return Poll::Pending;
                    }
                }
                // All there is is on its way.
                Taken::Nothing => return Poll::Pending,
                Taken::SourceEnd(None) => return Poll::Ready(Some(ReceiverEnd::Source)),
                Taken::SourceEnd(Some((close_code, reason))) => {
                    self.close(close_code, &reason, ReceiverEnd::Source);
                    return Poll::Ready(None);
                }
                Taken::Left => return Poll::Ready(Some(ReceiverEnd::Left)),
                Taken::Over(over) => {
                    self.give_up(over);
                    return Poll::Ready(None);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn finish(&mut self, end: ReceiverEnd) -> Poll<Received> {
        self.leave();
        let stats = self.stats.unwrap_or_default();
        match self.writable.take() {
            Some(writable) => Poll::Ready(Received { end, stats, writable }),
            None => Poll::Pending, // polled after its end
        }
    }
}

impl Future for Receiver {
    type Output = Received;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        let this = self.get_mut();
        if this.ending.is_none() {
            // Has it ended, its writable says so: it costs less to ask.
            if !this.watcher.as_ref().is_some_and(|watcher| watcher.will_wake(cx.waker())) {
                if let Poll::Ready(outcome) = this.closed.poll_unpin(cx) {
                    return this.finish(ReceiverEnd::Connection(outcome));
                }
                this.watcher = Some(cx.waker().clone());
            }
            if let Some(end) = ready!(this.poll_serve(cx)) {
                return this.finish(end);
            }
        }
        let _ = ready!(this.closed.poll_unpin(cx));
        let end = this.ending.take().unwrap_or(ReceiverEnd::Source);
        this.finish(end)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

/// Watches a [`Receiver`] whose future runs elsewhere. Does not keep it, nor its connection.
///
/// ```no_run
/// # async fn example(audience: wsstream::fanout::Audience, writable: wsstream::Writable) {
/// use wsstream::fanout::ReceiverOptions;
///
/// let receiver = audience.join(writable, ReceiverOptions::default());
/// let handle = receiver.handle();
/// let receiver = tokio::spawn(receiver);
/// if handle.stats().is_some_and(|stats| stats.dropped_messages > 100) {
///     handle.leave();
/// }
/// let writable = receiver.await.unwrap().writable; // still open
/// # let _ = writable;
/// # }
/// ```
#[derive(Clone)]
pub struct ReceiverHandle {
    hub: Arc<Hub>,
    id: u64,
}

impl fmt::Debug for ReceiverHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ReceiverHandle {
    /// How the receiver is doing; `None` when it is none any more.
    pub fn stats(&self) -> Option<ReceiverStats> {
        self.hub.stats(self.id)
    }

    /// Has the receiver leave as soon as it is between two messages; its future then gives the connection back.
    pub fn leave(&self) {
        let wakers = self.hub.log().ask_to_leave(self.id);
        wakers.wake();
    }
}
