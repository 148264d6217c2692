//! What a connection has done so far.

/// A snapshot of one connection, from [`WebSocketStream::stats`](crate::WebSocketStream::stats). Counters start at 0
/// when the connection opens; taking one costs two uncontended locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes read from the transport since the handshake.
    pub bytes_received: u64,
    /// Bytes written to the transport since the handshake.
    pub bytes_sent: u64,
    /// Messages received completely.
    pub messages_received: u64,
    /// Messages whose last byte was accepted for sending.
    pub messages_sent: u64,
    /// Bytes received and not yet taken by the application, plus a constant for each chunk.
    pub read_buffered: usize,
    /// The highest value of `read_buffered` so far.
    pub read_buffered_max: usize,
    /// How often reading the transport was paused because the application lagged.
    pub read_pauses: u64,
    /// Bytes accepted and not yet written to the transport, frame headers included.
    pub write_buffered: usize,
    /// The highest value of `write_buffered` so far.
    pub write_buffered_max: usize,
}
