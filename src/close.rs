//! Close codes, reasons, and what `closed` reports.

use std::fmt;

use crate::error::CloseError;

/// The longest reason, in bytes of UTF-8: a control frame carries 125 bytes, two of them the close code.
pub const MAX_CLOSE_REASON: usize = 123;

/// Why a connection was closed (RFC 6455, 7.4).
///
/// Codes that may be sent are 1000-1003, 1007-1014 and 3000-4999; a browser's script may send only 1000 and
/// 3000-4999. [`NO_STATUS`](Self::NO_STATUS) stands for a Close frame without a body and
/// [`ABNORMAL`](Self::ABNORMAL) for the lack of a Close frame; neither is ever on the wire.
///
/// ```
/// use wsstream::CloseCode;
///
/// let code = CloseCode::try_from(4001)?;
/// assert_eq!(u16::from(code), 4001);
/// assert!(CloseCode::try_from(1006).is_err());
/// # Ok::<(), wsstream::CloseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: this end is going away. Sent when all handles are dropped without a `close`.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of message that this end does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the Close frame had no body. `close` with it (and an empty reason) sends such a frame.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: there was no Close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: text that is not UTF-8, or data that does not fit its type.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message was larger than this end takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client misses an extension.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// 1011: this end failed. Sent when a [`MessageWriter`](crate::MessageWriter) is dropped unfinished.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service is restarting.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got a bad answer from upstream.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether the code may stand in a Close frame.
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = CloseError;

    fn try_from(code: u16) -> Result<Self, CloseError> {
        let code = Self(code);
        if code.is_sendable() { Ok(code) } else { Err(CloseError::InvalidCode(code.0)) }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The body of a Close frame: what one end says when it closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseFrame {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
}

impl CloseFrame {
    /// Checks what the application wants to send.
    pub(crate) fn new(code: CloseCode, reason: &str) -> Result<Self, CloseError> {
        let empty_body = code == CloseCode::NO_STATUS;
        if !(code.is_sendable() || empty_body) {
            return Err(CloseError::InvalidCode(code.0));
        }
        if empty_body && !reason.is_empty() {
            return Err(CloseError::ReasonWithoutCode);
        }
        if reason.len() > MAX_CLOSE_REASON {
            return Err(CloseError::ReasonTooLong { len: reason.len() });
        }
        Ok(Self { code, reason: reason.to_owned() })
    }

    /// For what this library says itself: cut to the length that fits, never refused.
    pub(crate) fn truncated(code: CloseCode, reason: &str) -> Self {
        let end = reason.floor_char_boundary(MAX_CLOSE_REASON);
        Self { code, reason: reason[..end].to_owned() }
    }

    /// A Close frame without a body.
    pub(crate) fn empty() -> Self {
        Self { code: CloseCode::NO_STATUS, reason: String::new() }
    }
}

/// How a connection ended: what the peer's Close frame said, whoever began closing.
///
/// ```
/// # use wsstream::{CloseCode, CloseInfo};
/// # fn show(info: CloseInfo) {
/// if info.close_code == CloseCode::NORMAL {
///     println!("done: {}", info.reason);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseInfo {
    /// The peer's close code; [`CloseCode::NO_STATUS`] for a Close frame without a body and
    /// [`CloseCode::ABNORMAL`] where there was none.
    pub close_code: CloseCode,
    /// The peer's reason, often empty.
    pub reason: String,
    /// Close frames went both ways, and nothing that was accepted for sending was left unsent.
    pub was_clean: bool,
}

impl CloseInfo {
    pub(crate) fn new(peer: Option<&CloseFrame>, was_clean: bool) -> Self {
        match peer {
            Some(frame) => Self { close_code: frame.code, reason: frame.reason.clone(), was_clean },
            None => Self { close_code: CloseCode::ABNORMAL, reason: String::new(), was_clean },
        }
    }
}
