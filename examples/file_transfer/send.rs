//! The sending end: read, hash and send, all at the same time.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::mpsc as std_mpsc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use wsstream::{CloseCode, MessageKind, Readable, Writable};

use crate::{
    failure::{Failure, Trouble, tell},
    protocol::{Done, Have, Offer, Start, hear, say},
    transfer::{Report, hex, in_background},
};

/// Bytes read at a time.
const CHUNK: usize = 128 * 1024;

/// Chunks that are read, hashed, waiting or being sent at a time: all the memory that a file takes at this end.
const CHUNKS: usize = 6;

/// A file to send, as it was when it was opened.
pub(crate) struct Source {
    file: File,
    size: u64,
    modified: Option<SystemTime>,
}

impl Source {
    /// `name` is what error messages call it.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(&format!("opening {name}"), &error);
        // Looked at before it is opened: opening a pipe would wait for somebody to write to it.
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let message = format!("{name} is not a file; name a file, or pack the directory into one");
            return Err(Failure::new(StatusCode::FORBIDDEN, message));
        }
        let file = File::open(path).map_err(failed)?;
        Ok(Self { file, size: metadata.len(), modified: metadata.modified().ok() })
    }

    /// Where to go on: behind what the receiver has, if that is the beginning of this file. Leaves the file there, and
    /// gives the hash up to there.
    fn agree(&mut self, have: &Have) -> Result<(u64, Sha256), Failure> {
        let mut hasher = Sha256::new();
        if have.bytes <= self.size {
            self.read(&mut hasher, have.bytes)?;
            if hex(&hasher) == have.sha256 {
                return Ok((have.bytes, hasher));
            }
        }
        io::Seek::rewind(&mut self.file).map_err(|error| Failure::io("reading the file", &error))?;
        Ok((0, Sha256::new()))
    }

    fn read(&mut self, hasher: &mut Sha256, mut bytes: u64) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK];
        while bytes > 0 {
            let len = bytes.min(CHUNK as u64) as usize;
            self.fill(&mut buffer[..len])?;
            hasher.update(&buffer[..len]);
            bytes -= len as u64;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => Failure::io("reading the file", &error),
        })
    }

    /// Reads and hashes the rest, a chunk ahead of the network; the hash of the whole file.
    fn pump(mut self, from: u64, mut hasher: Sha256, chunks: &mpsc::Sender<Bytes>) -> Result<Sha256, Failure> {
        let (home, returned) = std_mpsc::channel();
        for _ in 0..CHUNKS {
            // The other end of the channel is right here.
            let _ = home.send(vec![0; CHUNK]);
        }
        let mut left = self.size - from;
        while left > 0 {
            let Ok(mut buffer) = returned.recv() else { break };
            let len = left.min(CHUNK as u64) as usize;
            self.fill(&mut buffer[..len])?;
            let chunk = Bytes::from_owner(Lent { buffer, len, home: home.clone() });
            if chunks.blocking_send(chunk.clone()).is_err() {
                // The connection is over, which is reported there.
                break;
            }
            hasher.update(&chunk);
            left -= len as u64;
        }
        let now = self.file.metadata().map_err(|error| Failure::io("reading the file", &error))?;
        if now.len() != self.size || now.modified().ok() != self.modified {
            return Err(changed());
        }
        Ok(hasher)
    }
}

fn changed() -> Failure {
    let message = "the file changed while it was sent; run this again when nothing writes to it";
    Failure::new(StatusCode::CONFLICT, message)
}

/// A buffer on its way through the network, which comes home when the last byte of it has been sent.
struct Lent {
    buffer: Vec<u8>,
    len: usize,
    home: std_mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Nobody is at home any more after the last chunk.
        let _ = self.home.send(std::mem::take(&mut self.buffer));
    }
}

/// Sends a file, and waits until the other end has stored it.
pub(crate) async fn send(
    mut source: Source,
    one_frame: bool,
    (mut readable, mut writable): (Readable, Writable),
    progress: &ProgressBar,
) -> Result<Report, Trouble> {
    let control = writable.control();
    let size = source.size;
    progress.set_length(size);
    say(&mut writable, &Offer { size }).await?;
    let have: Have = hear(&mut readable).await?;
    let one_frame = one_frame || have.one_frame;
    let agreeing = in_background(move || source.agree(&have).map(|(from, hasher)| (source, from, hasher)));
    let (source, from, hasher) = agreeing.finish().await?;
    say(&mut writable, &Start { from }).await?;
    progress.set_position(from);

    let started = Instant::now();
    let (sender, mut chunks) = mpsc::channel(1);
    let pump = in_background(move || source.pump(from, hasher, &sender));
    let mut start = writable.start_message(MessageKind::Binary);
    if one_frame {
        start = start.length(size - from);
    }
    let mut message = start.await?;
    while let Some(chunk) = chunks.recv().await {
        let len = chunk.len() as u64;
        message.write(chunk).await?;
        progress.inc(len);
    }
    let sha256 = match pump.finish().await {
        Ok(hasher) => hex(&hasher),
        Err(failure) => {
            // Before the message is dropped, which would close with a reason that says less.
            tell(&control, &failure).await;
            return Err(failure.into());
        }
    };
    message.finish().await?;
    say(&mut writable, &Done { sha256: sha256.clone() }).await?;

    // When the pong is there, so is everything that was sent before the ping.
    writable.flush().await?;
    let seconds = match control.ping().await {
        Ok(_) => started.elapsed(),
        Err(_) => return Err(Trouble::Connection),
    };
    if readable.next_message().await?.is_some() {
        return Err(Failure::protocol("an unexpected message").into());
    }
    match control.closed().await {
        Ok(info) if info.close_code == CloseCode::NORMAL => {}
        _ => return Err(Trouble::Connection),
    }
    let sync_seconds = (started.elapsed() - seconds).as_secs_f64();
    Ok(Report { bytes: size, resumed_at: from, sha256, seconds: seconds.as_secs_f64(), sync_seconds })
}
