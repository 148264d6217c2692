//! What was measured: rows of the table, and medians over the rounds.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use wsstream_peers::{about::About, numbers::median};

use crate::{
    case::{Case, Size, Speed},
    receiver::Received,
    sender::Sent,
};

/// One run, as it stands in the CSV. Memory and bytes are in bytes, times in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) library: String,
    pub(crate) message: String,
    pub(crate) speed: String,
    round: usize,
    pub(crate) bytes_per_second: f64,
    receiver_idle_rss: u64,
    receiver_peak_rss: u64,
    sender_idle_rss: u64,
    sender_peak_rss: u64,
    pub(crate) taken_beyond_consumed: u64,
    pub(crate) sender_waited: f64,
    pub(crate) seconds_to_speed: Option<f64>,
    takes_all: bool,
    other_cores: f64,
}

impl Row {
    pub(crate) fn new(
        case: Case,
        library: &str,
        round: usize,
        received: &Received,
        sent: &Sent,
        other_cores: f64,
    ) -> Self {
        Self {
            library: library.into(),
            message: case.size.name(),
            speed: case.speed.name(),
            round,
            bytes_per_second: received.rate,
            receiver_idle_rss: received.idle_rss,
            receiver_peak_rss: received.peak_rss,
            sender_idle_rss: sent.idle_rss,
            sender_peak_rss: sent.peak_rss,
            taken_beyond_consumed: received.beyond,
            sender_waited: sent.waited,
            seconds_to_speed: received.up_to_speed,
            takes_all: received.takes_all,
            other_cores,
        }
    }

    /// Above the process that was connected and had received nothing.
    pub(crate) fn receiver_memory(&self) -> f64 {
        self.receiver_peak_rss.saturating_sub(self.receiver_idle_rss) as f64
    }

    pub(crate) fn sender_memory(&self) -> f64 {
        self.sender_peak_rss.saturating_sub(self.sender_idle_rss) as f64
    }
}

pub(crate) struct Results {
    pub(crate) about: About,
    pub(crate) libraries: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) failures: Vec<String>,
}

impl Results {
    fn runs(&self, library: &str, case: Case) -> impl Iterator<Item = &Row> {
        let (message, speed) = (case.size.name(), case.speed.name());
        self.rows.iter().filter(move |row| row.library == library && row.message == message && row.speed == speed)
    }

    /// Over the rounds; `None` where it was not measured.
    pub(crate) fn median(&self, library: &str, case: Case, figure: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        median(self.runs(library, case).filter_map(figure).collect())
    }

    /// Whether such a run has to be ended, because the receiver takes more and more.
    pub(crate) fn takes_all(&self, library: &str, case: Case) -> bool {
        self.runs(library, case).any(|row| row.takes_all)
    }

    /// The most memory that the receiver needs for messages of this size, at any speed of its consumer.
    pub(crate) fn most_memory(&self, library: &str, size: Size) -> Option<f64> {
        let at = |speed| self.median(library, Case { size, speed }, |row| Some(row.receiver_memory()));
        Speed::ALL.into_iter().filter_map(at).reduce(f64::max)
    }

    /// Cores that other processes kept busy: median and most.
    pub(crate) fn other_cores(&self) -> (f64, f64) {
        let all: Vec<_> = self.rows.iter().map(|row| row.other_cores).collect();
        (median(all.clone()).unwrap_or_default(), all.into_iter().fold(0.0, f64::max))
    }

    pub(crate) fn write_csv(&self, path: &Path) -> Result<()> {
        let mut csv = csv::Writer::from_path(path)?;
        for row in &self.rows {
            csv.serialize(row)?;
        }
        Ok(csv.flush()?)
    }
}
