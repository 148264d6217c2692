//! What a slow consumer does to throughput and memory: `cargo bench -p wsstream-slow-consumer`.
//!
//! The sender and the receiver are two processes. The consumer of the receiver takes payload at a given speed; the README of
//! this package says what each figure means.

mod case;
mod chart;
mod pace;
mod receiver;
mod report;
mod results;
mod run;
mod sender;
mod taken;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use wsstream_peers::{
    child::Watch,
    library::{self, with_library},
    process::default_out,
};

use crate::case::{Case, Scale};

/// Shows what slow consumers do to throughput and memory, with wsstream, raw TCP and other WebSocket libraries.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p wsstream-slow-consumer --")]
struct Args {
    /// How often each library runs in each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only cases whose name contains one of these, as `endless` or `1KiB/stopped`.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these libraries.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    library: Vec<String>,
    /// Folder of the report; relative to `benches/slow_consumer`, where cargo starts this. Default:
    /// `target/slow_consumer`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One round of next to nothing: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// Names the cases and libraries and ends.
    #[arg(long)]
    list: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// Is one run of this case.
    #[arg(long, hide = true, value_name = "CASE")]
    child: Option<String>,
    /// The receiver of the run listens there.
    #[arg(long, hide = true)]
    port: Option<u16>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(name, &args);
    }
    let libraries = selected_libraries(&args.library)?;
    let cases: Vec<_> = Case::all().filter(|case| args.selects(&case.name())).collect();
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.name()));
        println!("\nlibraries: {}", libraries.join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!cases.is_empty(), "no case has such a name; --list names them");

    let rounds = if args.quick { 1 } else { args.rounds.max(1) };
    let out = args.out.clone().map_or_else(|| default_out("slow_consumer"), Ok)?;
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let results = run::all(&cases, libraries, rounds, args.quick)?;
    results.write_csv(&out.join("slow_consumer.csv"))?;
    fs::write(out.join("report.md"), report::markdown(&results))?;
    chart::draw(&results, &out.join("chart.svg"))?;
    if !args.quick {
        println!("{}", report::at_a_glance(&results));
    }
    eprintln!("slow_consumer.csv, report.md and chart.svg are in {}", out.display());
    ensure!(results.failures.is_empty(), "{} runs failed", results.failures.len());
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

/// In the order of the report. Framing by hand takes part only if it is named.
fn selected_libraries(names: &[String]) -> Result<Vec<&'static str>> {
    for name in names {
        ensure!(library::NAMES.contains(&name.as_str()), "there is no library {name}: {}", library::NAMES.join(" "));
    }
    let selected =
        |name: &&str| if names.is_empty() { *name != "floor" } else { names.iter().any(|wanted| wanted == name) };
    Ok(library::NAMES.into_iter().filter(selected).collect())
}

/// One end of a run; its figures go to stdout.
fn child(name: &str, args: &Args) -> Result<ExitCode> {
    let watch = Watch::start();
    let (case, scale) = (Case::find(name)?, Scale { quick: args.quick });
    let library = args.library.first().context("no library")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    with_library!(library.as_str(), L => match args.port {
        None => watch.finish(&runtime.block_on(receiver::run::<L>(case, scale))?),
        Some(port) => watch.finish(&runtime.block_on(sender::run::<L>(case, port))?),
    })
}
