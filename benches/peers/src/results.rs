//! What was measured, and what follows from it: medians, and ratios round by round.

use std::{fs, process::Command};

use anyhow::Result;
use serde::Serialize;
use wsstream_peers::measure::socket_settings;

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

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) sockets: String,
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) seconds: u64,
}

impl About {
    pub(crate) fn now(rounds: usize, quick: bool) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let separator = if args.is_empty() { "" } else { " -- " };
        Ok(Self {
            date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            rustc: said_by("rustc", &["--version"]),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
            command: format!("cargo bench -p wsstream-peers{separator}{}", args.join(" ")),
            sockets: socket_settings()?,
            versions: versions(),
            rounds,
            quick,
            seconds: 0,
        })
    }
}

fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Of what is compared and what it runs on, from the lock file that this was built with.
fn versions() -> Vec<(String, String)> {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    const WANTED: [&str; 7] =
        ["wsstream", "tokio-tungstenite", "fastwebsockets", "tokio-websockets", "yawc", "sockudo-ws", "tokio"];
    let version = |name: &str| {
        let rest = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some((name.to_owned(), rest.split_once('"')?.0.to_owned()))
    };
    WANTED.into_iter().filter_map(version).collect()
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

    /// The median of what comes of the figures of two libraries in the same round.
    pub(crate) fn paired(&self, library: &str, base: &str, key: &str, of: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let pairs = self.of(library, key).filter_map(|(round, value)| {
            let (_, base) = self.of(base, key).find(|(other, _)| *other == round)?;
            Some(of(value, base))
        });
        median(pairs.collect())
    }

    /// The median of the ratios to another library in the same round.
    pub(crate) fn ratio(&self, library: &str, base: &str, key: &str) -> Option<f64> {
        self.paired(library, base, key, |value, base| value / base)
    }

    fn of(&self, library: &str, key: &str) -> impl Iterator<Item = (usize, f64)> {
        let runs = self.runs.iter().filter(move |run| run.library == library);
        runs.filter_map(move |run| Some((run.round, *run.figures.get(key)?)))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
