//! Getting a transport: resolving and dialling, proxies, TLS.

mod dial;
#[cfg(feature = "proxy")]
mod proxy;
mod stream;
mod tcp;
#[cfg(feature = "rustls")]
pub(crate) mod tls;

#[cfg(feature = "rustls")]
use std::sync::Arc;
use std::{fmt, io, time::Duration};

use tokio::time::timeout;
use url::Host;

#[cfg(feature = "proxy")]
pub(crate) use self::proxy::Choice;
pub use self::{stream::NetStream, tcp::TcpOptions};

/// Where to, as far as a transport is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    /// By TLS.
    pub(crate) is_secure: bool,
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why there is no transport.
#[derive(Debug)]
pub(crate) enum NetError {
    /// The name has no address.
    Resolve(String, io::Error),
    /// No address answers.
    Connect(String, io::Error),
    /// Neither within this time, which the caller has set.
    ConnectTimeout(String, Duration),
    /// The TLS handshake failed.
    #[cfg(feature = "rustls")]
    Tls(tls::Fault),
    /// It takes TLS, which this build does not have.
    #[cfg(not(feature = "rustls"))]
    NoTls,
    /// The proxy did not connect.
    #[cfg(feature = "proxy")]
    Proxy(Box<proxy::Fault>),
    /// What was said to be a proxy cannot be.
    #[cfg(feature = "proxy")]
    InvalidProxy(String),
}

/// How a client gets its transports.
#[derive(Default)]
pub(crate) struct Dialer {
    pub(crate) tcp: TcpOptions,
    pub(crate) connect_timeout: Option<Duration>,
    #[cfg(feature = "rustls")]
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    #[cfg(feature = "proxy")]
    pub(crate) proxy: Choice,
}

impl Dialer {
    /// # Cancel safety
    /// Dropping the future closes the connection, or all attempts.
    pub(crate) async fn dial(&self, to: Destination<'_>) -> Result<NetStream, NetError> {
        #[cfg(not(feature = "rustls"))]
        if to.is_secure {
            return Err(NetError::NoTls);
        }
        let stream = self.reach(to).await?;
        if to.is_secure { self.secure(stream, to.host).await } else { Ok(stream) }
    }

    /// To the destination by TCP, or through a proxy.
    async fn reach(&self, to: Destination<'_>) -> Result<NetStream, NetError> {
        #[cfg(feature = "proxy")]
        if let Some(proxy) = self.proxy.of(to)? {
            let stream = self.connect(&proxy.host, proxy.port).await?;
            let stream = if proxy.is_secure() { self.secure(stream, &proxy.host).await? } else { stream };
            return proxy.tunnel(stream, to).await;
        }
        self.connect(to.host, to.port).await
    }

    async fn connect(&self, host: &Host, port: u16) -> Result<NetStream, NetError> {
        let dial = dial::dial(host, port, &self.tcp);
        match self.connect_timeout {
            None => dial.await,
            Some(time) => match timeout(time, dial).await {
                Ok(result) => result,
                Err(_) => Err(NetError::ConnectTimeout(format!("{host}:{port}"), time)),
            },
        }
    }

    #[cfg(feature = "rustls")]
    async fn secure(&self, stream: NetStream, host: &Host) -> Result<NetStream, NetError> {
        tls::connect(stream, host, self.tls.clone()).await.map_err(NetError::Tls)
    }

    #[cfg(not(feature = "rustls"))]
    async fn secure(&self, _: NetStream, _: &Host) -> Result<NetStream, NetError> {
        Err(NetError::NoTls)
    }
}
