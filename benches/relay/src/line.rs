//! A source, a sink, and a relay between them or none.

use std::{io::Write, net::Ipv4Addr, time::Instant};

use anyhow::{Context, Result};
use wsstream::{Listener, Readable, WebSocketStream, Writable, relay};
use wsstream_peers::{
    measure::{Cpu, peak_rss, reset_peak_rss, rss},
    numbers,
    process::Process,
};

/// What the relay's process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// Bytes above what the process held before it had a connection.
    pub(crate) rss: u64,
}

/// From a source to a sink.
pub(crate) struct Line {
    pub(crate) source: Writable,
    pub(crate) sink: Readable,
    /// The other halves: dropped, they would end the connections' other direction.
    _others: (Readable, Writable),
    relay: Option<Process>,
}

impl Line {
    pub(crate) async fn open(is_relayed: bool) -> Result<Self> {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut port = listener.local_addr()?.port();
        let mut relay = None;
        if is_relayed {
            let mut process = Process::start(["--to", &port.to_string()])?;
            port = process.port()?;
            relay = Some(process);
        }
        let url = format!("ws://127.0.0.1:{port}/");
        let (source, sink) =
            tokio::join!(WebSocketStream::connect(url), async { anyhow::Ok(listener.accept().await?.accept().await?) });
        let ((from_sink, source), (sink, to_source)) = (source?.split(), sink?.split());
        Ok(Self { source, sink, _others: (from_sink, to_source), relay })
    }

    /// Closes it; what the relay has used.
    pub(crate) async fn close(mut self) -> Result<Option<Used>> {
        let control = self.source.control();
        drop(self.source);
        drop(self.sink);
        drop(self._others);
        control.close(wsstream::CloseCode::NORMAL, "").await?;
        let Some(relay) = &mut self.relay else { return Ok(None) };
        let (user, system, rss) = relay.figures()?;
        Ok(Some(Used { user, system, rss }))
    }
}

/// The relay's process: one connection, then its figures.
pub(crate) async fn relay_to(port: u16) -> Result<()> {
    let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    reset_peak_rss()?;
    let (before, cpu) = (rss()?, Cpu::own()?);
    let source = listener.accept().await?.accept().await?;
    let sink = WebSocketStream::connect(format!("ws://127.0.0.1:{port}/")).await?;
    relay(source, sink).await;
    let used = Cpu::own()?;
    let figures = (used.user - cpu.user, used.system - cpu.system, peak_rss()?.saturating_sub(before));
    println!("{}", serde_json::to_string(&figures).context("figures are numbers")?);
    Ok(())
}

/// Sleeps until a time that may have passed.
pub(crate) async fn until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}

/// Of a round each.
pub(crate) fn median(figures: Vec<f64>) -> Result<f64> {
    numbers::median(figures).context("nothing has been measured")
}
