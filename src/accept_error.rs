//! What goes wrong while a server answers an opening handshake.

use std::{error::Error, fmt, io};

use http::{Response, StatusCode};

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
    /// The HTTP server has no connection to hand over for this request: the upgrade has been taken before, or there is no
    /// server at all, as in a test that calls a service directly. The client was told with status 500.
    NotUpgradable,
    /// [`Connections::shutdown`](crate::Connections::shutdown) or [`Listener::shutdown`](crate::Listener::shutdown) has
    /// begun; the client was told with status 503.
    ShuttingDown,
}

/// A server could not accept a connection, or could not refuse it. The transport is closed, unless it belongs to an HTTP
/// server of somebody else: then the client still waits for an answer, [`into_response`](Self::into_response).
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
    refusal: Option<Response<String>>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AcceptError {
    pub(crate) fn new(kind: AcceptErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), refusal: None, source: None }))
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

    /// What the client is told.
    pub(crate) fn with_refusal(mut self, refusal: Response<String>) -> Self {
        self.0.refusal = Some(refusal);
        self
    }

    /// What kind of fault it is.
    pub fn kind(&self) -> AcceptErrorKind {
        self.0.kind
    }

    /// The status of the refusal that the client is told, if it can be told anything.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.refusal.as_ref().map(Response::status)
    }

    /// The refusal as a response, with a body that says why, for upgrades that come from an HTTP server of somebody else
    /// ([`Upgrade::from_request`](crate::Upgrade::from_request)): it is up to the caller to return it. From a transport of
    /// their own, clients have been told already. Status 500 where nothing can be told.
    ///
    /// A `Response<String>` can be returned from a hyper service and from an axum handler as it is; `map` makes other bodies.
    ///
    /// ```
    /// use wsstream::Upgrade;
    ///
    /// # use std::{future::Ready, io};
    /// # fn transport() -> Ready<io::Result<tokio::io::DuplexStream>> { unreachable!() }
    /// fn refuse(request: &http::Request<()>) -> Option<http::Response<bytes::Bytes>> {
    ///     let error = Upgrade::from_request(request, async { transport().await }).err()?;
    ///     Some(error.into_response().map(Into::into))
    /// }
    /// let response = refuse(&http::Request::new(())).unwrap();
    /// assert_eq!(response.status(), 400);
    /// assert_eq!(response.body(), "There must be one Host header.\n");
    /// ```
    pub fn into_response(self) -> Response<String> {
        self.0.refusal.unwrap_or_else(|| {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
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
            NotUpgradable => io::ErrorKind::Unsupported,
            ShuttingDown => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}
