//! Starts the processes that are measured, and reads what they say.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, IsTerminal, Read},
    path::PathBuf,
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

/// How often a run is tried: it may have been suspended, which it notices.
const TRIES: usize = 5;

/// Again, if it failed.
pub fn patiently<T>(name: &str, mut once: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match once() {
            Ok(figures) => return Ok(figures),
            Err(error) => eprintln!("\n{name}: {error:#}; again"),
        }
    }
    once()
}

/// One line that changes, where somebody may be watching.
pub fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

/// Where reports go: a folder beside what cargo has built.
pub fn default_out(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("no target folder")?;
    Ok(target.join(name))
}
