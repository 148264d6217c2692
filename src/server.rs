//! Accepting a connection: read the request, decide, answer.

mod answer;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "hyper")]
mod hyper;
mod request;

use std::{fmt, io, net::SocketAddr, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Uri, header::ORIGIN};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    connections::Connections,
    handshake::{
        deadline_after,
        origin::OriginPolicy,
        refusal::Refusal,
        server::{Agreement, BadRequest, UpgradeRequest, read_request},
    },
    negotiated::Negotiated,
    net::NetStream,
    role::Role,
    stream::WebSocketStream,
};

pub use self::answer::{AcceptUpgrade, Reject};
#[cfg(feature = "hyper")]
pub use self::hyper::{HttpStream, HttpTransport, HttpUpgrade};

impl WebSocketStream {
    /// Reads the handshake request of a client on a transport that was just accepted; what comes of it is up to the
    /// [`Upgrade`].
    ///
    /// A request that is no WebSocket handshake is answered at once, with a status that fits and a body that says why.
    ///
    /// # Errors
    /// [`AcceptError`], whose [`kind`](AcceptError::kind) says what went wrong, and whose
    /// [`status`](AcceptError::status) what the client was told.
    ///
    /// # Cancel safety
    /// Dropping the future drops the transport.
    ///
    /// ```no_run
    /// use wsstream::WebSocketStream;
    ///
    /// # async fn example(tcp: tokio::net::TcpStream) -> Result<(), wsstream::AcceptError> {
    /// let upgrade = WebSocketStream::accept(tcp).await?;
    /// let ws = upgrade.accept().await?;
    /// # Ok(()) }
    /// ```
    pub fn accept<T>(transport: T) -> Accept<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Accept { transport, config: Config::default() }
    }

    /// Takes over a connection that somebody else has upgraded, and whose handshake they have answered. Where an HTTP server
    /// has read the request, [`Upgrade::from_request`] checks and answers it.
    ///
    /// `leftover` is what they have read of it after the HTTP head: the first frames. Losing it loses messages. If they agreed
    /// on extensions, say so with [`Negotiated::with_extensions`].
    ///
    /// # Panics
    /// Outside a tokio runtime: the connection is served by a task.
    ///
    /// ```no_run
    /// use wsstream::{Config, Negotiated, Role, WebSocketStream};
    ///
    /// # async fn example(transport: tokio::net::TcpStream, leftover: bytes::Bytes) {
    /// let negotiated = Negotiated::default().with_protocol("media.v1").with_url("/live");
    /// let ws = WebSocketStream::from_upgraded(transport, leftover, Role::Server, negotiated, Config::default());
    /// # }
    /// ```
    pub fn from_upgraded<T>(
        transport: T,
        leftover: impl Into<Bytes>,
        role: Role,
        negotiated: Negotiated,
        config: Config,
    ) -> WebSocketStream
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        WebSocketStream::start(transport, leftover.into().into(), role, negotiated, config)
    }
}

/// A handshake request about to be read, from [`WebSocketStream::accept`]: add options, then `.await` it.
///
/// # Dropping
/// Drops the transport.
///
/// ```no_run
/// use std::time::Duration;
/// use wsstream::{Config, WebSocketStream};
///
/// # async fn example(tcp: tokio::net::TcpStream) -> Result<(), wsstream::AcceptError> {
/// let config = Config::default().handshake_timeout(Duration::from_secs(5));
/// let upgrade = WebSocketStream::accept(tcp).config(config).await?;
/// # Ok(()) }
/// ```
#[must_use = "the request is read when this is awaited"]
pub struct Accept<T> {
    transport: T,
    config: Config,
}

impl<T> Accept<T> {
    /// Sets limits, times and buffer sizes, of the handshake and of the connection.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }
}

impl<T> IntoFuture for Accept<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<Upgrade<T>, AcceptError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = deadline_after(self.config.handshake_timeout);
        Box::pin(read_upgrade(self.transport, self.config, None, deadline))
    }
}

/// Reads a request, and answers one that is no handshake.
pub(crate) async fn read_upgrade<T>(
    mut transport: T,
    config: Config,
    peer_addr: Option<SocketAddr>,
    deadline: Instant,
) -> Result<Upgrade<T>, AcceptError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match timeout_at(deadline, read_request(&mut transport, &config)).await {
        Ok(Ok((request, leftover))) => {
            tracing::debug!(path = request.uri.path(), ?peer_addr, "a request for an upgrade");
            Ok(Upgrade { transport, request, leftover, config, peer_addr, connections: None })
        }
        Ok(Err(BadRequest { error, refusal })) => {
            if let Some(refusal) = refusal {
                refuse(&mut transport, refusal, &config).await;
            }
            Err(error)
        }
        Err(_) => Err(timed_out("the client did not send its request", &config)),
    }
}

