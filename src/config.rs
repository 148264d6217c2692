//! Everything that can be set, with its default and its unit.

use std::time::Duration;

use crate::compression::Compression;

/// What may be set on a connection, for both roles: buffers, limits, times.
///
/// The defaults suit large transfers. A clone is cheap; one `Config` may serve many connections.
///
/// ```
/// use std::time::Duration;
/// use wsstream::Config;
///
/// let config = Config::default()
///     .read_high_water_mark(64 * 1024)
///     .max_message_size(16 << 20)
///     .close_timeout(Duration::from_secs(3));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) read_high_water_mark: usize,
    pub(crate) write_high_water_mark: usize,
    pub(crate) max_message_size: Option<u64>,
    pub(crate) max_whole_message_size: usize,
    pub(crate) max_frame_payload: usize,
    pub(crate) close_timeout: Duration,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) keepalive_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_head_size: usize,
    pub(crate) max_headers: usize,
    pub(crate) require_protocol: bool,
    pub(crate) compression: Option<Compression>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read_high_water_mark: 256 * 1024,
            write_high_water_mark: 256 * 1024,
            max_message_size: None,
            max_whole_message_size: 64 << 20,
            max_frame_payload: 64 * 1024,
            close_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(20)),
            keepalive_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
            handshake_timeout: Duration::from_secs(30),
            max_head_size: 16 * 1024,
            max_headers: 100,
            require_protocol: true,
            compression: None,
        }
    }
}

impl Config {
    /// Bytes received and not yet taken by the application at which the transport is no longer read.
    /// Reading goes on when half of them have been taken. Default 256 KiB, at least 1.
    pub fn read_high_water_mark(mut self, bytes: usize) -> Self {
        self.read_high_water_mark = bytes.max(1);
        self
    }

    /// Bytes accepted and not yet written to the transport at which sending waits. Default 256 KiB, at least 1.
    /// One message or chunk handed over as `Bytes` may overshoot it: that memory is the caller's already.
    pub fn write_high_water_mark(mut self, bytes: usize) -> Self {
        self.write_high_water_mark = bytes.max(1);
        self
    }

    /// Payload bytes above which an incoming message fails the connection with close code 1009.
    /// Default: none, since chunks need no limit.
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = Some(bytes);
        self
    }

    /// Payload bytes above which a message that is read whole, through `Stream`, fails the connection with close
    /// code 1009. Default 64 MiB. Messages that are read in chunks, or collected with a limit of their own, are not
    /// concerned.
    pub fn max_whole_message_size(mut self, bytes: usize) -> Self {
        self.max_whole_message_size = bytes;
        self
    }

    /// Payload bytes of the largest frame sent; larger messages go out as several frames, so that a pong or a
    /// Close frame never waits behind a gigabyte. Default 64 KiB, at least 125. A message of declared length
    /// ([`Writable::start_message`](crate::Writable::start_message)) is one frame all the same.
    ///
    /// Messages that are larger and read whole come up to 15 % faster in frames of 1 MiB (`docs/performance-zen3.md`). But some
    /// peers take none of more than 64 KiB unless told to, and fail the connection with 1009: those built on Netty, gateways
    /// among them, or Node's `websocket`. And a pong waits for the end of the frame.
    pub fn max_frame_payload(mut self, bytes: usize) -> Self {
        self.max_frame_payload = bytes.max(125);
        self
    }

    /// How long closing may go on without progress before the transport is dropped: a byte that it takes, or data that
    /// the application wants. Default 10 s; `None` is for ever, which leaves it to the peer whether closing ends.
    pub fn close_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.close_timeout = time.into().unwrap_or(Duration::MAX);
        self
    }

    /// How long the peer may be silent before it is sent a ping; and, while our own reader lags so that nothing can be
    /// heard, how often the peer is sent an unsolicited pong, lest it take us for dead. Default 20 s, `None` or zero for never.
    pub fn ping_interval(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = positive(time.into());
        self
    }

    /// How long there may be no sign of life before the peer counts as dead and the connection fails with
    /// [`ConnectionError::KeepaliveTimeout`](crate::ConnectionError::KeepaliveTimeout). Default 60 s, `None` or zero for never.
    ///
    /// A sign of life is any byte that arrives, and any that a congested transport takes: slow is not dead. The clock
    /// stands still while our own reader lags. It wants a shorter `ping_interval`, or the peer may just have nothing to say.
    pub fn keepalive_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.keepalive_timeout = positive(time.into());
        self
    }

    /// How long there may be no message in either direction before the connection fails with
    /// [`ConnectionError::IdleTimeout`](crate::ConnectionError::IdleTimeout); the peer is told with close code 1001.
    /// Default `None`, for ever, as zero is. Pings and pongs do not count; the clock stands still while our own reader lags.
    pub fn idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = positive(time.into());
        self
    }

    /// How long the opening handshake may take in all, that of TLS included: for a client from dialling to the response,
    /// through proxies and redirects; for a server until the request has been read, and again for writing the answer. Default 30 s, `None` for ever.
    pub fn handshake_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.handshake_timeout = time.into().unwrap_or(Duration::MAX);
        self
    }

    /// Bytes of the largest handshake head (request or response) that is read. Default 16 KiB.
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// Headers allowed in a handshake head. Default 100, at most 124.
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.max_headers = headers;
        self
    }

    /// Client: whether the handshake fails when subprotocols were offered and the server picked none, as the WHATWG
    /// rules say. Default `true`; RFC 6455 alone would allow it.
    pub fn require_protocol(mut self, require: bool) -> Self {
        self.require_protocol = require;
        self
    }

    /// Compression of messages (permessage-deflate, RFC 7692), used if the peer wants it too. Default `None`: what is large is
    /// compressed already most of the time, media and archives, and then nothing is gained. It is stored as it is, which costs a
    /// fiftieth of trying to compress it. A browser always offers it.
    ///
    /// Limits count inflated bytes, and so does flow control: a message that inflates to a thousand times its size is only
    /// more chunks. Compressing secrets together with what an attacker can choose tells their length (RFC 7692, 8).
    ///
    /// ```
    /// use wsstream::{Compression, Config};
    ///
    /// let config = Config::default().compression(Compression::default().level(6));
    /// let config = config.compression(None);
    /// ```
    pub fn compression(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = compression.into();
        self
    }
}

/// No time at all would mean that it is always over.
fn positive(time: Option<Duration>) -> Option<Duration> {
    time.filter(|time| !time.is_zero())
}
