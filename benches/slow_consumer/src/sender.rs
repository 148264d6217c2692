//! The sending process: it sends as much as it may, and counts how long it may not.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use wsstream_peers::{
    child::{self, Control},
    library::{Connection, Kind, Role, framing::Head},
    measure::{peak_rss, reset_peak_rss, rss},
    tally,
};

use crate::case::{Case, Size};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) idle_rss: u64,
    pub(crate) peak_rss: u64,
    /// The share of the time that counts in which the sending task waited.
    pub(crate) waited: f64,
}

/// What goes ahead, whole messages of it: it shows how many bytes a message takes on the wire.
pub(crate) const PROBE: usize = 64 * 1024;

pub(crate) async fn run<L: Connection>(case: Case, port: u16) -> Result<Sent> {
    let (len, purpose) = (case.size.pattern_len(), case.size.purpose());
    let pattern = tally::binary(len);
    let mut control = Control::dial(port).await?;
    let tcp = child::dial(port).await?;
    match case.size {
        Size::Endless if !L::SENDS_PIECES => {
            let send = by_hand(tcp, pattern);
            let idle_rss = ready(&mut control).await?;
            count(send, control, idle_rss).await
        }
        Size::Endless => {
            let mut connection = L::open(tcp, Role::Server, purpose, len).await?;
            let idle_rss = ready(&mut control).await?;
            count(connection.send_endless(pattern), control, idle_rss).await
        }
        Size::Of(_) => {
            let message = L::message(Kind::Binary, pattern);
            let mut connection = L::open(tcp, Role::Server, purpose, len).await?;
            let idle_rss = ready(&mut control).await?;
            send(&mut connection, &message, PROBE.div_ceil(len)).await?;
            let batch = (purpose.batch() / len).max(1);
            let endless = async {
                loop {
                    send(&mut connection, &message, batch).await?;
                }
            };
            count(endless, control, idle_rss).await
        }
    }
}

async fn ready(control: &mut Control) -> Result<u64> {
    control.wait().await?;
    let idle_rss = rss()?;
    reset_peak_rss()?;
    Ok(idle_rss)
}

async fn send<L: Connection>(connection: &mut L, message: &L::Message, count: usize) -> Result<()> {
    for _ in 0..count {
        connection.feed(message).await?;
    }
    connection.flush().await
}

/// One message without an end, for libraries that need all of a message before they send it.
async fn by_hand(mut tcp: TcpStream, piece: Bytes) -> Result<()> {
    let mut kind = Some(Kind::Binary);
    loop {
        let head = Head::new(kind.take(), false, piece.len() as u64, None);
        tcp.write_all(&[head.bytes(), &piece].concat()).await?;
    }
}

/// Sends from the second signal on, and counts from the third to the fourth, until the fifth.
async fn count(send: impl Future<Output = Result<()>>, mut control: Control, idle_rss: u64) -> Result<Sent> {
    control.wait().await?;
    let mut sending = Sending { future: Box::pin(send), waited: Duration::ZERO, since: None };
    let (start, mut seen) = (Instant::now(), Vec::new());
    while seen.len() < 3 {
        tokio::select! {
            ended = &mut sending => match ended {
                Ok(()) => bail!("it ended"),
                Err(error) => return Err(error),
            },
            signal = control.wait() => {
                signal?;
                seen.push((start.elapsed(), sending.waited(), peak_rss()?));
            }
        }
    }
    control.signal().await?;
    // The connection ends after the receiver has heard that, not beside it: who reads it would take that for a fault.
    let _ = control.wait().await;
    let (mut from, to) = (seen[0], seen[1]);
    if to.0 - from.0 < Duration::from_millis(1) {
        from = Default::default(); // the run was ended before
    }
    let waited = (to.1 - from.1).as_secs_f64() / (to.0 - from.0).as_secs_f64();
    Ok(Sent { idle_rss, peak_rss: to.2, waited })
}

/// Knows for how long it was not ready to go on.
struct Sending<F> {
    future: Pin<Box<F>>,
    waited: Duration,
    /// Since when it waits.
    since: Option<Instant>,
}

impl<F> Sending<F> {
    /// In all, the present wait included.
    fn waited(&self) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl<F: Future> Future for Sending<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = self.waited();
        self.since = None;
        let polled = self.future.as_mut().poll(cx);
        if polled.is_pending() {
            self.since = Some(Instant::now());
        }
        polled
    }
}
