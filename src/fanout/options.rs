//! What may be set for a receiver, and what is known of it.

use std::time::Duration;

use crate::{
    close::{CloseCode, CloseInfo},
    error::ConnectionError,
};

/// What happens when a receiver lags: when it has not been given as many bytes as its
/// [`budget`](ReceiverOptions::budget) and the next message, or the next chunk of one, is published.
///
/// Whole messages are dropped, never parts of one. Where the receiver has been given the beginning of a message that is
/// still being published, none of the `Drop…` and `Skip…` policies can take it back: if that message alone exceeds the
/// budget, the receiver is closed with 1013, in the middle of the message. So choose a budget larger than the messages that
/// are published in chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// The source waits until the receiver has caught up to half of its budget, and so does everybody else.
    #[default]
    Wait,
    /// The oldest messages it has not been given are dropped until the rest is below the budget: it gets what is new.
    DropOldest,
    /// The new message is dropped: it gets what came first.
    DropNewest,
    /// Messages are dropped until one that the publisher has marked as a key. If one that it has not been given is a
    /// key, and fits, it goes on with the last such; otherwise with the next to come. For media, where what follows
    /// a lost picture is of no use before the next key frame.
    SkipToKey,
    /// The receiver is closed with this close code, or with 1008 if this one may not be sent.
    Disconnect(CloseCode),
}

/// Where a receiver begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the next message that begins.
    #[default]
    Now,
    /// With the last key message, and all that came after it, if that is still kept
    /// ([`Fanout::keep_for_late`](super::Fanout::keep_for_late)) and below the receiver's budget; otherwise with the next
    /// key message.
    Key,
}

/// How a receiver is served.
///
/// ```
/// use wsstream::fanout::{Lag, ReceiverOptions, Start};
///
/// let viewer = ReceiverOptions::default().budget(4 << 20).lag(Lag::SkipToKey).start(Start::Key);
/// # let _ = viewer;
/// ```
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    pub(super) budget: usize,
    pub(super) lag: Lag,
    pub(super) start: Start,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self { budget: 1024 * 1024, lag: Lag::default(), start: Start::default() }
    }
}

impl ReceiverOptions {
    /// Bytes published and not yet accepted by the receiver's connection, at which it lags. Each part of a message, of at
    /// most 64 KiB, counts for its payload and 128 bytes more. Default 1 MiB, at least 1.
    ///
    /// What the connection has accepted and not written comes to it: up to
    /// [`Config::write_high_water_mark`](crate::Config::write_high_water_mark), 256 KiB by default. That much is sent, however
    /// old it is; set it low where only fresh messages are of use.
    pub fn budget(mut self, bytes: usize) -> Self {
        self.budget = bytes.max(1);
        self
    }

    /// What happens when the receiver lags by more than its budget. Default [`Lag::Wait`].
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = lag;
        self
    }

    /// Where it begins. Default [`Start::Now`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
}

/// How a receiver is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// Messages that its connection has accepted, to the end.
    pub sent_messages: u64,
    /// Bytes of payload that its connection has accepted.
    pub sent_bytes: u64,
    /// Messages that it has missed because it lagged.
    pub dropped_messages: u64,
    /// Bytes of their payload.
    pub dropped_bytes: u64,
    /// Bytes published that it has not been given, as they count for its budget.
    pub lag_bytes: u64,
    /// For how long the oldest part that it has not been given has been there.
    pub lag_time: Duration,
}

/// Why a receiver is none any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReceiverEnd {
    /// The source ended: [`Fanout::close`](super::Fanout::close), after which the connection has been closed too, or it
    /// was dropped, after which it is still open.
    Source,
    /// [`ReceiverHandle::leave`](super::ReceiverHandle::leave) was called. The connection is open, and between messages.
    Left,
    /// It lagged, and has been closed with this code: as [`Lag::Disconnect`] says, or 1013 in the middle of a message.
    Lagged(CloseCode),
    /// A message was left unfinished that it has part of. It has been closed with 1011.
    Unfinished,
    /// Its connection ended.
    Connection(Result<CloseInfo, ConnectionError>),
}
