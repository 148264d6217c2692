//! Many clients: a listener, by TCP or TLS, that does their handshakes side by side.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    time::Duration,
};

use futures::{
    future::{Either, select},
    stream::{FuturesUnordered, StreamExt},
};
use http::StatusCode;
#[cfg(feature = "rustls")]
use tokio::time::timeout_at;
use tokio::{
    net::{TcpListener, TcpStream, ToSocketAddrs},
    time::{Instant, sleep_until},
};

use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    connections::{Connections, ShutdownReport},
    handshake::deadline_after,
    net::{NetStream, TcpOptions},
    server::{Upgrade, read_upgrade},
};
#[cfg(feature = "rustls")]
use crate::{handshake::refusal::end_politely, net::tls::ServerTls, server::timed_out};

/// Handshakes that may be pending at a time by default. Each holds a socket and some 5 KiB, 20 KiB with TLS.
const MAX_PENDING_HANDSHAKES: usize = 1024;

/// How long nothing is accepted after the system ran out of sockets or memory: time for some to be given back.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts TCP connections, speaks TLS with them if it has a certificate (`Listener::tls`), and reads their handshake
/// requests, many at a time: a client that stays silent holds up nobody, and is dropped after
/// [`Config::handshake_timeout`].
///
/// The handshakes go on while [`accept`](Self::accept) is awaited; call it in a loop and serve each upgrade in a task
/// of its own.
///
/// # Dropping
/// The socket is closed, and so are the connections whose request has not been read yet. Those that have been given out go on;
/// [`shutdown`](Self::shutdown) closes them, too.
///
/// ```
/// use wsstream::{Config, Listener, WebSocketStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = Listener::bind("127.0.0.1:0").await?.config(Config::default()).max_pending_handshakes(100);
/// let url = format!("ws://{}/live", listener.local_addr()?);
/// tokio::spawn(async move {
///     loop {
///         let upgrade = listener.accept().await?;
///         tokio::spawn(async move {
///             let ws = upgrade.accept().await?;
///             // …
///             Ok::<(), wsstream::AcceptError>(())
///         });
///     }
///     # #[allow(unreachable_code)]
///     Ok::<(), std::io::Error>(())
/// });
/// let ws = WebSocketStream::connect(url).await?;
/// # Ok(()) }
/// ```
pub struct Listener {
    tcp: TcpListener,
    options: Options,
    max_pending_handshakes: usize,
    pending: FuturesUnordered<PendingHandshake>,
    connections: Connections,
    /// Nothing is accepted before.
    paused_until: Option<Instant>,
}

/// What every connection is accepted with.
#[derive(Clone, Default)]
struct Options {
    config: Config,
    tcp: TcpOptions,
    #[cfg(feature = "rustls")]
    tls: Option<ServerTls>,
}

type PendingHandshake = Pin<Box<dyn Future<Output = Result<Upgrade, AcceptError>> + Send>>;

