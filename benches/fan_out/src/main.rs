//! What a receiver of a fan-out costs: `cargo bench -p wsstream-fan-out`.
//!
//! A relay, in a process of its own, sends what one source says to 1 to 1,000 receivers: with wsstream's `Fanout`, with each of
//! the other libraries as their users would write it, and by hand over TCP, frame by frame.

mod case;
mod chart;
mod figures;
mod load;
mod relay;
mod report;
mod run;

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Builder;
use wsstream_peers::{about::About, child::Watch, process::default_out};

use crate::case::{CASES, Case};

/// Raw TCP, frame by frame; wsstream; relays written with the others.
const LIBRARIES: [&str; 7] =
    ["raw", "wsstream", "tokio-tungstenite", "fastwebsockets", "tokio-websockets", "yawc", "sockudo-ws"];

/// Files that a process has open besides its receivers.
const SPARE_FILES: usize = 64;

/// Measures what a receiver of a fan-out costs, with wsstream and with relays written with other libraries.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p wsstream-fan-out --")]
struct Args {
    /// How often each library runs in each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only cases whose name contains one of these, as `receivers` or `stopped/full`.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these libraries, and raw TCP, with which they are compared.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    library: Vec<String>,
    /// One round of next to nothing: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// Is one process of a run of this case.
    #[arg(long, hide = true, value_name = "CASE")]
    child: Option<String>,
    /// The relay listens there.
    #[arg(long, hide = true)]
    port: Option<u16>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(name, &args);
    }
    let mut cases: Vec<_> = CASES.into_iter().filter(|case| args.selects(case.name)).collect();
    ensure!(!cases.is_empty(), "no case has such a name: {}", CASES.map(|case| case.name).join(" "));
    for name in &args.library {
        ensure!(LIBRARIES.contains(&name.as_str()), "there is no library {name}: {}", LIBRARIES.join(" "));
    }
    let notes = allow_files(&mut cases)?;
    let selected =
        |name: &&str| args.library.is_empty() || *name == "raw" || args.library.iter().any(|own| own == name);
    let libraries: Vec<_> = LIBRARIES.into_iter().filter(selected).collect();
    let rounds = if args.quick { 1 } else { args.rounds.max(1) };
    let mut about = About::now("wsstream-fan-out", rounds, args.quick)?;
    let start = Instant::now();
    let runs = run::all(&cases, &libraries, rounds, args.quick)?;
    about.seconds = start.elapsed().as_secs();
    let out = default_out("fan_out")?;
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let text = report::markdown(&about, &notes, &cases, &libraries, &runs);
    fs::write(out.join("report.md"), &text)?;
    fs::write(out.join("fan_out.csv"), report::csv(&cases, &runs))?;
    chart::draw(&cases, &runs, &out.join("chart.svg"))?;
    if !args.quick {
        println!("{text}");
    }
    eprintln!("report.md, fan_out.csv and chart.svg are in {}", out.display());
    ensure!(runs.failures.is_empty(), "{} runs failed: {}", runs.failures.len(), runs.failures.join("; "));
    Ok(ExitCode::SUCCESS)
}

/// Lets each of the processes to come open as many files as it may; leaves out cases for which that is not enough.
fn allow_files(cases: &mut Vec<Case>) -> Result<Vec<String>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let has_files = |case: &Case| (case.receivers + SPARE_FILES) as u64 <= hard;
    let left_out = cases.iter().filter(|case| !has_files(case));
    let notes = left_out
        .map(|case| format!("**Left out: {}**: a process may open {hard} files here, too few for it.", case.name))
        .collect();
    cases.retain(has_files);
    Ok(notes)
}

impl Args {
    fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    /// To get going, and to be measured. Those who are stopped have to be full before.
    fn times(&self, case: &Case) -> (Duration, Duration) {
        match (self.quick, case.stopped) {
            (true, _) => (Duration::from_millis(50), Duration::from_millis(50)),
            (false, 0) => (Duration::from_millis(500), Duration::from_secs(2)),
            (false, _) => (Duration::from_secs(2), Duration::from_secs(2)),
        }
    }
}

/// One end of a run; its figures go to stdout.
fn child(name: &str, args: &Args) -> Result<ExitCode> {
    let watch = Watch::start();
    let case = Case::find(name).context("there is no such case")?;
    let figures = match args.port {
        None => {
            let library = args.library.first().context("no library")?.clone();
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async { tokio::spawn(async move { relay::run(&library, case).await }).await? })?
        }
        Some(port) => {
            let (warm_up, measured) = args.times(&case);
            load::run(port, case, warm_up, measured)?
        }
    };
    watch.finish(&figures)
}
