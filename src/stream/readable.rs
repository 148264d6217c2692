//! The receiving half.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;

use super::{
    Control,
    closed::Closed,
    message_reader::MessageReader,
    waiting::{Wait, lending},
};
use crate::{
    close::{CloseCode, CloseFrame},
    driver::{
        in_place::InPlace,
        inbound::{Queued, Taken, Wake},
        shared::{Handle, Shared},
    },
    error::{CloseError, CollectError, ConnectionError, ReadError},
    message::{Message, MessageKind},
    proto::recv::Chunk,
    wire::copy::append,
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
    message: Incoming,
    /// `Stream` has reported the end.
    ended: bool,
}

/// The message that is being read, if one is.
#[derive(Debug)]
struct Incoming {
    /// It has begun and has not been left.
    is_here: bool,
    kind: MessageKind,
    /// Consumed from the queue, not yet delivered.
    part: BytesMut,
    /// Its last chunk is in `part`, or delivered.
    complete: bool,
    /// How long the last message was that was put together from several chunks: the next may be as long.
    usual_len: usize,
}

/// There is always a chunk before the end of a message: a close in the middle of one is an error.
const UNREACHED: ReadError = ReadError::Connection(ConnectionError::Lost);

/// Memory that is reserved at most because earlier messages were as long.
const USUAL_MAX: usize = 4 * 1024 * 1024;

impl Incoming {
    fn none() -> Self {
        Self { is_here: false, kind: MessageKind::Binary, part: BytesMut::new(), complete: false, usual_len: 0 }
    }

    fn begin(&mut self, kind: MessageKind) {
        self.is_here = true;
        self.kind = kind;
    }

    /// Adds a chunk to what has not been delivered. Neighbours in memory stay where they are; otherwise it is copied at
    /// once, while it is in the cache, and so that it keeps no read buffer alive.
    fn push(&mut self, chunk: Chunk) {
        self.complete = chunk.last;
        if self.part.is_empty() {
            self.part = chunk.data;
        } else if let Err(data) = self.part.try_unsplit(chunk.data) {
            if self.part.capacity() - self.part.len() < data.len() {
                let len = self.part.len() + data.len();
                let all = if self.complete { len } else { len.saturating_mul(2).max(self.usual_len) };
                self.part.reserve(all - self.part.len());
            }
            append(&data, &mut self.part);
            self.usual_len = self.part.len().min(USUAL_MAX);
        }
    }

    /// What has not been delivered.
    fn take_part(&mut self) -> Bytes {
        std::mem::take(&mut self.part).freeze()
    }

    fn leave(&mut self) {
        self.is_here = false;
        self.complete = false;
        if !self.part.is_empty() {
            self.part = BytesMut::new();
        }
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
            message: Incoming::none(),
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
    #[inline]
    pub fn next_message(&mut self) -> impl Future<Output = Result<Option<MessageReader<'_>>, ReadError>> + Send {
        lending(self, Self::poll_message, |readable, begun: Result<bool, ReadError>| {
            Ok(if begun? { Some(MessageReader::new(readable)) } else { None })
        })
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
        self.message.kind
    }

