//! What was measured, and what follows from it: medians, and ratios round by round.

use serde::Serialize;
use wsstream_peers::{about::About, numbers::median};

use crate::{
    scenario::{Column, Figures, Scenario},
    targets::{self, Target},
};

/// All of it, as it stands in the JSON report.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) about: About,
    pub(crate) scenarios: Vec<ScenarioResults>,
}

impl Results {
    pub(crate) fn new(about: About) -> Self {
        Self { about, scenarios: Vec::new() }
    }

    pub(crate) fn scenario(&self, name: &str) -> Option<&ScenarioResults> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }

    /// With what follows from it.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            results: &'a Results,
            targets: Vec<Target>,
        }
        serde_json::to_string_pretty(&Whole { results: self, targets: targets::all(self) })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ScenarioResults {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) libraries: Vec<String>,
    pub(crate) columns: &'static [Column],
    pub(crate) runs: Vec<Run>,
    /// How many cores processes that are none of ours kept busy, for each run.
    pub(crate) other_cores: Vec<f64>,
    pub(crate) failures: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) library: String,
    pub(crate) figures: Figures,
}

impl ScenarioResults {
    pub(crate) fn new(scenario: &Scenario, libraries: Vec<String>) -> Self {
        Self {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            libraries,
            columns: scenario.columns(),
            runs: Vec::new(),
            other_cores: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A figure of a library, one of each round.
    pub(crate) fn values(&self, library: &str, key: &str) -> Vec<f64> {
        self.of(library, key).map(|(_, value)| value).collect()
    }

    pub(crate) fn median(&self, library: &str, key: &str) -> Option<f64> {
        median(self.values(library, key))
    }

    /// What comes of the figures of two libraries in the same round, one of each round.
    pub(crate) fn paired(&self, library: &str, base: &str, key: &str, of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let pairs = self.of(library, key).filter_map(|(round, value)| {
            let (_, base) = self.of(base, key).find(|(other, _)| *other == round)?;
            Some(of(value, base))
        });
        pairs.collect()
    }

    /// The ratios to another library in the same round.
    pub(crate) fn ratios(&self, library: &str, base: &str, key: &str) -> Vec<f64> {
        self.paired(library, base, key, |value, base| value / base)
    }

    /// The median of them.
    pub(crate) fn ratio(&self, library: &str, base: &str, key: &str) -> Option<f64> {
        median(self.ratios(library, base, key))
    }

    fn of(&self, library: &str, key: &str) -> impl Iterator<Item = (usize, f64)> {
        let runs = self.runs.iter().filter(move |run| run.library == library);
        runs.filter_map(move |run| Some((run.round, *run.figures.get(key)?)))
    }
}
