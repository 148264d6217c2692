//! One outgoing message, written in chunks.

use std::{
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll, ready as ready_or_pending},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::{
    waiting::{Wait, waiting},
    writable::Writable,
};
use crate::{
    driver::shared::mask_key,
    error::{InvalidUtf8, WriteError},
    message::MessageKind,
    wire::utf8::Utf8Validator,
};

/// The beginning of a message: a builder that is a future, made by [`Writable::start_message`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct StartMessage<'a> {
    /// Until the message has begun.
    writable: Option<&'a mut Writable>,
    kind: MessageKind,
    length: Option<u64>,
    compress: bool,
}

impl<'a> StartMessage<'a> {
    pub(super) fn new(writable: &'a mut Writable, kind: MessageKind) -> Self {
        Self { writable: Some(writable), kind, length: None, compress: true }
    }

    /// Declares the length of the whole message in bytes, at most 2^63 - 1; it is sent as a single frame.
    ///
    /// Pongs, pings and the Close frame wait until that frame is complete: without a declared length they go out between
    /// fragments, which is the better choice for all but peers that cannot take fragments. If the message cannot be
    /// completed, no Close frame can tell the peer why: the transport just ends.
    ///
    /// ```no_run
    /// # async fn example(mut writable: wsstream::Writable) -> Result<(), wsstream::WriteError> {
    /// use wsstream::MessageKind;
    ///
    /// let mut message = writable.start_message(MessageKind::Binary).length(6).await?;
    /// message.write(&b"abc"[..]).await?;
    /// message.write(&b"def"[..]).await?;
    /// message.finish().await
    /// # }
    /// ```
    ///
    /// Such a message is not compressed: how many bytes it would take is not known before its end.
    pub fn length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes.min(i64::MAX as u64));
        self
    }

    /// Whether the message is compressed, where the two ends have agreed on that
    /// ([`Config::compression`](crate::Config::compression)); otherwise nothing is. Default `true`. Say `false` for what is
    /// compressed already: it is told from other data and costs little, but it costs more than nothing.
    ///
    /// What is compressed may wait for more of it: see [`MessageWriter::flush`].
    ///
    /// ```no_run
    /// # async fn example(mut writable: wsstream::Writable) -> Result<(), Box<dyn std::error::Error>> {
    /// use wsstream::MessageKind;
    ///
    /// let mut video = tokio::fs::File::open("video.mp4").await?;
    /// let mut message = writable.start_message(MessageKind::Binary).compress(false).await?;
    /// tokio::io::copy(&mut video, &mut message).await?;
    /// message.finish().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }
}

impl<'a> Future for StartMessage<'a> {
    type Output = Result<MessageWriter<'a>, WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (kind, length, compress) = (self.kind, self.length, self.compress);
        let Some(writable) = &mut self.writable else { return Poll::Pending };
        ready_or_pending!(writable.poll_begin(kind, length, compress, cx))?;
        Poll::Ready(
            self.writable
                .take()
                .map(|writable| MessageWriter {
                    writable,
                    kind,
                    text: Utf8Validator::default(),
                    length,
                    written: 0,
                    finished: false,
                })
                .ok_or(WriteError::Closed),
        )
    }
}

/// A message that is being written.
///
/// Also an `AsyncWrite`: `tokio::io::copy` works, its `flush` waits for the transport, its `shutdown` finishes the
/// message.
///
/// # Dropping
/// A message that is dropped before [`finish`](Self::finish) fails the connection, with close code 1011 and
/// [`ConnectionError::UnfinishedMessage`](crate::ConnectionError::UnfinishedMessage): a truncated message never looks
/// whole to the peer.
///
/// ```no_run
/// # async fn example(mut writable: wsstream::Writable) -> Result<(), Box<dyn std::error::Error>> {
/// use wsstream::MessageKind;
///
/// let mut file = tokio::fs::File::open("video.mp4").await?;
/// let mut message = writable.start_message(MessageKind::Binary).await?;
/// tokio::io::copy(&mut file, &mut message).await?;
/// message.finish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageWriter<'a> {
    writable: &'a mut Writable,
    kind: MessageKind,
    text: Utf8Validator,
    length: Option<u64>,
    written: u64,
    finished: bool,
}

