//! What sending and receiving have in common: how a transfer is watched, ended and reported.

use std::future::pending;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use wsstream::{CloseCode, Control};

use crate::failure::{Failure, Trouble};

/// A transfer that went well; `--json` prints it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of the whole file.
    pub(crate) bytes: u64,
    /// Bytes that had been there already.
    pub(crate) resumed_at: u64,
    pub(crate) sha256: String,
    /// From the first byte until the last one had arrived.
    pub(crate) seconds: f64,
    /// From then until the file was on disk and in its place.
    pub(crate) sync_seconds: f64,
}

impl Report {
    pub(crate) fn gb_per_s(&self) -> f64 {
        (self.bytes - self.resumed_at) as f64 / 1e9 / self.seconds
    }
}

/// Runs a transfer to its end. `stop` ends it early, with Close 1001; then what has arrived is kept and can be resumed.
pub(crate) async fn run<T>(
    control: &Control,
    stop: &CancellationToken,
    transfer: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Failure> {
    let stopping = async {
        stop_when_told(control, stop).await;
        pending().await
    };
    // The transfer is never dropped: that could cut a message, and the other end would take it for a fault of ours.
    let result = tokio::select! {
        result = transfer => result,
        never = stopping => never,
    };
    match result {
        Ok(done) => Ok(done),
        Err(trouble) => Err(trouble.settle(control, stop.is_cancelled()).await),
    }
}

async fn stop_when_told(control: &Control, stop: &CancellationToken) {
    stop.cancelled().await;
    if let Err(error) = control.close(CloseCode::GOING_AWAY, "shutting down").await {
        tracing::debug!(%error, "the connection did not close cleanly");
    }
}

/// Starts work on files, which would hold up the connections, on a thread of its own.
pub(crate) fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Background<T> {
    Background(spawn_blocking(work))
}

/// Work that was started.
pub(crate) struct Background<T>(JoinHandle<Result<T, Failure>>);

impl<T> Background<T> {
    pub(crate) async fn finish(self) -> Result<T, Failure> {
        self.0.await.unwrap_or_else(|error| {
            let message = format!("a worker failed ({error}); this is a bug of this program");
            Err(Failure::new(http::StatusCode::INTERNAL_SERVER_ERROR, message))
        })
    }
}

/// The hash of everything so far, as text.
pub(crate) fn hex(hasher: &Sha256) -> String {
    data_encoding::HEXLOWER.encode(&hasher.clone().finalize())
}
