//! Who serves receivers that keep up: one task, since to wake one for each costs more than what these would do.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use tokio::{
    runtime::{Handle, Id},
    task::{
        coop::{consume_budget, unconstrained},
        yield_now,
    },
};

use super::now;

/// How long receivers are served before other tasks of the thread get their turn, which would have had to wait for as many
/// tasks of receivers. The others are called then: where messages are large, or connections compress, all threads
/// should take part. 4 ms cost a tenth more with 500 and 1,000 receivers: two threads are in each other's way, with cold caches.
const TURN: Duration = Duration::from_millis(10);

/// How long receivers wait for the task before they are called, with the next message. It may be busy, or stand behind a
/// publisher that computes and does not let its thread go.
const PATIENCE: Duration = Duration::from_millis(1);

/// A receiver that waits, and can be given something.
pub(super) trait Member: fmt::Debug + Send + Sync {
    /// Where it is polled.
    fn runtime(&self) -> Option<Id>;

    /// Gives it what there is, there and then.
    fn serve(&self);

    /// Has its own task do that.
    fn call(&self);
}

/// Receivers that are to be given something. Dropped, those that have not been served are called.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Members(VecDeque<Arc<dyn Member>>);

impl Members {
    pub(super) fn push(&mut self, member: Arc<dyn Member>) {
        self.0.push_back(member);
    }

    /// Calls those of other runtimes.
    fn call_others(&mut self, runtime: Id) {
        self.0.retain(|member| {
            let is_here = member.runtime() == Some(runtime);
            if !is_here {
                member.call();
            }
            is_here
        });
    }

    /// Serves them one after the other, until the turn ends: whether all were.
    fn serve(mut self, clock: impl Fn() -> Instant) -> bool {
        let begin = clock();
        while let Some(member) = self.0.pop_front() {
            member.serve();
            if !self.0.is_empty() && clock().saturating_duration_since(begin) > TURN {
                return false;
            }
        }
        true
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.0.iter().for_each(|member| member.call());
    }
}

/// A task that serves receivers. What it does not begin soon they are called for, so that all threads of the runtime
/// take part.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// From the first time that a receiver is polled, in whose runtime the task is.
    slot: OnceLock<Arc<Slot>>,
}

impl Lane {
    /// Begins the task, if there is none. To be called where receivers are polled: that runtime is one that goes on.
    pub(super) fn open(&self, runtime: &Handle) {
        self.slot.get_or_init(|| {
            let slot = Arc::new(Slot { runtime: runtime.id(), queue: Mutex::default(), task: AtomicWaker::new() });
            let running = Running(slot.clone());
            runtime.spawn(running.run());
            slot
        });
    }

