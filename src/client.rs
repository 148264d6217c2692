//! Opening a connection: a builder that is a future.

use std::{fmt, pin::Pin};

use http::{HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tracing::Instrument;

use crate::{
    config::Config,
    connect_error::{ConnectError, ConnectErrorKind},
    handshake::{
        client::{Offer, Opened, open, timed_out},
        deadline_after, parse_header,
        target::Target,
    },
    net::{DialError, NetStream, dial},
    role::Role,
    stream::WebSocketStream,
};

impl WebSocketStream {
    /// Opens a connection: resolves the host, connects by TCP and does the opening handshake.
    ///
    /// The URL's scheme is `ws` or `wss`, or one of their synonyms `http` and `https`. A fragment is an error, even an
    /// empty one. Userinfo (`ws://user:password@host/`) becomes an `Authorization` header with Basic credentials and is
    /// not part of [`url`](Self::url). Redirects are not followed.
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
        Connect::new(url.as_ref(), Dial(()))
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
    pub fn connect_over<T>(url: impl AsRef<str>, transport: T) -> Connect<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Connect::new(url.as_ref(), transport)
    }
}

/// The transport of a [`Connect`] that dials itself. It cannot be made or used otherwise.
#[derive(Debug)]
pub struct Dial(());

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

    /// The checked options, and when the handshake has to be over.
    fn prepare(self) -> Result<(T, Prepared), ConnectError> {
        let target = self.target?;
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let deadline = deadline_after(self.config.handshake_timeout);
        Ok((self.transport, Prepared { target, offer: self.offer, config: self.config, deadline }))
    }
}

struct Prepared {
    target: Target,
    offer: Offer,
    config: Config,
    deadline: Instant,
}

impl Prepared {
    async fn dial(&self) -> Result<NetStream, ConnectError> {
        let Target { host, port, is_secure, .. } = &self.target;
        if *is_secure {
            return Err(ConnectError::new(
                ConnectErrorKind::UnsupportedScheme,
                "wss needs TLS, which this build does not have; give a TLS stream to `WebSocketStream::connect_over`",
            ));
        }
        match timeout_at(self.deadline, dial(host, *port)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(DialError::Resolve(error))) => {
                Err(ConnectError::caused(ConnectErrorKind::Resolve, format_args!("resolving {host} failed"), error))
            }
            Ok(Err(DialError::Connect(error))) => {
                let what = format_args!("connecting to {host}:{port} failed");
                Err(ConnectError::caused(ConnectErrorKind::Io, what, error))
            }
            Err(_) => Err(timed_out(&format!("no connection to {host}:{port}"), self.config.handshake_timeout)),
        }
    }

    async fn open<T>(self, mut transport: T) -> Result<WebSocketStream, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { target, offer, config, deadline } = self;
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
            let (Dial(()), prepared) = self.prepare()?;
            let stream = prepared.dial().await?;
            prepared.open(stream).await
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
            let (transport, prepared) = self.prepare()?;
            prepared.open(transport).await
        }))
    }
}

impl<T> fmt::Debug for Connect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        let url = self.target.as_ref().map(|target| target.url.as_str());
        f.debug_struct("Connect").field("url", &url).finish_non_exhaustive()
    }
}
