//! The sending half.

use std::{
    pin::Pin,
    sync::{Arc, MutexGuard},
    task::{Context, Poll, ready},
};

use futures::Sink;

use super::{
    Control,
    closed::Closed,
    giving_way::give_way,
    message_writer::StartMessage,
    waiting::{Wait, waiting},
};
use crate::{
    close::{CloseCode, CloseFrame, CloseInfo},
    driver::{
        in_place::InPlace,
        outbound::{Outbound, WriteState},
        shared::{Handle, Shared, mask_key},
    },
    error::{CloseError, ConnectionError, WriteError},
    message::{Message, MessageKind},
    proto::part::Part,
    wire::header::MAX_HEADER,
};

/// The writable half of a connection.
///
/// Sending waits while as many bytes are buffered as [`Config::write_high_water_mark`](crate::Config) says; what has
/// been accepted is written in the background, without anybody polling.
///
/// Also a `Sink<Message>`. Its `poll_flush` sees to it that everything accepted is on its way and does not wait for the
/// transport, so that messages sent one by one still leave in batches; [`flush`](Self::flush) does wait.
/// Its `poll_close` closes with 1000 and waits for the closing handshake.
///
/// # Dropping
/// Reading goes on; when the readable and all [`Control`] handles are gone too, everything accepted is sent and the
/// connection closes with 1001 in the background.
///
/// ```no_run
/// # async fn example(mut writable: wsstream::Writable) -> Result<(), Box<dyn std::error::Error>> {
/// use wsstream::{CloseCode, Message, MessageKind};
///
/// writable.send("a whole message").await?;
///
/// let mut message = writable.start_message(MessageKind::Binary).await?;
/// for chunk in [vec![1; 1000], vec![2; 1000]] {
///     message.write(chunk).await?;
/// }
/// message.finish().await?;
///
/// let info = writable.close(CloseCode::NORMAL, "done").await?;
/// println!("the peer answered {}", info.close_code);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writable {
    pub(super) shared: Arc<Shared>,
    engine: Arc<dyn InPlace>,
    handle: Arc<Handle>,
    closed: Closed,
    /// A `MessageWriter` is at work, or was leaked.
    in_message: bool,
    /// Bytes that could be accepted when it was last looked, less those accepted since by [`Sink::start_send`].
    room: usize,
    /// Something may wait in the outbox.
    has_queued: bool,
}

impl Writable {
    pub(super) fn new(shared: Arc<Shared>, engine: Arc<dyn InPlace>, handle: Arc<Handle>, closed: Closed) -> Self {
        Self { shared, engine, handle, closed, in_message: false, room: 0, has_queued: false }
    }

    /// Sends a whole message, once there is room. Resolves when it has been accepted, not when it has been written.
    ///
    /// # Errors
    /// [`WriteError::Closed`] after `close` or the peer's Close frame, [`WriteError::Connection`] after an unclean end.
    ///
    /// # Cancel safety
    /// Cancel safe for the connection: when the future is dropped, the message was accepted whole or not at all.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), WriteError> {
        let message = message.into();
        if !self.has_queued && !self.in_message && self.shared.is_answer_due() && self.engine.send(&message) {
            return Ok(());
        }
        let mut message = Some(message);
        waiting(self, |writable, cx| {
            ready!(writable.poll_between(cx, |outbound| {
                if let Some(message) = message.take() {
                    accept(outbound, message);
                }
            }))?;
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Begins a message that is written in chunks, once there is room.
    ///
    /// Its total length need not be known; declared with [`StartMessage::length`], the message is one frame.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing has been begun when the future is dropped before it resolves.
    pub fn start_message(&mut self, kind: MessageKind) -> StartMessage<'_> {
        StartMessage::new(self, kind)
    }

    /// Waits until fewer bytes than the high-water mark are buffered.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&mut self) -> Result<(), WriteError> {
        waiting(self, |writable, cx| writable.poll_room(cx, |_| ())).await
    }

    /// How many bytes may still be sent without waiting: the high-water mark less what is buffered. Negative when one
    /// large message overshot it.
    pub fn desired_size(&self) -> isize {
        let outbound = self.shared.outbound();
        outbound.high_water_mark() as isize - outbound.buffered() as isize
    }

    /// Bytes accepted and not yet written to the transport, frame headers included.
    pub fn buffered_amount(&self) -> usize {
        self.shared.outbound().buffered()
    }

