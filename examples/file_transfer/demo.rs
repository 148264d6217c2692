//! `demo`: a file of random bytes to a server and back, in processes of their own.

use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use indicatif::BinaryBytes;
use rand::Rng;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{PutOrGet, failure::Failure, memory::peak_rss_kib, transfer::hex};

const CHUNK: usize = 1 << 20;

/// What it measured, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Demo {
    bytes: u64,
    upload_gb_per_s: f64,
    download_gb_per_s: f64,
    upload_sync_s: f64,
    download_sync_s: f64,
    verified: bool,
    server_peak_rss_kib: Option<u64>,
    client_peak_rss_kib: Option<u64>,
}

/// Runs it; says on the way what it does.
pub(crate) async fn demo(size: u64, one_frame: bool) -> Result<Demo, Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::io("making a temporary folder", &error))?;
    let [original, served, fetched] = ["original", "served/file", "fetched"].map(|name| folder.path().join(name));
    check_room(&folder, size)?;
    say(&format!("making {} of random bytes in {}", BinaryBytes(size), folder.path().display()));
    let sha256 = make_file(&original, size).map_err(|error| Failure::io("making the file", &error))?;
    let made = std::fs::create_dir(folder.path().join("served"));
    made.map_err(|error| Failure::io("making the folder to serve", &error))?;

    let (server, url) = start_server(&folder.path().join("served")).await?;
    let url = format!("{url}/file");
    let flags: &[&str] = if one_frame { &["--one-frame"] } else { &[] };
    let put = run_client("put", &[original.as_os_str(), url.as_ref()], flags).await?;
    describe("upload", &put);
    let get = run_client("get", &[url.as_ref(), fetched.as_os_str()], flags).await?;
    describe("download", &get);

    let server_peak_rss_kib = server.id().and_then(|pid| peak_rss_kib(&pid.to_string()));
    let client_peak_rss_kib = put.peak_rss_kib.max(get.peak_rss_kib);
    drop(server);
    let hash = |path: &PathBuf| hash_file(path).map_err(|error| Failure::io("hashing a copy", &error));
    let verified = hash(&served)? == sha256 && hash(&fetched)? == sha256;
    let kib = |peak: Option<u64>| peak.map_or("not known on this system".to_owned(), |kib| format!("{kib} KiB"));
    say(&format!("both copies hash to the same as the original: {verified}"));
    say(&format!("peak memory: server {}, client {}", kib(server_peak_rss_kib), kib(client_peak_rss_kib)));
    Ok(Demo {
        bytes: size,
        upload_gb_per_s: put.report.gb_per_s(),
        download_gb_per_s: get.report.gb_per_s(),
        upload_sync_s: put.report.sync_seconds,
        download_sync_s: get.report.sync_seconds,
        verified,
        server_peak_rss_kib,
        client_peak_rss_kib,
    })
}

impl Demo {
    /// Whether it went as it should.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.verified { Ok(()) } else { Err(Failure::protocol("a copy differs from the original")) }
    }
}

fn say(what: &str) {
    // Whoever started this may not read what it says.
    let _ = writeln!(io::stdout(), "{what}");
}

fn describe(way: &str, PutOrGet { report, .. }: &PutOrGet) {
    say(&format!("{way}: {:.2} GB/s, on disk {:.1} s later", report.gb_per_s(), report.sync_seconds));
}

/// The original and two copies.
fn check_room(folder: &TempDir, size: u64) -> Result<(), Failure> {
    let free = fs4::available_space(folder.path()).map_err(|error| Failure::io("looking for room", &error))?;
    let needed = size.saturating_mul(3);
    if needed > free {
        let (needed, free, place) = (BinaryBytes(needed), BinaryBytes(free), env::temp_dir());
        let message = format!(
            "the demo needs {needed} in {}, {free} are free; choose a smaller --size, or another folder with TMPDIR",
            place.display()
        );
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

fn make_file(path: &Path, size: u64) -> io::Result<String> {
    let mut file = File::create_new(path)?;
    let mut hasher = Sha256::new();
    let mut rng = rand::rng();
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        let piece = &mut buffer[..left.min(CHUNK as u64) as usize];
        rng.fill_bytes(piece);
        hasher.update(&*piece);
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(hex(&hasher))
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher)),
            len => hasher.update(&buffer[..len]),
        }
    }
}

fn this_program() -> Result<Command, Failure> {
    let program = env::current_exe().map_err(|error| Failure::io("finding this program", &error))?;
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// The server and its URL.
async fn start_server(folder: &Path) -> Result<(Child, String), Failure> {
    let failed = |error: io::Error| Failure::io("starting the server", &error);
    let mut server =
        this_program()?.arg("serve").arg(folder).args(["--listen", "127.0.0.1:0"]).spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await.map_err(failed)?;
    }
    match line.trim_end().strip_prefix("listening on ") {
        Some(address) => Ok((server, format!("ws://{address}"))),
        None => Err(Failure::bad_request("the server did not start; its own message says why")),
    }
}

async fn run_client(command: &str, args: &[&std::ffi::OsStr], flags: &[&str]) -> Result<PutOrGet, Failure> {
    let failed = |error: io::Error| Failure::io("starting the client", &error);
    let child = this_program()?.arg(command).args(args).args(flags).arg("--json").spawn().map_err(failed)?;
    let output = child.wait_with_output().await.map_err(failed)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| Failure::bad_request(format!("{command} failed; its own message says why")))
}
