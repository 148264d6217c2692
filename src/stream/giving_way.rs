//! A task that writes and never has to wait gives way to others now and then, as tokio's own types do.
//!
//! They count operations, 128 to a turn ([`tokio::task::coop`]). One of these may write a MiB, so that here it is bytes that
//! count. The gain is not only fairness: a thread that looks after both ends of a transfer, or passes on what it has read, finds
//! it in the cache if not too much of it is under way. On one thread that is a third of the time. Where there are several, giving
//! way brings in another of them, and the bytes from cache to cache, so that it is seldom done; how much is enough is said
//! where the bytes are counted, in `driver/outbound.rs`.
//!
//! They are not paid for with that budget: it is the task's, and what is polled in it after the writer would find it spent,
//! every time. A timer next to an upload would never go off.

use std::{future::Future, pin::pin, task::Context};

use tokio::task::yield_now;

/// The task is about to return `Pending`: it is woken when others, and the transports of its thread, have had their turn.
pub(super) fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx); // pending, the first time
}
