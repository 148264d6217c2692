//! The receiving half.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;

use super::{Control, closed::Closed, message_reader::MessageReader};
use crate::{
    close::{CloseCode, CloseFrame},
    driver::{
        in_place::{Half, InPlace},
        inbound::{KEPT_PLACES, Queued, Taken, Wake},
        shared::{Handle, Shared},
    },
    error::{CloseError, CollectError, ConnectionError, ReadError},
    message::{Message, MessageKind},
};

/// The readable half of a connection: messages, each a stream of chunks.
///
/// Three ways to read, which may be mixed:
///
/// * [`next_message`](Self::next_message): a message as it arrives, in chunks. Memory does not depend on its size.
/// * `Stream<Item = Result<Message, ReadError>>`: whole messages, up to
///   [`Config::max_whole_message_size`](crate::Config::max_whole_message_size). After an error the stream ends.
/// * [`MessageReader::collect`]: a whole message with a limit of its own.
///
/// The stream of messages ends with `None` after a clean close, and with an error, for ever the same, otherwise. What was
/// received before is delivered first in either case.
///
/// # Dropping
/// Says "I want no more data": what has arrived and what still comes is discarded, pings are still answered, and the
/// writable goes on. When all handles are gone, the connection closes with 1001 in the background.
///
/// ```no_run
/// # async fn example(mut readable: wsstream::Readable) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(mut message) = readable.next_message().await? {
///     let mut bytes = 0;
///     while let Some(chunk) = message.chunk().await? {
///         bytes += chunk.len();
///     }
///     println!("{:?} message of {bytes} bytes", message.kind());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Readable {
    shared: Arc<Shared>,
    engine: Arc<dyn InPlace>,
    handle: Arc<Handle>,
    closed: Closed,
    /// Taken from the queue in one go.
    local: VecDeque<Queued>,
    /// Cost of what was taken and consumed, and not yet given back as room.
    consumed: usize,
    message: Option<Incoming>,
    /// The emptied parts of the last message, for the next.
    spare: VecDeque<Bytes>,
    /// `Stream` has reported the end.
    ended: bool,
}

/// The message that is being read.
#[derive(Debug)]
struct Incoming {
    kind: MessageKind,
    /// Consumed from the queue, not yet delivered: what `collect`, `Stream` or `AsyncBufRead` hold on to.
    parts: VecDeque<Bytes>,
    parts_len: usize,
    /// How many of the last parts are as they came, their bytes, and what they cost in the queue.
    loose: usize,
    loose_len: usize,
    loose_cost: usize,
    /// Its last chunk is among the parts, or delivered.
    complete: bool,
}

/// What parts may cost beyond twice what they weigh, as views of half-empty buffers do, before they are put together.
const LOOSE_COST: usize = 256 * 1024;

impl Incoming {
    fn begin(queued: Queued, parts: VecDeque<Bytes>) -> Self {
        let mut message = Self {
            kind: queued.chunk.kind,
            parts,
            parts_len: 0,
            loose: 0,
            loose_len: 0,
            loose_cost: 0,
            complete: false,
        };
        message.push(queued);
        message
    }

    fn pop(&mut self) -> Option<Bytes> {
        let part = self.parts.pop_front()?;
        self.parts_len -= part.len();
        if self.parts.is_empty() {
            (self.loose, self.loose_len, self.loose_cost) = (0, 0, 0);
        }
        self.loose = self.loose.min(self.parts.len());
        Some(part)
    }

    fn push(&mut self, queued: Queued) {
        self.complete = queued.chunk.last;
        let part = queued.chunk.data;
        if part.is_empty() {
            return;
        }
        self.parts_len += part.len();
        self.loose += 1;
        self.loose_len += part.len();
        self.loose_cost += queued.cost;
        self.parts.push_back(part);
        if self.loose_cost > 2 * self.loose_len + LOOSE_COST {
            self.put_together();
        }
    }

    /// Copies the loose parts into one: they are so small that they take, or keep alive, much more than they weigh.
    #[cold]
    fn put_together(&mut self) {
        let mut joined = BytesMut::with_capacity(self.loose_len);
        for part in self.parts.drain(self.parts.len() - self.loose..) {
            joined.extend_from_slice(&part);
        }
        self.parts.push_back(joined.freeze());
        (self.loose, self.loose_len, self.loose_cost) = (0, 0, 0);
    }