impl Listener {
    /// Listens on an address; port 0 lets the system choose one, which [`local_addr`](Self::local_addr) tells.
    ///
    /// # Errors
    /// Those of the operating system, an address in use for example.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(addr).await?))
    }

    /// Takes over a socket that is listening already: one with options of its own, or handed down by a supervisor.
    ///
    /// # Errors
    /// Those of the operating system.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_std(tcp: std::net::TcpListener) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        Ok(Self::new(TcpListener::from_std(tcp)?))
    }

    fn new(tcp: TcpListener) -> Self {
        Self {
            tcp,
            options: Options::default(),
            max_pending_handshakes: MAX_PENDING_HANDSHAKES,
            pending: FuturesUnordered::new(),
            connections: Connections::new(),
            paused_until: None,
        }
    }

    /// Sets limits, times and buffer sizes, of the handshakes and of the connections.
    pub fn config(mut self, config: Config) -> Self {
        self.options.config = config;
        self
    }

    /// Sets options of the TCP sockets that are accepted.
    pub fn tcp(mut self, options: TcpOptions) -> Self {
        self.options.tcp = options;
        self
    }

    /// Speaks TLS, for `wss://`, with this certificate: a [`ServerConfig`](rustls::ServerConfig), or a [`ServerTls`] whose
    /// clone can replace it later. [`Config::handshake_timeout`] covers the TLS handshake and the request together, and
    /// [`max_pending_handshakes`](Self::max_pending_handshakes) counts both.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use rustls::{ServerConfig, pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject}};
    /// use wsstream::Listener;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let chain = CertificateDer::pem_file_iter("fullchain.pem")?.collect::<Result<Vec<_>, _>>()?;
    /// let key = PrivateKeyDer::from_pem_file("privkey.pem")?;
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let tls = ServerConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_single_cert(chain, key)?;
    /// let mut listener = Listener::bind("0.0.0.0:443").await?.tls(tls);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.options.tls = Some(tls.into());
        self
    }

    /// How many connections may be in the handshake at a time, at least 1. At that number no further one is accepted
    /// until a request has been read or given up; they wait in the system's queue. Default 1024.
    pub fn max_pending_handshakes(mut self, handshakes: usize) -> Self {
        self.max_pending_handshakes = handshakes.max(1);
        self
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The connections that this listener gives out, from the moment an upgrade is accepted until they have ended: to be shut
    /// down from elsewhere.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Waits for a client with a proper handshake request.
    ///
    /// Requests that are no handshake are answered here, and traced; they are not the caller's business. So are errors
    /// that pass: a client that went away, a system that is out of sockets.
    ///
    /// # Errors
    /// The listening socket itself has failed, or [`Connections::shutdown`] has begun: for good.
    ///
    /// # Cancel safety
    /// Cancel-safe: pending handshakes are kept in the listener, and go on with the next call.
    pub async fn accept(&mut self) -> io::Result<Upgrade> {
        loop {
            let has_room = self.pending.len() < self.max_pending_handshakes;
            let paused_until = self.paused_until;
            tokio::select! {
                () = self.connections.shutdown_begins() => {
                    return Err(io::Error::other("the connections of this listener have been shut down"));
                }
                Some(read) = self.pending.next() => match read {
                    Ok(mut upgrade) => {
                        upgrade.set_connections(self.connections());
                        return Ok(upgrade);
                    }
                    Err(error) => tracing::debug!(%error, "a handshake failed"),
                },
                () = sleep_until(paused_until.unwrap_or_else(Instant::now)), if paused_until.is_some() => {
                    self.paused_until = None;
                }
                accepted = self.tcp.accept(), if has_room && paused_until.is_none() => match accepted {
                    Ok((tcp, peer_addr)) => self.pending.push(self.options.clone().read_request(tcp, peer_addr)),
                    Err(error) => match Severity::of(&error) {
                        Severity::OneConnection => tracing::debug!(%error, "a connection was lost while accepting it"),
                        Severity::Passing => {
                            tracing::warn!(%error, "accepting is paused for {PAUSE:?}");
                            self.paused_until = Some(Instant::now() + PAUSE);
                        }
                        Severity::Fatal => return Err(error),
                    },
                },
            }
        }
    }

    /// Goes down in good order: the socket is closed at once, and the connections that have been given out are closed with
    /// 1001, as [`Connections::shutdown`] does it; those that have not ended when the time is up are aborted.
    ///
    /// Upgrades that have been given out and not been decided yet are refused with status 503 when they are accepted. So
    /// are clients that are in the midst of their request, if the rest of it comes while connections are closing; who is
    /// silent is not waited for.
    ///
    /// # Cancel safety
    /// Cancel safe, but the listener is dropped; keep its [`connections`](Self::connections) to shut them down again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wsstream::{CloseCode, Listener, WebSocketStream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn stopped() { tokio::task::yield_now().await }
    /// let mut listener = Listener::bind("127.0.0.1:0").await?;
    /// # let url = format!("ws://{}/", listener.local_addr()?);
    /// # let client = tokio::spawn(WebSocketStream::connect(url).into_future());
    /// # let _ws = listener.accept().await?.accept().await?;
    /// loop {
    ///     tokio::select! {
    ///         upgrade = listener.accept() => {
    ///             let upgrade = upgrade?;
    ///             tokio::spawn(async move { upgrade.accept().await });
    ///         }
    ///         () = stopped() => break, // a signal, for example
    ///     }
    /// }
    /// let report = listener.shutdown(Duration::from_secs(10)).await;
    /// println!("{} closed, {} aborted", report.clean, report.aborted);
    /// # assert_eq!(report.clean, 1);
    /// # assert_eq!(client.await??.closed().await?.close_code, CloseCode::GOING_AWAY);
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(self, time: Duration) -> ShutdownReport {
        let Self { tcp, pending, connections, .. } = self;
        drop(tcp);
        match select(pin!(refuse(pending)), pin!(connections.shutdown(time))).await {
            Either::Left(((), shutdown)) => shutdown.await,
            Either::Right((report, _)) => report,
        }
    }
}

