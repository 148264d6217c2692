//! What goes wrong while a client opens a connection.

use std::{error::Error, fmt, io};

use bytes::Bytes;
use http::{Response, StatusCode};

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
    /// The handshake took longer than [`Config::handshake_timeout`](crate::Config::handshake_timeout), or connecting longer
    /// than [`Connect::connect_timeout`](crate::Connect::connect_timeout).
    Timeout,
    /// The TLS handshake failed: the server does not speak TLS on this port, or no version of it that this end speaks too.
    Tls,
    /// A certificate was not accepted: the server's is for another name, has expired or is of an unknown issuer; or the
    /// server wants one of the client, and another than it was given. Behind [`source`](Error::source) is an
    /// [`io::Error`] with the error of rustls inside.
    Certificate,
    /// The proxy did not connect to the server; where it is an HTTP proxy, [`ConnectError::response`] has what it said:
    /// 407 for credentials that are missing or wrong.
    Proxy,
    /// The server answered with a status other than 101; [`ConnectError::response`] has what it said. A redirect that is
    /// not followed, see [`Connect::redirects`](crate::Connect::redirects), is such an answer too.
    Refused,
    /// A redirect leads from `wss` to `ws`, nowhere, or to another redirect after
    /// [`Connect::redirects`](crate::Connect::redirects) of them; [`ConnectError::response`] has it.
    Redirect,
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
    /// What proxies say may heal or not, for reasons that their response does not tell.
    is_transient_proxy: bool,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), response: None, source: None, is_transient_proxy: false }))
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

    /// An error whose message says all that its cause would.
    #[cfg(feature = "rustls")]
    pub(crate) fn explained(
        kind: ConnectErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let mut error = Self::new(kind, message);
        error.0.source = Some(source.into());
        error
    }

    pub(crate) fn refused(response: Response<Bytes>) -> Self {
        let status = response.status();
        let hint = if status.is_redirection() { "; `Connect::redirects` follows redirects" } else { "" };
        let message = format!("the server refused the upgrade with status {status}{hint}");
        let mut error = Self::new(ConnectErrorKind::Refused, message);
        error.0.response = Some(response);
        error
    }

    /// A proxy that does not connect.
    #[cfg(feature = "proxy")]
    pub(crate) fn proxy(
        message: String,
        response: Option<Response<Bytes>>,
        source: Option<Box<dyn Error + Send + Sync>>,
        is_transient: bool,
    ) -> Self {
        let mut error = Self::new(ConnectErrorKind::Proxy, message);
        (error.0.response, error.0.source, error.0.is_transient_proxy) = (response, source, is_transient);
        error
    }

    /// The same, of another kind and in other words.
    pub(crate) fn retold(mut self, kind: ConnectErrorKind, message: String) -> Self {
        (self.0.kind, self.0.message) = (kind, message);
        self
    }

    /// The same with something to add.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.0.message = format!("{} ({note})", self.0.message);
        self
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> ConnectErrorKind {
        self.0.kind
    }

    /// The answer of a server that refused the upgrade: status, headers, and up to the first 8 KiB of the body, as far
    /// as they arrived within a second. With [`ConnectErrorKind::Redirect`] the redirect; with [`ConnectErrorKind::Proxy`] the
    /// answer of the proxy, without its body. Otherwise `None`.
    pub fn response(&self) -> Option<&Response<Bytes>> {
        self.0.response.as_ref()
    }
}

impl ConnectError {
    /// Whether it may go well the next time, without anything being changed at this end; [`Connect::retry`] goes by it.
    ///
    /// So may a server that refuses connections, ends them, does not answer in time or has no address for now, and one that
    /// answers with a status of 500 or above, or 429; the same of a proxy. Not so a wrong URL or option, any other
    /// status (401, 403, 404), a certificate, or an answer that breaks the rules.
    ///
    /// [`Connect::retry`]: crate::Connect::retry
    pub fn is_transient(&self) -> bool {
        use ConnectErrorKind::*;
        let is_passing = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let is_status_passing = || self.response().is_some_and(|response| is_passing(response.status()));
        match self.kind() {
            Resolve | Timeout => true,
            Io => self.io_source().is_none_or(is_passing_io),
            Refused => is_status_passing(),
            Proxy => self.0.is_transient_proxy || is_status_passing(),
            InvalidUrl | InvalidOption | UnsupportedScheme | Tls | Certificate | Redirect | BadResponse
            | HeadTooLarge => false,
        }
    }

    pub(crate) fn io_source(&self) -> Option<&io::Error> {
        self.source().and_then(|source| source.downcast_ref())
    }
}

/// Whether the peer, or the network on the way to it, may be there again in a while.
fn is_passing_io(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | BrokenPipe
            | NotConnected
            | UnexpectedEof
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
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
            Certificate => io::ErrorKind::PermissionDenied,
            Refused | Redirect | Proxy => io::ErrorKind::ConnectionRefused,
            BadResponse | HeadTooLarge | Tls => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
