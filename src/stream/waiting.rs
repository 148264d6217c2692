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
pub(super) struct Waiting<'a, H: Wait, F> {
    half: &'a mut H,
    poll: F,
    waits: bool,
}

impl<'a, H: Wait, F> Waiting<'a, H, F> {
    pub(super) fn new<R>(half: &'a mut H, poll: F) -> Self
    where
        F: FnMut(&mut H, &mut Context<'_>) -> Poll<R> + Unpin,
    {
        Self { half, poll, waits: false }
    }
}

impl<H: Wait, F, R> Future for Waiting<'_, H, F>
where
    F: FnMut(&mut H, &mut Context<'_>) -> Poll<R> + Unpin,
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let polled = (this.poll)(this.half, cx);
        this.waits = polled.is_pending();
        polled
    }
}

impl<H: Wait, F> Drop for Waiting<'_, H, F> {
    fn drop(&mut self) {
        if self.waits {
            self.half.stop_waiting();
        }
    }
}
