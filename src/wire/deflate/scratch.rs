//! Room to (de)compress into, lent by the worker thread: what comes of it is copied to where it belongs, at its exact size.

use std::cell::RefCell;

/// What a thread keeps of it.
const SIZE: usize = 64 * 1024;

/// Less room than this is not worth a call, and too little for the end of a flush in one piece.
const LEAST: usize = 64;

thread_local! {
    static SPARE: RefCell<Scratch> = const { RefCell::new(Scratch { bytes: Vec::new(), len: 0 }) };
}

/// Bytes that are initialised once, and a length.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    len: usize,
}

/// Lends the thread's scratch, which is empty.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SPARE.take();
    scratch.len = 0;
    let result = work(&mut scratch);
    scratch.bytes.truncate(2 * SIZE);
    scratch.bytes.shrink_to(2 * SIZE);
    SPARE.set(scratch);
    result
}

impl Scratch {
    /// What has been put in.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end.max(SIZE), 0);
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Room behind it, never none.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.len < LEAST {
            self.bytes.resize((2 * self.len).max(SIZE), 0);
        }
        &mut self.bytes[self.len..]
    }

    /// The first `len` bytes of the room have been filled.
    pub(crate) fn advance(&mut self, len: usize) {
        self.len += len;
    }

    pub(crate) fn cut(&mut self, len: usize) {
        self.len -= len;
    }
}
