//! Somebody goes, and what the others say.

use std::{io::Write, process::Output};

use crate::{
    program::{Relay, report},
    running::{Running, command},
};

/// A viewer's failed run: what it has seen stands on standard output all the same.
#[track_caller]
fn assert_ended(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: ") && stderr.contains(why) && stderr.contains("; "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[track_caller]
fn assert_view_ended(output: &Output, why: &str) {
    assert_ended(output, why);
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&seen["bytes"], &seen["streams"]), (&5.into(), &1.into()));
}

/// A publisher that has published five bytes, and a viewer that has seen them.
fn running(relay: &mut Relay) -> (Running, std::process::ChildStdin, Running) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let viewer = relay.view("live", &["--out", copy.to_str().unwrap()]);
    let (publisher, mut stdin) = relay.publish_pipe("live");
    stdin.write_all(b"frame").unwrap();
    crate::running::wait_until("the frame", || std::fs::read(&copy).is_ok_and(|copy| copy == b"frame"));
    (publisher, stdin, viewer)
}

#[test]
fn a_publisher_that_was_killed_is_missed_by_its_viewers() {
    let mut relay = Relay::start(&["--linger", "0"]);
    let (mut publisher, _stdin, viewer) = running(&mut relay);
    publisher.kill();
    assert_view_ended(&viewer.output(), "the publisher is lost and has not come back; run this again when it has");
    assert_eq!(relay.wait_for("ended")["frames"], 1);
    // The relay and the channel are there for others.
    let viewer = relay.view("live", &["--out", "-"]);
    report(&relay.publish_bytes("live", b"next"));
    assert_eq!(viewer.output().stdout, b"next");
}

#[test]
fn viewers_go_on_with_the_publisher_that_takes_over() {
    let mut relay = Relay::start(&["--linger", "3600"]);
    let (mut publisher, _stdin, viewer) = running(&mut relay);
    publisher.kill();
    relay.wait_for("ended");
    report(&relay.publish_bytes("live", b"more"));
    let seen = report(&viewer.output());
    assert_eq!((&seen["bytes"], &seen["streams"], &seen["missed"]), (&9.into(), &2.into(), &0.into()));
}

#[test]
fn a_viewer_that_was_killed_is_missed_by_nobody() {
    let mut relay = Relay::start(&[]);
    let mut killed = relay.view("live", &[]);
    let (publisher, mut stdin, viewer) = running(&mut relay);
    killed.kill();
    assert_eq!(relay.wait_for("left")["channel"], "live");
    stdin.write_all(b"more").unwrap();
    drop(stdin);
    assert_eq!(report(&publisher.output())["bytes"], 9);
    assert_eq!(report(&viewer.output())["bytes"], 9);
}

#[test]
fn a_relay_that_was_killed_is_named_by_both() {
    let mut relay = Relay::start(&[]);
    let (publisher, _stdin, viewer) = running(&mut relay);
    relay.running.kill();
    assert_view_ended(&viewer.output(), "the connection to the relay is lost");
    assert_ended(&publisher.output(), "the connection to the relay is lost");
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_the_relay_is_told_to_everybody() {
    let mut relay = Relay::start(&[]);
    let (publisher, _stdin, viewer) = running(&mut relay);
    let waiting = Running::start(command("media_relay", ["view", &relay.url("empty")]));
    relay.wait_for("joined");
    relay.running.interrupt();
    assert_view_ended(&viewer.output(), "the relay is shutting down; run this again when it is back");
    assert_ended(&publisher.output(), "the relay is shutting down; run this again when it is back");
    assert_ended(&waiting.output(), "the relay is shutting down");
    assert!(relay.running.output().status.success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_a_publisher_is_the_end_of_the_stream() {
    let mut relay = Relay::start(&["--linger", "3600"]);
    let (publisher, _stdin, viewer) = running(&mut relay);
    // Its input stays open.
    publisher.interrupt();
    assert_eq!(report(&publisher.output())["frames"], 1);
    assert_eq!(report(&viewer.output())["bytes"], 5);
    assert_eq!(relay.wait_for("ended")["why"], "the end of the stream");
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_a_viewer_is_its_own_affair() {
    let mut relay = Relay::start(&[]);
    let (publisher, stdin, viewer) = running(&mut relay);
    viewer.interrupt();
    assert_eq!(report(&viewer.output())["bytes"], 5);
    let left = relay.wait_for("left");
    assert!(left["why"].as_str().unwrap().contains("1000"), "{left}");
    drop(stdin);
    report(&publisher.output());
}

#[test]
fn a_player_that_was_closed_ends_its_viewer() {
    let mut relay = Relay::start(&[]);
    let mut viewer = relay.view("live", &["--out", "-"]);
    drop(viewer.stdout());
    let (publisher, mut stdin) = relay.publish_pipe("live");
    // It is found out with a write, which comes back when the next is made.
    let feed = std::thread::spawn(move || while stdin.write_all(&[0; 1000]).is_ok() {});
    assert!(viewer.output().status.success());
    assert!(relay.wait_for("left")["why"].as_str().unwrap().contains("1000"));
    drop(publisher);
    feed.join().unwrap();
}
