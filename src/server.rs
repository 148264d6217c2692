//! Accepting a connection: read the request, decide, answer.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "hyper")]
mod hyper;
mod request;

use std::{fmt, io, net::SocketAddr, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header::ORIGIN};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    connections::{Admission, Connections},
    handshake::{
        deadline_after,
        origin::OriginPolicy,
        parse_header,
        refusal::Refusal,
        server::{Agreement, BadRequest, UpgradeRequest, head_bytes, read_request},
    },
    negotiated::Negotiated,
    net::NetStream,
    role::Role,
    stream::WebSocketStream,
};

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
        AcceptUpgrade { upgrade: self, agreement, origins, fault: None }
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
        let mut reject = Reject { upgrade: self, refusal, fault: None };
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

/// The response that agrees to an [`Upgrade`], about to be sent: add options, then `.await` it.
///
/// A request that comes from a web page of another host is refused with status 403 by default: a browser lets any page
/// connect anywhere, with the user's cookies (RFC 6455, 10.2). Same host means that the `Origin` header has the host
/// and port of the `Host` header. Requests without `Origin` do not come from a page and pass.
///
/// An option that cannot be used is reported when awaited, and the client gets status 500.
///
/// # Errors
/// [`AcceptErrorKind::ForbiddenOrigin`], [`AcceptErrorKind::ProtocolNotOffered`], [`AcceptErrorKind::InvalidOption`],
/// [`AcceptErrorKind::ShuttingDown`], and, for a transport that fails, [`AcceptErrorKind::Io`] and [`AcceptErrorKind::Timeout`].
///
/// # Cancel safety
/// Dropping the future drops the transport, and the client sees the connection end.
///
/// # Dropping
/// As [`Upgrade`].
///
/// ```no_run
/// # async fn example(upgrade: wsstream::Upgrade) -> Result<(), wsstream::AcceptError> {
/// let ws = upgrade
///     .accept()
///     .protocol("media.v1")
///     .header("set-cookie", "session=17")
///     .allow_origins(["https://media.example"])
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "it is a builder: await it, or, for an HTTP server's request, `respond` or `on_upgrade`"]
pub struct AcceptUpgrade<T = NetStream> {
    upgrade: Upgrade<T>,
    agreement: Agreement,
    origins: OriginPolicy,
    /// What is wrong with the first option that cannot be used.
    fault: Option<String>,
}

impl<T> AcceptUpgrade<T> {
    /// Picks a subprotocol, one of [`Upgrade::protocols`]. Without, none is in use, which most clients that offered
    /// some take for a failure.
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.agreement.set_protocol(protocol.into());
        self
    }

    /// Picks the first of these subprotocols that the client offers; none is in use if it offers none of them. The best
    /// comes first: the order is the server's. In place of [`protocol`](Self::protocol).
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.agreement.choose_protocol(&self.upgrade.request, protocols);
        self
    }

    /// Adds a header to the response, a cookie for example. The same name twice sends it twice.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let added = parse_header(name, value).and_then(|(name, value)| self.agreement.add_header(name, value));
        self.note(added);
        self
    }

    /// Lets web pages of these origins connect, besides those of the same host: `https://media.example`, with a port
    /// where it is not the scheme's own. The origin `null` stands for pages without one, sandboxed frames for example.
    pub fn allow_origins<I>(mut self, origins: I) -> Self
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        for origin in origins {
            let allowed = self.origins.allow(origin.as_ref());
            self.note(allowed);
        }
        self
    }

    /// Lets all web pages connect. For services that do not know their users by cookies, address or network.
    pub fn allow_any_origin(mut self) -> Self {
        self.origins = OriginPolicy::Any;
        self
    }

    /// Sets limits, times and buffer sizes of the connection, in place of those that the request was read with.
    pub fn config(mut self, config: Config) -> Self {
        self.upgrade.config = config;
        self
    }

    /// Makes the connection one of those that [`Connections::shutdown`] closes, in place of those of a
    /// [`Listener`](crate::Listener) that it comes from. Once that has begun, the client gets status 503.
    pub fn connections(mut self, connections: &Connections) -> Self {
        self.upgrade.set_connections(connections.clone());
        self
    }

    fn note(&mut self, result: Result<(), String>) {
        if let Err(fault) = result {
            self.fault.get_or_insert(fault);
        }
    }

    /// Whether there will be a connection, or why not and what the client is told instead.
    fn decide(&mut self) -> Result<Decision, (AcceptError, Refusal)> {
        if let Some(fault) = self.fault.take() {
            return Err(cannot_answer(AcceptError::new(AcceptErrorKind::InvalidOption, fault)));
        }
        self.origins.check(&self.upgrade.request.headers).map_err(|origin| {
            let refusal = Refusal::new(StatusCode::FORBIDDEN, "Pages of this origin may not connect here.");
            let message = format!(
                "the origin {origin:?} is not that of this server; `AcceptUpgrade::allow_origins` lets it connect"
            );
            let error = AcceptError::new(AcceptErrorKind::ForbiddenOrigin, message);
            (error.with_refusal(refusal.to_response()), refusal)
        })?;
        let admission = match &self.upgrade.connections {
            Some(connections) => Some(connections.admit().ok_or_else(shutting_down)?),
            None => None,
        };
        let Upgrade { request, config, .. } = &self.upgrade;
        let agreement = std::mem::take(&mut self.agreement);
        let (response, negotiated) = agreement.agree_to(request, config).map_err(cannot_answer)?;
        Ok(Decision { response, negotiated, admission })
    }
}

