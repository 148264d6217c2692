//! Opening a connection: a builder that is a future.

mod dialled;
mod retry;

use std::{fmt, pin::Pin, time::Duration};

use http::{HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tracing::Instrument;

pub use self::retry::Retry;
#[cfg(feature = "proxy")]
use crate::net::Choice;
use crate::{
    config::Config,
    connect_error::{ConnectError, ConnectErrorKind},
    handshake::{
        client::{Offer, Opened, open},
        deadline_after, parse_header,
        target::Target,
    },
    net::{Dialer, TcpOptions},
    role::Role,
    stream::WebSocketStream,
};

impl WebSocketStream {
    /// Opens a connection: resolves the host, connects by TCP, for `wss` by TLS, and does the opening handshake.
    ///
    /// The URL's scheme is `ws` or `wss`, or one of their synonyms `http` and `https`. A fragment is an error, even an
    /// empty one. Userinfo (`ws://user:password@host/`) becomes an `Authorization` header with Basic credentials and is
    /// not part of [`url`](Self::url).
    ///
    /// A host with several addresses is tried at one after the other, IPv6 and IPv4 by turns, with a head start of 250 ms for
    /// each (RFC 8305). A server's certificate has to be one that the platform trusts; `Connect::tls` changes that.
    /// Proxies, redirects and trying again are options; none is used unless asked for.
    ///
    /// What is returned is both a builder and, with `.await`, the future; until then nothing happens.
    ///
    /// # Errors
    /// [`ConnectError`], whose [`kind`](ConnectError::kind) says what went wrong; for a server that refuses,
    /// [`response`](ConnectError::response) is what it said.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the handshake and closes the socket. Nothing stays behind but, while a name is being
    /// looked up, the system's resolver on a thread of the runtime, until it is done.
    ///
    /// ```no_run
    /// use wsstream::WebSocketStream;
    ///
    /// # async fn example() -> Result<(), wsstream::ConnectError> {
    /// let ws = WebSocketStream::connect("ws://media.example/live")
    ///     .protocols(["media.v1"])
    ///     .header("authorization", "Bearer …")
    ///     .await?;
    /// assert_eq!(ws.protocol(), "media.v1");
    /// # Ok(()) }
    /// ```
    pub fn connect(url: impl AsRef<str>) -> Connect {
        Connect::new(url.as_ref(), Dial { dialer: Dialer::default(), redirects: 0, retry: None })
    }

    /// Opens a connection over a transport that the caller provides: a TLS stream, a tunnel, a Unix socket, a pipe.
    ///
    /// The URL gives the request's path and `Host`; its scheme is up to the caller, who knows whether the transport is
    /// encrypted.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future aborts the handshake and drops the transport.
    ///
    /// ```
    /// use wsstream::WebSocketStream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (near, far) = tokio::io::duplex(4096);
    /// let connect = WebSocketStream::connect_over("ws://localhost/live", near).into_future();
    /// let accept = async { WebSocketStream::accept(far).await?.accept().await };
    /// let (client, server) = tokio::join!(connect, accept);
    /// assert_eq!(client?.url(), "ws://localhost/live");
    /// assert_eq!(server?.url(), "/live");
    /// # Ok(()) }
    /// ```
    ///
    /// By a Unix socket:
    ///
    /// ```no_run
    /// # #[cfg(unix)]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let unix = tokio::net::UnixStream::connect("/run/media.sock").await?;
    /// let ws = wsstream::WebSocketStream::connect_over("ws://localhost/live", unix).await?;
    /// # Ok(()) }
    /// ```
    pub fn connect_over<T>(url: impl AsRef<str>, transport: T) -> Connect<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Connect::new(url.as_ref(), transport)
    }
}

/// The transport of a [`Connect`] that dials itself. It cannot be made or used otherwise.
pub struct Dial {
    dialer: Dialer,
    redirects: usize,
    retry: Option<Retry>,
}

