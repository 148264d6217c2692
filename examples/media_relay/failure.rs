//! What went wrong and what to do about it, in one line that either end can show to its user.

use std::io;

use http::StatusCode;
use wsstream::{CloseCode, CloseInfo, ConnectError, ConnectionError, Control, MAX_CLOSE_REASON, ReadError, WriteError};

/// A program cannot go on, or a request is refused.
///
/// The status is that of the refused upgrade; in an open connection the close code is 4000 more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A mistake that only this end's user can mend.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The other end does not keep to the protocol.
    pub(crate) fn protocol(what: &str) -> Self {
        Self::bad_request(format!("{what}; use the same version of this program at both ends"))
    }

    /// An error of the operating system while `doing` something.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the name",
            io::ErrorKind::PermissionDenied => "change who may access it",
            _ => "mend that and run this again",
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{doing}: {error}; {remedy}"))
    }

    pub(crate) fn connect(error: &ConnectError) -> Self {
        let Some(response) = error.response() else {
            return Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{error}; check the URL and whether the relay runs, `media_relay serve`"),
            );
        };
        let body = String::from_utf8_lossy(response.body());
        match body.lines().next() {
            Some(reason) => Self::new(response.status(), format!("the relay refused: {reason}")),
            None => Self::new(response.status(), format!("{error}; check the URL")),
        }
    }

    /// Why a connection is over that was not closed with 1000.
    pub(crate) fn closed(outcome: Result<CloseInfo, ConnectionError>) -> Self {
        let bad_gateway = |message: String| Self::new(StatusCode::BAD_GATEWAY, message);
        let info = match outcome {
            Ok(info) | Err(ConnectionError::Unsent(info) | ConnectionError::MessageCut(info)) => info,
            Err(ConnectionError::KeepaliveTimeout(_)) => {
                let message = "the relay has fallen silent; check the network and run this again";
                return Self::new(StatusCode::GATEWAY_TIMEOUT, message);
            }
            Err(error) => {
                return bad_gateway(format!("the connection to the relay is lost ({error}); run this again"));
            }
        };
        let code = u16::from(info.close_code);
        if let Some(status) = code.checked_sub(4000).and_then(|status| StatusCode::from_u16(status).ok()) {
            return Self::new(status, format!("the relay gave up: {}", info.reason));
        }
        match info.close_code {
            CloseCode::GOING_AWAY => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the relay is shutting down; run this again when it is back")
            }
            CloseCode::MESSAGE_TOO_BIG => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "a frame is larger than the relay takes; make frames smaller, or start it with a larger --max-frame",
            ),
            CloseCode::TRY_AGAIN_LATER => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too slow for this stream, closed by the relay; run this again with a larger --budget or another --lag",
            ),
            CloseCode::BAD_GATEWAY => {
                bad_gateway("the publisher is lost and has not come back; run this again when it has".to_owned())
            }
            _ => bad_gateway(format!("the relay closed ({code} {}); run this again", info.reason)),
        }
    }
}

/// Why reading or sending came to an end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something failed at this end; the other end is to be told.
    Here(Failure),
    /// The connection is over; how it closed says why.
    Connection,
}

impl Trouble {
    /// Tells the other end where that is still to do, and finds out what to tell the user.
    pub(crate) async fn settle(self, control: &Control) -> Failure {
        match self {
            Self::Here(failure) => {
                tell(control, &failure).await;
                failure
            }
            Self::Connection => Failure::closed(control.closed().await),
        }
    }
}

/// Closes with a failure for a reason.
pub(crate) async fn tell(control: &Control, failure: &Failure) {
    let reason = &failure.message[..failure.message.floor_char_boundary(MAX_CLOSE_REASON)];
    let told = match CloseCode::try_from(4000 + failure.status.as_u16()) {
        Ok(close_code) => control.close(close_code, reason).await,
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        tracing::debug!(%error, "the other end could not be told");
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

impl From<ReadError> for Trouble {
    fn from(_: ReadError) -> Self {
        Self::Connection
    }
}

impl From<WriteError> for Trouble {
    fn from(_: WriteError) -> Self {
        Self::Connection
    }
}
