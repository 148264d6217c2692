//! What the application holds: an open connection, whole or as halves.

mod closed;
mod control;
mod giving_way;
mod message_reader;
mod message_writer;
mod readable;
mod waiting;
mod writable;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::control::WeakControl;
pub use self::{
    closed::Closed,
    control::Control,
    message_reader::MessageReader,
    message_writer::{MessageWriter, StartMessage},
    readable::Readable,
    writable::Writable,
};
use crate::{
    close::{CloseCode, CloseInfo},
    config::Config,
    driver::{
        self,
        shared::{Handle, Shared},
    },
    error::{CloseError, ReadError, WriteError},
    message::{Message, MessageKind},
    negotiated::Negotiated,
    role::Role,
    stats::{ReadyState, Stats},
};

/// An open connection whose messages are streams of chunks, with backpressure counted in bytes: unlike a plain
/// `Stream + Sink` of messages, it never holds a message unless it is asked to.
///
/// Made by [`connect`](Self::connect) on a client, by [`accept`](Self::accept) or a [`Listener`](crate::Listener) on a
/// server. Usually the first thing to do is to [`split`](Self::split) it into its halves, which may be used from two
/// tasks. Whole, it is a `Stream<Item = Result<Message, ReadError>>` and a `Sink<Message>`, as the halves are.
///
/// # Dropping
/// Everything accepted is sent, then the connection closes with 1001 in the background, bounded by
/// [`Config::close_timeout`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use wsstream::{CloseCode, WebSocketStream};
///
/// let mut ws = WebSocketStream::connect("ws://localhost:9001/echo").await?;
/// ws.send("hello").await?;
/// if let Some(mut message) = ws.next_message().await? {
///     println!("{:?}", message.collect(1024).await?);
/// }
/// ws.close(CloseCode::NORMAL, "").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocketStream {
    readable: Readable,
    writable: Writable,
}

impl WebSocketStream {
    /// Starts the driver on a transport whose opening handshake is done. `leftover` was read along with it.
    pub(crate) fn start<T>(transport: T, leftover: BytesMut, role: Role, negotiated: Negotiated, config: Config) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared::new(role, negotiated, config));
        let handle = Arc::new(Handle(shared.clone()));
        let (engine, outcome) = driver::spawn(transport, leftover, shared.clone());
        let closed = Closed::new(outcome);
        Self {
            readable: Readable::new(shared.clone(), engine.clone(), handle.clone(), closed.clone()),
            writable: Writable::new(shared, engine, handle, closed),
        }
    }

    /// The two halves: owned, `Send`, for two tasks or two threads.
    pub fn split(self) -> (Readable, Writable) {
        (self.readable, self.writable)
    }

    /// The next message, in chunks; see [`Readable::next_message`].
    ///
    /// # Errors
    /// The connection ended uncleanly.
    ///
    /// # Cancel safety
    /// Cancel safe.
    #[inline]
    pub fn next_message(&mut self) -> impl Future<Output = Result<Option<MessageReader<'_>>, ReadError>> + Send {
        self.readable.next_message()
    }

    /// Sends a whole message; see [`Writable::send`].
    ///
    /// # Errors
    /// The connection is closed for writing.
    ///
    /// # Cancel safety
    /// The message is accepted whole or not at all.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), WriteError> {
        self.writable.send(message).await
    }

    /// Begins a message that is written in chunks; see [`Writable::start_message`].
    pub fn start_message(&mut self, kind: MessageKind) -> StartMessage<'_> {
        self.writable.start_message(kind)
    }

    /// Waits until everything accepted has been written; see [`Writable::flush`].
    ///
    /// # Errors
    /// The connection is closed for writing.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        self.writable.flush().await
    }

    /// Closes the connection and waits for the end; see [`Writable::close`].
    ///
    /// # Errors
    /// A code or reason that may not be sent, or an unclean end.
    ///
    /// # Cancel safety
    /// Once polled, the connection is closing.
    pub async fn close(&mut self, close_code: CloseCode, reason: &str) -> Result<CloseInfo, CloseError> {
        self.writable.close(close_code, reason).await
    }

    /// Drops the transport at once, without a closing handshake.
    pub fn abort(&mut self) {
        self.writable.abort();
    }

    /// How the connection ended, or will end.
    pub fn closed(&self) -> Closed {
        self.writable.closed()
    }

    /// A handle for closing, pings and statistics.
    pub fn control(&self) -> Control {
        self.writable.control()
    }

    /// Open, closing or closed.
    pub fn ready_state(&self) -> ReadyState {
        self.stats().ready_state
    }

    /// Bytes accepted and not yet written to the transport, frame headers included.
    pub fn buffered_amount(&self) -> usize {
        self.writable.buffered_amount()
    }

    /// Counters and buffer levels.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.shared().role
    }

    /// The subprotocol in use, empty if none.
    pub fn protocol(&self) -> &str {
        &self.shared().negotiated.protocol
    }

    /// The extensions in use, as the server's handshake named them; empty if none.
    pub fn extensions(&self) -> &str {
        &self.shared().negotiated.extensions
    }

    /// Client: the URL, normalised, without userinfo. Server: the request target.
    pub fn url(&self) -> &str {
        &self.shared().negotiated.url
    }

    /// For those who may have to close it and must not keep it open.
    pub(crate) fn weak_control(&self) -> WeakControl {
        WeakControl::new(&self.writable.shared, self.closed())
    }

    fn shared(&self) -> &Shared {
        &self.writable.shared
    }
}

impl Stream for WebSocketStream {
    type Item = Result<Message, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.readable).poll_next(cx)
    }
}

impl Sink<Message> for WebSocketStream {
    type Error = WriteError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        Pin::new(&mut self.writable).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), WriteError> {
        Pin::new(&mut self.writable).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        Pin::new(&mut self.writable).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        Pin::new(&mut self.writable).poll_close(cx)
    }
}
