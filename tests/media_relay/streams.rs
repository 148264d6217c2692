//! Streams that go well.

use std::{
    fs,
    io::{Read, Write},
    process::{Output, Stdio},
    thread::{self, JoinHandle},
};

use rand::Rng;
use wsstream::WebSocketStream;

use crate::{
    program::{Relay, report},
    running::{Running, command},
};

const MIB: usize = 1 << 20;

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// What it prints, taken as it comes.
fn collect(running: Running) -> JoinHandle<Output> {
    thread::spawn(|| running.output())
}

#[test]
fn what_is_published_comes_out_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    let mut relay = Relay::start(&["--allow-wait"]);
    for data in [random(0), random(1), random(5 * MIB + 3)] {
        let wait = ["--lag", "wait"];
        // Read all the while: what is not read holds up the publisher.
        let to_stdout = collect(relay.view("live/film", &[&wait[..], &["--out", "-"]].concat()));
        let to_file = relay.view("live/film?lag=wait", &["--out", copy.to_str().unwrap()]);
        let slow = relay.view("live/film", &[&wait[..], &["--budget", "64KiB", "--limit-rate", "32MiB"]].concat());

        let published = report(&relay.publish_bytes("live/film", &data));
        assert_eq!(published["bytes"], data.len());
        let output = to_stdout.join().unwrap();
        assert!(output.status.success() && output.stdout == data);
        let seen: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(seen["bytes"], data.len());
        assert!(report(&to_file.output())["missed"] == 0 && fs::read(&copy).unwrap() == data);
        let slow = report(&slow.output());
        assert_eq!((&slow["bytes"], &slow["missed"]), (&data.len().into(), &0.into()));
        assert_eq!(slow["frames"], published["frames"]);

        // The same from a file.
        fs::write(&source, &data).unwrap();
        let to_stdout = collect(relay.view("other", &["--lag", "wait", "--out", "-"]));
        assert_eq!(report(&relay.publish("other", &[source.to_str().unwrap()]).output().unwrap())["bytes"], data.len());
        assert!(to_stdout.join().unwrap().stdout == data);
    }
}

#[test]
fn what_comes_slowly_is_passed_on_at_once() {
    let mut relay = Relay::start(&[]);
    let url = relay.url("drops");
    let mut view = Running::start(command("media_relay", ["view", &url, "--out", "-"]));
    relay.wait_for("joined");
    let (publisher, mut stdin) = relay.publish_pipe("drops");
    let mut stdout = view.stdout();
    for drop in [&b"drop"[..], b"by", b"drop"] {
        stdin.write_all(drop).unwrap();
        let mut received = vec![0; drop.len()];
        stdout.read_exact(&mut received).unwrap();
        assert_eq!(received, drop);
    }
    drop(stdin);
    assert_eq!(report(&publisher.output())["frames"], 3);
}

#[test]
fn a_camera_is_measured_and_channels_do_not_mix() {
    let mut relay = Relay::start(&[]);
    let names = ["one", "two/a", "two/b"];
    let viewers: Vec<_> = names.iter().map(|name| relay.view(name, &[])).collect();
    let publish = |(name, frames): (&&str, &str)| {
        let flags = ["--camera", "--fps", "200", "--bitrate", "1M", "--frames", frames];
        Running::start(relay.publish(name, &flags))
    };
    let publishers: Vec<_> = names.iter().zip(["20", "30", "40"]).map(publish).collect();
    for ((viewer, publisher), frames) in viewers.into_iter().zip(publishers).zip([20, 30, 40]) {
        let (published, seen) = (report(&publisher.output()), report(&viewer.output()));
        assert_eq!(published["frames"], frames);
        assert_eq!((&seen["frames"], &seen["missed"], &seen["streams"]), (&frames.into(), &0.into(), &1.into()));
        assert_eq!(seen["bytes"], published["bytes"]);
        let [p50, p99, max] = ["p50", "p99", "max"].map(|of| seen[format!("latency_{of}_ms")].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{seen}");
        assert!(seen["fps"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn who_comes_late_begins_with_a_key_frame() {
    let mut relay = Relay::start(&[]);
    let (publisher, mut stdin) = relay.publish_pipe("late");
    let mut first = Running::start(command("media_relay", ["view", &relay.url("late"), "--out", "-"]));
    relay.wait_for("joined");
    let mut first_out = first.stdout();
    let mut received = [0; 3];
    stdin.write_all(b"key").unwrap();
    // Each piece of a file is one.
    first_out.read_exact(&mut received).unwrap();
    let late = relay.view("late", &["--out", "-"]);
    let now = relay.view("late", &["--start", "now", "--out", "-"]);
    stdin.write_all(b"more").unwrap();
    drop(stdin);
    report(&publisher.output());
    assert_eq!(late.output().stdout, b"keymore");
    assert_eq!(now.output().stdout, b"more");
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_slows_nobody() {
    let mut relay = Relay::start(&["--allow-wait"]);
    // Without a subprotocol, as a browser's page would come.
    let url = relay.url("live?lag=drop-oldest&budget=64KiB&label=stopped");
    let stopped = WebSocketStream::connect(url).await.unwrap();
    relay.wait_for("joined");
    let slow = relay.view("live", &["--lag", "drop-newest", "--budget", "64KiB", "--limit-rate", "1MiB"]);
    let disconnected = relay.view("live", &["--lag", "disconnect", "--budget", "64KiB", "--limit-rate", "1MiB"]);
    let fast = collect(relay.view("live", &["--lag", "wait", "--out", "-"]));

    let data = random(48 * MIB);
    let published = report(&relay.publish_bytes("live", &data));
    assert!(fast.join().unwrap().stdout == data);
    let seen = report(&slow.output());
    assert!(seen["frames"].as_u64() < published["frames"].as_u64(), "{seen}");
    let output = disconnected.output();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("too slow for this stream") && stderr.contains("larger --budget"), "{stderr}");

    // The relay knows what it has dropped, of each.
    drop(stopped);
    let mut left: Vec<_> = (0..4).map(|_| relay.wait_for("left")).collect();
    left.sort_by_key(|event| event["lag"].as_str().unwrap().to_owned());
    let dropped: Vec<_> = left.iter().map(|event| event["dropped_frames"].as_u64().unwrap()).collect();
    let lags: Vec<_> = left.iter().map(|event| event["lag"].as_str().unwrap()).collect();
    assert_eq!(lags, ["disconnect", "drop-newest", "drop-oldest", "wait"]);
    assert!(dropped[1] > 0 && dropped[2] > 0 && dropped[3] == 0, "{left:?}");
    assert_eq!(left[2]["label"], "stopped");
    let [sent, frames] = [&left[1]["sent_frames"], &published["frames"]].map(|number| number.as_u64().unwrap());
    assert_eq!(sent + dropped[1], frames);
    assert_eq!(seen["frames"], sent);
}

#[test]
fn what_people_read_is_short() {
    let mut relay = Relay::start(&[]);
    let url = relay.url("words");
    let view = Running::start(command("media_relay", ["view", &url]));
    relay.wait_for("joined");
    let mut publish = command("media_relay", ["publish", &url, "--camera", "--fps", "100", "--frames", "10"]);
    let published = publish.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8(published.stdout).unwrap();
    assert!(words.starts_with("published 10 frames, "), "{words}");
    let words = String::from_utf8(view.output().stdout).unwrap();
    assert!(words.starts_with("10 frames, 0 missed, ") && words.contains("latency p50 "), "{words}");
}
