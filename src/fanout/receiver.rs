//! What serves one receiver: takes from the log what its connection has room for.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use futures::{FutureExt, task::AtomicWaker};
use tokio::runtime::{Handle, Id};

use super::{
    Hub,
    cursor::Over,
    lane::Member,
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
    outlet: Arc<Outlet>,
    closed: Closed,
    /// Whom `closed` wakes.
    watcher: Option<Waker>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("id", &self.outlet.id).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(super) fn new(outlet: Arc<Outlet>, closed: Closed) -> Self {
        Self { outlet, closed, watcher: None }
    }

    /// A handle to watch the receiver, and to have it leave, while its future runs.
    pub fn handle(&self) -> ReceiverHandle {
        ReceiverHandle { hub: self.outlet.hub.clone(), id: self.outlet.id }
    }
}

impl Future for Receiver {
    type Output = Received;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        let this = self.get_mut();
        let outlet = &this.outlet;
        outlet.task.register(cx.waker());
        outlet.open_lane();
        let mut service = outlet.service();
        if service.ending.is_none() {
            service.task = Some(cx.waker().clone());
            // Has it ended, its writable says so: it costs less to ask.
            if !this.watcher.as_ref().is_some_and(|watcher| watcher.will_wake(cx.waker())) {
                if let Poll::Ready(outcome) = this.closed.poll_unpin(cx) {
                    return service.finish(outlet, ReceiverEnd::Connection(outcome));
                }
                this.watcher = Some(cx.waker().clone());
            }
            ready!(service.poll(outlet, ROUNDS));
        }
        let Some(ending) = &mut service.ending else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let end = match ending {
            Ending::Now(end) => end.clone(),
            Ending::OnceClosed(end) => {
                let outcome = ready!(this.closed.poll_unpin(cx));
                end.take().unwrap_or(ReceiverEnd::Connection(outcome))
            }
        };
        service.finish(outlet, end)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.outlet.hub.leave(self.outlet.id);
        // At once, though somebody may be about to serve it.
        self.outlet.service().writable = None;
    }
}

/// What is left for the receiver's task to do.
enum Ending {
    Now(ReceiverEnd),
    /// The connection is being closed for this, or has ended by itself.
    OnceClosed(Option<ReceiverEnd>),
}

/// A receiver as the fan-out sees it.
pub(super) struct Outlet {
    hub: Arc<Hub>,
    id: u64,
    /// The receiver's own.
    task: AtomicWaker,
    /// Where that was first polled.
    runtime: OnceLock<Id>,
    service: Mutex<Service>,
}

impl Outlet {
    pub(super) fn new(hub: Arc<Hub>, id: u64, writable: Writable) -> Self {
        let service = Service {
            writable: Some(writable),
            task: None,
            is_unwritten: false,
            batch: VecDeque::new(),
            ending: None,
            stats: None,
        };
        Self { hub, id, task: AtomicWaker::new(), runtime: OnceLock::new(), service: Mutex::new(service) }
    }

