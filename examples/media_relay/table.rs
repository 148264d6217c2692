//! The numbers of the demo as people read them: while it runs, and at the end.

use std::time::Duration;

use indicatif::{BinaryBytes, MultiProgress, ProgressBar};

use crate::{
    demo::{Demo, Viewer, add, groups},
    meter::{latencies, quantile_ms},
    view::status_line,
};

const EVERY: Duration = Duration::from_millis(250);

/// Lines at the bottom of a terminal, and nothing where there is none.
pub(crate) struct Table {
    lines: MultiProgress,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { lines: MultiProgress::new() }
    }

    /// Shows what viewers have seen so far, until it is dropped.
    pub(crate) async fn show(&self, viewers: &[Viewer], peak_rss_kib: impl Fn() -> Option<u64>) -> ! {
        let head = self.lines.add(status_line());
        let rows: Vec<ProgressBar> = groups(viewers).map(|_| self.lines.add(status_line())).collect();
        let relay = self.lines.add(status_line());
        let mut clock = tokio::time::interval(EVERY);
        loop {
            clock.tick().await;
            head.set_message(cells(
                ["policy", "viewers", "", "delivered", "missed", "p50 ms", "p99 ms"].map(str::to_owned),
            ));
            for (line, (lag, kind, group)) in rows.iter().zip(groups(viewers)) {
                let mut latency = latencies();
                group.iter().for_each(|viewer| add(&mut latency, &viewer.meter()));
                let delivered: u64 = group.iter().map(|viewer| viewer.meter().frames).sum();
                let missed: u64 = group.iter().map(|viewer| viewer.meter().missed).sum();
                line.set_message(cells([
                    lag.name(),
                    group.len().to_string(),
                    kind.name().to_owned(),
                    delivered.to_string(),
                    missed.to_string(),
                    ms(quantile_ms(&latency, 0.5)),
                    ms(quantile_ms(&latency, 0.99)),
                ]));
            }
            relay.set_message(memory(peak_rss_kib()));
        }
    }

    pub(crate) fn clear(&self) {
        // A terminal that cannot be cleared keeps the last numbers.
        let _ = self.lines.clear();
    }
}

/// The whole of it, for standard output.
pub(crate) fn summary(demo: &Demo) -> String {
    let Demo { published_frames, skipped_frames, fps, seconds, .. } = demo;
    let mbit = demo.bits_per_second as f64 / 1e6;
    let mut lines = vec![format!(
        "{published_frames} frames in {seconds} s ({fps} fps, {mbit} Mbit/s, {skipped_frames} skipped) to {} viewers, \
         each with a budget of {}",
        demo.viewers,
        BinaryBytes(demo.budget)
    )];
    let head = ["policy", "viewers", "", "delivered", "dropped", "rest", "closed", "p50 ms", "p99 ms"];
    lines.push(cells(head.map(str::to_owned)));
    for row in &demo.policies {
        lines.push(cells([
            row.lag.name(),
            row.viewers.to_string(),
            row.kind.name().to_owned(),
            row.delivered_frames.to_string(),
            row.dropped_frames.to_string(),
            row.rest_frames.to_string(),
            row.disconnected.to_string(),
            ms(row.latency_p50_ms),
            ms(row.latency_p99_ms),
        ]));
    }
    lines.push(format!(
        "fast viewers: {} frames missed, latency p50 {} ms, p99 {} ms",
        demo.fast_missed_frames,
        ms(demo.fast_latency_p50_ms),
        ms(demo.fast_latency_p99_ms)
    ));
    lines.push(memory(demo.relay_peak_rss_kib));
    lines.join("\n")
}

fn memory(peak_rss_kib: Option<u64>) -> String {
    let peak = peak_rss_kib.map_or("not known on this system".to_owned(), |kib| BinaryBytes(kib * 1024).to_string());
    format!("peak memory of the relay: {peak}")
}

fn ms(latency: Option<f64>) -> String {
    latency.map_or("-".to_owned(), |ms| format!("{ms:.1}"))
}

fn cells<const N: usize>(cells: [String; N]) -> String {
    let cells = cells.into_iter().enumerate().map(|(at, cell)| match at {
        0 => format!("{cell:<12}"),
        2 => format!("{cell:<8}"),
        _ => format!("{cell:>9}"),
    });
    cells.collect::<Vec<_>>().join(" ")
}
