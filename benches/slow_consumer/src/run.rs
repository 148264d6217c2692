//! Runs: two fresh processes each, the libraries in turn, round after round.

use std::time::Instant;

use anyhow::Result;
use wsstream_peers::{
    about::About,
    measure::OtherProcesses,
    process::{Process, patiently, progress},
};

use crate::{
    case::Case,
    receiver::Received,
    results::{Results, Row},
    sender::Sent,
};

pub(crate) fn all(cases: &[Case], libraries: Vec<&'static str>, rounds: usize, quick: bool) -> Result<Results> {
    let about = About::now("wsstream-slow-consumer", rounds, quick)?;
    let mut results = Results { about, libraries: libraries.clone(), rows: Vec::new(), failures: Vec::new() };
    let (start, total) = (Instant::now(), rounds * cases.len() * libraries.len());
    let mut done = 0;
    for round in 0..rounds {
        for case in cases {
            // Another one begins each time, so that none always follows the same.
            for turn in 0..libraries.len() {
                let library = libraries[(turn + round) % libraries.len()];
                let name = format!("{} {library}", case.name());
                let others = OtherProcesses::start()?;
                match patiently(&name, || once(*case, library, quick)) {
                    Ok((received, sent)) => {
                        results.rows.push(Row::new(*case, library, round, &received, &sent, others.cores()?));
                    }
                    Err(error) => results.failures.push(format!("{name}, round {}: {error:#}", round + 1)),
                }
                done += 1;
                let left = start.elapsed() / done * (total as u32 - done);
                progress(&format!("{done}/{total}, {} s left: {name}", left.as_secs()));
            }
        }
    }
    progress("");
    results.about.seconds = start.elapsed().as_secs();
    eprintln!("{total} runs in {} s", results.about.seconds);
    Ok(results)
}

fn once(case: Case, library: &str, quick: bool) -> Result<(Received, Sent)> {
    let name = case.name();
    let mut args = vec!["--child", &name, "--library", library];
    if quick {
        args.push("--quick");
    }
    let mut receives = Process::start(&args)?;
    let port = receives.port()?.to_string();
    let mut sends = Process::start(args.iter().chain(&["--port", &port]))?;
    let sent = sends.figures()?;
    Ok((receives.figures()?, sent))
}
