//! The report as Markdown, and every run as CSV.

use std::fmt::Write;

use wsstream_peers::{about::About, numbers::median};

use crate::{
    case::{BUDGET, Case},
    figures::Runs,
};

/// What a relay's own code may take of what the kernel takes for it.
const OWN_SHARE: f64 = 0.1;

pub(crate) fn markdown(about: &About, notes: &[String], cases: &[Case], libraries: &[&str], runs: &Runs) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut text, about, notes, runs);
    for case in cases {
        let _ = table(&mut text, case, libraries, runs);
    }
    let _ = verdicts(&mut text, cases, libraries, runs);
    for failure in &runs.failures {
        let _ = writeln!(text, "**Failed:** {failure}\n");
    }
    text
}

fn head(text: &mut String, about: &About, notes: &[String], runs: &Runs) -> std::fmt::Result {
    writeln!(text, "# What a receiver of a fan-out costs\n")?;
    if about.quick {
        writeln!(text, "**A quick pass: it shows that everything works, the figures mean nothing.**\n")?;
    }
    writeln!(text, "{about}\n")?;
    for note in notes {
        writeln!(text, "{note}\n")?;
    }
    let others = median(runs.other_cores.clone()).unwrap_or_default();
    writeln!(
        text,
        "CPU time is the relay's, in seconds per GiB delivered, or in microseconds for one message to one receiver; medians \
         over the rounds. \"x raw\" is the median of the ratios to TCP by hand, frame by frame, in the same round. Missed: messages \
         that receivers who read did not get. Held: how far the relay's memory rose \
         above what it was with all connections open. Other processes used {others:.2} cores (median).\n"
    )
}

fn table(text: &mut String, case: &Case, libraries: &[&str], runs: &Runs) -> std::fmt::Result {
    writeln!(text, "## {}\n\n{}.\n", case.name, case.title())?;
    writeln!(
        text,
        "| library | CPU s/GiB | x raw | user | system | user/system | us/message | GB/s | held MiB | missed |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for library in libraries {
        let of = |key: &str| runs.median(case.name, library, key).unwrap_or(f64::NAN);
        writeln!(
            text,
            "| {library} | {:.3} | {:.2} | {:.3} | {:.3} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0} |",
            of("cpu"),
            runs.ratio(case.name, library, "raw", "cpu").unwrap_or(f64::NAN),
            of("user"),
            of("system"),
            of("share"),
            of("frame"),
            of("speed"),
            runs.most(case.name, library, "held").unwrap_or(f64::NAN),
            runs.most(case.name, library, "lost").unwrap_or(f64::NAN),
        )?;
    }
    text.push('\n');
    Ok(())
}

/// What is meant to hold, and whether it does.
fn verdicts(text: &mut String, cases: &[Case], libraries: &[&str], runs: &Runs) -> std::fmt::Result {
    const OURS: &str = "wsstream";
    writeln!(text, "## What is meant to hold\n\n| case | what | is | limit | holds |\n|---|---|---:|---:|---|")?;
    for case in cases {
        let mut row = |what: &str, is: Option<f64>, limit: f64| {
            let Some(is) = is else { return Ok(()) };
            let holds = if is <= limit { "yes" } else { "**no**" };
            writeln!(text, "| {} | {what} | {is:.2} | {limit:.2} | {holds} |", case.name)
        };
        row("messages missed by those who read", runs.most(case.name, OURS, "lost"), 0.0)?;
        let budgets = (BUDGET * case.receivers) as f64 / f64::from(1 << 20);
        row("memory held, MiB, of budget times receivers", runs.most(case.name, OURS, "held"), budgets)?;
        row("user time, x system time", runs.median(case.name, OURS, "share"), OWN_SHARE)?;
        // Writing less often lowers the kernel's share of a relay itself; raw TCP's does not depend on us.
        let of = |library: &str, key: &str| runs.median(case.name, library, key);
        row(
            "user time, x system time of raw",
            of(OURS, "user").zip(of("raw", "system")).map(|(a, b)| a / b),
            OWN_SHARE,
        )?;
        // What is done by hand over TCP takes a runtime too.
        let own = runs.difference(case.name, OURS, "raw", "user");
        row("user time beyond that of raw, x system time", own.zip(of(OURS, "system")).map(|(a, b)| a / b), OWN_SHARE)?;
        for other in libraries.iter().filter(|other| **other != OURS) {
            row(&format!("CPU, x {other}"), runs.ratio(case.name, OURS, other, "cpu"), 1.0)?;
        }
    }
    text.push('\n');
    Ok(())
}

/// One line for each run.
pub(crate) fn csv(cases: &[Case], runs: &Runs) -> String {
    const KEYS: [&str; 10] =
        ["cpu", "user", "system", "share", "frame", "speed", "held", "delivered", "lost", "missed"];
    let mut text = format!("case,receivers,stopped,message,library,round,{}\n", KEYS.join(","));
    for run in &runs.runs {
        let Some(case) = cases.iter().find(|case| case.name == run.case) else { continue };
        let (receivers, stopped, message) = (case.receivers, case.stopped, case.message_len);
        let _ = write!(text, "{},{receivers},{stopped},{message},{},{}", run.case, run.library, run.round + 1);
        for key in KEYS {
            let _ = write!(text, ",{}", run.figures.get(key).copied().unwrap_or(f64::NAN));
        }
        text.push('\n');
    }
    text
}
