//! What went wrong and what to do about it, in one line that either end can show to its user.

use std::io;

use http::StatusCode;
use wsstream::{CloseCode, CloseInfo, ConnectError, ConnectionError, Control, MAX_CLOSE_REASON, ReadError, WriteError};

/// A transfer, or the program, cannot go on.
///
/// The status is that of the refused upgrade; in an open connection the close code is 4000 more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    message: String,
    /// The connection is over for a reason that may pass: another one can go on from there.
    pub(crate) can_resume: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), can_resume: false }
    }

    /// A mistake that only this end's user can mend.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An error of the operating system while `doing` something.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, NotFound, PermissionDenied, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::no_room(&error.to_string()),
            NotFound => Self::new(StatusCode::NOT_FOUND, format!("{doing}: it does not exist; check the name")),
            PermissionDenied => {
                Self::new(StatusCode::FORBIDDEN, format!("{doing}: permission denied; change who may access it"))
            }
            _ => {
                let message = format!("{doing}: {error}; check the disk and run this again");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        }
    }

    pub(crate) fn no_room(why: &str) -> Self {
        let message = format!("no room for the file where it goes ({why}); make room there and run this again");
        Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
    }

    /// The other end does not keep to the protocol.
    pub(crate) fn protocol(what: &str) -> Self {
        Self::bad_request(format!("{what}; use the same version of this program at both ends"))
    }

    pub(crate) fn connect(error: &ConnectError) -> Self {
        let Some(response) = error.response() else {
            let message = format!("{error}; check the URL and whether the server runs");
            return Self::new(StatusCode::BAD_GATEWAY, message);
        };
        let body = String::from_utf8_lossy(response.body());
        match body.lines().next() {
            Some(reason) => Self::new(response.status(), format!("the server refused: {reason}")),
            None => Self::new(response.status(), format!("{error}; check the URL")),
        }
    }

    /// The server has gone away and does not come back.
    pub(crate) fn no_server(error: &ConnectError) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, format!("the server does not come back ({error}); run this again to resume"))
    }

    /// By this end's user.
    pub(crate) fn interrupted() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted; run this again to resume")
    }

    /// Why a connection is over, as far as this end can know.
    fn closed(outcome: Result<CloseInfo, ConnectionError>, interrupted: bool) -> Self {
        if interrupted {
            return Self::interrupted();
        }
        let can_resume = match &outcome {
            Ok(info) => info.close_code == CloseCode::GOING_AWAY,
            Err(error) => match error {
                ConnectionError::Lost | ConnectionError::Io(_) | ConnectionError::KeepaliveTimeout(_) => true,
                other => other.close_code() == CloseCode::GOING_AWAY,
            },
        };
        let (status, message) = match outcome {
            Ok(info) | Err(ConnectionError::Unsent(info) | ConnectionError::MessageCut(info)) => {
                let code = u16::from(info.close_code);
                match code.checked_sub(4000).and_then(|status| StatusCode::from_u16(status).ok()) {
                    Some(status) => (status, format!("the other end gave up: {}", info.reason)),
                    None if info.close_code == CloseCode::GOING_AWAY => {
                        let message = "the other end is shutting down; run this again later to resume";
                        (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
                    }
                    None => {
                        let message =
                            format!("the other end closed ({code} {}); run this again to resume", info.reason);
                        (StatusCode::BAD_GATEWAY, message)
                    }
                }
            }
            Err(ConnectionError::KeepaliveTimeout(_)) => {
                let message = "the other end has fallen silent; check the network and run this again to resume";
                (StatusCode::GATEWAY_TIMEOUT, message.to_owned())
            }
            Err(error) => {
                (StatusCode::BAD_GATEWAY, format!("the connection is lost ({error}); run this again to resume"))
            }
        };
        Self { status, message, can_resume }
    }
}

/// Why a transfer ended early.
pub(crate) enum Trouble {
    /// Something failed at this end; the other end is to be told.
    Here(Failure),
    /// The connection is over; how it closed says why.
    Connection,
}

impl Trouble {
    /// Tells the other end where that is still to do, and finds out what to tell the user.
    pub(crate) async fn settle(self, control: &Control, interrupted: bool) -> Failure {
        match self {
            Self::Here(failure) => {
                tell(control, &failure).await;
                failure
            }
            Self::Connection => Failure::closed(control.closed().await, interrupted),
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
