//! Figures of a run, and medians over runs.

use std::collections::BTreeMap;

use wsstream_peers::numbers::median;

/// By name, from process to process.
pub(crate) type Figures = BTreeMap<String, f64>;

pub(crate) const GIB: f64 = (1u64 << 30) as f64;

/// One run of one library in one case.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) case: &'static str,
    pub(crate) library: &'static str,
    pub(crate) round: usize,
    pub(crate) figures: Figures,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) runs: Vec<Run>,
    pub(crate) failures: Vec<String>,
    /// How many cores processes that are none of ours kept busy.
    pub(crate) other_cores: Vec<f64>,
}

impl Runs {
    fn of(&self, case: &str, library: &str, key: &str) -> impl Iterator<Item = (usize, f64)> {
        let runs = self.runs.iter().filter(move |run| run.case == case && run.library == library);
        runs.filter_map(move |run| Some((run.round, *run.figures.get(key)?)))
    }

    pub(crate) fn median(&self, case: &str, library: &str, key: &str) -> Option<f64> {
        median(self.of(case, library, key).map(|(_, value)| value).collect())
    }

    /// The median of the ratios to another library in the same round.
    pub(crate) fn ratio(&self, case: &str, library: &str, base: &str, key: &str) -> Option<f64> {
        self.compare(case, library, base, key, |value, base| value / base)
    }

    /// The median of the differences to another library in the same round.
    pub(crate) fn difference(&self, case: &str, library: &str, base: &str, key: &str) -> Option<f64> {
        self.compare(case, library, base, key, |value, base| value - base)
    }

    fn compare(&self, case: &str, library: &str, base: &str, key: &str, how: fn(f64, f64) -> f64) -> Option<f64> {
        let pairs = self.of(case, library, key).filter_map(|(round, value)| {
            let (_, base) = self.of(case, base, key).find(|(other, _)| *other == round)?;
            Some(how(value, base))
        });
        median(pairs.collect())
    }

    /// The most over the rounds.
    pub(crate) fn most(&self, case: &str, library: &str, key: &str) -> Option<f64> {
        self.of(case, library, key).map(|(_, value)| value).max_by(f64::total_cmp)
    }
}
