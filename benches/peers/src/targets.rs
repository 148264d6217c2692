//! What wsstream is meant to reach, and whether it does.

use serde::Serialize;
use wsstream_peers::{library::NAMES, numbers::median};

use crate::{
    results::{Results, ScenarioResults},
    scenario::Better,
};

/// A figure that is meant to be reached.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) scenario: String,
    pub(crate) library: &'static str,
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) limit: String,
    /// The median reaches it.
    pub(crate) met: bool,
    /// Rounds that do.
    pub(crate) rounds_met: usize,
    pub(crate) rounds: usize,
}

impl Target {
    /// Hardly a round reaches it. Of 13 rounds of equals so few do once in 20 times, of 5 once in 5.
    pub(crate) fn is_missed_steadily(&self) -> bool {
        4 * self.rounds_met < self.rounds
    }
}

const CHUNKS: &str = "wsstream";
const WHOLE: &str = "wsstream-whole";

/// How far behind the hand-written framing, in speed.
const OF_FLOOR: f64 = 0.95;
/// How far above the CPU time of raw TCP and masking, for one message of 1 GiB.
const ONE_MESSAGE_CPU: f64 = 1.10;
/// How far above raw TCP, for an echo.
const ECHO: f64 = 1.05;
/// How many bytes an idle connection may hold besides what raw TCP holds.
const IDLE: f64 = 2048.0;

/// Those that were measured.
pub(crate) fn all(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for scenario in &results.scenarios {
        let group = scenario.name.split('/').next().unwrap_or_default();
        match group {
            "bulk" if !scenario.name.ends_with("/giving-way") => {
                targets.extend(of_floor(scenario));
                targets.extend(ahead(scenario, CHUNKS, "speed"));
                targets.extend(ahead(scenario, WHOLE, "speed"));
            }
            "text" => {
                targets.extend(ahead(scenario, CHUNKS, "speed"));
                targets.extend(ahead(scenario, WHOLE, "speed"));
            }
            "one-message" if scenario.name != "one-message/send" => targets.extend(one_message(results, scenario)),
            "deflate" => {
                for library in [CHUNKS, WHOLE] {
                    targets.extend(ahead(scenario, library, "speed"));
                    targets.extend(ahead(scenario, library, "cpu"));
                }
            }
            "small" => {
                for library in [CHUNKS, WHOLE] {
                    targets.extend(ahead(scenario, library, "rate"));
                    targets.extend(ahead(scenario, library, "cpu"));
                }
            }
            "echo" if !scenario.name.ends_with("/timer") => {
                targets.extend(of_raw(scenario, "p50"));
                targets.extend(of_raw(scenario, "cpu"));
                targets.extend(ahead(scenario, WHOLE, "p99"));
            }
            "idle" => {
                targets.extend(idle(scenario, "before"));
                targets.extend(idle(scenario, "after"));
            }
            _ => {}
        }
    }
    targets
}

fn of_floor(scenario: &ScenarioResults) -> Option<Target> {
    let ratios = scenario.ratios(CHUNKS, "floor", "speed");
    target(scenario, CHUNKS, "speed, x floor".into(), ratios, Better::More, OF_FLOOR)
}

/// Not behind the best of the peers, round by round.
fn ahead(scenario: &ScenarioResults, library: &'static str, key: &str) -> Option<Target> {
    let better = scenario.columns.iter().find(|column| column.key == key)?.better;
    let peers = NAMES.iter().filter(|name| !["raw", "floor", CHUNKS, WHOLE].contains(name));
    let compared = peers.filter_map(|peer| {
        let ratios = scenario.ratios(library, peer, key);
        Some((*peer, median(ratios.clone())?, ratios))
    });
    let (peer, _, ratios) = match better {
        Better::More => compared.min_by(|(_, left, _), (_, right, _)| left.total_cmp(right)),
        Better::Less => compared.max_by(|(_, left, _), (_, right, _)| left.total_cmp(right)),
    }?;
    target(scenario, library, format!("{key}, x the best peer ({peer})"), ratios, better, 1.0)
}

/// Raw TCP's CPU time, and what masking takes by itself where the message is masked.
fn one_message(results: &Results, scenario: &ScenarioResults) -> Option<Target> {
    let mut figure = "receiver CPU, x raw".to_owned();
    let mut masking = 0.0;
    if scenario.name.contains("masked") {
        let speed = results.scenario("memory")?.median("raw", "mask")?;
        masking = f64::from(1 << 30) / 1e9 / speed;
        figure = format!("receiver CPU, x (raw + {masking:.3} s of masking)");
    }
    let ratios = scenario.paired(CHUNKS, "raw", "cpu", |ours, raw| ours / (raw + masking));
    target(scenario, CHUNKS, figure, ratios, Better::Less, ONE_MESSAGE_CPU)
}

/// Whole messages: what one writes for an echo.
fn of_raw(scenario: &ScenarioResults, key: &str) -> Option<Target> {
    target(scenario, WHOLE, format!("{key}, x raw"), scenario.ratios(WHOLE, "raw", key), Better::Less, ECHO)
}

fn idle(scenario: &ScenarioResults, key: &str) -> Option<Target> {
    let above = scenario.paired(CHUNKS, "raw", key, |ours, raw| ours - raw);
    target(scenario, CHUNKS, format!("bytes above raw, {key} traffic"), above, Better::Less, IDLE)
}

/// Whether the median of `values`, one of each round, reaches `limit`, and how many of them do.
fn target(
    scenario: &ScenarioResults,
    library: &'static str,
    figure: String,
    values: Vec<f64>,
    better: Better,
    limit: f64,
) -> Option<Target> {
    let reaches = |value: f64| match better {
        Better::More => value >= limit,
        Better::Less => value <= limit,
    };
    let sign = match better {
        Better::More => ">=",
        Better::Less => "<=",
    };
    // Ratios, or bytes.
    let digits = if limit < 100.0 { 2 } else { 0 };
    let (rounds, rounds_met) = (values.len(), values.iter().filter(|value| reaches(**value)).count());
    let ours = median(values)?;
    Some(Target {
        scenario: scenario.name.clone(),
        library,
        figure,
        ours: format!("{ours:.digits$}"),
        limit: format!("{sign} {limit:.digits$}"),
        met: reaches(ours),
        rounds_met,
        rounds,
    })
}
