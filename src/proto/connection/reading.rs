//! What comes in, and what it means for the life of the connection.

use std::time::Instant;

use bytes::BytesMut;

use super::{Connection, Event, Phase, REPLY_GRACE};
use crate::{
    close::{CloseFrame, CloseInfo},
    error::ConnectionError,
    proto::{
        recv::{Ahead, Chunk, Received},
        send::MaskKeys,
    },
    wire::header::OpCode,
};

impl Connection {
    /// The transport should be read.
    pub(crate) fn wants_read(&self) -> bool {
        !self.eof
            && !self.stage.is_control_full()
            && (self.is_delivering() || matches!(self.phase, Phase::Lingering | Phase::Failing))
    }

    /// What is read goes to the application, so reading must keep its pace.
    pub(crate) fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing | Phase::WriteBroken)
    }

    /// [`receive`](Self::receive) has something to give before more bytes have arrived, even for no input.
    pub(crate) fn has_more(&self) -> bool {
        self.is_delivering() && self.receiver.has_more()
    }

    /// Bytes have arrived.
    pub(crate) fn arrived(&mut self, len: usize, now: Instant) {
        self.bytes_received += len as u64;
        self.keepalive.heard(now);
    }

    /// The next event in `input`, `None` when more is needed. A fault fails the connection. `copies` and `deliver` as in
    /// [`Receiver::decode`](crate::proto::recv::Receiver::decode).
    #[inline]
    pub(crate) fn receive(
        &mut self,
        input: &mut BytesMut,
        copies: bool,
        now: Instant,
        keys: MaskKeys<'_>,
        mut deliver: impl FnMut(Chunk),
    ) -> Option<Event> {
        loop {
            if !self.is_delivering() {
                input.clear();
                return None;
            }
            match self.receiver.decode(input, copies, &mut deliver) {
                Ok(Some(Received::Chunk)) => {
                    self.keepalive.used(now);
                    // Only what somebody takes: neither pings nor unwanted data may keep a closing connection alive.
                    if !self.discarding && self.failure.is_none() {
                        self.progress(now);
                    }
                    return Some(Event::Chunk);
                }
                Ok(None) => return None,
                Ok(Some(received)) => {
                    if let Some(event) = self.control(received, now, keys) {
                        return Some(event);
                    }
                    if self.stage.is_control_full() {
                        return None;
                    }
                }
                Err(error) => {
                    self.fail(error, now, keys);
                    input.clear();
                    return None;
                }
            }
        }
    }

    #[cold]
    fn control(&mut self, received: Received, now: Instant, keys: MaskKeys<'_>) -> Option<Event> {
        match received {
            Received::Ping(payload) => {
                if self.may_send_control() {
                    self.stage.push_control(OpCode::Pong, &payload, keys);
                }
                None
            }
            Received::Pong(payload) => {
                self.pings.answered(&payload, now).map(|(number, trip)| Event::Pong(number, trip))
            }
            Received::Close(frame) => {
                self.peer_closed(frame, now);
                Some(Event::Close)
            }
            Received::Chunk => Some(Event::Chunk),
        }
    }

    /// Payload of the frame that the last message began with.
    pub(crate) fn last_frame(&self) -> u64 {
        self.receiver.last_frame()
    }

    /// What to expect of the bytes to come.
    pub(crate) fn ahead(&self) -> Ahead {
        self.receiver.ahead()
    }

    /// A message has begun and its end has not come.
    pub(crate) fn is_in_message(&self) -> bool {
        self.receiver.in_message()
    }

    fn peer_closed(&mut self, frame: CloseFrame, now: Instant) {
        self.peer_close = Some(frame.clone());
        if self.receiver.in_message() {
            let info = CloseInfo::new(self.peer_close.as_ref(), false);
            self.failure.get_or_insert(ConnectionError::MessageCut(info));
        }
        match self.phase {
            Phase::WriteBroken => {
                self.failure = Some(self.unsent());
                self.phase = Phase::Done;
            }
            Phase::Closing if self.is_close_sent() => self.all_said(now),
            _ => {
                self.close.get_or_insert(frame);
                self.enter(Phase::Replying, now);
            }
        }
    }

    /// The reader has been keeping up and is about to see the last messages: the answer to the Close frame waits for
    /// what it may say to them. Called right after [`Event::Close`].
    pub(crate) fn wait_for_reader(&mut self, now: Instant) {
        let is_echo = self.close == self.peer_close;
        if self.phase == Phase::Replying && is_echo && !self.close_staged && self.failure.is_none() {
            self.phase = Phase::Grace;
            self.deadline = Some(now + REPLY_GRACE);
        }
    }

    /// The peer has ended the transport.
    pub(crate) fn eof(&mut self) {
        self.eof = true;
        match self.phase {
            Phase::Open | Phase::Closing | Phase::WriteBroken => self.lost(ConnectionError::Lost),
            // A client that ends cleanly says so in its turn: by TLS, where the peer may look.
            Phase::Lingering if self.failure.is_none() => self.phase = Phase::ShuttingDown,
            Phase::Lingering => self.phase = Phase::Done,
            Phase::Grace | Phase::Replying | Phase::Failing | Phase::ShuttingDown | Phase::Done => {}
        }
    }

    pub(crate) fn read_failed(&mut self, error: std::io::Error) {
        self.eof = true;
        match self.phase {
            Phase::Open | Phase::Closing | Phase::WriteBroken => self.lost(error.into()),
            _ => self.phase = Phase::Done,
        }
    }
}
