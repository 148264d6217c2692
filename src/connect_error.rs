//! What goes wrong while a client opens a connection.

use std::{error::Error, fmt, io};

use bytes::Bytes;
use http::Response;

/// What kind of fault kept a client from connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The URL does not parse, is relative, has a fragment or has no host.
    InvalidUrl,
    /// A header or subprotocol given to the builder cannot be sent.
    InvalidOption,
    /// The URL's scheme is none of `ws`, `wss`, `http` and `https`, or needs what this build does not have.
    UnsupportedScheme,
    /// The host name has no address.
    Resolve,
    /// The transport failed, or ended before the response was complete.
    Io,
    /// The handshake took longer than [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Timeout,
    /// The server answered with a status other than 101; [`ConnectError::response`] has what it said. A redirect is
    /// such an answer too: it is not followed.
    Refused,
    /// The server's answer is not HTTP/1.1, or is a 101 that breaks the rules of RFC 6455.
    BadResponse,
    /// The response head is over [`Config::max_head_size`](crate::Config::max_head_size) or
    /// [`Config::max_headers`](crate::Config::max_headers).
    HeadTooLarge,
}

/// A client could not open a connection. Nothing stays behind: the transport is closed.
///
/// ```no_run
/// use wsstream::{ConnectErrorKind, WebSocketStream};
///
/// # async fn example() {
/// if let Err(error) = WebSocketStream::connect("ws://media.example/live").await {
///     if error.kind() == ConnectErrorKind::Refused {
///         let response = error.response().map(|response| (response.status(), response.body().clone()));
///         eprintln!("the server said {response:?}");
///     }
///     eprintln!("{error}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ConnectErrorKind,
    message: String,
    response: Option<Response<Bytes>>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), response: None, source: None }))
    }

    /// An error with a cause, which the message ends with.
    pub(crate) fn caused(
        kind: ConnectErrorKind,
        message: impl fmt::Display,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut error = Self::new(kind, format!("{message}: {source}"));
        error.0.source = Some(source);
        error
    }

    pub(crate) fn refused(response: Response<Bytes>) -> Self {
        let status = response.status();
        let hint = if status.is_redirection() { "; redirects are not followed, connect to the new URL" } else { "" };
        let message = format!("the server refused the upgrade with status {status}{hint}");
        let mut error = Self::new(ConnectErrorKind::Refused, message);
        error.0.response = Some(response);
        error
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> ConnectErrorKind {
        self.0.kind
    }

    /// The answer of a server that refused the upgrade: status, headers, and up to the first 8 KiB of the body, as far
    /// as they arrived within a second. `None` unless [`kind`](Self::kind) is [`ConnectErrorKind::Refused`].
    pub fn response(&self) -> Option<&Response<Bytes>> {
        self.0.response.as_ref()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        use ConnectErrorKind::*;
        let kind = match error.kind() {
            InvalidUrl | InvalidOption => io::ErrorKind::InvalidInput,
            UnsupportedScheme => io::ErrorKind::Unsupported,
            Resolve => io::ErrorKind::NotFound,
            Io => error.io_source().map_or(io::ErrorKind::Other, io::Error::kind),
            Timeout => io::ErrorKind::TimedOut,
            Refused => io::ErrorKind::ConnectionRefused,
            BadResponse | HeadTooLarge => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl ConnectError {
    fn io_source(&self) -> Option<&io::Error> {
        self.source().and_then(|source| source.downcast_ref())
    }
}
