//! What goes wrong while connected, and whose fault it is.
//!
//! Errors of the opening handshake are [`ConnectError`](crate::ConnectError) and
//! [`AcceptError`](crate::AcceptError).

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;

use crate::close::{CloseCode, CloseFrame, CloseInfo, MAX_CLOSE_REASON};

/// Bytes meant as text are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not UTF-8 from byte {valid_up_to} on; send such data as a binary message")]
pub struct InvalidUtf8 {
    valid_up_to: u64,
}

impl InvalidUtf8 {
    pub(crate) fn at(valid_up_to: u64) -> Self {
        Self { valid_up_to }
    }

    /// Bytes before the first wrong one, counted from the start of the message.
    pub fn valid_up_to(&self) -> u64 {
        self.valid_up_to
    }
}

/// A rule of RFC 6455 that the peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV1-3 without an extension that gives them a meaning (5.2).
    #[error("reserved bits set without a negotiated extension")]
    ReservedBits,
    /// Opcode 3-7 or 11-15 (5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A control frame with FIN clear (5.4).
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes (5.5).
    #[error("control frame of more than 125 bytes")]
    ControlTooLong,
    /// A payload length that a shorter form could have said (5.2).
    #[error("payload length not in its shortest form")]
    OverlongLength,
    /// The highest bit of a 64-bit payload length is set (5.2).
    #[error("payload length above 2^63 - 1")]
    LengthTooLarge,
    /// A client sent an unmasked frame (5.1).
    #[error("unmasked frame from a client")]
    Unmasked,
    /// A server sent a masked frame (5.1).
    #[error("masked frame from a server")]
    Masked,
    /// A continuation frame with no message to continue (5.4).
    #[error("continuation frame outside a message")]
    UnexpectedContinuation,
    /// A new message before the last one ended (5.4).
    #[error("new message inside a fragmented message")]
    InterleavedMessage,
    /// A Close frame with a body of one byte (5.5.1).
    #[error("Close frame with a one-byte body")]
    CloseBodyTooShort,
    /// A close code that may not be sent (7.4).
    #[error("close code {0} may not be sent")]
    InvalidCloseCode(u16),
    /// A close reason that is not UTF-8 (5.5.1).
    #[error("close reason is not UTF-8")]
    InvalidCloseReason,
    /// Text that is not UTF-8 (8.1).
    #[error("text is not UTF-8")]
    InvalidText,
    /// RSV1, which marks a message as compressed, on a frame that does not begin one (RFC 7692, 6).
    #[error("RSV1 on a frame that does not begin a message")]
    MisplacedCompression,
    /// A compressed message is not what DEFLATE makes (RFC 7692, 7.2.2).
    #[error("compressed data is corrupt")]
    CorruptDeflate,
    /// A compressed message ends in the middle of a block (RFC 7692, 7.2.2).
    #[error("compressed data breaks off")]
    TruncatedDeflate,
}

impl ProtocolError {
    /// The close code that tells the peer: 1007 for payload that is not what it is said to be, text that is not UTF-8 and
    /// compressed data that does not inflate; 1002 for the rest, which is about frames.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::InvalidCloseReason | Self::InvalidText | Self::CorruptDeflate | Self::TruncatedDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// A connection ended uncleanly. `closed`, the readable and the writable all report the same one.
///
/// ```
/// # use wsstream::ConnectionError;
/// # fn show(error: ConnectionError) {
/// match &error {
///     ConnectionError::Protocol(rule) => eprintln!("bad peer: {rule}"),
///     ConnectionError::Lost => eprintln!("connection lost"),
///     other => eprintln!("{other}, close code {}", other.close_code()),
/// }
/// # }
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer broke RFC 6455; it was told with [`ProtocolError::close_code`].
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// An incoming message was over a limit; the peer was told with close code 1009.
    #[error("incoming message of more than {limit} bytes; `Config::{knob}` raises the limit, chunks need none")]
    MessageTooLarge {
        /// The limit, in bytes of payload.
        limit: u64,
        /// The method of [`Config`](crate::Config) that sets it.
        knob: &'static str,
    },
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Io(#[source] Arc<io::Error>),
    /// The transport ended without a Close frame.
    #[error("the connection ended without a Close frame")]
    Lost,
    /// The peer closed, and data that had been accepted for sending was not sent.
    #[error("the peer closed ({} {:?}) before everything accepted was sent", .0.close_code, .0.reason)]
    Unsent(CloseInfo),
    /// The peer closed in the middle of a message of its own, whose end never came.
    #[error("the peer closed ({} {:?}) in the middle of a message", .0.close_code, .0.reason)]
    MessageCut(CloseInfo),
    /// Closing made no progress for the close timeout, and the transport was dropped.
    #[error("the peer did not complete the closing handshake within {0:?}; `Config::close_timeout` sets this time")]
    CloseTimeout(Duration),
    /// The peer gave no sign of life for the keepalive timeout.
    #[error("no sign of life from the peer for {0:?}; `Config::keepalive_timeout` sets this time")]
    KeepaliveTimeout(Duration),
    /// No message went either way for the idle timeout; the peer was told with close code 1001.
    #[error("no message for {0:?}; `Config::idle_timeout` sets this time")]
    IdleTimeout(Duration),
    /// A [`MessageWriter`](crate::MessageWriter) was dropped before `finish`; the peer was told with close code 1011.
    #[error("a message was dropped unfinished")]
    UnfinishedMessage,
    /// `abort` was called.
    #[error("the connection was aborted")]
    Aborted,
    /// The runtime went away, and the connection's task with it.
    #[error("the runtime was shut down")]
    RuntimeShutDown,
}

/// How a connection ended.
pub(crate) type Outcome = Result<CloseInfo, ConnectionError>;

impl ConnectionError {
    /// What `closed` of a browser would report: the peer's close code where it sent one, else
    /// [`CloseCode::ABNORMAL`].
    pub fn close_code(&self) -> CloseCode {
        self.close_info().close_code
    }

