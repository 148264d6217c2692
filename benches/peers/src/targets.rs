//! What wsstream is meant to reach, and whether it does.

use serde::Serialize;
use wsstream_peers::library::NAMES;

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
    pub(crate) met: bool,
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
    let ratio = scenario.ratio(CHUNKS, "floor", "speed")?;
    let figure = "speed, x floor".into();
    Some(target(scenario, CHUNKS, figure, format!("{ratio:.2}"), format!(">= {OF_FLOOR:.2}"), ratio >= OF_FLOOR))
}

/// Not behind the best of the peers, round by round.
fn ahead(scenario: &ScenarioResults, library: &'static str, key: &str) -> Option<Target> {
    let better = scenario.columns.iter().find(|column| column.key == key)?.better;
    let peers = NAMES.iter().filter(|name| !["raw", "floor", CHUNKS, WHOLE].contains(name));
    let ratios = peers.filter_map(|peer| Some((*peer, scenario.ratio(library, peer, key)?)));
    let (peer, ratio) = match better {
        Better::More => ratios.min_by(|(_, left), (_, right)| left.total_cmp(right)),
        Better::Less => ratios.max_by(|(_, left), (_, right)| left.total_cmp(right)),
    }?;
    let (limit, met) = match better {
        Better::More => (">= 1.00", ratio >= 1.0),
        Better::Less => ("<= 1.00", ratio <= 1.0),
    };
    let figure = format!("{key}, x the best peer ({peer})");
    Some(target(scenario, library, figure, format!("{ratio:.2}"), limit.into(), met))
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
    let ratio = scenario.paired(CHUNKS, "raw", "cpu", |ours, raw| ours / (raw + masking))?;
    let met = ratio <= ONE_MESSAGE_CPU;
    Some(target(scenario, CHUNKS, figure, format!("{ratio:.2}"), format!("<= {ONE_MESSAGE_CPU:.2}"), met))
}

/// Whole messages: what one writes for an echo.
fn of_raw(scenario: &ScenarioResults, key: &str) -> Option<Target> {
    let ratio = scenario.ratio(WHOLE, "raw", key)?;
    let figure = format!("{key}, x raw");
    Some(target(scenario, WHOLE, figure, format!("{ratio:.2}"), format!("<= {ECHO:.2}"), ratio <= ECHO))
}

fn idle(scenario: &ScenarioResults, key: &str) -> Option<Target> {
    let above = scenario.paired(CHUNKS, "raw", key, |ours, raw| ours - raw)?;
    let figure = format!("bytes above raw, {key} traffic");
    Some(target(scenario, CHUNKS, figure, format!("{above:.0}"), format!("<= {IDLE:.0}"), above <= IDLE))
}

fn target(
    scenario: &ScenarioResults,
    library: &'static str,
    figure: String,
    ours: String,
    limit: String,
    met: bool,
) -> Target {
    Target { scenario: scenario.name.clone(), library, figure, ours, limit, met }
}