    /// All parts as one.
    fn join(&mut self) -> Bytes {
        let len = std::mem::take(&mut self.parts_len);
        if self.parts.len() <= 1 {
            return self.parts.pop_front().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(len);
        for part in self.parts.drain(..) {
            joined.extend_from_slice(&part);
        }
        joined.freeze()
    }
}

impl Readable {
    pub(super) fn new(shared: Arc<Shared>, engine: Arc<dyn InPlace>, handle: Arc<Handle>, closed: Closed) -> Self {
        Self {
            shared,
            engine,
            handle,
            closed,
            local: VecDeque::new(),
            consumed: 0,
            message: None,
            spare: VecDeque::new(),
            ended: false,
        }
    }

    /// The next message, as soon as its first frame begins; `None` when the connection was closed cleanly.
    ///
    /// If the last message was not read to its end, because a whole-message read of it was cancelled or went over its
    /// limit, it comes again, with all that has not been delivered of it.
    ///
    /// # Errors
    /// [`ReadError::Connection`] when the connection ended uncleanly.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn next_message(&mut self) -> Result<Option<MessageReader<'_>>, ReadError> {
        let begun = std::future::poll_fn(|cx| self.poll_message(cx)).await?;
        Ok(if begun { Some(MessageReader::new(self)) } else { None })
    }

    /// Discards what has not been read, and closes the connection: a close code and reason as for
    /// [`Writable::close`](crate::Writable::close). Everything accepted for sending still goes out first.
    ///
    /// Returns at once; [`closed`](Self::closed) tells how it ended.
    ///
    /// # Errors
    /// A close code or reason that may not be sent; then nothing happens but the drop of this half.
    pub fn cancel(self, close_code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.shared.request_close(CloseFrame::new(close_code, reason)?);
        Ok(())
    }

    /// How the connection ended, or will end.
    pub fn closed(&self) -> Closed {
        self.closed.clone()
    }

