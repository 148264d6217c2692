//! Futures that say so when they are dropped while a half waits.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A half that can wait.
pub(super) trait Wait {
    /// It does not wait any more: what it has been woken for is left to the driver.
    fn stop_waiting(&self);
}

/// As [`std::future::poll_fn`], for a method of a half. If it is dropped while it waits, the driver need not find out by
/// itself that nobody comes.
pub(super) fn waiting<H: Wait + Send, R>(
    half: &mut H,
    poll: impl FnMut(&mut H, &mut Context<'_>) -> Poll<R> + Unpin + Send,
) -> impl Future<Output = R> + Send {
    lending(half, poll, |_, polled| polled)
}

/// The same, where the half goes on to what comes of it.
pub(super) fn lending<'a, H: Wait + Send, R, O>(
    half: &'a mut H,
    poll: impl FnMut(&mut H, &mut Context<'_>) -> Poll<R> + Unpin + Send,
    lend: impl FnMut(&'a mut H, R) -> O + Unpin + Send,
) -> impl Future<Output = O> + Send {
    Waiting { half: Some(half), poll, lend, waits: false }
}

/// No `async` block: its poll would not be inlined in the loop that calls it for each message or chunk, and what it returns
/// goes through memory, in pieces that a processor has to wait for.
struct Waiting<'a, H: Wait, F, L> {
    /// Until it is lent.
    half: Option<&'a mut H>,
    poll: F,
    lend: L,
    waits: bool,
}

impl<'a, H, F, R, L, O> Future for Waiting<'a, H, F, L>
where
    H: Wait,
    F: FnMut(&mut H, &mut Context<'_>) -> Poll<R> + Unpin,
    L: FnMut(&'a mut H, R) -> O + Unpin,
{
    type Output = O;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let this = self.get_mut();
        let half = this.half.take().expect("not polled after its end");
        match (this.poll)(half, cx) {
            Poll::Ready(polled) => Poll::Ready((this.lend)(half, polled)),
            Poll::Pending => {
                this.half = Some(half);
                this.waits = true;
                Poll::Pending
            }
        }
    }
}

impl<H: Wait, F, L> Drop for Waiting<'_, H, F, L> {
    #[inline]
    fn drop(&mut self) {
        if self.waits
            && let Some(half) = &self.half
        {
            half.stop_waiting();
        }
    }
}
