//! The source's end.

use std::{
    fmt,
    future::{Ready, poll_fn, ready},
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::{Audience, Hub, lane::Lane, log::Log, now};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::Compression,
    error::{CloseError, WriteError},
    message::{Message, MessageKind},
    proto::part::{Encoder, PART_MAX, Part},
};

/// One source for many receivers. See the [module](crate::fanout) for what it costs.
///
/// Publishing waits only for receivers with [`Lag::Wait`](super::Lag::Wait); without such, or without any receiver, never.
///
/// # Dropping
/// The source ends. Each receiver is given what it has not got yet, then its future resolves, with the connection open
/// ([`ReceiverEnd::Source`](super::ReceiverEnd::Source)). To close the connections, use [`close`](Self::close).
///
/// ```no_run
/// # async fn example(mut source: wsstream::Readable) -> Result<(), Box<dyn std::error::Error>> {
/// use wsstream::{CloseCode, fanout::Fanout};
///
/// let mut fanout = Fanout::new();
/// let audience = fanout.audience(); // for the task that accepts viewers
/// while let Some(mut message) = source.next_message().await? {
///     // Chunk by chunk: viewers get the beginning before the end is in.
///     let mut copy = fanout.start_message(message.kind()).await;
///     while let Some(chunk) = message.chunk().await? {
///         copy.write(chunk).await?;
///     }
///     copy.finish().await?;
/// }
/// fanout.close(CloseCode::NORMAL, "end of transmission")?;
/// # let _ = audience;
/// # Ok(())
/// # }
/// ```
pub struct Fanout {
    hub: Arc<Hub>,
    encoder: Encoder,
}

/// How a [`Fanout`] is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FanoutStats {
    /// Receivers now.
    pub receivers: usize,
    /// Messages published, to the end.
    pub messages: u64,
    /// Bytes that are kept for receivers that lag or join late, as they count for budgets. What the policies of single
    /// receivers hold back when others have gone on comes to it, each at most its budget and a message.
    pub kept: u64,
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Default for Fanout {
    fn default() -> Self {
        Self::new()
    }
}

impl Fanout {
    /// Without compression, and without receivers.
    pub fn new() -> Self {
        let hub = Hub { log: Mutex::new(Log::new()), lane: Lane::default() };
        Self { hub: Arc::new(hub), encoder: Encoder::new(None) }
    }

    /// Compresses messages once for all receivers that can share them: those that have agreed on compression with a window
    /// at least as large as [`Compression::send_window_bits`] of this. Default: messages are shared uncompressed.
    /// To be set before receivers join.
    ///
    /// ```
    /// use wsstream::{Compression, fanout::Fanout};
    ///
    /// let fanout = Fanout::new().compression(Compression::default().min_size(512));
    /// # let _ = fanout;
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.encoder = Encoder::new(Some(&compression));
        self.hub.log().window_bits = self.encoder.window_bits();
        self
    }

    /// Bytes that are kept at most, from the last key message on, for receivers that join late
    /// ([`Start::Key`](super::Start::Key)). Default 4 MiB. Nothing is kept before a key has been published, nor of a key that
    /// more has followed than this.
    pub fn keep_for_late(self, bytes: usize) -> Self {
        self.hub.log().keep = bytes as u64;
        self
    }

    /// Lets receivers join, from any task.
    pub fn audience(&self) -> Audience {
        Audience { hub: self.hub.clone() }
    }

    /// Publishes a whole message, once all receivers that are waited for have room.
    ///
    /// # Cancel safety
    /// When the future is dropped, the message was published whole or not at all.
    pub async fn publish(&mut self, message: impl Into<Message>) {
        self.publish_whole(message.into(), false).await;
    }

    /// As [`publish`](Self::publish), for a message that a receiver may begin with: one that needs none before it, as a key
    /// frame of a video.
    ///
    /// # Cancel safety
    /// As for [`publish`](Self::publish).
    pub async fn publish_key(&mut self, message: impl Into<Message>) {
        self.publish_whole(message.into(), true).await;
    }

    async fn publish_whole(&mut self, message: Message, key: bool) {
        self.room().await;
        let (kind, len) = (message.kind(), message.len());
        let (compress, receivers) = self.hub.log().demand();
        self.encoder.begin(kind, Some(len), compress, receivers);
        let mut data = message.into_bytes();
        let mut parts = Vec::with_capacity(len / PART_MAX + 1);
        loop {
            parts.push(self.encoder.part(&mut data, true));
            if data.is_empty() {
                break;
            }
            if compress {
                // A millisecond of work each.
                tokio::task::yield_now().await;
            }
        }
        let now = now();
        let mut log = self.hub.log();
        let over = log.begin(key);
        let called = log.push(parts, true, now);
        drop(log);
        over.wake();
        self.hub.serve(called, now);
    }

    /// Begins a message that is published in chunks, once all receivers that are waited for have room.
    ///
    /// # Cancel safety
    /// Nothing has been begun when the future is dropped before it resolves.
    pub async fn start_message(&mut self, kind: MessageKind) -> FanoutMessage<'_> {
        self.start(kind, false).await
    }

    /// As [`start_message`](Self::start_message), for a message that a receiver may begin with.
    ///
    /// # Cancel safety
    /// As for [`start_message`](Self::start_message).
    pub async fn start_key_message(&mut self, kind: MessageKind) -> FanoutMessage<'_> {
        self.start(kind, true).await
    }

    async fn start(&mut self, kind: MessageKind, key: bool) -> FanoutMessage<'_> {
        self.room().await;
        let mut log = self.hub.log();
        let (compress, receivers) = log.demand();
        let over = log.begin(key);
        drop(log);
        over.wake();
        self.encoder.begin(kind, None, compress, receivers);
        FanoutMessage { fanout: self, finished: false }
    }

    /// Ends the source: each receiver is given what it has not got yet, then its connection is closed with this. A close
    /// code and reason as for [`Writable::close`](crate::Writable::close).
    ///
    /// Returns at once; the receivers' futures tell when they are done.
    ///
    /// # Errors
    /// A close code or reason that may not be sent; the source has ended then as if it had been dropped.
    pub fn close(self, close_code: CloseCode, reason: &str) -> Result<(), CloseError> {
        let frame = CloseFrame::new(close_code, reason)?;
        let called = self.hub.log().end(Some((frame.code, frame.reason)));
        called.wake();
        Ok(())
    }

    /// Counters and levels.
    pub fn stats(&self) -> FanoutStats {
        let (receivers, messages, kept) = self.hub.log().totals();
        FanoutStats { receivers, messages, kept }
    }

    /// Waits for the receivers that are waited for. A source that never has to wait lets others have their turn all the
    /// same.
    async fn room(&self) {
        tokio::task::coop::consume_budget().await;
        poll_fn(|cx| self.hub.log().poll_room(cx)).await;
    }

    fn push(&self, parts: Vec<Part>, ends: bool) {
        let now = now();
        let called = self.hub.log().push(parts, ends, now);
        self.hub.serve(called, now);
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        let called = self.hub.log().end(None);
        called.wake();
    }
}

