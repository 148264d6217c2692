//! What a relay adds to a connection: `cargo bench -p wsstream-relay`.
//!
//! The relay has a process to itself. Source and sink are one process, so that they share a clock. Everything is measured
//! with the relay between the two and without.

mod latency;
mod line;
mod throttled;

use anyhow::Result;
use clap::Parser;
use parse_size::parse_size;

/// Measures what a relay adds: latency of a chunk, memory while it is throttled, CPU.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p wsstream-relay --")]
struct Args {
    /// The message that passes through a throttled relay, in one frame.
    #[arg(long, default_value = "4GiB", value_parser = |text: &str| parse_size(text))]
    size: u64,
    /// Bytes a second that the receiver behind the relay takes.
    #[arg(long, default_value = "10MiB", value_parser = |text: &str| parse_size(text))]
    rate: u64,
    /// How often latency and speed are measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A second of everything: shows that it works, measures nothing.
    #[arg(long)]
    quick: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// Is the relay, between a port of its own and this one.
    #[arg(long, hide = true)]
    to: Option<u16>,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if let Some(port) = args.to {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(line::relay_to(port));
    }
    if args.quick {
        (args.size, args.rounds) = (4 << 20, 1);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        latency::measure(args.rounds, if args.quick { 50 } else { 2000 }).await?;
        throttled::speed(args.rounds, if args.quick { 8 << 20 } else { 1 << 30 }).await?;
        throttled::measure(args.size, args.rate).await
    })
}
