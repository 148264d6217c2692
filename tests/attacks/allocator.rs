//! How much memory is allocated, and was at most.

// A global allocator cannot be written without.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

fn grown(len: usize) {
    let live = LIVE.fetch_add(len, Relaxed) + len;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Relaxed);
        grown(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Measures from where it was made.
pub(crate) struct Meter {
    before: usize,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        Self { before }
    }

    /// Bytes held now, beyond those held at the start.
    pub(crate) fn live(&self) -> usize {
        LIVE.load(Relaxed).saturating_sub(self.before)
    }

    /// The most bytes held at a time.
    pub(crate) fn peak(&self) -> usize {
        PEAK.load(Relaxed).saturating_sub(self.before)
    }

    #[track_caller]
    pub(crate) fn assert_below(&self, bound: usize, what: &str) {
        let peak = self.peak();
        eprintln!("{what}: peak {peak} bytes, bound {bound}");
        assert!(peak <= bound, "{what}: {peak} bytes were held, {bound} are allowed");
    }
}
