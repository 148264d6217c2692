//! One source, many receivers: what is published goes to all of them, each at its own pace.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use wsstream::{CloseCode, Listener, Message, WebSocketStream, fanout::{Fanout, Lag, ReceiverOptions}};
//!
//! let mut listener = Listener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}", listener.local_addr()?);
//! let viewer = tokio::spawn(async move {
//!     let mut ws = WebSocketStream::connect(url).await.unwrap();
//!     ws.next_message().await.unwrap().unwrap().collect(1024).await.unwrap()
//! });
//!
//! let mut fanout = Fanout::new();
//! let (_, writable) = listener.accept().await?.accept().await?.split();
//! let options = ReceiverOptions::default().budget(1 << 20).lag(Lag::DropOldest);
//! let receiver = tokio::spawn(fanout.audience().join(writable, options));
//!
//! fanout.publish("to whom it may concern").await;
//! assert_eq!(viewer.await?, Message::text("to whom it may concern"));
//! fanout.close(CloseCode::NORMAL, "that was all")?;
//! assert_eq!(receiver.await?.stats.sent_messages, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//! A message is kept once, however many receivers there are, in parts of at most 64 KiB, and only as long as one of them
//! has to be given it: memory is the largest lag, at most the largest budget and one message, and what
//! [`keep_for_late`](Fanout::keep_for_late) says. It is framed once: connections in the server's role send the same
//! bytes, payload of more than a KiB without a copy for each; from eight receivers on it is copied once for all, behind its
//! header. With fewer it keeps alive what it is a part of: chunks of another connection, passed on as they come, up to four
//! times what they count for. A client masks every frame with a key of its own (RFC 6455, 5.3), so where the receiver's
//! connection is a client, frames are made for it alone; the payload before masking is shared all the same. A receiver that
//! is behind gets several frames in one write.
//!
//! Receivers that keep up are served by one task of the fan-out, each with one write: to wake the tasks of hundreds for that
//! costs more. A receiver's own task comes in where its transport did not take everything, and where that one task cannot keep
//! up with the source: all threads of the runtime then take part.
//!
//! # Compression
//! With [`Fanout::compression`] messages are compressed once, each on its own, and the result is shared by all receivers
//! in the server's role whose peers inflate with a window as large as the fan-out's. They need not have agreed on
//! `no_context_takeover`: that a peer keeps its window does not mean that messages must refer to it, and a connection that
//! compresses something of its own afterwards begins afresh. Who has agreed on nothing, or on a smaller window, gets
//! the message as it is: compressing for each of them is what fan-out is there to avoid. A receiver in the client's role
//! compresses for itself, as its connection says. A part of a message that is published in chunks is flushed, so that it
//! can be read at once; that costs 5 bytes each.

mod cursor;
mod lane;
mod log;
mod options;
mod publish;
mod receiver;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Instant,
};

use self::{
    lane::Lane,
    log::{Called, Log},
    receiver::Outlet,
};
pub use self::{
    options::{Lag, ReceiverEnd, ReceiverOptions, ReceiverStats, Start},
    publish::{Fanout, FanoutMessage, FanoutStats},
    receiver::{Received, Receiver, ReceiverHandle},
};
use crate::stream::Writable;

/// What the publisher and the receivers share.
pub(crate) struct Hub {
    log: Mutex<Log>,
    lane: Lane,
}

impl Hub {
    fn log(&self) -> MutexGuard<'_, Log> {
        // Nothing under the lock panics; if it did, the state would still be coherent.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives receivers what they wait for.
    fn serve(&self, called: Called, now: Instant) {
        self.lane.serve(called.members, now);
        called.publisher.into_iter().for_each(Waker::wake);
    }

    fn stats(&self, id: u64) -> Option<ReceiverStats> {
        self.log().stats(id, now())
    }

    fn leave(&self, id: u64) {
        let called = self.log().leave(id);
        called.wake();
    }
}

/// Lets receivers join a [`Fanout`], from any task, at any time. Cheap to clone.
///
/// # Dropping
/// Nothing happens: receivers stay, and so does the source.
///
/// ```no_run
/// # async fn example(audience: wsstream::fanout::Audience, mut listener: wsstream::Listener) -> std::io::Result<()> {
/// use wsstream::fanout::{Lag, ReceiverOptions};
///
/// loop {
///     let (upgrade, audience) = (listener.accept().await?, audience.clone());
///     tokio::spawn(async move {
///         let (_, writable) = upgrade.accept().await?.split();
///         audience.join(writable, ReceiverOptions::default().lag(Lag::DropOldest)).await;
///         Ok::<_, wsstream::AcceptError>(())
///     });
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Audience {
    hub: Arc<Hub>,
}

impl Audience {
    /// Adds a receiver: a future that serves it, to be spawned or awaited. It counts from now on, whether it is polled
    /// or not.
    ///
    /// Its readable is the caller's. Read it, or drop it: while it is kept unread, pings and a Close frame of the peer
    /// behind what it sends cannot be seen.
    pub fn join(&self, writable: Writable, options: ReceiverOptions) -> Receiver {
        let mut log = self.hub.log();
        let takes_compressed = log.window_bits.is_some_and(|bits| writable.takes_compressed(bits));
        let closed = writable.closed();
        let outlet = log.join(&options, takes_compressed, |id| Arc::new(Outlet::new(self.hub.clone(), id, writable)));
        drop(log);
        Receiver::new(outlet, closed)
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience").finish_non_exhaustive()
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
