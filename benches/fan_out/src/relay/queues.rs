//! A bounded queue for each receiver: the source waits for those who read, and does not for the others, which miss what is
//! new.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use tokio::sync::mpsc;
use wsstream_peers::library::Connection;

use super::{Missed, Receiver};
use crate::case::Case;

pub(super) fn start<R: Receiver>(mut source: R::Source, receivers: Vec<R>, case: Case) -> Missed {
    let missed = Arc::new(AtomicU64::new(0));
    let mut queues = Vec::new();
    for receiver in receivers {
        let (queue, frames) = mpsc::channel(case.lag());
        tokio::spawn(pass_on(receiver, frames));
        queues.push(queue);
    }
    let dropped = missed.clone();
    tokio::spawn(async move {
        while let Ok(payload) = source.receive_whole().await {
            let frame = Arc::new(R::frame(payload));
            let (readers, stopped) = queues.split_at(case.readers());
            for queue in readers {
                if queue.send(frame.clone()).await.is_err() {
                    return;
                }
            }
            for queue in stopped {
                if queue.try_send(frame.clone()).is_err() {
                    dropped.fetch_add(1, Relaxed);
                }
            }
        }
    });
    Box::new(move || missed.load(Relaxed))
}

/// Sends what has gathered, in one batch.
async fn pass_on<R: Receiver>(mut receiver: R, mut frames: mpsc::Receiver<Arc<R::Frame>>) -> Result<()> {
    while let Some(frame) = frames.recv().await {
        receiver.feed(&frame).await?;
        while let Ok(frame) = frames.try_recv() {
            receiver.feed(&frame).await?;
        }
        receiver.flush().await?;
    }
    Ok(())
}