    /// `true`: a message has begun. `false`: there are no more.
    #[inline]
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        if self.message.is_here {
            return Poll::Ready(Ok(true));
        }
        let is_there = ready!(self.poll_queued(cx))?;
        if let Some(queued) = self.local.front() {
            self.message.begin(queued.chunk.kind);
        }
        Poll::Ready(Ok(is_there))
    }

    /// The next chunk of the message, never empty; `None` at its end.
    #[inline]
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        if self.message.complete && self.message.part.is_empty() {
            return Poll::Ready(Ok(None));
        }
        self.poll_next_chunk(cx)
    }

    fn poll_next_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        self.shared.set_wants_whole(false);
        if !self.message.part.is_empty() {
            return Poll::Ready(Ok(Some(self.message.take_part())));
        }
        while self.message.is_here && !self.message.complete {
            ready!(self.poll_queued(cx))?;
            let Some(chunk) = self.pop() else { return Poll::Ready(Err(UNREACHED)) };
            self.message.complete = chunk.last;
            if !chunk.data.is_empty() {
                // From the queue to its reader: no stop among the parts of the message.
                return Poll::Ready(Ok(Some(chunk.data.freeze())));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Moves one more chunk of the message among its parts.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        ready!(self.poll_queued(cx))?;
        let Some(chunk) = self.pop() else { return Poll::Ready(Err(UNREACHED)) };
        self.message.push(chunk);
        Poll::Ready(Ok(()))
    }

    /// Makes bytes available and shows them; empty at the end of the message.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<&[u8], ReadError>> {
        self.shared.set_wants_whole(false);
        while self.message.is_here && self.message.part.is_empty() && !self.message.complete {
            ready!(self.poll_part(cx))?;
        }
        Poll::Ready(Ok(&self.message.part))
    }

    /// Takes bytes that [`poll_fill`](Self::poll_fill) has shown.
    pub(super) fn consume(&mut self, len: usize) {
        self.message.part.advance(len);
        if self.message.part.is_empty() {
            self.message.part = BytesMut::new(); // or it would keep its buffer
        }
    }

    /// The whole message, which stays readable in chunks until then, and if it is over the limit.
    pub(super) fn poll_collect(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<Result<Message, CollectError>> {
        self.shared.set_wants_whole(true);
        loop {
            let message = &mut self.message;
            if !message.is_here {
                return Poll::Ready(Err(CollectError::Read(ConnectionError::Lost.into()))); // polled after its end
            }
            if message.part.len() > limit {
                return Poll::Ready(Err(CollectError::TooLarge { limit }));
            }
            if message.complete {
                let whole = Message::new(message.kind, message.take_part());
                message.leave();
                self.settle();
                return Poll::Ready(Ok(whole));
            }
            if let Err(error) = ready!(self.poll_part(cx)) {
                self.message.leave(); // there is nothing whole to come
                return Poll::Ready(Err(error.into()));
            }
        }
    }

    /// Leaves the message; what is missing of it is skipped.
    pub(super) fn leave_message(&mut self) {
        if !self.message.is_here {
            return;
        }
        let mut complete = self.message.complete;
        self.message.leave();
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

    /// Waits until there is a chunk for [`pop`](Self::pop). `false`: there are no more.
    #[inline]
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ConnectionError>> {
        if self.local.is_empty() { self.poll_more(cx) } else { Poll::Ready(Ok(true)) }
    }

    /// Takes a chunk, and gives back room for others by the half of the mark: before, so that nothing that may panic comes
    /// between the chunk and its use, for which it would be copied through memory.
    #[inline]
    fn pop(&mut self) -> Option<Chunk> {
        self.consumed += self.local.front()?.cost;
        if self.consumed >= self.shared.config.read_high_water_mark / 2 {
            self.give_credit();
        }
        self.local.pop_front().map(|queued| queued.chunk)
    }

    fn give_credit(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        let wake = self.shared.inbound().credit(consumed);
        self.wake(wake);
    }

    /// Once for all that a read brings, and so out of the way of what is done for each chunk.
    #[inline(never)]
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ConnectionError>> {
        // Where halves read there is nothing in the queue, unless the writer was faster.
        let is_taken = self.consumed > 0 || !self.shared.is_turn_of_half();
        if is_taken && let Poll::Ready(taken) = self.take(cx) {
            return Poll::Ready(taken);
        }
        let waits = self.shared.is_quiet() || self.engine.read().is_pending();
        if waits && is_taken {
            return Poll::Pending;
        }
        self.take(cx)
    }

    /// Takes what is in the queue.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ConnectionError>> {
        let mut inbound = self.shared.inbound();
        let taken = inbound.take(&mut self.local, cx);
        let mut consumed = std::mem::take(&mut self.consumed);
        // The end of a message with nothing behind it is consumed next, as `settle` would find under another lock.
        if self.local.len() == 1
            && let Some(queued) = self.local.front_mut()
            && queued.chunk.last
        {
            consumed += std::mem::take(&mut queued.cost);
        }
        let credit = if consumed > 0 { inbound.credit(consumed) } else { Wake::Nobody };
        let caught_up = !matches!(taken, Taken::Chunks) && inbound.come_back();
        drop(inbound);
        self.wake(credit);
        if caught_up {
            self.shared.report_caught_up();
        }
        match taken {
            Taken::Chunks => Poll::Ready(Ok(true)),
            Taken::End(outcome) => Poll::Ready(outcome.map(|_| false)),
            Taken::Nothing => Poll::Pending,
        }
    }

    /// A message has been read to its end. If nothing else has come, its room is given back now, not with the next
    /// read, which may be long in coming.
    fn settle(&mut self) {
        if self.local.is_empty() && self.consumed > 0 {
            self.give_credit();
        }
    }

    fn wake(&self, wake: Wake) {
        if wake == Wake::Driver {
            self.shared.wake_driver();
        }
    }

    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, ReadError>>> {
        let limit = self.shared.config.max_whole_message_size;
        if !self.message.is_here {
            if self.local.is_empty() {
                self.shared.set_wants_whole(true);
            }
            ready!(self.poll_queued(cx))?;
            let Some(chunk) = self.pop() else { return Poll::Ready(None) };
            // In one piece, as small messages come.
            if chunk.last && chunk.data.len() <= limit {
                let message = Message::new(chunk.kind, chunk.data.freeze());
                self.settle();
                return Poll::Ready(Some(Ok(message)));
            }
            self.message.begin(chunk.kind);
            self.message.push(chunk);
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

impl Wait for Readable {
    fn stop_waiting(&self) {
        self.shared.reader_gives_up();
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
