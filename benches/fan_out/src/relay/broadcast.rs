//! `tokio::sync::broadcast`: receivers that lag miss what is oldest.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};
use wsstream_peers::library::Connection;

use super::{Missed, Receiver};
use crate::case::Case;

pub(super) fn start<R: Receiver>(mut source: R::Source, receivers: Vec<R>, case: Case) -> Missed {
    let (frames, _) = broadcast::channel(case.lag());
    let missed = Arc::new(AtomicU64::new(0));
    for receiver in receivers {
        tokio::spawn(pass_on(receiver, frames.subscribe(), missed.clone()));
    }
    tokio::spawn(async move {
        while let Ok(payload) = source.receive_whole().await {
            let _ = frames.send(Arc::new(R::frame(payload)));
        }
    });
    Box::new(move || missed.load(Relaxed))
}

/// Sends what has gathered, in one batch.
async fn pass_on<R: Receiver>(
    mut receiver: R,
    mut frames: broadcast::Receiver<Arc<R::Frame>>,
    missed: Arc<AtomicU64>,
) -> Result<()> {
    loop {
        match frames.recv().await {
            Ok(frame) => receiver.feed(&frame).await?,
            Err(RecvError::Lagged(count)) => drop(missed.fetch_add(count, Relaxed)),
            Err(RecvError::Closed) => return Ok(()),
        }
        loop {
            match frames.try_recv() {
                Ok(frame) => receiver.feed(&frame).await?,
                Err(TryRecvError::Lagged(count)) => drop(missed.fetch_add(count, Relaxed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        receiver.flush().await?;
    }
}