/// To accept an upgrade.
struct Decision {
    response: Response<()>,
    negotiated: Negotiated,
    admission: Option<Admission>,
}

impl Decision {
    /// Once the response is out.
    fn open<T>(self, transport: T, leftover: BytesMut, config: Config) -> WebSocketStream
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ws = WebSocketStream::start(transport, leftover, Role::Server, self.negotiated, config);
        if let Some(admission) = self.admission {
            admission.open(&ws);
        }
        ws
    }
}

/// What is told to a client that comes too late.
pub(crate) fn shutting_down() -> (AcceptError, Refusal) {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.");
    let error = AcceptError::new(AcceptErrorKind::ShuttingDown, "the connections of this server have been shut down");
    (error.with_refusal(refusal.to_response()), refusal)
}

fn cannot_answer(error: AcceptError) -> (AcceptError, Refusal) {
    own_fault(error, "The server cannot answer this request.")
}

/// A mistake of the application, as both sides are told.
fn own_fault(error: AcceptError, told: &str) -> (AcceptError, Refusal) {
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, told);
    (error.with_refusal(refusal.to_response()), refusal)
}

impl<T> IntoFuture for AcceptUpgrade<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<WebSocketStream, AcceptError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let decision = self.decide();
            let Upgrade { mut transport, leftover, config, .. } = self.upgrade;
            let decision = decision.and_then(|decision| {
                let head = head_bytes(&decision.response).map_err(cannot_answer)?;
                Ok((decision, head))
            });
            match decision {
                Ok((decision, head)) => {
                    let deadline = deadline_after(config.handshake_timeout);
                    write(&mut transport, &head, deadline).await.map_err(|error| unsent(error, &config))?;
                    Ok(decision.open(transport, leftover, config))
                }
                Err((error, refusal)) => {
                    refuse(&mut transport, refusal, &config).await;
                    Err(error)
                }
            }
        })
    }
}

async fn write<W: AsyncWrite + Unpin>(transport: &mut W, response: &[u8], deadline: Instant) -> io::Result<()> {
    let write = async {
        transport.write_all(response).await?;
        transport.flush().await
    };
    timeout_at(deadline, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The response that refuses an [`Upgrade`], about to be sent: add options, then `.await` it.
///
/// An option that cannot be used is reported when awaited, and the client gets status 500.
///
/// # Errors
/// [`AcceptErrorKind::InvalidOption`], and, for a transport that fails, [`AcceptErrorKind::Io`] and
/// [`AcceptErrorKind::Timeout`].
///
/// # Cancel safety
/// Dropping the future drops the transport; the response may have been sent in part.
///
/// # Dropping
/// As [`Upgrade`].
///
/// ```no_run
/// # async fn example(upgrade: wsstream::Upgrade) -> Result<(), wsstream::AcceptError> {
/// use http::StatusCode;
///
/// upgrade.reject(StatusCode::UNAUTHORIZED).header("www-authenticate", "Bearer").body("Who are you?\n").await?;
/// # Ok(()) }
/// ```
#[must_use = "the response is sent when this is awaited"]
pub struct Reject<T = NetStream> {
    upgrade: Upgrade<T>,
    refusal: Refusal,
    /// What is wrong with the first option that cannot be used.
    fault: Option<String>,
}

impl<T> Reject<T> {
    /// Adds a header to the response. The same name twice sends it twice.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        if let Err(fault) = parse_header(name, value).and_then(|(name, value)| self.refusal.add_header(name, value)) {
            self.note(fault);
        }
        self
    }

    /// Sets the response's body. By default it is the status in words; without a `content-type` header it is plain
    /// text.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.refusal.set_body(body.into());
        self
    }

    fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

impl<T> IntoFuture for Reject<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<(), AcceptError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Upgrade { mut transport, config, .. } = self.upgrade;
            if let Some(fault) = self.fault {
                let error = AcceptError::new(AcceptErrorKind::InvalidOption, fault);
                let (error, refusal) = own_fault(error, "The server refused this request.");
                refuse(&mut transport, refusal, &config).await;
                return Err(error);
            }
            let deadline = deadline_after(config.handshake_timeout);
            self.refusal.send(&mut transport, deadline).await.map_err(|error| unsent(error, &config))
        })
    }
}