impl MessageWriter<'_> {
    /// Writes a chunk, once there is room; an empty one is nothing. Large `Bytes` are not copied; a borrowed
    /// slice goes through [`AsyncWriteExt::write_all`](tokio::io::AsyncWriteExt::write_all).
    ///
    /// Resolves when the chunk has been accepted, not when it has been written.
    ///
    /// # Errors
    /// As for [`Writable::send`]; and [`WriteError::InvalidUtf8`] or [`WriteError::WrongLength`] for a chunk that
    /// does not fit the message, of which then nothing is sent.
    ///
    /// # Cancel safety
    /// Cancel safe for the connection: when the future is dropped, the chunk was accepted whole or not at all.
    pub async fn write(&mut self, chunk: impl Into<Bytes>) -> Result<(), WriteError> {
        let mut chunk = Some(chunk.into());
        waiting(self, |writer, cx| {
            let Some(data) = &chunk else { return Poll::Ready(Ok(())) };
            let (text, len) = (writer.checked(data)?, data.len() as u64);
            ready_or_pending!(writer.writable.poll_room(cx, |outbound| {
                if let Some(chunk) = chunk.take().filter(|chunk| !chunk.is_empty()) {
                    outbound.outbox.chunk(chunk, &mut mask_key);
                }
            }))?;
            writer.accepted(text, len);
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Waits until everything written so far is on its way, and readable to the peer before more of the message follows.
    ///
    /// Without compression that much happens by itself, and this only waits for the transport. What is compressed waits for
    /// more that it can be compressed together with, up to some hundred KiB, unless it is flushed or finished; each flush
    /// costs 5 bytes and some of the ratio.
    ///
    /// # Errors
    /// As for [`Writable::flush`].
    ///
    /// # Cancel safety
    /// Cancel safe: once polled, it is flushed in the background.
    ///
    /// ```no_run
    /// # async fn example(mut writable: wsstream::Writable) -> Result<(), wsstream::WriteError> {
    /// use wsstream::MessageKind;
    ///
    /// let mut log = writable.start_message(MessageKind::Text).await?;
    /// log.write("a line that is to be read at once\n").await?;
    /// log.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        waiting(self, |writer, cx| writer.writable.poll_message_flushed(cx)).await
    }

    /// Ends the message. This has happened when the call returns; the future only tells whether it went well.
    ///
    /// # Errors
    /// As for [`Writable::send`]; [`WriteError::WrongLength`] if less was written than declared and
    /// [`WriteError::InvalidUtf8`] if text ends in the middle of a character, both of which fail the connection, as
    /// dropping the writer does.
    ///
    /// # Cancel safety
    /// Cancel safe: the message is finished even if the future is never polled.
    pub fn finish(mut self) -> Ready<Result<(), WriteError>> {
        ready(self.end())
    }

    fn end(&mut self) -> Result<(), WriteError> {
        if self.finished {
            return Ok(());
        }
        if let Some(declared) = self.length
            && self.written < declared
        {
            return Err(WriteError::WrongLength { declared, written: self.written });
        }
        if self.text.is_partial() {
            return Err(InvalidUtf8::at(self.written).into());
        }
        self.writable.finish_message()?;
        self.finished = true;
        Ok(())
    }

    /// Checks that a chunk fits the message; the state of the text behind it.
    fn checked(&self, chunk: &[u8]) -> Result<Utf8Validator, WriteError> {
        if self.finished {
            return Err(WriteError::Finished);
        }
        let written = self.written.saturating_add(chunk.len() as u64);
        if let Some(declared) = self.length
            && written > declared
        {
            return Err(WriteError::WrongLength { declared, written });
        }
        let mut text = self.text;
        if self.kind == MessageKind::Text {
            text.accept(chunk).map_err(|error| InvalidUtf8::at(self.written + error.valid_up_to as u64))?;
        }
        Ok(text)
    }

    fn accepted(&mut self, text: Utf8Validator, len: u64) {
        self.text = text;
        self.written += len;
    }
}

impl Wait for MessageWriter<'_> {
    fn stop_waiting(&self) {
        self.writable.stop_waiting();
    }
}

impl AsyncWrite for MessageWriter<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let data = &data[..data.len().min(this.writable.shared.config.max_frame_payload)];
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let text = this.checked(data)?;
        ready_or_pending!(this.writable.poll_room(cx, |outbound| outbound.outbox.chunk_copied(data, &mut mask_key)))?;
        this.accepted(text, data.len() as u64);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writable.poll_message_flushed(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end().map_err(io::Error::from))
    }
}

impl Drop for MessageWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.writable.fail_unfinished();
        }
    }
}
