//! A handle that is neither half.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::channel::oneshot;

use super::closed::Closed;
use crate::{
    close::{CloseCode, CloseFrame, CloseInfo},
    driver::shared::{Handle, Shared},
    error::{CloseError, ConnectionError, WriteError},
    stats::{ReadyState, Stats},
};

/// A cheap, cloneable handle: closes, aborts, pings and watches a connection whose halves are elsewhere.
///
/// # Dropping
/// A control handle keeps the connection open: it closes, with 1001 in the background, when both halves and every
/// control handle have been dropped.
///
/// ```no_run
/// # async fn example(ws: wsstream::WebSocketStream) -> Result<(), Box<dyn std::error::Error>> {
/// let control = ws.control();
/// println!("round trip {:?}", control.ping().await?);
/// println!("{:?}", control.stats());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
    /// Counts as long as it lives.
    _handle: Arc<Handle>,
    closed: Closed,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>, handle: Arc<Handle>, closed: Closed) -> Self {
        Self { shared, _handle: handle, closed }
    }

    /// Closes, as [`Writable::close`](crate::Writable::close) does. A message that is being written is cut: the peer
    /// sees that its end is missing.
    ///
    /// # Errors
    /// As for [`Writable::close`](crate::Writable::close).
    ///
    /// # Cancel safety
    /// Once polled, the connection is closing, whether the future is dropped or not.
    pub async fn close(&self, close_code: CloseCode, reason: &str) -> Result<CloseInfo, CloseError> {
        self.shared.request_close(CloseFrame::new(close_code, reason)?);
        Ok(self.closed.clone().await?)
    }

    /// Drops the transport at once, without a closing handshake. What waits to be read stays readable.
    pub fn abort(&self) {
        self.shared.request_abort();
    }

    /// Sends a ping and waits for its pong; the time between the two. Pings overtake messages that wait to be sent, and
    /// a peer that does not read answers late.
    ///
    /// # Errors
    /// The connection ended before the pong came: [`WriteError::Closed`] or [`WriteError::Connection`].
    ///
    /// # Cancel safety
    /// Cancel safe: the ping goes out, its pong is ignored.
    pub async fn ping(&self) -> Result<Duration, WriteError> {
        let (answer, round_trip) = oneshot::channel();
        self.shared.request_ping(answer);
        match round_trip.await {
            Ok(time) => Ok(time),
            Err(oneshot::Canceled) => match self.closed.clone().await {
                Ok(_) => Err(WriteError::Closed),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Counters and buffer levels.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Open, closing or closed.
    pub fn ready_state(&self) -> ReadyState {
        self.shared.stats().ready_state
    }

    /// How the connection ended, `None` while that is not certain. It is what [`closed`](Self::closed) will report, which
    /// waits until the transport has been dropped too: up to 2 s after the last word where a peer is slow to end it.
    ///
    /// Once [`Readable::next_message`](crate::Readable::next_message) has given `None` or an error, it is certain.
    ///
    /// ```no_run
    /// # async fn example(mut readable: wsstream::Readable) -> Result<(), wsstream::ReadError> {
    /// if readable.next_message().await?.is_none() {
    ///     println!("{:?}", readable.control().outcome());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn outcome(&self) -> Option<Result<CloseInfo, ConnectionError>> {
        self.shared.inbound().outcome()
    }

    /// How the connection ended, or will end.
    pub fn closed(&self) -> Closed {
        self.closed.clone()
    }
}

/// Closes and aborts a connection, but does not keep it open.
#[derive(Clone, Debug)]
pub(crate) struct WeakControl {
    shared: Weak<Shared>,
    closed: Closed,
}

impl WeakControl {
    pub(super) fn new(shared: &Arc<Shared>, closed: Closed) -> Self {
        Self { shared: Arc::downgrade(shared), closed }
    }

    /// Asks for a Close frame; the first one who does counts.
    pub(crate) fn close(&self, frame: CloseFrame) {
        if let Some(shared) = self.shared.upgrade() {
            shared.request_close(frame);
        }
    }

    pub(crate) fn abort(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.request_abort();
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| shared.stats().ready_state == ReadyState::Closed)
    }

    pub(crate) fn closed(&self) -> Closed {
        self.closed.clone()
    }
}
