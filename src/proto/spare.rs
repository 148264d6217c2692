//! Memory of what is to be written, which a thread uses again and again.
//!
//! Taken from the system and given back each time, as happens to be done with memory of this size, it would double the
//! price of an upload, and take half as much again for small messages.

use std::{
    cell::{Cell, RefCell},
    ops::RangeInclusive,
};

use bytes::{Bytes, BytesMut};

/// What a thread keeps, in bytes: as much as one connection has use for at a time.
const KEPT: usize = 576 * 1024;

/// Sizes that are kept: from those for which an allocator does more than take them off a list, to those of which there is
/// room for one.
const SIZES: RangeInclusive<usize> = 4 * 1024..=512 * 1024;

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { buffers: Vec::new(), size: 0 }) };

    /// For what is written at once, and not kept.
    static SCRATCH: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

struct Spare {
    /// Empty, with room.
    buffers: Vec<BytesMut>,
    size: usize,
}

impl Spare {
    fn take(&mut self, len: usize) -> Option<BytesMut> {
        let fits = |buffer: &BytesMut| (len..=2 * len).contains(&buffer.capacity());
        let buffer = self.buffers.swap_remove(self.buffers.iter().rposition(fits)?);
        self.size -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, buffer: BytesMut) {
        if self.size + buffer.capacity() > KEPT {
            // They are of another size than what is needed now, or would have been used.
            self.buffers.clear();
            self.size = 0;
        }
        self.size += buffer.capacity();
        self.buffers.push(buffer);
    }
}

/// An empty buffer, which is soon given back; a new one, if somebody else has it.
pub(crate) fn take_scratch() -> BytesMut {
    SCRATCH.take().unwrap_or_default()
}

/// Gives back what [`take_scratch`] gave.
pub(crate) fn keep_scratch(mut scratch: BytesMut) {
    scratch.clear();
    SCRATCH.set(Some(scratch));
}

/// Room for `len` bytes, and no more than twice as much.
pub(super) fn take(len: usize) -> BytesMut {
    let spare = if SIZES.contains(&len) { SPARE.with_borrow_mut(|spare| spare.take(len)) } else { None };
    spare.unwrap_or_else(|| BytesMut::with_capacity(len))
}

/// Keeps the memory of what has been written, if nobody else holds it.
pub(super) fn keep(written: Bytes) {
    if SIZES.contains(&written.len())
        && let Ok(mut buffer) = written.try_into_mut()
    {
        buffer.clear();
        // What stood in front of it has been written as well: all of the memory is to count, and to be used.
        let _ = buffer.try_reclaim(buffer.capacity() + 1);
        SPARE.with_borrow_mut(|spare| spare.keep(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_buffer_that_was_cut_counts_for_all_of_it() {
        // It kept 64 KiB and counted for 4, where a ping came in between.
        let mut front = BytesMut::zeroed(64 * 1024).freeze();
        let address = front.as_ptr();
        let rest = front.split_off(60 * 1024);
        keep(front);
        keep(rest);
        assert_eq!(take(64 * 1024).as_ptr(), address);
    }

    #[test]
    fn messages_of_a_large_frame_and_a_small_one_use_the_memory_of_both_again() {
        // Only the last buffer was looked at: messages of 300,000 bytes had memory from the system each time.
        let sizes = [64, 64, 64, 64, 37].map(|kib| kib * 1024);
        let mut places = Vec::new();
        for _ in 0..3 {
            let mut buffers = sizes.map(|size| (take(size), size));
            places.push(buffers.each_ref().map(|(buffer, _)| buffer.as_ptr().addr()));
            for (buffer, size) in &mut buffers {
                buffer.resize(*size, 0);
            }
            buffers.into_iter().for_each(|(buffer, _)| keep(buffer.freeze()));
        }
        places.iter_mut().for_each(|places| places.sort_unstable());
        assert_eq!(places[1..], [places[0], places[0]]);
    }

    #[test]
    fn what_somebody_holds_is_not_used_again_and_what_is_kept_is_bounded() {
        let held = Bytes::from(vec![7; 64 * 1024]);
        keep(held.clone());
        let mut other = take(64 * 1024);
        other.resize(64 * 1024, 9);
        assert!(held.iter().all(|byte| *byte == 7));
        for size in [4, 5, 60, 128, 256, 4, 100].map(|kib| kib * 1024) {
            for _ in 0..100 {
                keep(BytesMut::zeroed(size).freeze());
                let (size, capacities) = SPARE
                    .with_borrow(|spare| (spare.size, spare.buffers.iter().map(BytesMut::capacity).sum::<usize>()));
                assert!(size <= KEPT && size == capacities, "{size} of {capacities}");
            }
        }
    }
}
