//! What is compared: each library behind one trait, at the best settings that its documentation names.

mod fastwebsockets;
mod floor;
pub mod framing;
mod raw;
mod sockudo;
mod tokio_websockets;
mod tungstenite;
mod wsstream;
mod yawc;

use anyhow::Result;
use bytes::Bytes;
use tokio::net::TcpStream;

pub use self::{
    fastwebsockets::Fastwebsockets,
    floor::Floor,
    raw::Raw,
    sockudo::Sockudo,
    tokio_websockets::TokioWebsockets,
    tungstenite::Tungstenite,
    wsstream::{Chunks, Whole},
    yawc::Yawc,
};
use crate::tally::Tally;

/// Raw TCP, the limit; `floor`, the least that a WebSocket can do; wsstream, reading chunks and reading whole messages;
/// the peers.
pub const NAMES: [&str; 9] = [
    "raw",
    "floor",
    "wsstream",
    "wsstream-whole",
    "tokio-tungstenite",
    "fastwebsockets",
    "tokio-websockets",
    "yawc",
    "sockudo-ws",
];

/// Names the type of a library inside an expression.
#[macro_export]
macro_rules! with_library {
    ($name:expr, $library:ident => $run:expr) => {
        match $name {
            "raw" => {
                type $library = $crate::library::Raw;
                $run
            }
            "floor" => {
                type $library = $crate::library::Floor;
                $run
            }
            "wsstream" => {
                type $library = $crate::library::Chunks;
                $run
            }
            "wsstream-whole" => {
                type $library = $crate::library::Whole;
                $run
            }
            "tokio-tungstenite" => {
                type $library = $crate::library::Tungstenite;
                $run
            }
            "fastwebsockets" => {
                type $library = $crate::library::Fastwebsockets;
                $run
            }
            "tokio-websockets" => {
                type $library = $crate::library::TokioWebsockets;
                $run
            }
            "yawc" => {
                type $library = $crate::library::Yawc;
                $run
            }
            "sockudo-ws" => {
                type $library = $crate::library::Sockudo;
                $run
            }
            name => anyhow::bail!("there is no library {name}"),
        }
    };
}
pub use crate::with_library;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Masks what it sends.
    Client,
    /// Gets masked frames.
    Server,
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binary,
    Text,
}

/// What a connection is for: settings follow from it where a library's documentation says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Large messages, as many as possible.
    Bulk,
    /// The same, in frames as long as the library makes them by itself.
    DefaultFrames,
    /// Small messages, as many as possible.
    Small,
    /// One small message at a time.
    Echo,
    /// One message too large for anybody's default limits.
    OneMessage,
    /// One of very many connections, which is silent most of the time.
    Idle,
    /// Messages that are compressed: at this level, with a window of 15 bits and context takeover.
    Deflate { level: u8 },
}

impl Purpose {
    /// How much a sender hands over between two flushes.
    pub fn batch(self) -> usize {
        match self {
            Self::Bulk | Self::DefaultFrames | Self::OneMessage | Self::Deflate { .. } => 256 * 1024,
            Self::Small => 32 * 1024,
            Self::Echo | Self::Idle => 0,
        }
    }
}

/// Takes payload at a pace of its own.
pub trait Consumer: Send {
    /// What counts and checks it.
    fn tally(&mut self) -> &mut Tally;

    /// What was counted has been handed over; waits until more is wanted.
    fn taken(&mut self) -> impl Future<Output = ()> + Send;
}

/// One end of a connection.
pub trait Connection: Sized + Send + 'static {
    /// A message that can be sent many times over, in the form that the library takes with the least work.
    type Message: Send + Sync + 'static;

    /// The hand-written end that the library talks to where only one end is measured.
    type Far: Connection;

    /// Whether there are frames at all.
    const FRAMED: bool = true;

    /// Whether it can send a message before it has all of it.
    const SENDS_PIECES: bool = false;

    /// Takes over a TCP connection on which the handshake counts as done. `message_len` is for the one without frames.
    fn open(
        tcp: TcpStream,
        role: Role,
        purpose: Purpose,
        message_len: usize,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Makes a message, whose text is known to be valid.
    fn message(kind: Kind, payload: Bytes) -> Self::Message;

    /// Hands a message over; it may wait for room, and need not be on its way before `flush`.
    fn feed(&mut self, message: &Self::Message) -> impl Future<Output = Result<()>> + Send;

    /// Sends what was fed.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Sends a message by itself.
    fn send(&mut self, message: &Self::Message) -> impl Future<Output = Result<()>> + Send {
        async {
            self.feed(message).await?;
            self.flush().await
        }
    }

    /// Sends a binary message that nobody else holds, and waits until it is on its way.
    fn send_once(&mut self, payload: Vec<u8>) -> impl Future<Output = Result<()>> + Send;

    /// Sends one message that has no end, this piece over and over, each a fragment of its own; only if
    /// [`SENDS_PIECES`](Self::SENDS_PIECES).
    fn send_endless(&mut self, _piece: Bytes) -> impl Future<Output = Result<()>> + Send {
        async { anyhow::bail!("it cannot send a message in pieces") }
    }

    /// Receives one message, piece by piece or whole; without frames, whatever has come.
    fn receive(&mut self, tally: &mut Tally) -> impl Future<Output = Result<()>> + Send;

    /// Receives one message, or whatever has come of it. The consumer is awaited after each piece that the library hands over.
    fn consume(&mut self, consumer: &mut impl Consumer) -> impl Future<Output = Result<()>> + Send {
        async {
            self.receive(consumer.tally()).await?;
            consumer.taken().await;
            Ok(())
        }
    }

    /// Receives one message in one piece.
    fn receive_whole(&mut self) -> impl Future<Output = Result<Bytes>> + Send;

    /// Receives one message and sends it back.
    fn echo(&mut self) -> impl Future<Output = Result<()>> + Send {
        async {
            let payload = self.receive_whole().await?;
            self.send(&Self::message(Kind::Binary, payload)).await
        }
    }
}

/// What a handshake has agreed on, for those who compress.
const DEFLATE: &str = "permessage-deflate";

/// The peer is gone.
fn ended() -> anyhow::Error {
    anyhow::anyhow!("the connection ended")
}
