//! Masked copies of large payloads (RFC 6455, 5.3), in memory that a thread uses again and again.
//!
//! Taken from the system and given back each time, as happens to be done with memory of this size, it would double the
//! price of an upload.

use std::{cell::RefCell, ops::RangeInclusive};

use bytes::{Bytes, BytesMut};

use crate::wire::mask::Mask;

/// What a thread keeps, in bytes: as much as one connection has use for at a time.
const KEPT: usize = 320 * 1024;

/// Payloads whose memory is kept: from the smallest that is masked here to the largest that is masked at a time.
const SIZES: RangeInclusive<usize> = 4 * 1024..=256 * 1024;

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { payloads: Vec::new(), size: 0 }) };
}

struct Spare {
    /// Empty, with room.
    payloads: Vec<BytesMut>,
    size: usize,
}

impl Spare {
    /// Room for `len` bytes, and no more than twice as much.
    fn take(&mut self, len: usize) -> Option<BytesMut> {
        let payload = self.payloads.pop_if(|payload| (len..=2 * len).contains(&payload.capacity()))?;
        self.size -= payload.capacity();
        Some(payload)
    }

    fn keep(&mut self, payload: BytesMut) {
        if self.size + payload.capacity() > KEPT {
            // They are of another size than what is needed now, or would have been used.
            self.payloads.clear();
            self.size = 0;
        }
        self.size += payload.capacity();
        self.payloads.push(payload);
    }
}

/// A copy of the next bytes of a payload, masked.
pub(super) fn masked(mask: &mut Mask, payload: &[u8]) -> Bytes {
    let spare = SPARE.with_borrow_mut(|spare| spare.take(payload.len()));
    let mut masked = spare.unwrap_or_else(|| BytesMut::with_capacity(payload.len()));
    mask.copy(payload, &mut masked);
    masked.freeze()
}

/// Keeps the memory of such a copy, which has been written.
pub(super) fn recycle(masked: Bytes) {
    if SIZES.contains(&masked.len())
        && let Ok(mut memory) = masked.try_into_mut()
    {
        memory.clear();
        SPARE.with_borrow_mut(|spare| spare.keep(memory));
    }
}