/// A connection about to be opened, from [`WebSocketStream::connect`] or [`WebSocketStream::connect_over`]: add
/// options, then `.await` it.
///
/// An option that cannot be used is reported when awaited, as [`ConnectErrorKind::InvalidOption`].
///
/// # Dropping
/// Before it is awaited, nothing has happened yet. Dropping the future in the midst of the handshake aborts it.
///
/// ```no_run
/// use std::time::Duration;
/// use wsstream::{Config, WebSocketStream};
///
/// # async fn example() -> Result<(), wsstream::ConnectError> {
/// let ws = WebSocketStream::connect("ws://media.example/live")
///     .protocols(["media.v2", "media.v1"])
///     .origin("https://media.example")
///     .config(Config::default().handshake_timeout(Duration::from_secs(5)))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a connection is opened when this is awaited"]
pub struct Connect<T = Dial> {
    transport: T,
    target: Result<Target, ConnectError>,
    offer: Offer,
    config: Config,
    /// The first option that cannot be used.
    fault: Option<ConnectError>,
}

impl<T> Connect<T> {
    fn new(url: &str, transport: T) -> Self {
        Self { transport, target: Target::parse(url), offer: Offer::default(), config: Config::default(), fault: None }
    }

    /// Offers subprotocols, the best first. Each is a token of ASCII letters, digits and punctuation, offered once.
    ///
    /// The server has to pick one of them, unless [`Config::require_protocol`] is off; which one is
    /// [`WebSocketStream::protocol`].
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        for protocol in protocols {
            let added = self.offer.add_protocol(protocol.into());
            self.note(added);
        }
        self
    }

    /// Adds a header to the request. The same name twice sends it twice.
    ///
    /// Those that the handshake makes itself cannot be given: `host`, `connection`, `upgrade`, `sec-websocket-*`, and
    /// what announces a body.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let added = parse_header(name, value)
            .map_err(|message| ConnectError::new(ConnectErrorKind::InvalidOption, message))
            .and_then(|(name, value)| self.offer.add_header(name, value));
        self.note(added);
        self
    }

    /// Sets the `Origin` header, which browsers send and some servers demand: `https://media.example`.
    pub fn origin<V>(mut self, origin: V) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match parse_header(http::header::ORIGIN, origin) {
            Ok((_, origin)) => self.offer.set_origin(origin),
            Err(message) => self.note(Err(ConnectError::new(ConnectErrorKind::InvalidOption, message))),
        }
        self
    }

    /// Sets limits, times and buffer sizes, of the handshake and of the connection.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    fn note(&mut self, result: Result<(), ConnectError>) {
        if let Err(error) = result {
            self.fault.get_or_insert(error);
        }
    }

    /// The checked options.
    fn prepare(self) -> Result<(T, Request), ConnectError> {
        let target = self.target?;
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        Ok((self.transport, Request { target, offer: self.offer, config: self.config }))
    }
}

/// Options of what is below the WebSocket.
impl Connect<Dial> {
    /// Uses this configuration for TLS in place of the default, which trusts what the platform trusts: for an authority of
    /// your own, or with a certificate of the client's. It is used for a proxy that speaks TLS, too.
    ///
    /// ALPN is set to `http/1.1` whatever the configuration says. A `ClientConfig` keeps the sessions that make the next
    /// handshake faster: make one and clone its `Arc`.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use rustls::{ClientConfig, RootCertStore, pki_types::{CertificateDer, pem::PemObject}};
    /// use wsstream::WebSocketStream;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut roots = RootCertStore::empty();
    /// roots.add(CertificateDer::from_pem_file("our-authority.pem")?)?;
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let tls = ClientConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let ws = WebSocketStream::connect("wss://media.internal/live").tls(tls).await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(mut self, config: impl Into<std::sync::Arc<rustls::ClientConfig>>) -> Self {
        self.transport.dialer.tls = Some(crate::net::tls::with_alpn(config));
        self
    }

    /// Sets options of the TCP socket.
    pub fn tcp(mut self, options: TcpOptions) -> Self {
        self.transport.dialer.tcp = options;
        self
    }

