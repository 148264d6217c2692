//! Compressed messages in one direction, as many as possible, both ends in one process.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use zlib_rs::{Deflate as Compressor, DeflateFlush, Inflate as Decompressor, InflateFlush};

use super::{Case, Column, Direction, Figures, Scale, Scenario, Workers, figures, line::Line};
use wsstream_peers::{
    child::{connect, pair},
    library::{Connection, Kind, Purpose, Role, framing::Incoming},
    measure::Clock,
    numbers::size,
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::more("speed", "MB/s", 0).alone(),
    Column::less("cpu", "CPU ms/MB (both ends)", 2).alone(),
    Column::more("smaller", "times smaller", 2).alone(),
];

/// What each message ends with, and what is cut off it (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// What is in the messages. What follows another is never so near to a copy of itself that a window of 32 KiB reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Large messages of JSON lines.
    Lines,
    /// Large messages that nothing makes smaller.
    Random,
    /// Many small JSON objects, alike.
    Objects,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deflate {
    pub(crate) content: Content,
    pub(crate) direction: Direction,
    pub(crate) level: u8,
    pub(crate) workers: Workers,
}

impl Deflate {
    /// Level 6, which both peers have as their default, and the fastest, where what is not the compressor counts the most.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let contents = [Content::Lines, Content::Random, Content::Objects];
        let each = contents.into_iter().flat_map(|content| {
            [Direction::Download, Direction::Upload].into_iter().map(move |direction| (content, direction))
        });
        each.flat_map(|(content, direction)| {
            let runs = [(6, Workers::One), (6, Workers::Two), (1, Workers::One)];
            runs.map(|(level, workers)| Self { content, direction, level, workers })
        })
    }

    pub(crate) fn scenario(self) -> Scenario {
        let (content, what) = match self.content {
            Content::Lines => ("json", "of JSON lines"),
            Content::Random => ("random", "that cannot be compressed"),
            Content::Objects => ("small", "of one JSON object"),
        };
        let (direction, whither) = self.direction.names();
        let (count, len) = self.content.messages();
        let (level, workers) = (self.level, self.workers.name());
        Scenario {
            name: format!("deflate/{content}/{direction}/level-{level}/{workers}"),
            title: format!(
                "permessage-deflate, level {level}, 15 bits, with takeover: {} messages {what} {whither}, flushed every {}, \
                 one process, {workers}; `floor` is zlib-rs alone",
                size(len),
                size(count * len)
            ),
            case: Case::Deflate(self),
        }
    }

    fn payloads(self) -> Vec<Bytes> {
        let (count, len) = self.content.messages();
        match self.content {
            Content::Lines | Content::Objects => tally::json(count, len),
            Content::Random => {
                let bytes = tally::binary(count * len);
                (0..count).map(|at| bytes.slice(at * len..(at + 1) * len)).collect()
            }
        }
    }
}

impl Content {
    /// How many messages of which length go out between two flushes.
    fn messages(self) -> (usize, usize) {
        match self {
            Self::Lines | Self::Random => (4, 64 << 10),
            Self::Objects => (256, 200),
        }
    }

    fn kind(self) -> Kind {
        if self == Self::Random { Kind::Binary } else { Kind::Text }
    }
}

pub(crate) fn run<L: Connection>(case: Deflate, scale: Scale) -> Result<Figures> {
    case.workers.runtime()?.block_on(async move {
        let payloads = case.payloads();
        let purpose = Purpose::Deflate { level: case.level };
        let (server, client) = connect::<L>(purpose, payloads[0].len()).await?;
        let (sender, receiver) = match case.direction {
            Direction::Download => (server, client),
            Direction::Upload => (client, server),
        };
        let messages = payloads.iter().map(|payload| L::message(case.content.kind(), payload.clone())).collect();
        let tally = Tally::exact(payloads.concat().into(), payloads[0].len());
        let mut line =
            Line { messages, message_len: payloads[0].len(), repeats: 1, turn: usize::MAX, sender, receiver, tally };
        line = line.transfer(scale.warm_up()).await?;
        let before = line.tally.bytes();
        let clock = Clock::start()?;
        line = line.transfer(measured(scale)).await?;
        let used = clock.elapsed()?;
        line.tally.check()?;

        let megabytes = (line.tally.bytes() - before) as f64 / 1e6;
        let smaller = smaller::<L>(case, &payloads).await?;
        Ok(figures([("speed", megabytes / used.seconds), ("cpu", used.cpu / megabytes * 1e3), ("smaller", smaller)]))
    })
}

