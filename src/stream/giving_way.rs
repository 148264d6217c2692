//! A task that writes and never has to wait gives way to others now and then, as tokio's own types do.
//!
//! They count operations, 128 to a turn ([`tokio::task::coop`]). One of these may write a MiB, so that here it is bytes that
//! count. The gain is not only fairness: a thread that looks after both ends of a transfer, or passes on what it has read, finds
//! it in the cache if not too much of it is under way. On one thread that is a third of the time.

use std::task::{Context, Poll, ready};

use tokio::task::coop;

/// Bytes that are written for the price of one operation: 512 KiB to a turn.
const OPERATION: usize = 4 * 1024;

/// The task has written `len` bytes. `Pending`: it should return; it is woken when others, and the transports of its thread,
/// have had their turn.
pub(super) fn poll_proceed(len: usize, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..len / OPERATION {
        ready!(coop::poll_proceed(cx)).made_progress();
    }
    Poll::Ready(())
}
