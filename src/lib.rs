//! WebSockets as streams (RFC 6455): messages in chunks, backpressure in bytes, bounded memory.
//!
//! Opening a connection is a future that resolves to a pair of bounded halves, [`Readable`] and [`Writable`], and a
//! [`Closed`] future tells how it ended. The API is modelled on the browser's `WebSocketStream`; it goes further in that a
//! message is itself a stream of chunks, smaller than a frame if need be.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wsstream::{CloseCode, Listener, MessageKind, WebSocketStream};
//!
//! let mut listener = Listener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/echo", listener.local_addr()?);
//!
//! // A server that echoes chunk by chunk: it never holds a message.
//! let server = tokio::spawn(async move {
//!     let ws = listener.accept().await?.accept().await?;
//!     let (mut readable, mut writable) = ws.split();
//!     while let Some(mut message) = readable.next_message().await? {
//!         let mut echo = writable.start_message(message.kind()).await?;
//!         while let Some(chunk) = message.chunk().await? {
//!             echo.write(chunk).await?;
//!         }
//!         echo.finish().await?;
//!     }
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//!
//! let mut ws = WebSocketStream::connect(url).await?;
//! let mut message = ws.start_message(MessageKind::Text).await?;
//! message.write("in ").await?;
//! message.write("pieces").await?;
//! message.finish().await?;
//!
//! if let Some(mut echo) = ws.next_message().await? {
//!     assert_eq!(echo.collect(1024).await?.as_text(), Some("in pieces"));
//! }
//! let closed = ws.close(CloseCode::NORMAL, "done").await?;
//! assert_eq!(closed.reason, "done");
//! # server.await?.unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # The path of the data
//!
//! ```text
//!              application                         driver (a task)                        transport
//!
//!  Readable <- chunks, by reference <- inbound queue <- decoder <- read buffer (256 KiB) <- socket
//!                                      high-water mark             lent while bytes come,
//!                                      256 KiB                     none when idle
//!
//!  Writable -> frames of small messages --> outbound queue ------> vectored write -------> socket
//!              more than 4 KiB by reference high-water mark        frames of at most 64 KiB,
//!                                           256 KiB                masked here (client)
//! ```
//!
//! The driver reads, answers pings, sees and answers Close frames, writes and keeps time, whether anybody polls or not.
//!
//! # Flow control
//!
//! While the reader lags by [`Config::read_high_water_mark`], the transport is not read, and decoding stops in mid-buffer;
//! both go on when half of it has been taken. TCP does the rest: the peer's writes wait. Each chunk counts as the bytes
//! that it took on the wire, or inflated to, or their share of the read buffer that they keep alive, and 128 more, so that
//! floods of empty messages are bounded too. Sending waits while [`Config::write_high_water_mark`] bytes are buffered, and
//! goes on at half. A writer that never has to wait gives way to others after 768 KiB, or a frame of up to 1 MiB, in its task
//! and in others.
//!
//! Memory, at most:
//!
//! ```text
//! received, not taken = read high-water mark + one read buffer (256 KiB) + one chunk (at most a read buffer)
//!                       + where chunks are tiny 1.125 times the mark, for their places in three queues
//! accepted, not sent  = write high-water mark + the one message or chunk that overshot it + pongs (16 KiB)
//!                       + on a client 576 KiB, where frames of large `Bytes` are masked
//! ```
//!
//! Where compression was agreed on ([`Config::compression`]), the first counts inflated bytes and its chunk is at most 64
//! KiB, the second counts bytes not yet compressed; 371 KiB to compress and 46 KiB to inflate come to it, with
//! [`Compression`]'s defaults.
//!
//! Each worker thread keeps, for the connections that it runs, one read buffer and up to 576 KiB of memory for small frames
//! and masked payloads; where messages are read whole another read buffer and the memory of the last one (up to 4 MiB); and
//! where messages are compressed 128 KiB of scratch and the state of one compressor and one decompressor.
//!
//! Nothing is allocated because a header announces it. A chunk of a well-filled buffer is a view of it, so that a small
//! chunk kept for long may keep 256 KiB; what a read of less than 64 KiB brings is copied out, and up to 128 KiB what finds
//! nobody waiting for it.
//!
//! Control frames that stand behind unread data cannot be seen before it is read. A reader that lags for ever therefore
//! leaves pings unanswered, and a close unnoticed until the peer gives up or [`Config::close_timeout`] passes. Meanwhile
//! an unsolicited pong every [`Config::ping_interval`] tells the peer that this end lives, and the clock of
//! [`Config::keepalive_timeout`] stands still.
//!
//! TLS has buffers of its own below that: at most 16 KiB of what has come and 64 KiB of what is to go, encrypted, and 48 KiB for
//! records in pieces and what the connection knows; 25 KiB while idle. What `buffered_amount` counts has not reached them.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `rustls` (on by default) | `wss://` for clients, and `Listener::tls`: TLS by rustls, with ring |
//! | `proxy` | `Connect::proxy`, `Connect::proxy_from_env`: HTTP CONNECT and SOCKS5 |
//! | `hyper` | `HttpUpgrade::from_hyper`: upgrades from a hyper service |
//! | `axum` | the same as an extractor of axum |
//!
//! No feature changes what another does. Without `rustls`, `wss://` is an error that says so.
//!
//! # Closing
//!
//! * [`Writable::close`] sends everything accepted, then the Close frame, and waits for the peer's. Messages that still
//!   come are delivered. Later writes fail.
//! * When the peer closes, everything received before is delivered, then the stream of messages ends. The answer goes
//!   out as soon as the reader has taken what came before, or after 100 ms; data that the transport does not take by then
//!   without waiting is lost, and the end unclean.
//! * [`Closed`] reports the peer's close code and reason, whoever began: 1005 for a Close frame without a body. An end
//!   without a Close frame, a fault, a message cut short, or data left unsent is an error, the same at every handle, after
//!   everything received has been delivered.
//! * A message that was cut never looks finished, with any way to read it.
//! * Closing takes no longer than [`Config::close_timeout`] without progress, and needs no reader. Dropping all handles
//!   closes with 1001 in the background.
//!
//! * A server goes down in good order with [`Listener::shutdown`] or [`Connections::shutdown`].
//!
//! # Servers of others
//!
//! Behind an HTTP server the same [`Upgrade`] comes of a request that it has read: [`Upgrade::from_request`] for any that
//! speaks [`http::Request`], `HttpUpgrade::from_hyper` with the cargo feature `hyper`, and `HttpUpgrade` as an extractor with
//! `axum`. No feature is on by default, and none changes what is there without it.
//!
//! # Relays
//!
//! [`relay`](relay()) joins two connections, [`fanout`] one source and many receivers; `docs/media-relays.md` is about both.
//!
//! # Tasks
//!
//! Connections must be opened within a tokio runtime with IO and time enabled; each spawns one task. The halves may be used
//! anywhere.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept_error;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod client;
mod close;
mod compression;
mod config;
mod connect_error;
mod connections;
mod driver;
mod error;
pub mod fanout;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod listener;
mod message;
mod negotiated;
mod net;
mod proto;
mod relay;
mod role;
mod server;
mod stats;
mod stream;
mod wire;

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the document on large files.
#[cfg(doctest)]
#[doc = include_str!("../docs/large-files.md")]
struct LargeFiles;

