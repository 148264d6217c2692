//! The transport of connections that this library makes itself.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
#[cfg(feature = "rustls")]
use tokio_rustls::TlsStream;

/// The transport of a connection that this library made itself: a TCP connection, or TLS over one.
///
/// It has a name of its own so that the layers below a WebSocket can change without changing the API.
#[derive(Debug)]
pub struct NetStream(Layer);

/// Told apart at every call, which costs nothing beside a system call.
#[derive(Debug)]
enum Layer {
    Tcp(TcpStream),
    /// Over TCP, or over TLS to a proxy. Boxed: it is fifty times as large as a socket.
    #[cfg(feature = "rustls")]
    Tls(Box<TlsStream<NetStream>>),
}

impl NetStream {
    /// The address of the peer: of the proxy, if the connection goes through one.
    ///
    /// # Errors
    /// The operating system's; the connection may be gone already.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().local_addr()
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        !matches!(self.0, Layer::Tcp(_))
    }

    /// The certificates that the peer has shown, its own first; `None` if it has shown none, and without TLS. Servers
    /// see some only if their [`ServerConfig`](rustls::ServerConfig) asks for them.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn peer_certificates(&self) -> Option<&[rustls::pki_types::CertificateDer<'static>]> {
        match &self.0 {
            Layer::Tcp(_) => None,
            Layer::Tls(tls) => tls.get_ref().1.peer_certificates(),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Layer::Tcp(tcp) => tcp,
            #[cfg(feature = "rustls")]
            Layer::Tls(tls) => tls.get_ref().0.tcp(),
        }
    }
}

impl From<TcpStream> for NetStream {
    fn from(tcp: TcpStream) -> Self {
        Self(Layer::Tcp(tcp))
    }
}

#[cfg(feature = "rustls")]
impl From<TlsStream<NetStream>> for NetStream {
    fn from(tls: TlsStream<NetStream>) -> Self {
        Self(Layer::Tls(Box::new(tls)))
    }
}

/// The same call on whichever layer it is.
macro_rules! on_layer {
    ($stream:ident, $io:ident => $call:expr) => {
        match &mut $stream.get_mut().0 {
            Layer::Tcp(tcp) => {
                let $io = Pin::new(tcp);
                $call
            }
            #[cfg(feature = "rustls")]
            Layer::Tls(tls) => {
                let $io = Pin::new(&mut **tls);
                $call
            }
        }
    };
}

impl AsyncRead for NetStream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for NetStream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_layer!(self, io => io.poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_layer!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, io => io.poll_shutdown(cx))
    }
}
