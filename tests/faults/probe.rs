//! The waker contract: a poll that returns `Pending` has kept the waker of that poll, or has woken it.

use std::{
    future::Future,
    panic::Location,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A waker that counts. How many of its clones are alive is the strong count of its `Arc`.
#[derive(Default)]
pub(crate) struct Probe {
    woken: AtomicUsize,
    /// Woken as well; the probes of earlier polls have none, and wake nobody.
    task: std::sync::Mutex<Option<Waker>>,
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        if let Some(task) = &*self.task.lock().unwrap() {
            task.wake_by_ref();
        }
    }
}

impl Probe {
    pub(crate) fn new(task: Option<&Waker>) -> Arc<Self> {
        Arc::new(Self { woken: AtomicUsize::new(0), task: std::sync::Mutex::new(task.cloned()) })
    }

    pub(crate) fn was_woken(&self) -> bool {
        self.woken.load(SeqCst) > 0
    }

    /// Some clone of the waker is alive, or it has been woken already.
    pub(crate) fn is_kept(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.was_woken()
    }

    /// Polls with this waker; `Pending` must have kept it.
    #[track_caller]
    pub(crate) fn poll<R>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> Poll<R>) -> Poll<R> {
        let waker = Waker::from(self.clone());
        let polled = poll(&mut Context::from_waker(&waker));
        drop(waker);
        assert!(polled.is_ready() || self.is_kept(), "a poll returned `Pending` and kept no waker");
        polled
    }
}

/// Awaits a future with another waker at each poll, of which only the last counts.
#[track_caller]
pub(crate) fn probed<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        let mut future = pin!(future);
        let mut last: Option<Arc<Probe>> = None;
        std::future::poll_fn(|cx| {
            let probe = Probe::new(Some(cx.waker()));
            let waker = Waker::from(probe.clone());
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            drop(waker);
            assert!(polled.is_ready() || probe.is_kept(), "`Pending` without a waker kept: {caller}");
            if let Some(last) = last.replace(probe) {
                *last.task.lock().unwrap() = None;
            }
            polled
        })
        .await
    }
}

/// Polls a pinned future.
pub(crate) fn poll_future<F: Future + ?Sized>(probe: &Arc<Probe>, future: Pin<&mut F>) -> Poll<F::Output> {
    probe.poll(|cx| future.poll(cx))
}

/// Forgets to keep its waker: what the contract is there to catch.
struct Forgetful;

impl Future for Forgetful {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Keeps the waker of its first poll, whatever comes later.
#[derive(Default)]
struct Stale(Option<Waker>);

impl Future for Stale {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

#[test]
#[should_panic(expected = "kept no waker")]
fn a_waker_that_is_not_kept_is_caught() {
    let _ = poll_future(&Probe::new(None), Pin::new(&mut Forgetful));
}

#[test]
#[should_panic(expected = "kept no waker")]
fn a_waker_that_is_not_replaced_is_caught() {
    let mut stale = Stale::default();
    for _ in 0..2 {
        let _ = poll_future(&Probe::new(None), Pin::new(&mut stale));
    }
}