/// A message that is being published in chunks.
///
/// # Dropping
/// A message that is dropped before [`finish`](Self::finish) is cut: a receiver that has been given part of it is closed
/// with 1011, in the middle of the message; the others never see it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), wsstream::WriteError> {
/// use wsstream::{MessageKind, fanout::Fanout};
///
/// let mut fanout = Fanout::new();
/// let mut message = fanout.start_key_message(MessageKind::Text).await;
/// message.write("in ").await?;
/// message.write("pieces").await?;
/// message.finish().await
/// # }
/// ```
#[derive(Debug)]
pub struct FanoutMessage<'a> {
    fanout: &'a mut Fanout,
    finished: bool,
}

impl FanoutMessage<'_> {
    /// Publishes a chunk, once all receivers that are waited for have room. An empty one is nothing.
    ///
    /// # Errors
    /// [`WriteError::InvalidUtf8`] for what is not text in a text message; nothing of the chunk is published.
    ///
    /// # Cancel safety
    /// When the future is dropped, the chunk was published whole or not at all.
    pub async fn write(&mut self, chunk: impl Into<Bytes>) -> Result<(), WriteError> {
        let mut data = chunk.into();
        self.fanout.room().await;
        self.fanout.encoder.check(&data, false)?;
        let mut parts = Vec::with_capacity(data.len().div_ceil(PART_MAX));
        while !data.is_empty() {
            parts.push(self.fanout.encoder.part(&mut data, false));
        }
        if !parts.is_empty() {
            self.fanout.push(parts, false);
        }
        Ok(())
    }

    /// Ends the message. This has happened when the call returns; the future only tells whether it went well.
    ///
    /// # Errors
    /// [`WriteError::InvalidUtf8`] if text ends in the middle of a character: the message is cut then, as if it had been
    /// dropped.
    ///
    /// # Cancel safety
    /// Cancel safe: the message is finished even if the future is never polled.
    pub fn finish(mut self) -> Ready<Result<(), WriteError>> {
        if let Err(error) = self.fanout.encoder.check(&[], true) {
            return ready(Err(error.into()));
        }
        let part = self.fanout.encoder.part(&mut Bytes::new(), true);
        self.fanout.push(vec![part], true);
        self.finished = true;
        ready(Ok(()))
    }
}

impl Drop for FanoutMessage<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let called = self.fanout.hub.log().cut();
            called.wake();
        }
    }
}
