//! One incoming message as a stream of chunks.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::{readable::Readable, waiting::waiting};
use crate::{
    error::{CollectError, ReadError},
    message::{Message, MessageKind},
};

/// A message that is being read: in chunks as they arrive, even from the middle of a frame.
///
/// Chunk borders mean nothing; chunks are never empty, and those of a text message end at a character border. Also
/// an `AsyncRead`, an `AsyncBufRead` and a `Stream<Item = Result<Bytes, ReadError>>`: all of them draw on the same
/// bytes and may be mixed.
///
/// A message that was cut, by a Close frame or by the end of the transport, never looks finished: its chunks are
/// followed by an error, with each of these ways to read.
///
/// # Dropping
/// The rest of the message is skipped. To go on later, keep the reader.
///
/// ```no_run
/// # async fn example(mut readable: wsstream::Readable) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(mut message) = readable.next_message().await? {
///     let mut file = tokio::fs::File::create("upload").await?;
///     tokio::io::copy_buf(&mut message, &mut file).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageReader<'a> {
    readable: &'a mut Readable,
    /// What has not been read when this is dropped is not wanted.
    skips: bool,
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(readable: &'a mut Readable) -> Self {
        Self { readable, skips: true }
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.readable.kind()
    }

    /// The next chunk, `None` at the end of the message.
    ///
    /// A chunk is a view of a read buffer. Copy what you keep for long: a small piece may hold on to 256 KiB.
    ///
    /// # Errors
    /// [`ReadError::Connection`]: the peer closed before the end of the message, or the connection broke.
    ///
    /// # Cancel safety
    /// Cancel safe: no chunk is lost when the future is dropped.
    #[inline]
    pub fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send {
        waiting(self.readable, |readable: &mut Readable, cx| readable.poll_chunk(cx))
    }

    /// The rest of the message in one piece, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`CollectError::TooLarge`] as soon as more than `limit` bytes have come. The message is not lost:
    /// [`Readable::next_message`] gives it again, from where this began. [`CollectError::Read`] if its end never came;
    /// who wants the pieces of such a message reads them with [`chunk`](Self::chunk).
    ///
    /// # Cancel safety
    /// Cancel safe: when the future is dropped, `next_message` gives the message again.
    ///
    /// ```no_run
    /// # async fn example(mut readable: wsstream::Readable) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(mut message) = readable.next_message().await? {
    ///     let request = message.collect(64 * 1024).await?;
    ///     println!("{:?}", request.as_text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn collect(mut self, limit: usize) -> impl Future<Output = Result<Message, CollectError>> + Send + use<'a> {
        // By value, or `StreamExt::collect` would hide it from everybody who imports that trait.
        self.skips = false;
        async move { waiting(self.readable, |readable: &mut Readable, cx| readable.poll_collect(limit, cx)).await }
    }
}

impl Stream for MessageReader<'_> {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.readable.poll_chunk(cx).map(Result::transpose)
    }
}

impl AsyncRead for MessageReader<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let available = ready!(self.readable.poll_fill(cx))?;
        let len = available.len().min(buf.remaining());
        buf.put_slice(&available[..len]);
        self.readable.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for MessageReader<'_> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().readable.poll_fill(cx).map_err(io::Error::from)
    }

    fn consume(mut self: Pin<&mut Self>, len: usize) {
        self.readable.consume(len);
    }
}

impl Drop for MessageReader<'_> {
    fn drop(&mut self) {
        if self.skips {
            self.readable.leave_message();
        }
    }
}
