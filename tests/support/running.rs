//! An example program as a process, as its users run it.

#![allow(dead_code)] // each test binary uses a part of this

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// `cargo test` builds the examples before it runs tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing: run `cargo build --example {name}`", program.display());
    program
}

pub(crate) fn command<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(example(name));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that is running; it is killed when dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is running")
    }

    /// What it prints.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child().stdout.take().unwrap()
    }

    /// The same, line by line.
    pub(crate) fn lines(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.stdout()).lines()
    }

    /// What it complains of, or logs, line by line.
    pub(crate) fn complaints(&mut self) -> Lines<BufReader<ChildStderr>> {
        BufReader::new(self.child().stderr.take().unwrap()).lines()
    }

    /// Its standard input, where that is a pipe.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child().stdin.take().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// What Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    pub(crate) fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A failed run: status 1, and one line that says what and, behind a semicolon, what to do.
pub(crate) fn error(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let (line, rest) = stderr.split_once('\n').expect("a line");
    assert_eq!(rest, "", "one line only");
    let message = line.strip_prefix("error: ").unwrap_or_else(|| panic!("{line}"));
    assert!(message.contains("; "), "{message:?} does not say what to do");
    message.to_owned()
}

#[track_caller]
pub(crate) fn assert_error(output: Output, part: &str) {
    let message = error(output);
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

/// Polls until something has come about.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} has not come about");
        sleep(Duration::from_millis(5));
    }
}
