//! What goes wrong while a server answers an opening handshake.

use std::{error::Error, fmt, io};

use http::StatusCode;

/// What kind of fault kept a server from accepting a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptErrorKind {
    /// The transport failed, or ended before the request was complete.
    Io,
    /// Reading the request, or writing the answer, took longer than
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout).
    Timeout,
    /// The TLS handshake failed: the client does not speak TLS, or has not accepted this server's certificate, or has shown
    /// none that this server accepts.
    Tls,
    /// The request is not a WebSocket handshake (RFC 6455, 4.2.1); [`AcceptError::status`] is what the client was told.
    BadRequest,
    /// The request head is over [`Config::max_head_size`](crate::Config::max_head_size) or
    /// [`Config::max_headers`](crate::Config::max_headers); the client was told with status 431.
    HeadTooLarge,
    /// The request came from a web page of another origin that is not allowed; the client was told with status 403.
    ForbiddenOrigin,
    /// The application chose a subprotocol that the client had not offered; the client was told with status 500.
    ProtocolNotOffered,
    /// The application gave a header, origin or status that cannot be used; the client was told with status 500.
    InvalidOption,
}

/// A server could not accept a connection, or could not refuse it. The transport is closed.
///
/// ```no_run
/// use wsstream::{AcceptErrorKind, WebSocketStream};
///
/// # async fn example(transport: tokio::net::TcpStream) {
/// match WebSocketStream::accept(transport).await {
///     Ok(upgrade) => println!("{} is wanted", upgrade.uri()),
///     Err(error) if error.kind() == AcceptErrorKind::BadRequest => println!("answered {:?}", error.status()),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct AcceptError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: AcceptErrorKind,
    message: String,
    status: Option<StatusCode>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AcceptError {
    pub(crate) fn new(kind: AcceptErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), status: None, source: None }))
    }

    /// An error with a cause, which the message ends with.
    pub(crate) fn caused(
        kind: AcceptErrorKind,
        message: impl fmt::Display,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut error = Self::new(kind, format!("{message}: {source}"));
        error.0.source = Some(source);
        error
    }

    /// An error whose message says all that its cause would.
    #[cfg(feature = "rustls")]
    pub(crate) fn explained(
        kind: AcceptErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let mut error = Self::new(kind, message);
        error.0.source = Some(source.into());
        error
    }

    /// The status the client is told.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> AcceptErrorKind {
        self.0.kind
    }

    /// The status of the refusal that was sent to the client, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for AcceptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<AcceptError> for io::Error {
    fn from(error: AcceptError) -> Self {
        use AcceptErrorKind::*;
        let kind = match error.kind() {
            Io => match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
                Some(source) => source.kind(),
                None => io::ErrorKind::Other,
            },
            Timeout => io::ErrorKind::TimedOut,
            BadRequest | HeadTooLarge | Tls => io::ErrorKind::InvalidData,
            ForbiddenOrigin => io::ErrorKind::PermissionDenied,
            ProtocolNotOffered | InvalidOption => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
