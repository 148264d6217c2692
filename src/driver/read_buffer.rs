//! Read buffers, lent by the worker thread to the connection that is being polled, so that idle ones hold none.

use std::cell::RefCell;

use bytes::BytesMut;

/// What is asked of the transport at a time.
pub(crate) const READ_BUFFER: usize = 256 * 1024;

/// A read that fills less than this part of the buffer is copied out of it: what waits in a queue then keeps no
/// more memory than it counts for, and the buffer is free for the next read.
const COPY_BELOW: usize = READ_BUFFER / 2;

/// Frames up to this size are read into memory of their own if they are wanted whole; parts of larger ones are put
/// together when all are there, so that what a peer announces and does not send costs little address space.
const GATHER_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    static SPARE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The input of one connection: what was read and not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    pub(crate) input: BytesMut,
    copies: bool,
    /// The last read left room in the buffer.
    is_short: bool,
    /// It is the memory of one message that is wanted whole, and ends with it.
    gathers: bool,
    /// What a byte of it stands for: its share of the whole buffer.
    weight: usize,
}

impl ReadBuffer {
    /// Begins with bytes that were read along with the handshake.
    pub(crate) fn holding(input: BytesMut) -> Self {
        Self { input, copies: true, is_short: false, gathers: false, weight: 1 }
    }

    /// Everything read has been decoded.
    pub(crate) fn is_decoded(&self) -> bool {
        self.input.is_empty()
    }

    /// Makes room for a read, once everything has been decoded. A buffer that nobody else holds a part of is used
    /// again from its front. After a short read the next one most likely finds nothing, and the rest of the buffer will do:
    /// another one would have to be allocated while chunks of this one are about.
    pub(crate) fn prepare(&mut self) -> &mut BytesMut {
        debug_assert!(self.input.is_empty());
        if self.gathers {
            if self.input.capacity() > 0 {
                return &mut self.input;
            }
            self.gathers = false;
            self.is_short = false;
        }
        if self.is_short && self.input.capacity() > 0 {
            return &mut self.input;
        }
        if self.input.capacity() == 0 {
            self.input = SPARE.take();
        }
        self.input.reserve(READ_BUFFER);
        &mut self.input
    }

    /// The rest of a frame, whose payload so far is `chunk`, is wanted whole: from now on it is read next to that, in
    /// memory of its own, up to [`GATHER_MAX`]. Of that memory nothing is touched before bytes come.
    pub(crate) fn gather(&mut self, chunk: &mut BytesMut, missing: u64) {
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let worth_it = missing >= 2 * READ_BUFFER && missing.saturating_add(chunk.len()) <= GATHER_MAX;
        if self.gathers || !worth_it || !self.input.is_empty() {
            return;
        }
        let mut whole = BytesMut::with_capacity(chunk.len() + missing);
        whole.extend_from_slice(chunk);
        *chunk = whole.split();
        self.release();
        self.input = whole;
        self.gathers = true;
    }

    /// A read has brought `len` bytes.
    pub(crate) fn filled(&mut self, len: usize) {
        self.is_short = len < READ_BUFFER && self.input.len() < self.input.capacity();
        if self.gathers {
            (self.copies, self.weight) = (false, 1);
            return;
        }
        self.copies = len < COPY_BELOW;
        self.weight = if self.copies { 1 } else { READ_BUFFER.div_ceil(len) };
    }

    /// The last read could have brought more, had there been more.
    pub(crate) fn was_short(&self) -> bool {
        self.is_short
    }

    /// What `bytes` taken from it count for: views of a buffer that is half full keep all of it alive.
    pub(crate) fn charge(&self, bytes: usize) -> usize {
        bytes * self.weight
    }

    /// Chunks of the last read are to be copied, not shared.
    pub(crate) fn copies(&self) -> bool {
        self.copies
    }

    /// Gives the buffer back if nothing waits in it.
    pub(crate) fn release(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 && !self.gathers {
            let buffer = std::mem::take(&mut self.input);
            SPARE.set(buffer);
        }
    }
}
