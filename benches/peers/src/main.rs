//! wsstream beside raw TCP and the other WebSocket libraries: `cargo bench -p wsstream-peers`.
//!
//! Every run is a fresh process, or two; the libraries take turns, round after round. What comes out is the median over
//! the rounds, and the median of the ratios to raw TCP of the same round: the speed of a machine moves, the ratios stay.

mod chart;
mod report;
mod results;
mod run;
mod scenario;
mod summary;
mod targets;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use wsstream_peers::{
    child::{self, End},
    library,
    process::default_out,
};

use crate::{
    results::Results,
    scenario::{Scale, Scenario},
};

/// Compares wsstream with raw TCP and with other WebSocket libraries.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p wsstream-peers --")]
struct Args {
    /// How often each library runs in each scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only scenarios whose name contains one of these, as `bulk/download` or `one-thread`.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these libraries, and raw TCP, with which they are compared.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    library: Vec<String>,
    /// Folder of the report; relative to `benches/peers`, where cargo starts this. Default: `target/peers`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One round of next to nothing: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// Names the scenarios and libraries and ends.
    #[arg(long)]
    list: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// Is one run of this scenario.
    #[arg(long, hide = true, value_name = "SCENARIO")]
    child: Option<String>,
    /// The other process of the run listens there.
    #[arg(long, hide = true)]
    port: Option<u16>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let scale = Scale { quick: args.quick };
    if let Some(name) = &args.child {
        return child(name, &args, scale);
    }
    let libraries = selected_libraries(&args.library)?;
    let scenarios: Vec<_> = scenario::all().into_iter().filter(|scenario| args.selects(&scenario.name)).collect();
    if args.list {
        for scenario in &scenarios {
            println!("{:40} {}", scenario.name, scenario.title);
        }
        println!("\nlibraries: {}", libraries.join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!scenarios.is_empty(), "no scenario has such a name; --list names them");

    let rounds = if args.quick { 1 } else { args.rounds.max(1) };
    let out = args.out.clone().map_or_else(|| default_out("peers"), Ok)?;
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let results = run::all(&scenarios, &libraries, rounds, scale)?;
    write(&results, &out)?;
    let failed = results.scenarios.iter().map(|scenario| scenario.failures.len()).sum::<usize>();
    ensure!(failed == 0, "{failed} runs failed");
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

/// In the order of the report, raw TCP always among them.
fn selected_libraries(names: &[String]) -> Result<Vec<&'static str>> {
    for name in names {
        ensure!(library::NAMES.contains(&name.as_str()), "there is no library {name}: {}", library::NAMES.join(" "));
    }
    let selected = |name: &&str| names.is_empty() || *name == "raw" || names.iter().any(|wanted| wanted == name);
    Ok(library::NAMES.into_iter().filter(selected).collect())
}

fn write(results: &Results, out: &std::path::Path) -> Result<()> {
    let report = report::markdown(results);
    fs::write(out.join("report.md"), &report)?;
    fs::write(out.join("summary.md"), summary::markdown(results))?;
    fs::write(out.join("report.json"), results.json()?)?;
    chart::draw(results, &out.join("chart.svg"))?;
    if !results.about.quick {
        println!("{report}");
    }
    eprintln!("report.md, summary.md, report.json and chart.svg are in {}", out.display());
    Ok(())
}

/// One run, or one end of it; its figures go to stdout.
fn child(name: &str, args: &Args, scale: Scale) -> Result<ExitCode> {
    let watch = child::Watch::start();
    let library = args.library.first().context("no library")?;
    let end = args.port.map_or(End::Listen, End::Dial);
    let figures = Scenario::find(name)?.run(library, end, scale)?;
    watch.finish(&figures)
}
