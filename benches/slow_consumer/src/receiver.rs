//! The receiving process: a library, its consumer, and what both did.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wsstream_peers::{
    child::{Control, Listener},
    library::{Connection, Role},
    measure::{peak_rss, reset_peak_rss, rss},
    tally::{self, Tally},
};

use crate::{
    case::{Case, PIECE, Scale, Size, Speed},
    pace::{Log, Pace},
    sender::PROBE,
    taken::{Between, Socket},
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Payload handed over, bytes per second.
    pub(crate) rate: f64,
    /// Connected, before anything has come.
    pub(crate) idle_rss: u64,
    pub(crate) peak_rss: u64,
    /// Taken from the socket and not handed over, in bytes on the wire: at most, or at the end of a stop.
    pub(crate) beyond: u64,
    /// From the end of a stop until the consumer is up to speed again, in seconds.
    pub(crate) up_to_speed: Option<f64>,
    /// The run was ended, because the process took more and more.
    pub(crate) takes_all: bool,
}

/// The head of a frame of 64 KiB from a server.
const HEAD: usize = 10;

pub(crate) async fn run<L: Connection>(case: Case, scale: Scale) -> Result<Received> {
    let (len, purpose) = (case.size.pattern_len(), case.size.purpose());
    let mut tally = Tally::new(tally::binary(len));
    let log = Log::new();
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let tcp = listener.accept().await?;
    let socket = Socket::of(&tcp)?;
    let mut connection = L::open(tcp, Role::Client, purpose, len).await?;
    let idle_rss = rss()?;
    reset_peak_rss()?;

    control.signal().await?;
    let wire = match case.size {
        Size::Of(len) => {
            while tally.bytes() < PROBE.max(len) as u64 {
                connection.receive(&mut tally).await?;
            }
            socket.taken()? as f64 / tally.bytes() as f64
        }
        Size::Endless if L::FRAMED => (PIECE + HEAD) as f64 / PIECE as f64,
        Size::Endless => 1.0,
    };
    let between = Between::watch(socket, wire, scale.most_beyond());
    let first = if let Speed::Stopped = case.speed { Speed::Unlimited } else { case.speed };
    let (speed, told) = watch::channel(first);
    let mut consumer = Pace::new(tally, log, told, between.clone());
    control.signal().await?;

    let told = {
        let consume = async {
            loop {
                connection.consume(&mut consumer).await?;
            }
        };
        tokio::select! {
            told = Director { case, scale, speed, between: &between, control }.run() => told?,
            ended = consume => return ended,
        }
    };
    wsstream_peers::library::Consumer::tally(&mut consumer).check()?;
    let log = &consumer.log;
    Ok(Received {
        rate: log.rate(told.began, told.ended),
        idle_rss,
        peak_rss: told.peak_rss,
        beyond: told.beyond,
        up_to_speed: told.before.filter(|_| !told.takes_all).and_then(|before| {
            let rate = log.rate(before, told.began);
            Some(log.up_to_speed(told.ended, rate)?.as_secs_f64())
        }),
        takes_all: told.takes_all,
    })
}

/// Tells the consumer how fast to be, and the sender what counts.
struct Director<'a> {
    case: Case,
    scale: Scale,
    speed: watch::Sender<Speed>,
    between: &'a Between,
    control: Control,
}

/// What counted, from when to when.
struct Told {
    /// Before a stop: from here on, it ran at full speed.
    before: Option<Instant>,
    began: Instant,
    ended: Instant,
    peak_rss: u64,
    beyond: u64,
    takes_all: bool,
}

impl Director<'_> {
    async fn run(mut self) -> Result<Told> {
        let (mut before, mut takes_all) = (None, false);
        if !matches!(self.case.speed, Speed::Limited(_)) {
            takes_all = self.over(self.scale.warm_up()).await;
        }
        if self.case.speed == Speed::Stopped {
            before = Some(Instant::now());
            takes_all = takes_all || self.over(self.scale.warm_up()).await;
            if !takes_all {
                self.speed.send_replace(Speed::Stopped);
                reset_peak_rss()?;
            }
        }
        self.control.signal().await?;
        let began = Instant::now();
        if !takes_all {
            self.between.reset();
            takes_all = self.over(self.scale.measured(self.case.speed)).await;
        }
        let (ended, peak_rss) = (Instant::now(), peak_rss()?);
        let stopped = self.case.speed == Speed::Stopped && !takes_all;
        let beyond = if stopped { self.between.now() } else { self.between.most() };
        self.control.signal().await?;
        if stopped {
            self.speed.send_replace(Speed::Unlimited);
            tokio::time::sleep(self.scale.resumed()).await;
        }
        self.control.signal().await?;
        self.control.wait().await?; // until nobody sends to where nobody reads
        Ok(Told { before, began, ended, peak_rss, beyond, takes_all })
    }

    /// Waits for that long, or until the receiver has taken too much.
    async fn over(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.between.too_much() => true,
        }
    }
}