    /// Waits until everything accepted so far has been written to the transport, also while the connection is being closed.
    ///
    /// # Errors
    /// [`WriteError::Connection`] if the connection fails before; [`WriteError::Closed`] while all that is known is that
    /// the transport takes no more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        waiting(self, Self::poll_flushed).await
    }

    /// Closes: everything accepted is sent, then a Close frame; then the peer's is awaited, while messages are still
    /// received. The close code is 1000-1003, 1007-1014 or 3000-4999, or
    /// [`NO_STATUS`](CloseCode::NO_STATUS) for a Close frame without a body; the reason has at most 123 bytes.
    ///
    /// The peer's Close frame stands behind its data: with more than the read high-water mark of that left unread it is
    /// not seen. Read on meanwhile, or drop the [`Readable`](crate::Readable), or the close timeout decides.
    ///
    /// If the connection is closing already, the code and reason given here are not sent, and this waits all the same.
    ///
    /// # Errors
    /// A code or reason that may not be sent, in which case the connection goes on; or the unclean end, after
    /// [`Config::close_timeout`](crate::Config::close_timeout) without progress at the latest.
    ///
    /// # Cancel safety
    /// Once polled, the connection is closing, whether the future is dropped or not.
    pub async fn close(&mut self, close_code: CloseCode, reason: &str) -> Result<CloseInfo, CloseError> {
        self.shared.request_close(CloseFrame::new(close_code, reason)?);
        Ok(self.closed.clone().await?)
    }

    /// Drops the transport at once, without a closing handshake. What waits to be read stays readable.
    pub fn abort(&mut self) {
        self.shared.request_abort();
    }

    /// How the connection ended, or will end.
    pub fn closed(&self) -> Closed {
        self.closed.clone()
    }

    /// A handle for closing, pings and statistics.
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone(), self.handle.clone(), self.closed.clone())
    }

    /// As [`poll_room`](Self::poll_room), for what may only come between messages.
    fn poll_between<R>(
        &mut self,
        cx: &mut Context<'_>,
        then: impl FnOnce(&mut Outbound) -> R,
    ) -> Poll<Result<R, WriteError>> {
        if self.in_message {
            self.fail_unfinished(); // its writer was leaked, not dropped
        }
        self.poll_room(cx, then)
    }

    /// Waits for room, then begins a message.
    pub(super) fn poll_begin(
        &mut self,
        kind: MessageKind,
        length: Option<u64>,
        compress: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        ready!(self.poll_between(cx, |outbound| outbound.outbox.begin(kind, length, compress, &mut mask_key)))?;
        self.in_message = true;
        Poll::Ready(Ok(()))
    }

    // ---- what is encoded elsewhere ----

    /// Compressed parts that were made with such a window can be sent here.
    pub(crate) fn takes_compressed(&self, window_bits: u8) -> bool {
        self.shared.outbound().outbox.takes_compressed(window_bits)
    }

    /// Accepts parts of messages, all in one go, whether there is room or not, and writes what the transport takes; messages
    /// of whom else must not come between them. `Ready`: nothing is left to be written. Otherwise it is as if
    /// [`poll_flushed`](Self::poll_flushed) had been called.
    pub(crate) fn poll_parts<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a Part>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        self.room = 0;
        let mut outbound = self.shared.outbound();
        if !matches!(outbound.state, WriteState::Open) {
            return Poll::Ready(Err(refusal(&outbound.state)));
        }
        for part in parts {
            outbound.outbox.part(part, &mut mask_key);
            self.in_message = !part.last;
        }
        // On a client that compresses for itself, what has come of a message is to be readable.
        outbound.outbox.flush();
        self.has_queued = self.engine.write_accepted(outbound);
        self.poll_written(self.shared.outbound(), cx)
    }

    /// Waits until fewer bytes than the high-water mark are buffered, also in the middle of a message; how many fewer.
    pub(crate) fn poll_has_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteError>> {
        ready!(self.poll_room(cx, |_| ()))?;
        Poll::Ready(Ok(self.room))
    }

    /// Waits for room, then lets `then` use it, under the same lock.
    pub(super) fn poll_room<R>(
        &mut self,
        cx: &mut Context<'_>,
        then: impl FnOnce(&mut Outbound) -> R,
    ) -> Poll<Result<R, WriteError>> {
        let mut outbound = self.shared.outbound();
        if matches!(outbound.state, WriteState::Open) && outbound.poll_room(cx).is_pending() {
            self.room = 0;
            outbound = ready!(self.write_in_place(outbound, cx));
        }
        let result = match &outbound.state {
            WriteState::Open => outbound.poll_room(cx).map(|()| Ok(then(&mut outbound))),
            state => Poll::Ready(Err(refusal(state))),
        };
        let room = outbound.high_water_mark().saturating_sub(outbound.buffered());
        self.has_queued = self.tell_driver(outbound);
        self.room = if result.is_ready() { room } else { 0 };
        result
    }

    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.poll_written(self.shared.outbound(), cx)
    }

    fn poll_written<'a>(
        &'a self,
        mut outbound: MutexGuard<'a, Outbound>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        if matches!(outbound.state, WriteState::Open) && outbound.poll_empty(cx).is_pending() {
            outbound = ready!(self.write_in_place(outbound, cx));
        }
        let written = match &outbound.state {
            state @ (WriteState::Broken | WriteState::Failed(_)) => Poll::Ready(Err(refusal(state))),
            // A connection that is being closed sends what it has accepted, too.
            WriteState::Open | WriteState::Closed => outbound.poll_empty(cx).map(Ok),
        };
        let _ = self.tell_driver(outbound);
        written
    }

    /// Instead of waiting for somebody else to write. `Pending`: it has written so much that others come first.
    fn write_in_place<'a>(
        &'a self,
        outbound: MutexGuard<'a, Outbound>,
        cx: &mut Context<'_>,
    ) -> Poll<MutexGuard<'a, Outbound>> {
        let most = outbound.left_of_turn();
        drop(outbound);
        self.shared.writer_waits();
        self.shared.ask();
        let written = self.engine.write(most);
        let mut outbound = self.shared.outbound();
        let is_over = written == most;
        outbound.has_written(written, is_over);
        if is_over {
            drop(outbound);
            give_way(cx);
            return Poll::Pending;
        }
        Poll::Ready(outbound)
    }

    /// As [`poll_flushed`](Self::poll_flushed), for what has been written of a message.
    pub(super) fn poll_message_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let mut outbound = self.shared.outbound();
        if matches!(outbound.state, WriteState::Open) {
            outbound.outbox.flush();
        }
        drop(outbound);
        self.poll_flushed(cx)
    }

    /// After something was put into the outbox: wakes the driver if it had nothing to write. An answer is written at once.
    /// Whether something still waits there.
    fn tell_driver(&self, mut outbound: MutexGuard<'_, Outbound>) -> bool {
        let wake = outbound.must_wake_driver();
        if outbound.can_be_written() && self.shared.take_answer() {
            return self.engine.write_accepted(outbound);
        }
        let has_queued = outbound.outbox.len() > 0;
        drop(outbound);
        if wake {
            self.shared.wake_driver();
        }
        has_queued
    }

    /// Ends the message that is being written.
    pub(super) fn finish_message(&mut self) -> Result<(), WriteError> {
        let mut outbound = self.shared.outbound();
        match &outbound.state {
            WriteState::Open => outbound.outbox.finish(&mut mask_key),
            state => return Err(refusal(state)),
        }
        self.has_queued = self.tell_driver(outbound);
        self.in_message = false;
        Ok(())
    }

    /// Fails the connection because a message was left unfinished.
    pub(super) fn fail_unfinished(&mut self) {
        self.in_message = false;
        let mut outbound = self.shared.outbound();
        // After a close, the message was cut by that.
        if matches!(outbound.state, WriteState::Open) {
            outbound.request().fail.get_or_insert(ConnectionError::UnfinishedMessage);
            outbound.state = WriteState::Closed;
            drop(outbound);
            self.shared.wake_driver();
        }
    }
}

