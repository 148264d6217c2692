//! The demo in a short form.

use crate::running::{Running, command};

#[test]
fn the_demo_measures_and_nobody_fast_misses_anything() {
    // All that is published is less than the budget, so that nobody can miss anything however busy the machine is.
    let args = ["demo", "--seconds", "1", "--viewers", "12", "--bitrate", "4M", "--json"];
    let output = command("media_relay", args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let demo: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&demo["published_frames"], &demo["fast_missed_frames"]), (&30.into(), &0.into()));
    let [p50, p99] = ["p50", "p99"].map(|of| demo[format!("fast_latency_{of}_ms")].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99);
    // `None` where the system does not tell.
    if let Some(kib) = demo["relay_peak_rss_kib"].as_u64() {
        assert!(kib < 32 * 1024, "{kib} KiB");
    }
    let rows = demo["policies"].as_array().unwrap();
    let sum = |of: &str| rows.iter().map(|row| row[of].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("viewers"), 12);
    assert_eq!((sum("dropped_frames"), sum("disconnected")), (0, 0));
    assert_eq!(sum("delivered_frames") + sum("rest_frames"), 12 * 30);
    for lag in ["skip-to-key", "drop-oldest", "drop-newest", "disconnect"] {
        let row = rows.iter().find(|row| row["lag"] == lag && row["kind"] == "fast").unwrap();
        assert_eq!(row["delivered_frames"].as_u64().unwrap(), row["viewers"].as_u64().unwrap() * 30);
        assert!(row["latency_p99_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(rows.iter().filter(|row| row["kind"] == "stopped").count(), 1);
}

#[test]
fn the_demo_shows_what_is_dropped() {
    // Without a slow viewer, and with a budget and a rate by which those that are stopped lag for certain.
    let flags = ["--seconds", "1", "--viewers", "8", "--slow", "0", "--stopped", "4"];
    let args = [&["demo", "--bitrate", "200M", "--budget", "1MiB"], &flags[..]].concat();
    let output = command("media_relay", args).output().unwrap();
    let summary = String::from_utf8(output.stdout).unwrap();
    for lag in ["skip-to-key", "drop-oldest", "drop-newest"] {
        let row: Vec<_> = summary
            .lines()
            .find(|line| line.starts_with(lag) && line.contains("stopped"))
            .unwrap()
            .split_whitespace()
            .collect();
        let [delivered, dropped, rest] = [3, 4, 5].map(|at| row[at].parse::<u64>().unwrap());
        assert!(delivered == 0 && dropped > 0 && dropped + rest == 30, "{summary}");
    }
    let row: Vec<_> = summary
        .lines()
        .find(|line| line.starts_with("disconnect") && line.contains("stopped"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!((row[4], row[6]), ("0", "1"), "{summary}");
    // Whether the fast ones have missed anything, it says by its exit as well.
    assert_eq!(output.status.success(), summary.contains("fast viewers: 0 frames missed"), "{summary}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_demo_and_its_relay() {
    let mut demo = Running::start(command("media_relay", ["demo", "--seconds", "3600", "--viewers", "4", "-v"]));
    let mut complaints = demo.complaints();
    // The relay, and it in turn, log to the same place.
    assert!(complaints.any(|line| line.unwrap().contains("publishing")));
    demo.interrupt();
    // Ends when nobody holds it open any more: neither of them.
    let last = complaints.map(|line| line.unwrap()).last().unwrap();
    assert_eq!(last, "error: interrupted; run this again");
    assert_eq!(demo.output().status.code(), Some(1));
}
