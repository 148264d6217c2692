//! hyper's requests and connections.

use std::{
    fmt, io,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Upgrade;
use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    handshake::refusal::Refusal,
};

/// An upgrade of a connection of hyper's, which axum's are, too.
///
/// In a hyper service it comes of [`from_hyper`](Self::from_hyper); with the feature `axum` it is an extractor. Answer it by
/// [`AcceptUpgrade::on_upgrade`](crate::AcceptUpgrade::on_upgrade) or
/// [`AcceptUpgrade::respond`](crate::AcceptUpgrade::respond).
///
/// It is there with the feature `hyper` or `axum`.
pub type HttpUpgrade = Upgrade<HttpTransport>;

impl HttpUpgrade {
    /// Takes a request out of a hyper service, be that a function or a `tower::Service`. It is checked as by
    /// [`Upgrade::from_request`].
    ///
    /// hyper must be told to let its connections go: by `with_upgrades` of its `http1` connection, by
    /// `serve_connection_with_upgrades` of hyper-util's `auto::Builder`. Set `TCP_NODELAY` on the socket, or small messages
    /// may wait for 40 ms.
    ///
    /// # Errors
    /// [`AcceptErrorKind::BadRequest`] and [`AcceptErrorKind::NotUpgradable`]; [`AcceptError::into_response`] makes the
    /// response.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::{Request, Response};
    /// use wsstream::HttpUpgrade;
    ///
    /// async fn service<B>(mut request: Request<B>) -> Result<Response<String>, Infallible> {
    ///     Ok(match HttpUpgrade::from_hyper(&mut request) {
    ///         Ok(upgrade) => upgrade.accept().on_upgrade(|mut ws| async move { ws.send("hello").await.unwrap_or(()) }),
    ///         Err(error) => error.into_response(),
    ///     })
    /// }
    /// # let _ = service::<()>;
    /// ```
    pub fn from_hyper<B>(request: &mut Request<B>) -> Result<Self, AcceptError> {
        let on_upgrade = request.extensions_mut().remove();
        Self::take(request.method(), request.version(), request.uri(), request.headers(), on_upgrade)
    }

    pub(super) fn take(
        method: &Method,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        on_upgrade: Option<OnUpgrade>,
    ) -> Result<Self, AcceptError> {
        let upgrade = Upgrade::begin(method, version, uri, headers, ())?;
        match on_upgrade {
            Some(on_upgrade) => Ok(upgrade.with_transport(HttpTransport(on_upgrade))),
            None => {
                let message = "the HTTP server has no connection to hand over; the upgrade may have been taken before, \
                               or there is no hyper server";
                let refusal =
                    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The server cannot upgrade this request.");
                Err(AcceptError::new(AcceptErrorKind::NotUpgradable, message).with_refusal(refusal.to_response()))
            }
        }
    }
}

/// The connection of an [`HttpUpgrade`]: a future that resolves when hyper has written the response.
///
/// # Dropping
/// The connection is closed when the response has been written, unless it refuses.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct HttpTransport(OnUpgrade);

impl Future for HttpTransport {
    type Output = io::Result<HttpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let upgraded = ready!(Pin::new(&mut self.0).poll(cx)).map_err(|error| match error.is_user() {
            true => io::Error::new(io::ErrorKind::Unsupported, format!("{error}; call hyper's `with_upgrades`")),
            false => io::Error::new(io::ErrorKind::ConnectionAborted, error),
        })?;
        Poll::Ready(Ok(HttpStream(TokioIo::new(upgraded))))
    }
}

/// The transport of an [`HttpUpgrade`]: a connection that hyper has handed over. What hyper has read of it ahead comes first.
pub struct HttpStream(TokioIo<Upgraded>);

impl AsyncRead for HttpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStream").finish_non_exhaustive()
    }
}