/// Longer than others: all of them have the same compressor, so that what they differ in is little.
fn measured(scale: Scale) -> Duration {
    2 * scale.measured()
}

/// How much less goes over the wire than is sent, frames included.
async fn smaller<L: Connection>(case: Deflate, payloads: &[Bytes]) -> Result<f64> {
    let (server, client) = pair().await?;
    let (tcp, mut wire, role, reader) = match case.direction {
        Direction::Download => (server, client, Role::Server, Role::Client),
        Direction::Upload => (client, server, Role::Client, Role::Server),
    };
    let mut sender = L::open(tcp, role, Purpose::Deflate { level: case.level }, payloads[0].len()).await?;
    let messages: Vec<_> = payloads.iter().map(|payload| L::message(case.content.kind(), payload.clone())).collect();
    let send = tokio::spawn(async move {
        for message in &messages {
            sender.feed(message).await?;
        }
        sender.flush().await?;
        anyhow::Ok(sender)
    });
    let (mut read, mut at, mut left) = (Vec::new(), 0, payloads.len());
    while left > 0 {
        ensure!(wire.read_buf(&mut read).await? > 0, "the connection ended");
        while let Some((frame, head)) = Incoming::parse(read.get(at..).unwrap_or_default(), reader)? {
            let plain = frame.kind.is_some() && !frame.compressed;
            ensure!(!plain || case.content == Content::Random, "a message was not compressed");
            left -= usize::from(frame.last);
            at += head + frame.rest as usize;
        }
    }
    let sender = send.await??; // until here, or the end of the connection would count
    drop(sender);
    Ok(payloads.iter().map(Bytes::len).sum::<usize>() as f64 / at as f64)
}

/// The same without a WebSocket: zlib-rs deflates each message in one call and inflates it in one.
pub(crate) fn alone(case: Deflate, scale: Scale) -> Result<Figures> {
    let payloads = case.payloads();
    let mut work = Work {
        compressor: Compressor::new(case.level.into(), false, 15),
        decompressor: Decompressor::new(false, 15),
        wire: vec![0; 2 * payloads[0].len() + 64],
        text: vec![0; payloads[0].len() + 64],
        given: 0,
    };
    work.pass(&payloads, scale.warm_up())?;
    let (before, clock) = (work.compressor.total_in(), Clock::start()?);
    work.given = 0;
    work.pass(&payloads, measured(scale))?;
    let used = clock.elapsed()?;
    let megabytes = (work.compressor.total_in() - before) as f64 / 1e6;
    let smaller = megabytes * 1e6 / work.given as f64;
    Ok(figures([("speed", megabytes / used.seconds), ("cpu", used.cpu / megabytes * 1e3), ("smaller", smaller)]))
}

struct Work {
    compressor: Compressor,
    decompressor: Decompressor,
    wire: Vec<u8>,
    text: Vec<u8>,
    /// Bytes that would go over the wire.
    given: u64,
}

impl Work {
    /// All messages, for that long.
    fn pass(&mut self, payloads: &[Bytes], time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            for payload in payloads {
                let before = self.compressor.total_out();
                self.compressor.compress(payload, &mut self.wire, DeflateFlush::SyncFlush).expect("any bytes will do");
                let len = (self.compressor.total_out() - before) as usize;
                ensure!(self.wire[..len].ends_with(&TAIL), "a message did not fit");
                self.given += (len - TAIL.len()) as u64;
                let before = self.decompressor.total_out();
                let flush = InflateFlush::SyncFlush;
                self.decompressor.decompress(&self.wire[..len], &mut self.text, flush).expect("what was deflated");
                let len = (self.decompressor.total_out() - before) as usize;
                ensure!(self.text[..len] == **payload, "what came is not what was sent");
            }
        }
        Ok(())
    }
}
