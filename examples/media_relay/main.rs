//! A relay for live media: one publisher to a channel, any number of viewers, each at its own pace.
//!
//! ```text
//! media_relay serve
//! ffmpeg -re -i film.mp4 -c copy -f mpegts - | media_relay publish ws://127.0.0.1:9001/live/film
//! media_relay view ws://127.0.0.1:9001/live/film --out - | ffplay -
//! media_relay publish ws://127.0.0.1:9001/live/test --camera --fps 30 --bitrate 8M
//! media_relay demo
//! ```
//!
//! Viewers may come before the publisher, and stay when it gets lost and another one takes over. `request.rs` says what a
//! URL may ask for, and `frame.rs` what a message looks like. The relay itself is `server.rs` and `channels.rs`, on top of
//! `wsstream::fanout`.

mod channels;
mod demo;
mod failure;
mod frame;
#[path = "../common/memory.rs"]
mod memory;
mod meter;
mod publish;
mod request;
mod server;
#[path = "../common/signal.rs"]
mod signal;
#[path = "../common/size.rs"]
mod size;
mod table;
mod view;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgAction, Parser, Subcommand};
use indicatif::HumanBytes;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{failure::Failure, signal::cancel_on_signal};

/// Relays live media over WebSockets, from one publisher to many viewers; who is slow slows nobody.
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
    /// Relay channels, each from its publisher to its viewers.
    ///
    /// The path of a URL names a channel. A viewer may ask for ?lag=POLICY (skip-to-key, drop-oldest, drop-newest,
    /// disconnect, or wait where it is allowed), &budget=BYTES, &start=key or now, and &label=NAME for the log.
    Serve(server::Options),
    /// Publish standard input, a file, or the noise of a camera that is none.
    ///
    /// What is read goes out in pieces of up to 64 KiB as it comes. Viewers that lag miss whole pieces, so the format
    /// must be one that can be joined in the middle, MPEG-TS for example.
    Publish(publish::Options),
    /// Take a channel's stream: measure it, and write it somewhere.
    ///
    /// Latency is the time on this clock less that on the publisher's clock: right on one machine, and between two as far
    /// as their clocks agree.
    View(view::Options),
    /// A relay, a camera and viewers, some of them slow or stopped, on this machine; measures that.
    ///
    /// Fails if a viewer that is neither slow nor stopped has missed a frame.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(args.verbose);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit(Err(Failure::io("starting", &error))),
    };
    let result = runtime.block_on(run(args.command));
    // Standard input may still be being read, and that cannot be interrupted.
    runtime.shutdown_background();
    exit(result)
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
        Command::Serve(options) => server::serve(options, stop).await,
        Command::Publish(options) => {
            let report = publish::publish(options.url(), options.open().await?, stop).await?;
            let publish::Report { frames, bytes, skipped } = report;
            let words = format!("published {frames} frames, {}, {skipped} skipped", HumanBytes(bytes));
            print(io::stdout(), &report, options.json, || words)
        }
        Command::View(options) => {
            let (report, ended) = view::view(&options, stop).await?;
            if options.is_to_stdout() {
                print(io::stderr(), &report, options.json, || report.describe())?;
            } else {
                print(io::stdout(), &report, options.json, || report.describe())?;
            }
            ended
        }
        Command::Demo(options) => {
            let demo = tokio::select! {
                demo = demo::demo(&options) => demo?,
                () = stop.cancelled() => return Err(Failure::bad_request("interrupted; run this again")),
            };
            print(io::stdout(), &demo, options.json, || table::summary(&demo))?;
            demo.check()
        }
    }
}

fn print(mut to: impl Write, what: &impl Serialize, json: bool, words: impl FnOnce() -> String) -> Result<(), Failure> {
    let failed = |error| Failure::io("printing", &error);
    let line = if json { serde_json::to_string(what).map_err(|error| failed(error.into()))? } else { words() };
    writeln!(to, "{line}").map_err(failed)
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