    /// A handle for closing, pings and statistics.
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone(), self.handle.clone(), self.closed.clone())
    }

    pub(super) fn kind(&self) -> MessageKind {
        self.message.as_ref().map_or(MessageKind::Binary, |message| message.kind)
    }

    /// `true`: a message has begun. `false`: there are no more.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        if self.message.is_some() {
            return Poll::Ready(Ok(true));
        }
        match ready!(self.poll_queued(cx)) {
            Ok(Some(queued)) => {
                self.message = Some(Incoming::begin(queued, std::mem::take(&mut self.spare)));
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// The next chunk of the message, never empty; `None` at its end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            let Some(message) = &mut self.message else { return Poll::Ready(Ok(None)) };
            if let Some(part) = message.pop() {
                return Poll::Ready(Ok(Some(part)));
            }
            if message.complete {
                return Poll::Ready(Ok(None));
            }
            ready!(self.poll_part(cx))?;
        }
    }

    /// Moves one more chunk of the message among its parts.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let queued = ready!(self.poll_queued(cx));
        let Some(message) = &mut self.message else { return Poll::Ready(Ok(())) };
        match queued {
            Ok(Some(queued)) => {
                message.push(queued);
                Poll::Ready(Ok(()))
            }
            // Not reached: a close in the middle of a message is an error.
            Ok(None) => Poll::Ready(Err(ConnectionError::Lost.into())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Makes bytes available and shows them; empty at the end of the message.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], ReadError>> {
        loop {
            match &self.message {
                Some(message) if message.parts.is_empty() && !message.complete => {}
                _ => break,
            }
            ready!(self.poll_part(cx))?;
        }
        let part = self.message.as_ref().and_then(|message| message.parts.front());
        Poll::Ready(Ok(part.map_or(&[], |part| part)))
    }

    /// Takes bytes that [`poll_fill`](Self::poll_fill) has shown.
    pub(super) fn consume(&mut self, len: usize) {
        if let Some(message) = &mut self.message
            && let Some(part) = message.parts.front_mut()
        {
            bytes::Buf::advance(part, len);
            message.parts_len -= len;
            if part.is_empty() {
                message.pop();
            }
        }
    }

    /// The whole message, which stays readable in chunks until then, and if it is over the limit.
    pub(super) fn poll_collect(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<Result<Message, CollectError>> {
        loop {
            let Some(message) = &mut self.message else {
                return Poll::Ready(Err(CollectError::Read(ConnectionError::Lost.into()))); // polled after its end
            };
            if message.parts_len > limit {
                return Poll::Ready(Err(CollectError::TooLarge { limit }));
            }
            if message.complete {
                let whole = Message::new(message.kind, message.join());
                self.message = None;
                self.settle();
                return Poll::Ready(Ok(whole));
            }
            if let Err(error) = ready!(self.poll_part(cx)) {
                self.message = None; // there is nothing whole to come
                return Poll::Ready(Err(error.into()));
            }
        }
    }

    /// Leaves the message; what is missing of it is skipped.
    pub(super) fn leave_message(&mut self) {
        let Some(mut message) = self.message.take() else { return };
        let mut complete = message.complete;
        message.parts.clear();
        if message.parts.capacity() <= KEPT_PLACES {
            self.spare = message.parts;
        }
        while !complete && let Some(queued) = self.local.pop_front() {
            self.consumed += queued.cost;
            complete = queued.chunk.last;
        }
        if !complete {
            // All that was taken from the queue is consumed: the rest can be skipped even if nothing is read after it.
            let wake = self.shared.inbound().skip_message(std::mem::take(&mut self.consumed));
            self.wake(wake);
        }
        self.settle();
    }

    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Queued>, ConnectionError>> {
        if let Some(queued) = self.local.pop_front() {
            self.consumed += queued.cost;
            if self.consumed >= self.shared.config.read_high_water_mark / 2 {
                let consumed = std::mem::take(&mut self.consumed);
                let wake = self.shared.inbound().credit(consumed);
                self.wake(wake);
            }
            return Poll::Ready(Ok(Some(queued)));
        }
        if let Poll::Ready(taken) = self.take(cx) {
            return Poll::Ready(taken);
        }
        ready!(self.engine.step(Half::Reader));
        self.take(cx)
    }

    /// Takes what is in the queue.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Queued>, ConnectionError>> {
        let mut inbound = self.shared.inbound();
        let credit = inbound.credit(std::mem::take(&mut self.consumed));
        let taken = inbound.take(&mut self.local, cx);
        drop(inbound);
        self.wake(credit);
        match taken {
            Taken::Chunks => {
                let first = self.local.pop_front();
                self.consumed += first.as_ref().map_or(0, |queued| queued.cost);
                Poll::Ready(Ok(first))
            }
            Taken::End(outcome) => Poll::Ready(outcome.map(|_| None)),
            Taken::Nothing => Poll::Pending,
        }
    }

    /// A message has been read to its end. If nothing else has come, its room is given back now, not with the next
    /// read, which may be long in coming.
    fn settle(&mut self) {
        if self.local.is_empty() && self.consumed > 0 {
            let wake = self.shared.inbound().credit(std::mem::take(&mut self.consumed));
            self.wake(wake);
        }
    }

    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Nobody => {}
            Wake::Driver => self.shared.wake_driver(),
            Wake::DriverCaughtUp => self.shared.report_caught_up(),
        }
    }

    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, ReadError>>> {
        let limit = self.shared.config.max_whole_message_size;
        if self.message.is_none() {
            let Some(queued) = ready!(self.poll_queued(cx))? else { return Poll::Ready(None) };
            // In one piece, as small messages come.
            if queued.chunk.last && queued.chunk.data.len() <= limit {
                self.settle();
                return Poll::Ready(Some(Ok(Message::new(queued.chunk.kind, queued.chunk.data))));
            }
            self.message = Some(Incoming::begin(queued, VecDeque::new()));
        }
        match ready!(self.poll_collect(limit, cx)) {
            Ok(message) => Poll::Ready(Some(Ok(message))),
            Err(CollectError::Read(error)) => Poll::Ready(Some(Err(error))),
            Err(CollectError::TooLarge { limit }) => {
                let error = ConnectionError::MessageTooLarge { limit: limit as u64, knob: "max_whole_message_size" };
                self.shared.request_fail(error.clone());
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl Stream for Readable {
    type Item = Result<Message, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_whole(cx));
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

impl Drop for Readable {
    fn drop(&mut self) {
        self.shared.request_discard();
    }
}