/// Tells the client, if that is still possible; the error that is reported is another one.
async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(transport: &mut T, refusal: Refusal, config: &Config) {
    if let Err(error) = refusal.send(transport, deadline_after(config.handshake_timeout)).await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

pub(crate) fn timed_out(what: &str, config: &Config) -> AcceptError {
    let limit = config.handshake_timeout;
    let message = format!("{what} within {limit:?}; `Config::handshake_timeout` raises the limit");
    AcceptError::new(AcceptErrorKind::Timeout, message)
}

fn unsent(error: io::Error, config: &Config) -> AcceptError {
    match error.kind() {
        io::ErrorKind::TimedOut => timed_out("the answer could not be written", config),
        _ => AcceptError::caused(AcceptErrorKind::Io, "writing the answer failed", error),
    }
}

/// An upgrade: a handshake request that has been read and not yet answered.
///
/// Look at it, await whatever the decision needs (a database, an authorization server), then
/// [`accept`](Self::accept) or [`reject`](Self::reject) it. No time limit runs meanwhile; the client may have one.
///
/// `T` is the transport. Where an HTTP server has read the request, and is to write the answer, it is the future of the
/// transport: [`from_request`](Self::from_request).
///
/// # Dropping
/// An upgrade that is dropped without a decision drops the transport: the client sees the connection end without an
/// answer. To answer takes writing, which a drop cannot wait for; use [`reject`](Self::reject). One that comes
/// [from an HTTP server](Self::from_request) leaves the connection to that server, which answers as it is told to.
///
/// ```no_run
/// use http::StatusCode;
/// use wsstream::{AcceptError, Upgrade, WebSocketStream};
///
/// async fn decide(upgrade: Upgrade) -> Result<Option<WebSocketStream>, AcceptError> {
///     if upgrade.uri().path() != "/live" {
///         upgrade.reject(StatusCode::NOT_FOUND).body("There is only /live here.\n").await?;
///         return Ok(None);
///     }
///     let speaks_v1 = upgrade.protocols().any(|protocol| protocol == "media.v1");
///     let accept = upgrade.accept().allow_origins(["https://media.example"]);
///     let ws = if speaks_v1 { accept.protocol("media.v1").await? } else { accept.await? };
///     Ok(Some(ws))
/// }
/// ```
#[must_use = "an upgrade that is dropped leaves the client without an answer"]
pub struct Upgrade<T = NetStream> {
    transport: T,
    request: UpgradeRequest,
    leftover: BytesMut,
    config: Config,
    peer_addr: Option<SocketAddr>,
    /// Those that the connection will be one of.
    connections: Option<Connections>,
}

impl<T> Upgrade<T> {
    /// The request target: usually path and query.
    pub fn uri(&self) -> &Uri {
        &self.request.uri
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.request.headers
    }

    /// The subprotocols that the client offers, the best first.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.request.protocols.iter().map(String::as_str)
    }

    /// The origin of the web page that connects: `https://media.example`. `None` for clients that are no browsers, and
    /// for a header that is not visible ASCII.
    pub fn origin(&self) -> Option<&str> {
        self.request.headers.get(ORIGIN)?.to_str().ok()
    }

    /// The client's address, for upgrades that come from a [`Listener`](crate::Listener).
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    /// The transport that the request came by; for those of a [`Listener`](crate::Listener), it knows the client's
    /// certificate.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Agrees to the upgrade: add options, then `.await` it.
    pub fn accept(self) -> AcceptUpgrade<T> {
        let (agreement, origins) = (Agreement::default(), OriginPolicy::default());
        AcceptUpgrade::new(self, agreement, origins)
    }

    /// Says which connections it will be one of.
    pub(crate) fn set_connections(&mut self, connections: Connections) {
        self.connections = Some(connections);
    }
}

impl<T: AsyncRead + AsyncWrite> Upgrade<T> {
    /// Refuses the upgrade with a status of 300 or above: add options, then `.await` it.
    pub fn reject(self, status: StatusCode) -> Reject<T> {
        let refusal = Refusal::new(status, status.canonical_reason().unwrap_or("Refused"));
        let mut reject = Reject::new(self, refusal);
        if status.is_informational() || status.is_success() {
            reject.note(format!("the status {status} does not refuse; use one of 300 or above"));
        }
        reject
    }
}

impl<T> fmt::Debug for Upgrade<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        let mut debug = f.debug_struct("Upgrade");
        debug.field("uri", &self.request.uri).field("protocols", &self.request.protocols);
        debug.field("origin", &self.origin()).field("peer_addr", &self.peer_addr).finish_non_exhaustive()
    }
}