    /// What the peer's Close frame said, if there was one; 1006 and no reason otherwise. Not clean.
    pub fn close_info(&self) -> CloseInfo {
        match self {
            Self::Unsent(info) | Self::MessageCut(info) => info.clone(),
            _ => CloseInfo::new(None, false),
        }
    }

    /// The Close frame to send on this failure, if the peer is to be told.
    pub(crate) fn close_frame(&self) -> Option<CloseFrame> {
        let code = match self {
            Self::Protocol(error) => error.close_code(),
            Self::MessageTooLarge { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::UnfinishedMessage => CloseCode::INTERNAL_ERROR,
            Self::IdleTimeout(_) => CloseCode::GOING_AWAY,
            _ => return None,
        };
        let reason = match self {
            Self::Protocol(error) => error.to_string(),
            Self::MessageTooLarge { limit, .. } => format!("message of more than {limit} bytes"),
            Self::IdleTimeout(time) => format!("no message for {time:?}"),
            other => other.to_string(),
        };
        Some(CloseFrame::truncated(code, &reason))
    }
}

/// Reading failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The connection ended uncleanly; everything received before was delivered.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// Collecting a message failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The message is larger than the limit given to `collect`. Nothing is lost: `next_message` gives it again, to be read
    /// in chunks or collected with a larger limit.
    #[error(
        "message of more than {limit} bytes; `next_message` gives it again, for a larger limit or for reading in chunks"
    )]
    TooLarge {
        /// The limit given, in bytes.
        limit: usize,
    },
    /// The message did not end well.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Writing failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The connection is closing or closed: `close` was called or the peer's Close came. Nothing of this write is sent.
    #[error("the connection is closed for writing")]
    Closed,
    /// The connection ended uncleanly.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The message has been ended with `shutdown`; nothing of this chunk is sent.
    #[error("the message has been finished")]
    Finished,
    /// The caller's text is not UTF-8; nothing of this chunk is sent.
    #[error("text message: {0}")]
    InvalidUtf8(#[from] InvalidUtf8),
    /// More was written than declared, or `finish` came too early.
    #[error("a message of {declared} bytes was declared, {written} were written")]
    WrongLength {
        /// Bytes given to `MessageBuilder::length`.
        declared: u64,
        /// Bytes that would have been written.
        written: u64,
    },
}

/// A close could not be started, or ended uncleanly.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Not one of 1000-1003, 1007-1014, 3000-4999. The connection goes on.
    #[error("close code {0} may not be sent; use 1000, or 3000-4999 for codes of your own")]
    InvalidCode(u16),
    /// The reason is longer than 123 bytes. The connection goes on.
    #[error("close reason of {len} bytes, at most {MAX_CLOSE_REASON} are allowed")]
    ReasonTooLong {
        /// Bytes of UTF-8.
        len: usize,
    },
    /// A Close frame without a code has no reason either. The connection goes on.
    #[error("a close reason needs a close code; use 1000")]
    ReasonWithoutCode,
    /// The connection ended uncleanly.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

macro_rules! into_io_error {
    ($($error:ty),*) => {$(
        impl From<$error> for io::Error {
            fn from(error: $error) -> Self {
                io::Error::new(error.io_kind(), error)
            }
        }
    )*};
}

into_io_error!(ReadError, WriteError, ConnectionError);

impl ConnectionError {
    fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Protocol(_) | Self::MessageTooLarge { .. } => io::ErrorKind::InvalidData,
            Self::Io(error) => error.kind(),
            Self::Lost | Self::Unsent(_) => io::ErrorKind::ConnectionReset,
            Self::MessageCut(_) => io::ErrorKind::UnexpectedEof,
            Self::CloseTimeout(_) | Self::KeepaliveTimeout(_) | Self::IdleTimeout(_) => io::ErrorKind::TimedOut,
            Self::UnfinishedMessage | Self::Aborted | Self::RuntimeShutDown => io::ErrorKind::ConnectionAborted,
        }
    }
}

impl ReadError {
    fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Connection(error) => error.io_kind(),
        }
    }
}

impl WriteError {
    fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Closed | Self::Finished => io::ErrorKind::BrokenPipe,
            Self::Connection(error) => error.io_kind(),
            Self::InvalidUtf8(_) | Self::WrongLength { .. } => io::ErrorKind::InvalidInput,
        }
    }
}
