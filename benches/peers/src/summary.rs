//! The report in short: a table for each kind of scenario, with a column for each library, and the targets that are missed.

use std::fmt::Write;

use wsstream_peers::numbers::number;

use crate::{
    results::{Results, ScenarioResults},
    scenario::Better,
    targets,
};

/// Who is no competitor: it is never the best.
const LIMITS: [&str; 2] = ["raw", "floor"];

/// A figure of several scenarios.
struct Table {
    title: &'static str,
    takes: fn(&str) -> bool,
    key: &'static str,
    shows: Shows,
}

#[derive(Clone, Copy)]
enum Shows {
    /// The median of the ratios to raw TCP.
    OfRaw,
    /// The median, in so many of the column's units, with so many digits.
    Itself(f64, usize),
}

fn is_plain_bulk(name: &str) -> bool {
    (name.starts_with("bulk/") || name.starts_with("text/")) && !gives_way(name)
}

fn gives_way(name: &str) -> bool {
    name.ends_with("/giving-way")
}

fn has_default_frames(name: &str) -> bool {
    name.starts_with("default-frames/")
}

fn is_one_message(name: &str) -> bool {
    name.starts_with("one-message/") && name != "one-message/send"
}

const TABLES: [Table; 14] = {
    use Shows::{Itself, OfRaw};
    const fn table(title: &'static str, takes: fn(&str) -> bool, key: &'static str, shows: Shows) -> Table {
        Table { title, takes, key, shows }
    }
    [
        table("Bulk: speed, x raw TCP", is_plain_bulk, "speed", OfRaw),
        table("Bulk: CPU of both ends, x raw TCP", is_plain_bulk, "cpu", OfRaw),
        table("Bulk in frames of 64 KiB, the default: speed, x raw TCP", has_default_frames, "speed", OfRaw),
        table("Bulk in frames of 64 KiB: CPU of both ends, x raw TCP", has_default_frames, "cpu", OfRaw),
        table("Bulk where the sender gives way: GB/s", gives_way, "speed", Itself(1.0, 1)),
        table("Small messages: million messages a second", |name| name.starts_with("small/"), "rate", Itself(1e6, 2)),
        table("Small messages: CPU of both ends, ns/message", |name| name.starts_with("small/"), "cpu", Itself(1.0, 0)),
        table("Echo: p50 of a round trip, x raw TCP", |name| name.starts_with("echo/"), "p50", OfRaw),
        table("Echo: p99 of a round trip, x raw TCP", |name| name.starts_with("echo/"), "p99", OfRaw),
        table("Echo: CPU of both ends, x raw TCP", |name| name.starts_with("echo/"), "cpu", OfRaw),
        table("One message of 1 GiB: CPU of the receiver, x raw TCP", is_one_message, "cpu", OfRaw),
        table("Fan-out to 64: CPU of the relay, x raw TCP", |name| name.starts_with("fan-out/"), "cpu", OfRaw),
        table("Compression: MB/s", |name| name.starts_with("deflate/"), "speed", Itself(1.0, 0)),
        table("Compression: CPU of both ends, ms/MB", |name| name.starts_with("deflate/"), "cpu", Itself(1.0, 2)),
    ]
};

/// Whose memory is looked at, and what is said of it.
const MEMORY: [&str; 4] = ["one-message/frame", "one-message/send", "idle/1000", "fan-out/64"];
const MEMORY_KEYS: [&str; 5] = ["peak", "kept", "given", "before", "after"];

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("Best in bold; raw TCP and `floor`, which are no libraries, left out of that.\n");
    // Writing to a string cannot fail.
    for table in TABLES {
        let rows: Vec<_> = results.scenarios.iter().filter_map(|scenario| row(scenario, &table)).collect();
        let _ = write_table(&mut text, table.title, &rows);
    }
    let memory = MEMORY.iter().filter_map(|name| results.scenario(name));
    let rows: Vec<_> = memory.flat_map(memory_rows).collect();
    let _ = write_table(&mut text, "Memory", &rows);
    let _ = missed(&mut text, results);
    text
}

