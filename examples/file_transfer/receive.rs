//! The receiving end: receive, hash and write, all at the same time.

use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use indicatif::ProgressBar;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep_until},
};
use wsstream::{CloseCode, Readable, Writable};

use crate::{
    failure::{Failure, Trouble},
    partial::Partial,
    protocol::{Done, Have, Offer, Start, hear, say},
    transfer::{Report, hex, in_background},
};

/// Chunks that wait to be written, and as many that are being written; each may hold on to a read buffer of 256 KiB.
const CHUNKS: usize = 2;

/// How the user wants it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Ask the sender for a single frame.
    pub(crate) one_frame: bool,
    /// Bytes per second, at most.
    pub(crate) limit_rate: Option<u64>,
}

/// Receives a file and stores it.
pub(crate) async fn receive(
    mut partial: Partial,
    options: Options,
    (mut readable, mut writable): (Readable, Writable),
    progress: &ProgressBar,
) -> Result<Report, Trouble> {
    let Offer { size } = hear(&mut readable).await?;
    progress.set_length(size);
    let measuring = in_background(move || partial.measure(size).map(|(bytes, hasher)| (partial, bytes, hasher)));
    let (mut partial, bytes, hasher) = measuring.finish().await?;
    let have = Have { bytes, sha256: hex(&hasher), one_frame: options.one_frame };
    say(&mut writable, &have).await?;

    let Start { from } = hear(&mut readable).await?;
    let hasher = match from {
        0 => Default::default(),
        _ if from == bytes => hasher,
        _ => return Err(Failure::protocol("the file would begin at the wrong place").into()),
    };
    progress.set_position(from);

    let started = Instant::now();
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let writing = in_background(move || {
        partial.truncate(from)?;
        let hasher = partial.append(chunks, hasher)?;
        Ok((partial, hasher))
    });
    let forwarded = forward(&mut readable, size - from, options.limit_rate, sender, progress).await;
    // Also when the connection is lost: what has arrived is written before the lock is given back.
    let (mut partial, hasher) = writing.finish().await?;
    forwarded?;

    let Done { sha256 } = hear(&mut readable).await?;
    if hex(&hasher) != sha256 {
        partial.truncate(0)?;
        let message = "the file that arrived has the wrong hash and was thrown away; run this again";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message).into());
    }
    let seconds = started.elapsed();
    in_background(move || partial.store()).finish().await?;
    let sync_seconds = (started.elapsed() - seconds).as_secs_f64();
    if let Err(error) = writable.close(CloseCode::NORMAL, "stored").await {
        tracing::debug!(%error, "the file is stored, but the sender may not know");
    }
    Ok(Report { bytes: size, resumed_at: from, sha256, seconds: seconds.as_secs_f64(), sync_seconds })
}

/// Passes a message of `len` bytes on to the disk.
async fn forward(
    readable: &mut Readable,
    len: u64,
    limit_rate: Option<u64>,
    chunks: mpsc::Sender<Bytes>,
    progress: &ProgressBar,
) -> Result<(), Trouble> {
    let mut message = readable.next_message().await?.ok_or(Trouble::Connection)?;
    let started = tokio::time::Instant::now();
    let mut arrived = 0;
    while let Some(chunk) = message.chunk().await? {
        arrived += chunk.len() as u64;
        if arrived > len {
            return Err(Failure::protocol("more arrived than was announced").into());
        }
        progress.inc(chunk.len() as u64);
        if chunks.send(chunk).await.is_err() {
            // Writing failed, and says why.
            return Ok(());
        }
        if let Some(rate) = limit_rate {
            sleep_until(started + Duration::from_secs_f64(arrived as f64 / rate as f64)).await;
        }
    }
    if arrived < len {
        return Err(Failure::protocol("less arrived than was announced").into());
    }
    Ok(())
}
