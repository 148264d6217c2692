//! How many instructions it takes, by valgrind: the same in every run, however busy the machine is.
//!
//! This program runs itself under callgrind, twice for each case, with different numbers of calls; the difference is
//! what the calls cost. The crates that do such things better need a program installed besides, of the very same version.

use std::{
    env,
    hint::black_box,
    process::{Command, ExitCode},
};

use wsstream_micro::{Meter, Work, run};

/// Set where one case is run under valgrind: how often.
const CALLS: &str = "WSSTREAM_MICRO_CALLS";

/// The first calls find cold buffers, so that they do not count.
const FEW: u64 = 4;
const MORE: u64 = 8;

/// Runs one case, by its full name.
struct Once {
    name: String,
    calls: u64,
}

impl Meter for Once {
    fn wants(&mut self, name: &str) -> bool {
        name == self.name
    }

    fn measure<T>(&mut self, _: &str, _: Work, mut case: impl FnMut() -> T) {
        for _ in 0..self.calls {
            black_box(case());
        }
    }
}

/// Has the cases run whose names contain the filter.
struct Counter {
    filter: String,
    failed: bool,
}

impl Meter for Counter {
    fn wants(&mut self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    fn measure<T>(&mut self, name: &str, work: Work, _: impl FnMut() -> T) {
        match (count(name, FEW), count(name, MORE)) {
            (Ok(few), Ok(more)) => {
                let calls = (more - few) as f64 / (MORE - FEW) as f64;
                print!("{name:<50} {:>12.1} per message", calls / work.messages as f64);
                if work.bytes > 0 {
                    print!("{:>10.3} per byte", calls / work.bytes as f64);
                }
                println!();
            }
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{name}: {error}");
                self.failed = true;
            }
        }
    }
}

/// The instructions of a process that calls the case so often.
fn count(name: &str, calls: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(name)
        .env(CALLS, calls.to_string())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("valgrind: {}\n{said}", output.status)),
    }
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    if let Some(calls) = env::var(CALLS).ok().and_then(|calls| calls.parse().ok()) {
        run(&mut Once { name: filter, calls });
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instruction counts are skipped: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    println!("instructions:");
    let mut counter = Counter { filter, failed: false };
    run(&mut counter);
    if counter.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