    /// How long resolving the host, or the proxy, and connecting to it by TCP may take, in all. Default: as long as
    /// [`Config::handshake_timeout`] leaves, which counts from the beginning.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.transport.dialer.connect_timeout = Some(time);
        self
    }

    /// Connects through a proxy: `http://host:port` or `https://host:port` (by TLS) for one that takes HTTP CONNECT, or
    /// `socks5://host:port`. User and password go into the URL. The proxy resolves the name of the server.
    ///
    /// ```no_run
    /// use wsstream::WebSocketStream;
    ///
    /// # async fn example() -> Result<(), wsstream::ConnectError> {
    /// let connect = WebSocketStream::connect("wss://media.example/live");
    /// let ws = connect.proxy("socks5://user:password@proxy.example:1080").await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "proxy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxy")))]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.transport.dialer.proxy = Choice::This(url.into());
        self
    }

    /// Connects through the proxy that the environment names for the URL, if it names one: `HTTPS_PROXY` for `wss`,
    /// `HTTP_PROXY` for `ws`, `ALL_PROXY` for both, not for hosts in `NO_PROXY`; in small letters too, as curl does it.
    #[cfg(feature = "proxy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "proxy")))]
    pub fn proxy_from_env(mut self) -> Self {
        self.transport.dialer.proxy = Choice::OfEnvironment;
        self
    }

    /// Follows up to so many redirects (301, 302, 303, 307, 308 with a `Location`), one after the other, within one
    /// [`Config::handshake_timeout`]. Default 0: a redirect is a refusal, as it is for browsers.
    ///
    /// A redirect from `wss` to `ws` is never followed. To another origin (scheme, host and port) `Authorization`, `Cookie`
    /// and `Proxy-Authorization` are not sent, nor the credentials of the URL; userinfo in a `Location` is ignored. Other
    /// headers of yours, and the client's certificate given with `tls`, go wherever the redirect leads.
    pub fn redirects(mut self, redirects: usize) -> Self {
        self.transport.redirects = redirects;
        self
    }

    /// Tries again what may heal ([`ConnectError::is_transient`]), after a while. Default: not at all.
    ///
    /// This is about opening a connection. One that is lost later is yours to open again: only you know where to go on.
    ///
    /// ```no_run
    /// use wsstream::{Retry, WebSocketStream};
    ///
    /// # async fn example() -> Result<(), wsstream::ConnectError> {
    /// let ws = WebSocketStream::connect("ws://media.example/live").retry(Retry::default()).await?;
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, retry: Retry) -> Self {
        self.transport.retry = Some(retry);
        self
    }
}

/// What the builder was given, checked.
#[derive(Clone)]
struct Request {
    target: Target,
    offer: Offer,
    config: Config,
}

impl Request {
    async fn open<T>(self, mut transport: T, deadline: Instant) -> Result<WebSocketStream, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { target, offer, config } = self;
        let Opened { negotiated, leftover } = open(&mut transport, &target, &offer, &config, deadline).await?;
        Ok(WebSocketStream::start(transport, leftover, Role::Client, negotiated, config))
    }
}

/// A handshake in a span of its own, and why it failed.
async fn traced(
    handshake: impl Future<Output = Result<WebSocketStream, ConnectError>>,
) -> Result<WebSocketStream, ConnectError> {
    let handshake = async {
        let result = handshake.await;
        if let Err(error) = &result {
            tracing::debug!(%error, "failed");
        }
        result
    };
    handshake.instrument(tracing::debug_span!("handshake", role = ?Role::Client)).await
}

impl IntoFuture for Connect<Dial> {
    type Output = Result<WebSocketStream, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(traced(async move {
            let (dial, request) = self.prepare()?;
            match &dial.retry {
                Some(retry) => retry.run(|| dial.open(request.clone())).await,
                None => dial.open(request).await,
            }
        }))
    }
}

impl<T> IntoFuture for Connect<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<WebSocketStream, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(traced(async move {
            let (transport, request) = self.prepare()?;
            let deadline = deadline_after(request.config.handshake_timeout);
            request.open(transport, deadline).await
        }))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy's URL may hold credentials.
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Connect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        let url = self.target.as_ref().map(|target| target.url.as_str());
        f.debug_struct("Connect").field("url", &url).finish_non_exhaustive()
    }
}
