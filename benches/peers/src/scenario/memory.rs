//! What memory allows: the price of the passes over the payload that cannot be left out.

use std::{hint::black_box, time::Instant};

use anyhow::Result;

use super::{Column, Figures, Scale, figures};
use wsstream_peers::{library::framing::Mask, tally};

pub(crate) const COLUMNS: &[Column] = &[
    Column::more("copy", "copy, GB/s", 1).alone(),
    Column::more("mask", "mask in place, GB/s", 1).alone(),
    Column::more("copy_mask", "copy and mask, GB/s", 1).alone(),
    Column::more("text", "check text, GB/s", 1).alone(),
];

const BLOCK: usize = 256 * 1024;

pub(crate) fn run(scale: Scale) -> Result<Figures> {
    let from = tally::binary(BLOCK);
    let text = tally::text(BLOCK);
    let mut to = vec![0; BLOCK];
    let mut mask = Mask([1, 2, 3, 4]);
    Ok(figures([
        ("copy", speed(scale, || black_box(&mut to[..]).copy_from_slice(black_box(&from)))),
        ("mask", speed(scale, || mask.apply(black_box(&mut to[..])))),
        ("copy_mask", speed(scale, || mask.copy(black_box(&from), black_box(&mut to[..])))),
        ("text", speed(scale, || assert!(simdutf8::basic::from_utf8(black_box(&text)).is_ok()))),
    ]))
}

/// GB/s of a pass over a block.
fn speed(scale: Scale, mut pass: impl FnMut()) -> f64 {
    let (start, mut passes) = (Instant::now(), 0);
    while start.elapsed() < scale.measured() / 4 {
        (0..16).for_each(|_| pass());
        passes += 16;
    }
    passes as f64 * BLOCK as f64 / start.elapsed().as_secs_f64() / 1e9
}