    /// Has the task serve them, or calls them if it cannot.
    pub(super) fn serve(&self, mut members: Members, now: Instant) {
        let Some(slot) = self.slot.get() else { return };
        // Another runtime may be one that nobody drives just now.
        members.call_others(slot.runtime);
        if !members.0.is_empty() {
            let overdue = slot.put(members, now);
            slot.task.wake();
            drop(overdue);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.get() {
            slot.queue().is_closed = true;
            slot.task.wake();
        }
    }
}

/// What is handed to the task.
#[derive(Debug)]
struct Slot {
    runtime: Id,
    queue: Mutex<Queue>,
    task: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    members: Members,
    /// When the first of them came.
    since: Option<Instant>,
    /// The task has ended, or is to.
    is_closed: bool,
}

impl Slot {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are to be called, once the lock is released.
    fn put(&self, mut members: Members, now: Instant) -> Members {
        let mut queue = self.queue();
        if queue.is_closed {
            return members;
        }
        if queue.since.is_some_and(|since| now.saturating_duration_since(since) > PATIENCE) {
            queue.since = Some(now);
            return std::mem::replace(&mut queue.members, members);
        }
        queue.since.get_or_insert(now);
        queue.members.0.append(&mut members.0);
        members
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Members>> {
        self.task.register(cx.waker());
        let mut queue = self.queue();
        queue.since = None;
        match std::mem::take(&mut queue.members) {
            members if !members.0.is_empty() => Poll::Ready(Some(members)),
            _ if queue.is_closed => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

/// The task. However it ends, nobody is left in the queue.
struct Running(Arc<Slot>);

impl Running {
    /// Until the fan-out is gone.
    async fn run(self) {
        while let Some(members) = poll_fn(|cx| self.0.poll_take(cx)).await {
            // A write that is refused because a budget is spent would be left to the receiver's task.
            if unconstrained(async { members.serve(now) }).await {
                consume_budget().await;
            } else {
                yield_now().await;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.is_closed = true;
        let unserved = std::mem::take(&mut queue.members);
        drop(queue);
        drop(unserved);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::runtime::Builder;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Noting {
        runtime: Option<Id>,
        notes: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Member for Noting {
        fn runtime(&self) -> Option<Id> {
            self.runtime
        }

        fn serve(&self) {
            self.notes.lock().unwrap().push("served");
        }

        fn call(&self) {
            self.notes.lock().unwrap().push("called");
        }
    }

    impl Noting {
        fn of(runtime: &Handle) -> Self {
            Self { runtime: Some(runtime.id()), notes: Arc::default() }
        }

        fn members(&self, count: usize) -> Members {
            Members((0..count).map(|_| Arc::new(self.clone()) as _).collect())
        }

        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.notes.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn those_that_wait_too_long_are_called_with_the_next_message() {
        let (lane, noting, now) = (Lane::default(), Noting::of(&Handle::current()), Instant::now());
        lane.open(&Handle::current());
        lane.serve(noting.members(1), now);
        lane.serve(noting.members(1), now + PATIENCE);
        assert_eq!(noting.take(), [""; 0], "it has not begun");
        lane.serve(noting.members(1), now + 2 * PATIENCE);
        assert_eq!(noting.take(), ["called"; 2]);
        yield_now().await;
        assert_eq!(noting.take(), ["served"]);
    }

    #[test]
    fn those_that_are_left_when_the_turn_ends_are_called() {
        let (noting, begin, reads) = (Noting::default(), Instant::now(), Cell::new(0));
        let clock = || begin + TURN / 2 * reads.replace(reads.get() + 1);
        assert!(!noting.members(5).serve(clock));
        assert_eq!(noting.take(), ["served", "served", "served", "called", "called"]);
        reads.set(0);
        assert!(noting.members(3).serve(clock));
        assert_eq!(noting.take(), ["served"; 3]);
    }

    #[test]
    fn nobody_waits_for_a_runtime_that_is_gone_or_another_one() {
        let (lane, now) = (Lane::default(), Instant::now());
        let [first, second] = [(); 2].map(|()| Builder::new_current_thread().build().unwrap());
        let [here, there] = [&first, &second].map(|runtime| Noting::of(runtime.handle()));
        lane.serve(here.members(1), now);
        assert_eq!(here.take(), ["called"], "it has not been opened");

        lane.open(first.handle());
        lane.open(second.handle());
        lane.serve(there.members(1), now);
        lane.serve(here.members(2), now);
        assert_eq!((there.take(), here.take()), (vec!["called"], vec![]));
        first.block_on(yield_now());
        assert_eq!(here.take(), ["served"; 2]);
        lane.serve(here.members(2), now);
        drop(first);
        assert_eq!(here.take(), ["called"; 2], "those that were in the queue");
        lane.serve(here.members(1), now);
        assert_eq!(here.take(), ["called"]);
    }

    #[test]
    fn a_runtime_that_is_shut_down_leaves_nobody_waiting() {
        for _ in 0..500 {
            let runtime = Builder::new_current_thread().build().unwrap();
            let (lane, noting) = (Lane::default(), Noting::of(runtime.handle()));
            lane.open(runtime.handle());
            std::thread::scope(|scope| {
                scope.spawn(|| drop(runtime));
                lane.serve(noting.members(1), Instant::now());
            });
            assert_eq!(noting.take(), ["called"]);
        }
    }
}
