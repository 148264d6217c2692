//! What a connection has done so far, and how far it is.

use std::time::Duration;

/// How far a connection is. The handshake comes before; there is no state for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// Messages go both ways.
    #[default]
    Open,
    /// `close` was called, the peer's Close frame came, or the connection failed; nothing more can be sent.
    Closing,
    /// It is over, and the transport has been dropped.
    Closed,
}

/// A snapshot of one connection, from [`WebSocketStream::stats`](crate::WebSocketStream::stats). Counters start at 0
/// when the connection opens. Taking one costs two short locks: cheap enough for every second.
///
/// ```no_run
/// # async fn example(ws: wsstream::WebSocketStream) {
/// let stats = ws.stats();
/// println!("{} messages in, {} bytes wait to be read", stats.received.messages, stats.received.buffered);
/// println!("the peer let us wait for {:?}, round trip {:?}", stats.sent.paused, stats.round_trip);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// From the peer.
    pub received: DirectionStats,
    /// To the peer.
    pub sent: DirectionStats,
    /// Time between ping and pong, smoothed as in RFC 6298; `None` before the first pong.
    pub round_trip: Option<Duration>,
    /// Open, closing or closed.
    pub ready_state: ReadyState,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionStats {
    /// Bytes read from, or written to, the transport since the handshake.
    pub bytes: u64,
    /// Messages received completely, or accepted completely for sending.
    pub messages: u64,
    /// Data frames begun: received, or prepared for sending.
    pub frames: u64,
    /// Pings, pongs and Close frames: received, or prepared for sending.
    pub control_frames: u64,
    /// Received: bytes that the application has not taken, as they count for flow control: a chunk stands for what it
    /// takes on the wire, or inflates to, or its share of the read buffer it keeps alive, and 128 bytes more. Sent: bytes
    /// accepted and not yet written to the transport, frame headers included, without what is being compressed.
    pub buffered: usize,
    /// The highest value of `buffered` so far.
    pub buffered_max: usize,
    /// Received: how often the transport was left unread because the application lagged. Sent: how often it took no more,
    /// because the peer lagged.
    pub pauses: u64,
    /// How long in all, the present pause included.
    pub paused: Duration,
}
