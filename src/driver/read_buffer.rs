//! Read buffers, lent by the worker thread to the connection that is being polled, so that idle ones hold none.

use std::cell::RefCell;

use bytes::BytesMut;

/// What is asked of the transport at a time.
pub(crate) const READ_BUFFER: usize = 256 * 1024;

/// A read that fills less than this part of the buffer is copied out of it: what waits in a queue then keeps no
/// more memory than it counts for, and the buffer is free for the next read.
const COPY_BELOW: usize = READ_BUFFER / 2;

thread_local! {
    static SPARE: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The input of one connection: what was read and not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    pub(crate) input: BytesMut,
    copies: bool,
    /// What a byte of it stands for: its share of the whole buffer.
    weight: usize,
}

impl ReadBuffer {
    /// Begins with bytes that were read along with the handshake.
    pub(crate) fn holding(input: BytesMut) -> Self {
        Self { input, copies: true, weight: 1 }
    }

    /// Everything read has been decoded.
    pub(crate) fn is_decoded(&self) -> bool {
        self.input.is_empty()
    }

    /// Makes room for a read, once everything has been decoded. A buffer that nobody else holds a part of is used
    /// again from its front.
    pub(crate) fn prepare(&mut self) -> &mut BytesMut {
        debug_assert!(self.input.is_empty());
        if self.input.capacity() == 0 {
            self.input = SPARE.take();
        }
        self.input.reserve(READ_BUFFER);
        &mut self.input
    }

    /// A read has brought `len` bytes.
    pub(crate) fn filled(&mut self, len: usize) {
        self.copies = len < COPY_BELOW;
        self.weight = if self.copies { 1 } else { READ_BUFFER.div_ceil(len) };
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
        if self.input.is_empty() && self.input.capacity() > 0 {
            let buffer = std::mem::take(&mut self.input);
            SPARE.set(buffer);
        }
    }
}
