//! Sends files over WebSockets: of any size, in a few MiB of memory, resumed after an interruption, verified by hash.
//!
//! ```text
//! file_transfer serve DIR --listen 127.0.0.1:9000
//! file_transfer put FILE ws://127.0.0.1:9000/NAME
//! file_transfer get ws://127.0.0.1:9000/NAME FILE
//! file_transfer demo --size 1GiB
//! ```
//!
//! `put` and `get` go on by themselves when the server goes away and comes back.
//!
//! The network is served by one thread, which never touches a file: a thread for each transfer reads or writes it and
//! hashes it, and the two exchange a few buffers. What they say to the other end is in `protocol.rs`.

mod client;
mod demo;
mod failure;
#[path = "../common/memory.rs"]
mod memory;
mod names;
mod partial;
mod protocol;
mod receive;
mod send;
mod server;
#[path = "../common/signal.rs"]
mod signal;
#[path = "../common/size.rs"]
mod size;
mod transfer;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{ArgAction, Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    client::Server, failure::Failure, receive::Options, signal::cancel_on_signal, size::parse_size, transfer::Report,
};

/// Sends files over WebSockets, of any size, in a few MiB of memory.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Log what happens to stderr; twice for more. RUST_LOG says it in detail.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let others put files to a folder and get them from there.
    Serve {
        folder: PathBuf,
        /// Port 0 lets the system choose one; the address is printed.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
        /// Receive at most this much per second and transfer, 10MiB for example.
        #[arg(long, value_name = "BYTES", value_parser = parse_size)]
        limit_rate: Option<u64>,
    },
    /// Send a file to a server.
    Put {
        file: PathBuf,
        /// ws://host:port/NAME
        url: String,
        /// Send it as a single frame.
        #[arg(long)]
        one_frame: bool,
        /// Wait so many seconds for a server that goes away in the middle of it, and go on; 0 for not at all.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        retry_for: u64,
        /// Print what was done as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch a file from a server.
    Get {
        /// ws://host:port/NAME
        url: String,
        file: PathBuf,
        /// Ask for a single frame.
        #[arg(long)]
        one_frame: bool,
        /// Receive at most this much per second, 10MiB for example.
        #[arg(long, value_name = "BYTES", value_parser = parse_size)]
        limit_rate: Option<u64>,
        /// Wait so many seconds for a server that goes away in the middle of it, and go on; 0 for not at all.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        retry_for: u64,
        /// Print what was done as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a file of random bytes to a server and back, on this machine, and measure that.
    Demo {
        #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_size)]
        size: u64,
        /// Send it as a single frame.
        #[arg(long)]
        one_frame: bool,
        /// Print the numbers as one JSON object on the last line.
        #[arg(long)]
        json: bool,
    },
}

/// What `put` and `get` print with `--json`.
#[derive(Debug, Serialize, Deserialize)]
struct PutOrGet {
    #[serde(flatten)]
    report: Report,
    peak_rss_kib: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(args.verbose);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit(Err(Failure::io("starting", &error))),
    };
    exit(runtime.block_on(run(args.command)))
}

fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone()));
    match command {
        Command::Serve { folder, listen, limit_rate } => server::serve(folder, listen, limit_rate, stop).await,
        Command::Put { file, url, one_frame, retry_for, json } => {
            let server = Server { url, retry_for: Duration::from_secs(retry_for) };
            let report = client::put(&file, server, one_frame, stop).await?;
            print_report("sent", report, json)
        }
        Command::Get { url, file, one_frame, limit_rate, retry_for, json } => {
            let server = Server { url, retry_for: Duration::from_secs(retry_for) };
            let report = client::get(server, &file, Options { one_frame, limit_rate }, stop).await?;
            print_report("received", report, json)
        }
        Command::Demo { size, one_frame, json } => {
            let demo = tokio::select! {
                demo = demo::demo(size, one_frame) => demo?,
                () = stop.cancelled() => return Err(Failure::bad_request("interrupted; run this again")),
            };
            if json {
                print_json(&demo)?;
            }
            demo.check()
        }
    }
}

fn print_report(what: &str, report: Report, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&PutOrGet { report, peak_rss_kib: memory::peak_rss_kib("self") });
    }
    let Report { bytes, resumed_at, sha256, .. } = &report;
    let resumed = if *resumed_at > 0 { format!(", resumed at {resumed_at}") } else { String::new() };
    print_line(&format!("{what} {bytes} bytes{resumed}, {:.2} GB/s, sha256 {sha256}", report.gb_per_s()))
}

fn print_json(what: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(what).map_err(|error| Failure::io("printing", &error.into()))?;
    print_line(&json)
}

fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::io("printing", &error))
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
