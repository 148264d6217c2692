//! A file that is being received: `.NAME.part` beside NAME, until it is whole and takes its place.
//!
//! It is locked as long as somebody writes to it, so that two transfers to one name cannot mix, and it outlives the
//! program, whatever ends it: the next transfer goes on from there. What it holds is never trusted, only hashed.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::StatusCode;
use indicatif::BinaryBytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Bytes of the partial file that are hashed at a time.
const CHUNK: usize = 256 * 1024;

pub(crate) struct Partial {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    target: PathBuf,
    /// It has its name now, and `path` may be somebody else's.
    stored: bool,
}

impl Partial {
    /// Opens what is there of `target`, or begins it.
    pub(crate) fn open(target: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("opening the partial file", &error);
        let Some(name) = target.file_name() else {
            return Err(Failure::bad_request("the target has no file name; name a file"));
        };
        if target.is_dir() {
            return Err(Failure::new(StatusCode::FORBIDDEN, "the target is a directory; name a file"));
        }
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let path = folder.join(part_name(&name.to_string_lossy()));
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let message = "another transfer to this name is going on; run this again when it is over";
                    return Err(Failure::new(StatusCode::CONFLICT, message));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever had the lock may just have given the file its final name.
            if is_at(&file, &path).map_err(failed)? {
                return Ok(Self { file, path, folder: folder.into(), target: target.into(), stored: false });
            }
        }
    }

    /// How much is there of a file of `size` bytes, and its hash; and is there room for the rest?
    pub(crate) fn measure(&mut self, size: u64) -> Result<(u64, Sha256), Failure> {
        let failed = |error: io::Error| Failure::io("reading the partial file", &error);
        let held = self.file.metadata().map_err(failed)?.len();
        let (needed, room) = (size.saturating_sub(held), fs4::available_space(&self.folder).map_err(failed)?);
        if needed > room {
            return Err(Failure::no_room(&format!("{} to come, {} free", BinaryBytes(needed), BinaryBytes(room))));
        }
        // More than there should be is something else.
        let len = if held > size { 0 } else { held };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut left = len;
        while left > 0 {
            let piece = left.min(CHUNK as u64) as usize;
            self.file.read_exact(&mut buffer[..piece]).map_err(failed)?;
            hasher.update(&buffer[..piece]);
            left -= piece as u64;
        }
        Ok((len, hasher))
    }

    /// Forgets all but the first `len` bytes, and writes on from there.
    pub(crate) fn truncate(&mut self, len: u64) -> Result<(), Failure> {
        let truncated = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len)));
        truncated.map(drop).map_err(|error| Failure::io("writing the partial file", &error))
    }

    /// Writes and hashes chunks as they come: all that wait at once, so that the network's thread is woken once for them.
    pub(crate) fn append(&mut self, mut chunks: mpsc::Receiver<Bytes>, mut hasher: Sha256) -> Result<Sha256, Failure> {
        let mut batch = Vec::new();
        while chunks.blocking_recv_many(&mut batch, chunks.max_capacity()) > 0 {
            for chunk in batch.drain(..) {
                self.file.write_all(&chunk).map_err(|error| Failure::io("writing the file", &error))?;
                hasher.update(&chunk);
            }
        }
        Ok(hasher)
    }

    /// Puts the file in its place, in one step and for good: whoever looks sees the old file or the new one.
    pub(crate) fn store(mut self) -> Result<(), Failure> {
        let stored = self.file.sync_all().and_then(|()| fs::rename(&self.path, &self.target));
        stored.map_err(|error| Failure::io("storing the file", &error))?;
        self.stored = true;
        sync_folder(&self.folder).map_err(|error| Failure::io("storing the file", &error))
    }
}

impl Drop for Partial {
    /// Where nothing has come, nothing stays behind.
    fn drop(&mut self) {
        let is_empty = self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if is_empty
            && !self.stored
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "an empty partial file stays behind");
        }
    }
}

/// What a file is called while it is received.
fn part_name(name: &str) -> String {
    format!(".{name}.part")
}

/// Whether a file may not be named like this, because it looks like a partial one.
pub(crate) fn is_part_name(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".part")
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let file = same_file::Handle::from_file(file.try_clone()?)?;
    match same_file::Handle::from_path(path) {
        Ok(there) => Ok(file == there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A rename is in the folder, and is on disk when the folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders cannot be synced here.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
