//! Being told to end.

use std::io;

use tokio_util::sync::CancellationToken;

/// Cancels `stop` at Ctrl-C, or at what a supervisor sends.
pub(crate) async fn cancel_on_signal(stop: CancellationToken) {
    if let Err(error) = signal().await {
        tracing::warn!(%error, "signals are not seen: Ctrl-C will not end this program properly");
        return;
    }
    stop.cancel();
}

#[cfg(unix)]
async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
