//! Starts the processes that are measured, and reads what they say.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// This program once more, with other arguments; it ends with this.
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, stdout })
    }

    /// Where it listens: the first thing it says.
    pub fn port(&mut self) -> Result<u16> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        line.trim().parse().context("the listening end did not say where")
    }

    /// What it has measured, in JSON: the last thing it says. Waits for its end.
    pub fn figures<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it waits for another one that has failed, or has ended already
        let _ = self.child.wait();
    }
}
