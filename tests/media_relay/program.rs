//! A relay, its publishers and its viewers as processes.

use std::{
    io::{BufReader, Lines, Write},
    process::{ChildStdin, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

use crate::running::{Running, command};

/// A relay that tells what happens.
pub(crate) struct Relay {
    pub(crate) running: Running,
    pub(crate) address: String,
    events: Lines<BufReader<ChildStdout>>,
}

impl Relay {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let args = [&["serve", "--listen", "127.0.0.1:0", "--json"], flags].concat();
        let mut running = Running::start(command("media_relay", args));
        let events = running.lines();
        let mut relay = Self { running, address: String::new(), events };
        relay.address = relay.wait_for("listening")["address"].as_str().unwrap().to_owned();
        relay
    }

    pub(crate) fn url(&self, channel: &str) -> String {
        format!("ws://{}/{channel}", self.address)
    }

    /// The next event of this kind; those before it are passed over.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let line = self.events.next().expect("the relay is there").unwrap();
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    }

    /// A viewer, once the relay counts it as one.
    pub(crate) fn view(&mut self, channel: &str, flags: &[&str]) -> Running {
        let url = self.url(channel);
        let viewer = Running::start(command("media_relay", [&["view", &url, "--json"], flags].concat()));
        assert_eq!(self.wait_for("joined")["channel"], channel_of(channel));
        viewer
    }

    pub(crate) fn publish(&self, channel: &str, flags: &[&str]) -> Command {
        let url = self.url(channel);
        command("media_relay", [&["publish", &url, "--json"], flags].concat())
    }

    /// A publisher whose input stays open, once the relay knows it.
    pub(crate) fn publish_pipe(&mut self, channel: &str) -> (Running, ChildStdin) {
        let mut publish = self.publish(channel, &[]);
        publish.stdin(Stdio::piped());
        let mut running = Running::start(publish);
        let stdin = running.stdin();
        assert_eq!(self.wait_for("published")["channel"], channel_of(channel));
        (running, stdin)
    }

    /// Publishes this.
    pub(crate) fn publish_bytes(&self, channel: &str, bytes: &[u8]) -> Output {
        let mut publish = self.publish(channel, &[]);
        publish.stdin(Stdio::piped());
        let mut running = Running::start(publish);
        running.stdin().write_all(bytes).unwrap();
        running.output()
    }
}

fn channel_of(path: &str) -> &str {
    path.split('?').next().unwrap()
}

/// The JSON of a run that went well, on standard output.
#[track_caller]
pub(crate) fn report(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "quiet where there is no terminal");
    serde_json::from_slice(&output.stdout).unwrap()
}