/// A label, and for each library that was there what it shows.
struct Row {
    label: String,
    better: Better,
    digits: usize,
    figures: Vec<(String, f64)>,
}

fn row(scenario: &ScenarioResults, table: &Table) -> Option<Row> {
    let column = scenario.columns.iter().find(|column| column.key == table.key)?;
    if !(table.takes)(&scenario.name) {
        return None;
    }
    let digits = if let Shows::Itself(_, digits) = table.shows { digits } else { 2 };
    let figure = |library: &str| match table.shows {
        Shows::OfRaw if library == "raw" => None,
        Shows::OfRaw => scenario.ratio(library, "raw", table.key),
        Shows::Itself(unit, _) => Some(scenario.median(library, table.key)? / unit),
    };
    Some(Row { label: words(&scenario.name), better: column.better, digits, figures: figures(scenario, figure) })
}

fn memory_rows(scenario: &ScenarioResults) -> impl Iterator<Item = Row> {
    let columns = scenario.columns.iter().filter(|column| MEMORY_KEYS.contains(&column.key));
    columns.map(|column| Row {
        label: format!("{}: {}", words(&scenario.name), column.title),
        better: column.better,
        digits: column.digits,
        figures: figures(scenario, |library| scenario.median(library, column.key)),
    })
}

fn figures(scenario: &ScenarioResults, figure: impl Fn(&str) -> Option<f64>) -> Vec<(String, f64)> {
    scenario.libraries.iter().filter_map(|library| Some((library.clone(), figure(library)?))).collect()
}

/// The name of a scenario as people write it.
fn words(name: &str) -> String {
    name.replace('/', ", ").replace('-', " ")
}

fn write_table(text: &mut String, title: &str, rows: &[Row]) -> std::fmt::Result {
    let mut libraries: Vec<&str> = Vec::new();
    for (library, _) in rows.iter().flat_map(|row| &row.figures) {
        if !libraries.contains(&library.as_str()) {
            libraries.push(library);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n### {title}\n\n| | {} |\n| --- |{}", libraries.join(" | "), " ---: |".repeat(libraries.len()))?;
    for row in rows {
        let competitors = row.figures.iter().filter(|(library, _)| !LIMITS.contains(&library.as_str()));
        let values = competitors.map(|(_, value)| *value);
        let best = match row.better {
            Better::More => values.fold(f64::NEG_INFINITY, f64::max),
            Better::Less => values.fold(f64::INFINITY, f64::min),
        };
        write!(text, "| {} |", row.label)?;
        for library in &libraries {
            match row.figures.iter().find(|(other, _)| other == library) {
                Some((library, value)) if *value == best && !LIMITS.contains(&library.as_str()) => {
                    write!(text, " **{}** |", number(*value, row.digits))?;
                }
                Some((_, value)) => write!(text, " {} |", number(*value, row.digits))?,
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    Ok(())
}

fn missed(text: &mut String, results: &Results) -> std::fmt::Result {
    let targets = targets::all(results);
    let met = targets.iter().filter(|target| target.met).count();
    writeln!(text, "\n### Against the goals\n\n{met} of {} figures reach what was set out for them.", targets.len())?;
    if met < targets.len() {
        let steadily = targets.iter().filter(|target| !target.met && target.is_missed_steadily()).count();
        writeln!(
            text,
            "Of those that do not, {steadily} are **steadily** behind: fewer than a quarter of the rounds reach it. Of the others more do, \
             which may be chance and may not.\n\n\
             | case | who | figure | ours | goal | rounds that reach it |\n| --- | --- | --- | ---: | ---: | ---: |"
        )?;
    }
    for target in targets.iter().filter(|target| !target.met) {
        let name = words(&target.scenario);
        let rounds = format!("{} of {}", target.rounds_met, target.rounds);
        let rounds = if target.is_missed_steadily() { format!("**{rounds}**") } else { rounds };
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {rounds} |",
            target.library, target.figure, target.ours, target.limit
        )?;
    }
    Ok(())
}