/// Tells clients that they come too late, as soon as their requests have been read.
async fn refuse(pending: FuturesUnordered<PendingHandshake>) {
    let refuse = |read: Result<Upgrade, AcceptError>| async {
        let Ok(upgrade) = read else { return };
        let body = "The server is shutting down.\n";
        if let Err(error) = upgrade.reject(StatusCode::SERVICE_UNAVAILABLE).body(body).await {
            tracing::debug!(%error, "a refusal could not be sent");
        }
    };
    pending.for_each_concurrent(None, refuse).await;
}

impl Options {
    fn read_request(self, tcp: TcpStream, peer_addr: SocketAddr) -> PendingHandshake {
        Box::pin(async move {
            let deadline = deadline_after(self.config.handshake_timeout);
            let applied = self.tcp.apply(&tcp);
            applied.map_err(|error| AcceptError::caused(AcceptErrorKind::Io, "a socket's options", error))?;
            let stream = NetStream::from(tcp);
            #[cfg(feature = "rustls")]
            let stream = self.secure(stream, deadline).await?;
            read_upgrade(stream, self.config, Some(peer_addr), deadline).await
        })
    }

    #[cfg(feature = "rustls")]
    async fn secure(&self, stream: NetStream, deadline: Instant) -> Result<NetStream, AcceptError> {
        let Some(tls) = &self.tls else { return Ok(stream) };
        match timeout_at(deadline, tls.accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((fault, mut stream))) => {
                // The client is to read why, before a reset destroys it.
                end_politely(&mut stream).await;
                Err(AcceptError::explained(AcceptErrorKind::Tls, fault.message, fault.error))
            }
            Err(_) => Err(timed_out("the client did not finish the TLS handshake", &self.config)),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local_addr", &self.tcp.local_addr())
            .field("pending_handshakes", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// What a failed accept says about the next one.
#[derive(Debug, PartialEq, Eq)]
enum Severity {
    /// The client went away; the next one is there, or not.
    OneConnection,
    /// Out of descriptors or memory: the same error would come again at once.
    Passing,
    /// The socket does not listen.
    Fatal,
}

impl Severity {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::*;
        match error.kind() {
            ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted => Self::OneConnection,
            InvalidInput | NotConnected | Unsupported => Self::Fatal,
            // What the system is short of has no kind that could be matched on. Any other error (accept(2) also passes
            // on those of the network) is no reason to end a server either, but may come again at once.
            _ => Self::Passing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_does_not_listen_ends_accepting() {
        use io::ErrorKind::*;
        for kind in [ConnectionAborted, ConnectionReset, Interrupted] {
            assert_eq!(Severity::of(&kind.into()), Severity::OneConnection);
        }
        assert_eq!(Severity::of(&InvalidInput.into()), Severity::Fatal);
        #[cfg(unix)]
        for out_of in [12, 23, 24] {
            // ENOMEM, ENFILE, EMFILE
            assert_eq!(Severity::of(&io::Error::from_raw_os_error(out_of)), Severity::Passing);
        }
    }
}
