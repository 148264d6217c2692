//! The report as Markdown.

use std::fmt::Write;

use wsstream_peers::numbers::number;

use crate::{
    case::{Case, Size, Speed},
    results::{Results, Row},
};

const MIB: f64 = (1 << 20) as f64;
const KIB: f64 = (1 << 10) as f64;

/// One figure of every case.
struct Figure {
    title: &'static str,
    digits: usize,
    of: fn(&Row) -> Option<f64>,
    /// Only of the cases with a stop.
    stopped: bool,
}

const FIGURES: [Figure; 6] = [
    Figure {
        title: "Payload handed over, MiB/s",
        digits: 1,
        of: |row| Some(row.bytes_per_second / MIB),
        stopped: false,
    },
    Figure {
        title: "Receiver: peak RSS above the idle process, MiB",
        digits: 2,
        of: |row| Some(row.receiver_memory() / MIB),
        stopped: false,
    },
    Figure {
        title: "Sender: peak RSS above the idle process, MiB",
        digits: 2,
        of: |row| Some(row.sender_memory() / MIB),
        stopped: false,
    },
    Figure {
        title: "Taken from the socket beyond what was consumed, KiB: at most; when stopped, at the end of the stop",
        digits: 0,
        of: |row| Some(row.taken_beyond_consumed as f64 / KIB),
        stopped: false,
    },
    Figure {
        title: "Time that the sender was paused, %",
        digits: 1,
        of: |row| Some(row.sender_waited * 100.0),
        stopped: false,
    },
    Figure {
        title: "From the end of a stop until the consumer is up to speed again, ms",
        digits: 1,
        of: |row| row.seconds_to_speed.map(|seconds| seconds * 1e3),
        stopped: true,
    },
];

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("# Slow consumers\n\n");
    if results.about.quick {
        text.push_str("**A quick pass: it shows that everything works, the figures mean nothing.**\n\n");
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}\n", results.about);
    let (median, most) = results.other_cores();
    let _ =
        writeln!(text, "Other processes used {median:.2} cores (median; max {most:.2}). Medians over the rounds.\n");
    text.push_str(&at_a_glance(results));
    for size in Size::ALL {
        let _ = section(&mut text, results, size);
    }
    for failure in &results.failures {
        let _ = writeln!(text, "**Failed:** {failure}\n");
    }
    text
}

/// One table: what the receiver's memory comes to, and how it goes on after a stop.
pub(crate) fn at_a_glance(results: &Results) -> String {
    let mut text = String::from("## At a glance\n\n");
    text.push_str(
        "The most memory that the receiver needed at any speed of its consumer (peak RSS above the idle process, MiB), by \
         size of the messages; and of any size,\nwhere the message comes to an end or in pieces: what it had taken from the \
         socket when the consumer stood still (KiB), and the time to full speed after that (ms).\n\n",
    );
    let heads: Vec<_> = Size::ALL.iter().map(|size| size.title()).collect();
    let _ = writeln!(text, "| | {} | taken in a stop | back at speed |", heads.join(" | "));
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for library in &results.libraries {
        let _ = write!(text, "| {library} |");
        for size in Size::ALL {
            let all = Speed::ALL.into_iter().any(|speed| results.takes_all(library, Case { size, speed }));
            let memory = results.most_memory(library, size).map(|memory| memory / MIB);
            let _ = write!(text, " {} |", cell(memory, 1, all));
        }
        let stops = Size::ALL.map(|size| Case { size, speed: Speed::Stopped });
        let most = |of: fn(&Row) -> Option<f64>| {
            let given = stops.into_iter().filter(|case| !results.takes_all(library, *case));
            given.filter_map(|case| results.median(library, case, of)).reduce(f64::max)
        };
        let (beyond, to_speed) = (most(FIGURES[3].of), most(FIGURES[5].of));
        let _ = writeln!(text, " {} | {} |", cell(beyond, 0, false), cell(to_speed, 1, false));
    }
    text.push_str("\n\u{2191}: and more with every byte that comes; the run was ended.\n\n");
    text
}

fn section(text: &mut String, results: &Results, size: Size) -> std::fmt::Result {
    let measured = |speed: &Speed| {
        let case = Case { size, speed: *speed };
        results.libraries.iter().any(|library| results.median(library, case, |_| Some(0.0)).is_some())
    };
    let all: Vec<_> = Speed::ALL.into_iter().filter(measured).collect();
    if all.is_empty() {
        return Ok(());
    }
    let title = size.title();
    writeln!(text, "## {}{}\n", title[..1].to_uppercase(), &title[1..])?;
    for figure in &FIGURES {
        let speeds: Vec<_> = all.iter().copied().filter(|speed| !figure.stopped || *speed == Speed::Stopped).collect();
        if speeds.is_empty() {
            continue;
        }
        let heads: Vec<_> = speeds.iter().map(|speed| speed.title()).collect();
        writeln!(text, "{}\n\n| consumer | {} |", figure.title, heads.join(" | "))?;
        writeln!(text, "| --- |{}", " ---: |".repeat(speeds.len()))?;
        for library in &results.libraries {
            write!(text, "| {library} |")?;
            for speed in &speeds {
                let case = Case { size, speed: *speed };
                let value = results.median(library, case, figure.of);
                write!(text, " {} |", cell(value, figure.digits, results.takes_all(library, case)))?;
            }
            text.push('\n');
        }
        text.push('\n');
    }
    Ok(())
}

/// A figure, marked where the run was ended.
fn cell(value: Option<f64>, digits: usize, takes_all: bool) -> String {
    let mark = if takes_all { " \u{2191}" } else { "" };
    value.map_or_else(|| "-".to_owned(), |value| number(value, digits) + mark)
}
