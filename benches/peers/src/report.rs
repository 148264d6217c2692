//! The report as Markdown.

use std::fmt::Write;

use wsstream_peers::{
    about::About,
    numbers::{median, number},
};

use crate::{
    results::{Results, ScenarioResults},
    scenario::Column,
    targets,
};

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = about(&mut text, &results.about);
    for scenario in &results.scenarios {
        let _ = table(&mut text, scenario);
    }
    let _ = targets_table(&mut text, results);
    text
}

fn about(text: &mut String, about: &About) -> std::fmt::Result {
    writeln!(text, "# wsstream and its peers\n")?;
    if about.quick {
        writeln!(text, "**A quick pass: it shows that everything works, the figures mean nothing.**\n")?;
    }
    writeln!(text, "{about}\n")?;
    writeln!(
        text,
        "A fresh process for every library and round, the libraries in turn; median [min .. max] over the rounds. \"x raw\" \
         is the median of the ratios to raw TCP\n(256 KiB writes and reads, no frames) of the same round. `floor` is a \
         hand-written WebSocket that does only what cannot be left out. `wsstream` reads chunks,\n`wsstream-whole` whole \
         messages; the peers read whole messages. CPU is user and system time of the process.\n"
    )
}

fn table(text: &mut String, scenario: &ScenarioResults) -> std::fmt::Result {
    writeln!(text, "## {}\n\n{}.\n", scenario.name, scenario.title)?;
    let others = scenario.other_cores.iter().copied().fold(0.0, f64::max);
    writeln!(
        text,
        "Other processes used {:.2} cores (median; max {others:.2}).\n",
        median(scenario.other_cores.clone()).unwrap_or_default()
    )?;
    let mut head = String::from("| library |");
    let mut line = String::from("|---|");
    for column in scenario.columns {
        write!(head, " {} |", column.title)?;
        line.push_str("---:|");
        if compared(scenario, column) {
            head.push_str(" x raw |");
            line.push_str("---:|");
        }
    }
    writeln!(text, "{head}\n{line}")?;
    for library in &scenario.libraries {
        write!(text, "| {library} |")?;
        for column in scenario.columns {
            write!(text, " {} |", spread(scenario.values(library, column.key), column))?;
            if compared(scenario, column) {
                match scenario.ratio(library, "raw", column.key) {
                    Some(ratio) => write!(text, " {ratio:.2} |")?,
                    None => text.push_str(" |"),
                }
            }
        }
        text.push('\n');
    }
    for failure in &scenario.failures {
        writeln!(text, "\n**Failed:** {failure}")?;
    }
    text.push('\n');
    Ok(())
}

fn compared(scenario: &ScenarioResults, column: &Column) -> bool {
    column.ratio && scenario.libraries.len() > 1
}

/// Median, least and most.
fn spread(values: Vec<f64>, column: &Column) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let number = |value| number(value, column.digits);
    match (values.len(), median(values)) {
        (0, _) | (_, None) => "-".to_owned(),
        (1, Some(only)) => number(only),
        (_, Some(median)) => format!("{} [{} .. {}]", number(median), number(least), number(most)),
    }
}

fn targets_table(text: &mut String, results: &Results) -> std::fmt::Result {
    let targets = targets::all(results);
    let met = targets.iter().filter(|target| target.met).count();
    writeln!(text, "## Targets\n\n{met} of {} met.\n", targets.len())?;
    writeln!(
        text,
        "| scenario | library | figure | ours | target | met | rounds that do |\n|---|---|---|---:|---:|---|---:|"
    )?;
    for target in &targets {
        let met = if target.met { "yes" } else { "**no**" };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {met} | {} of {} |",
            target.scenario, target.library, target.figure, target.ours, target.limit, target.rounds_met, target.rounds
        )?;
    }
    Ok(())
}
