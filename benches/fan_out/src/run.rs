//! Runs: two fresh processes each, the libraries in turn, round after round.

use std::time::Instant;

use anyhow::Result;
use wsstream_peers::{
    measure::OtherProcesses,
    process::{Process, patiently, progress},
};

use crate::{
    case::Case,
    figures::{Figures, GIB, Run, Runs},
};

pub(crate) fn all(cases: &[Case], libraries: &[&'static str], rounds: usize, quick: bool) -> Result<Runs> {
    let mut runs = Runs::default();
    let (start, total) = (Instant::now(), cases.len() * libraries.len() * rounds);
    let mut done = 0;
    for round in 0..rounds {
        for case in cases {
            // Another one begins each time, so that none always follows the same.
            for turn in 0..libraries.len() {
                let library = libraries[(turn + round) % libraries.len()];
                let others = OtherProcesses::start()?;
                match patiently(&format!("{} {library}", case.name), || once(case, library, quick)) {
                    Ok(figures) => runs.runs.push(Run { case: case.name, library, round, figures }),
                    Err(error) => {
                        runs.failures.push(format!("{} {library}, round {}: {error:#}", case.name, round + 1))
                    }
                }
                runs.other_cores.push(others.cores()?);
                done += 1;
                let left = start.elapsed().as_secs() * (total - done) as u64 / done as u64;
                progress(&format!("{done}/{total}, {left} s left: {} {library}", case.name));
            }
        }
    }
    eprintln!("\n{total} runs in {} s", start.elapsed().as_secs());
    Ok(runs)
}

fn once(case: &Case, library: &str, quick: bool) -> Result<Figures> {
    let mut args = vec!["--child", case.name, "--library", library];
    if quick {
        args.push("--quick");
    }
    let mut relay = Process::start(&args)?;
    let port = relay.port()?.to_string();
    let mut load = Process::start(args.iter().chain(&["--port", &port]))?;
    let mut figures: Figures = load.figures()?;
    figures.extend(relay.figures::<Figures>()?);
    let of = |key: &str| figures.get(key).copied().unwrap_or_default();
    // One end knows what it used, the other one for how much.
    let delivered = of("delivered");
    let gib = delivered * case.message_len as f64 / GIB;
    let (user, system) = (of("user") / gib, of("system") / gib);
    let derived = [
        ("user", user),
        ("system", system),
        ("cpu", user + system),
        ("share", user / system),
        ("frame", (of("user") + of("system")) / delivered * 1e6),
        ("speed", gib * GIB / 1e9 / of("seconds")),
    ];
    figures.extend(derived.map(|(key, value)| (key.to_owned(), value)));
    Ok(figures)
}