/// And those of the document on relays.
#[cfg(doctest)]
#[doc = include_str!("../docs/media-relays.md")]
struct MediaRelays;

/// And of the document on slow consumers.
#[cfg(doctest)]
#[doc = include_str!("../docs/slow-consumers.md")]
struct SlowConsumers;

pub use accept_error::{AcceptError, AcceptErrorKind};
pub use client::{Connect, Dial, Retry};
pub use close::{CloseCode, CloseInfo, MAX_CLOSE_REASON};
pub use compression::Compression;
pub use config::Config;
pub use connect_error::{ConnectError, ConnectErrorKind};
pub use connections::{Connections, ShutdownReport};
pub use error::{CloseError, CollectError, ConnectionError, InvalidUtf8, ProtocolError, ReadError, WriteError};
pub use listener::Listener;
pub use message::{Message, MessageKind};
pub use negotiated::{InvalidExtensions, Negotiated};
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub use net::tls::ServerTls;
pub use net::{NetStream, TcpOptions};
pub use relay::{Carried, RelaySide, Relayed, relay, relay_one_way};
pub use role::Role;
/// The version of rustls whose configurations [`Connect::tls`] and [`Listener::tls`] take.
#[cfg(feature = "rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub use rustls;
pub use server::{Accept, AcceptUpgrade, Reject, Upgrade};
#[cfg(feature = "hyper")]
pub use server::{HttpStream, HttpTransport, HttpUpgrade};
pub use stats::{DirectionStats, ReadyState, Stats};
pub use stream::{Closed, Control, MessageReader, MessageWriter, Readable, StartMessage, WebSocketStream, Writable};