    /// Here is a runtime that receivers are polled in.
    fn open_lane(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            self.hub.lane.open(&runtime);
            let _ = self.runtime.set(runtime.id());
        }
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member for Outlet {
    fn runtime(&self) -> Option<Id> {
        self.runtime.get().copied()
    }

    /// What comes of it, and what the transport does not take, is the task's.
    fn serve(&self) {
        // If it is being served, that may be past what it is called for.
        if let Ok(mut service) = self.service.try_lock() {
            // A transport that panics ends its own connection, and nothing of who serves it.
            let served = catch_unwind(AssertUnwindSafe(|| service.poll(self, 1)));
            if matches!(served, Ok(Poll::Pending)) {
                return;
            }
        }
        self.task.wake();
    }

    fn call(&self) {
        self.task.wake();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What moves parts from the log to the connection.
struct Service {
    /// Until the end.
    writable: Option<Writable>,
    /// Whom the connection wakes.
    task: Option<Waker>,
    /// The connection has accepted something and not written it.
    is_unwritten: bool,
    batch: VecDeque<Arc<Entry>>,
    ending: Option<Ending>,
    /// When it left the source.
    stats: Option<ReceiverStats>,
}

impl Service {
    /// Serves the receiver for so many batches. `Ready`: there is something for its task to do.
    fn poll(&mut self, outlet: &Outlet, rounds: usize) -> Poll<()> {
        let Some(task) = self.task.take() else { return Poll::Ready(()) };
        let served = self.poll_rounds(outlet, rounds, &mut Context::from_waker(&task));
        self.task = Some(task);
        served
    }

    fn poll_rounds(&mut self, outlet: &Outlet, rounds: usize, cx: &mut Context<'_>) -> Poll<()> {
        let hub = &outlet.hub;
        let Some(writable) = self.writable.as_mut().filter(|_| self.ending.is_none()) else { return Poll::Ready(()) };
        if self.is_unwritten {
            self.is_unwritten = writable.poll_flushed(cx).is_pending();
        }
        for _ in 0..rounds {
            let room = match writable.poll_has_room(cx) {
                Poll::Ready(Ok(room)) => room.max(1),
                Poll::Ready(Err(_)) => {
                    self.leave(outlet);
                    return self.end(Ending::OnceClosed(None));
                }
                Poll::Pending => {
                    let over = hub.log().wait_for_end(outlet.id);
                    return over.map_or(Poll::Pending, |over| self.give_up(outlet, over));
                }
            };
            let (taken, called) = hub.log().take(outlet.id, room, &mut self.batch);
            called.wake();
            match taken {
                Taken::Parts | Taken::All => {
                    // Sent by whoever is here, where the transport takes it.
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
                Taken::SourceEnd(None) => return self.end(Ending::Now(ReceiverEnd::Source)),
                Taken::SourceEnd(Some((close_code, reason))) => {
                    return self.close(outlet, close_code, &reason, ReceiverEnd::Source);
                }
                Taken::Left => return self.end(Ending::Now(ReceiverEnd::Left)),
                Taken::Over(over) => return self.give_up(outlet, over),
            }
        }
        Poll::Ready(())
    }

    fn give_up(&mut self, outlet: &Outlet, over: Over) -> Poll<()> {
        match over {
            Over::Lagged(close_code) => {
                // It must be closed whatever the policy says.
                let close_code = if close_code.is_sendable() { close_code } else { CloseCode::POLICY_VIOLATION };
                self.close(outlet, close_code, "too slow", ReceiverEnd::Lagged(close_code))
            }
            Over::Unfinished => {
                self.close(outlet, CloseCode::INTERNAL_ERROR, "a message was left unfinished", ReceiverEnd::Unfinished)
            }
        }
    }

    /// Closes the connection, and has the end awaited.
    fn close(&mut self, outlet: &Outlet, close_code: CloseCode, reason: &str, end: ReceiverEnd) -> Poll<()> {
        if let Some(writable) = &mut self.writable {
            // It is closing once polled.
            let _ = writable.close(close_code, reason).now_or_never();
        }
        self.leave(outlet);
        self.end(Ending::OnceClosed(Some(end)))
    }

    fn end(&mut self, ending: Ending) -> Poll<()> {
        self.ending = Some(ending);
        Poll::Ready(())
    }

    /// Nothing more can be given to it: the source must not wait for it, nor keep anything.
    fn leave(&mut self, outlet: &Outlet) {
        let stats = outlet.hub.stats(outlet.id);
        self.stats = self.stats.or(stats);
        outlet.hub.leave(outlet.id);
    }

    fn finish(&mut self, outlet: &Outlet, end: ReceiverEnd) -> Poll<Received> {
        self.leave(outlet);
        let stats = self.stats.unwrap_or_default();
        match self.writable.take() {
            Some(writable) => Poll::Ready(Received { end, stats, writable }),
            None => Poll::Pending, // polled after its end
        }
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
        let called = self.hub.log().ask_to_leave(self.id);
        called.wake();
    }
}
