//! The program as its users run it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rand::Rng;
use tempfile::TempDir;

use crate::running::{self, example};
pub(crate) use crate::running::{Running, assert_error, wait_until};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    running::command("file_transfer", args)
}

/// The same, where no file may grow over `blocks` of 512 or 1024 bytes: a disk that is full.
#[cfg(unix)]
pub(crate) fn limited_command<S: AsRef<OsStr>>(blocks: u64, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("sh");
    // Without the trap a signal would end the program.
    command
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(example("file_transfer"))
        .args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server on a folder of its own.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_at(folder, "127.0.0.1:0", flags)
    }

    pub(crate) fn start_at(folder: &Path, address: &str, flags: &[&str]) -> Self {
        let folder = folder.to_str().unwrap();
        Self::run(command([&["serve", folder, "--listen", address], flags].concat()))
    }

    pub(crate) fn run(command: Command) -> Self {
        let mut running = Running::start(command);
        let line = running.lines().next().expect("a line").unwrap();
        let address = line.strip_prefix("listening on ").expect("the address").to_owned();
        Self { running, address }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("ws://{}/{name}", self.address)
    }

    pub(crate) fn put(&self, file: &Path, name: &str, flags: &[&str]) -> Command {
        command([&["put", file.to_str().unwrap(), &self.url(name), "--json"], flags].concat())
    }

    pub(crate) fn get(&self, name: &str, file: &Path, flags: &[&str]) -> Command {
        command([&["get", &self.url(name), file.to_str().unwrap(), "--json"], flags].concat())
    }
}

/// The JSON that a successful run ends with.
pub(crate) fn report(output: Output) -> serde_json::Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "quiet where there is no terminal");
    let stdout = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

/// A folder with one to serve and one of the client's.
pub(crate) struct Folders {
    _folder: TempDir,
    pub(crate) served: PathBuf,
    pub(crate) mine: PathBuf,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [served, mine] = ["served", "mine"].map(|name| folder.path().join(name));
        for folder in [&served, &mine] {
            fs::create_dir(folder).unwrap();
        }
        Self { _folder: folder, served, mine }
    }

    /// A file of random bytes at the client.
    pub(crate) fn random(&self, name: &str, size: u64) -> PathBuf {
        let path = self.mine.join(name);
        write_random(&path, size);
        path
    }
}

pub(crate) fn write_random(path: &Path, size: u64) {
    let mut bytes = vec![0; size as usize];
    rand::rng().fill_bytes(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Both files have the same bytes.
#[track_caller]
pub(crate) fn assert_same(one: &Path, other: &Path) {
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} and {}", one.display(), other.display());
}

/// What is in a folder, hidden files as well.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until a partial file has grown to some size.
#[track_caller]
pub(crate) fn wait_for_part(path: &Path, size: u64) {
    wait_until("a partial file", || path.metadata().is_ok_and(|metadata| metadata.len() >= size));
}

/// The first `len` bytes of a file.
pub(crate) fn beginning(path: &Path, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().take(len).read_to_end(&mut bytes).unwrap();
    bytes
}
