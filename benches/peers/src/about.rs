//! Where, when and with what a report was made.

use std::{fmt, fs, process::Command};

use anyhow::Result;
use serde::Serialize;

use crate::measure::socket_settings;

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub struct About {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub rustc: String,
    pub commit: String,
    pub command: String,
    pub sockets: String,
    pub versions: Vec<(String, String)>,
    pub rounds: usize,
    pub quick: bool,
    pub seconds: u64,
}

impl About {
    /// Of this run of a package's benchmark.
    pub fn now(package: &str, rounds: usize, quick: bool) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let separator = if args.is_empty() { "" } else { " -- " };
        Ok(Self {
            date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            rustc: said_by("rustc", &["--version"]),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
            command: format!("cargo bench -p {package}{separator}{}", args.join(" ")),
            sockets: socket_settings()?,
            versions: versions(),
            rounds,
            quick,
            seconds: 0,
        })
    }
}

impl fmt::Display for About {
    /// As it stands at the top of a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        write!(
            f,
            "{}; {} x {}, Linux {}, {}; fat LTO, default target-cpu, the system's malloc.\n{}; commit {}.\n\
             TCP over loopback, {}.\n{} round(s) in {} s: `{}`.",
            self.date,
            self.cores,
            self.cpu,
            self.kernel,
            self.rustc,
            versions.join(", "),
            self.commit,
            self.sockets,
            self.rounds,
            self.seconds,
            self.command
        )
    }
}

fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Of what is compared and what it runs on, from the lock file that this was built with.
fn versions() -> Vec<(String, String)> {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    const WANTED: [&str; 7] =
        ["wsstream", "tokio-tungstenite", "fastwebsockets", "tokio-websockets", "yawc", "sockudo-ws", "tokio"];
    let version = |name: &str| {
        let rest = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some((name.to_owned(), rest.split_once('"')?.0.to_owned()))
    };
    WANTED.into_iter().filter_map(version).collect()
}
