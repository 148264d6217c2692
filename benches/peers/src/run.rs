//! Runs: fresh processes, the libraries in turn, round after round.

use std::{io::IsTerminal, time::Instant};

use anyhow::Result;
use wsstream_peers::{
    about::About,
    measure::OtherProcesses,
    process::{Process, patiently, progress},
};

use crate::{
    results::{Results, Run, ScenarioResults},
    scenario::{Case, Figures, Scale, Scenario},
};

pub(crate) fn all(scenarios: &[Scenario], libraries: &[&str], rounds: usize, scale: Scale) -> Result<Results> {
    let entrants = |scenario: &Scenario| -> Vec<String> {
        libraries.iter().filter(|library| scenario.takes(library)).map(|library| library.to_string()).collect()
    };
    let runs: usize = scenarios.iter().map(|scenario| entrants(scenario).len() * scenario.rounds(rounds)).sum();
    let (start, mut done) = (Instant::now(), 0);
    let mut results = Results::new(About::now("wsstream-peers", rounds, scale.quick)?);
    for scenario in scenarios {
        let libraries = entrants(scenario);
        let mut measured = ScenarioResults::new(scenario, libraries.clone());
        for round in 0..scenario.rounds(rounds) {
            // Another one begins each time, so that none always follows the same.
            for turn in 0..libraries.len() {
                let library = &libraries[(turn + round) % libraries.len()];
                let others = OtherProcesses::start()?;
                let name = format!("{} {library}", scenario.name);
                match patiently(&name, || once(scenario, library, scale)) {
                    Ok(figures) => measured.runs.push(Run { round, library: library.clone(), figures }),
                    Err(error) => {
                        eprintln!("\n{} {library}: {error:#}", scenario.name);
                        measured.failures.push(format!("{library}, round {}: {error:#}", round + 1));
                    }
                }
                measured.other_cores.push(others.cores()?);
                done += 1;
                let left = start.elapsed() / done as u32 * (runs - done) as u32;
                progress(&format!("{done}/{runs}, {} s left: {}", left.as_secs(), scenario.name));
            }
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("{} after {} s", scenario.name, start.elapsed().as_secs());
        }
        results.scenarios.push(measured);
    }
    progress("");
    eprintln!("{runs} runs in {} s", start.elapsed().as_secs());
    results.about.seconds = start.elapsed().as_secs();
    Ok(results)
}

fn once(scenario: &Scenario, library: &str, scale: Scale) -> Result<Figures> {
    let mut args = vec!["--child", &scenario.name, "--library", library];
    if scale.quick {
        args.push("--quick");
    }
    let mut listens = Process::start(&args)?;
    if !scenario.is_pair() {
        return listens.figures();
    }
    let port = listens.port()?.to_string();
    let mut dials = Process::start(args.iter().chain(&["--port", &port]))?;
    let dialled: Figures = dials.figures()?;
    let mut figures: Figures = listens.figures()?;
    for (key, value) in dialled {
        *figures.entry(key).or_default() += value; // both ends have used CPU
    }
    if matches!(scenario.case, Case::FanOut) {
        // One end knows what it used, the other one for how much.
        let cpu = figures.remove("relay_cpu").unwrap_or_default() / figures.remove("delivered").unwrap_or_default();
        figures.insert("cpu".into(), cpu);
    }
    Ok(figures)
}
