//! What a viewer measures.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::frame::{Header, now_micros};

/// Latencies from a microsecond to an hour, to three digits: what is beyond counts as an hour.
pub(crate) fn latencies() -> Histogram<u64> {
    // The bounds are constants that it takes.
    Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap_or_else(|error| unreachable!("{error}"))
}

#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) frames: u64,
    bytes: u64,
    pub(crate) missed: u64,
    streams: u64,
    /// What should come next: stream and number.
    next: Option<(u32, u64)>,
    first: Option<Instant>,
    last: Option<Instant>,
    pub(crate) latency: Histogram<u64>,
}

/// What was seen, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) frames: u64,
    /// Of frames, without their headers.
    pub(crate) bytes: u64,
    /// Numbers that were left out.
    pub(crate) missed: u64,
    /// One, and one for each publisher that took over.
    pub(crate) streams: u64,
    pub(crate) fps: Option<f64>,
    pub(crate) latency_p50_ms: Option<f64>,
    pub(crate) latency_p99_ms: Option<f64>,
    pub(crate) latency_max_ms: Option<f64>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let (next, first, last) = (None, None, None);
        Self { frames: 0, bytes: 0, missed: 0, streams: 0, next, first, last, latency: latencies() }
    }

    /// A frame has arrived to the end.
    pub(crate) fn frame(&mut self, header: &Header, bytes: u64) {
        match self.next {
            Some((stream, number)) if stream == header.stream => {
                self.missed += header.number.saturating_sub(number);
            }
            _ => self.streams += 1,
        }
        self.next = Some((header.stream, header.number.saturating_add(1)));
        self.frames += 1;
        self.bytes += bytes;
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.latency.saturating_record(now_micros().saturating_sub(header.micros).max(1));
    }

    pub(crate) fn report(&self) -> Report {
        let time = self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first);
        let quantile = |quantile| quantile_ms(&self.latency, quantile);
        Report {
            frames: self.frames,
            bytes: self.bytes,
            missed: self.missed,
            streams: self.streams,
            fps: (!time.is_zero()).then(|| (self.frames - 1) as f64 / time.as_secs_f64()),
            latency_p50_ms: quantile(0.5),
            latency_p99_ms: quantile(0.99),
            latency_max_ms: quantile(1.0),
        }
    }
}

/// `None` of nothing.
pub(crate) fn quantile_ms(latency: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!latency.is_empty()).then(|| latency.value_at_quantile(quantile) as f64 / 1000.0)
}

impl Report {
    pub(crate) fn describe(&self) -> String {
        let Self { frames, missed, .. } = self;
        let ms = |latency: Option<f64>| latency.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let fps = self.fps.map_or("-".to_owned(), |fps| format!("{fps:.1}"));
        let (p50, p99) = (ms(self.latency_p50_ms), ms(self.latency_p99_ms));
        format!("{frames} frames, {missed} missed, {fps} fps, latency p50 {p50}, p99 {p99}")
    }
}