/// Why nothing can be written.
fn refusal(state: &WriteState) -> WriteError {
    match state {
        WriteState::Open | WriteState::Closed | WriteState::Broken => WriteError::Closed,
        WriteState::Failed(error) => WriteError::Connection(error.clone()),
    }
}

fn accept(outbound: &mut Outbound, message: Message) {
    outbound.outbox.message(message.kind(), message.into_bytes(), &mut mask_key);
}

impl Wait for Writable {
    fn stop_waiting(&self) {
        self.shared.writer_gives_up();
    }
}

impl Sink<Message> for Writable {
    type Error = WriteError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        // It can only have grown since.
        if self.room > 0 && !self.in_message {
            return Poll::Ready(Ok(()));
        }
        self.poll_between(cx, |_| ())
    }

    /// Accepts the message whether there is room or not; the driver is told at the next `poll_flush`.
    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), WriteError> {
        self.room = self.room.saturating_sub(MAX_HEADER + message.len());
        self.has_queued = true;
        let mut outbound = self.shared.outbound();
        match &outbound.state {
            WriteState::Open => {
                accept(&mut outbound, message);
                Ok(())
            }
            state => Err(refusal(state)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let outbound = self.shared.outbound();
        let result = match &outbound.state {
            WriteState::Open => Ok(()),
            state => Err(refusal(state)),
        };
        let has_queued = self.tell_driver(outbound);
        self.has_queued = has_queued;
        Poll::Ready(result)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.shared.request_close(CloseFrame::truncated(CloseCode::NORMAL, ""));
        let info = ready!(Pin::new(&mut self.closed).poll(cx));
        Poll::Ready(info.map(drop).map_err(WriteError::from))
    }
}
