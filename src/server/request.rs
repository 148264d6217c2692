//! Requests that an HTTP server has read: it writes the answer, and hands over its connection afterwards.

use std::io;

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout_at,
};

use super::{AcceptUpgrade, Upgrade, timed_out};
use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    handshake::{deadline_after, server::check},
    stream::WebSocketStream,
};

impl<F, T> Upgrade<F>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Takes a handshake request that an HTTP server has read, whatever server that is. For hyper and axum, features of
    /// these names do it in a line: `HttpUpgrade::from_hyper`, and an extractor.
    ///
    /// The request is checked as by [`WebSocketStream::accept`]; its size and number of headers are up to that server.
    /// Then it is an upgrade like any other, but in place of awaiting [`accept`](Self::accept),
    /// [`respond`](AcceptUpgrade::respond) or [`on_upgrade`](AcceptUpgrade::on_upgrade) makes a response for that server to
    /// write. To refuse, return a response of your own.
    ///
    /// `transport` is the future of the connection: it resolves when the response has been written. What the server has
    /// read after the request's head belongs to the connection and comes first.
    ///
    /// # Errors
    /// [`AcceptErrorKind::BadRequest`], for which [`AcceptError::into_response`] makes the response. That includes every
    /// request over HTTP/2 and HTTP/3: an extended CONNECT (RFC 8441) is refused with status 505, clients fall back to
    /// HTTP/1.1.
    ///
    /// ```
    /// use wsstream::{AcceptError, Upgrade};
    ///
    /// # use std::{future::Future, io};
    /// async fn serve(
    ///     request: http::Request<()>,
    ///     transport: impl Future<Output = io::Result<tokio::io::DuplexStream>> + Send + 'static,
    /// ) -> http::Response<String> {
    ///     match Upgrade::from_request(&request, transport) {
    ///         Ok(upgrade) => upgrade.accept().protocols(["media.v1"]).on_upgrade(|mut ws| async move {
    ///             let _ = ws.send("hello").await;
    ///         }),
    ///         Err(error) => error.into_response(),
    ///     }
    /// }
    /// ```
    pub fn from_request<B>(request: &Request<B>, transport: F) -> Result<Self, AcceptError> {
        Self::begin(request.method(), request.version(), request.uri(), request.headers(), transport)
    }
}

impl<F> Upgrade<F> {
    pub(super) fn begin(
        method: &Method,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        transport: F,
    ) -> Result<Self, AcceptError> {
        let request = check(method, version, uri.clone(), headers.clone())?;
        tracing::debug!(path = request.uri.path(), "a request for an upgrade");
        let (leftover, config) = (BytesMut::new(), Config::default());
        Ok(Self { transport, request, leftover, config, peer_addr: None, connections: None })
    }

    #[cfg(feature = "hyper")]
    pub(super) fn with_transport<T>(self, transport: T) -> Upgrade<T> {
        let Self { request, leftover, config, peer_addr, connections, .. } = self;
        Upgrade { transport, request, leftover, config, peer_addr, connections }
    }
}

impl<F, T> AcceptUpgrade<F>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// For upgrades [from an HTTP server](Upgrade::from_request): the response that this server is to write, and the
    /// connection that comes of it. Return the first, and await the second in a task of its own.
    ///
    /// # Errors
    /// As those of [`AcceptUpgrade`] that are no fault of a transport; [`AcceptError::into_response`] makes the response. The
    /// future fails with [`AcceptErrorKind::Io`] if the server does not hand over its connection, and with
    /// [`AcceptErrorKind::Timeout`] if that takes longer than [`Config::handshake_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection, once it has been handed over.
    pub fn respond(
        mut self,
    ) -> Result<
        (Response<String>, impl Future<Output = Result<WebSocketStream, AcceptError>> + Send + 'static),
        AcceptError,
    > {
        let mut decision = self.decide().map_err(|(error, _)| error)?;
        let response = std::mem::take(&mut decision.response).map(|()| String::new());
        let Upgrade { transport, config, .. } = self.upgrade;
        let connection = async move {
            let handed_over = timeout_at(deadline_after(config.handshake_timeout), transport).await;
            let transport = handed_over
                .map_err(|_| timed_out("the HTTP server did not hand over its connection", &config))?
                .map_err(|error| {
                    AcceptError::caused(AcceptErrorKind::Io, "the HTTP server did not hand over its connection", error)
                })?;
            Ok(decision.open(transport, BytesMut::new(), config))
        };
        Ok((response, connection))
    }

    /// For upgrades [from an HTTP server](Upgrade::from_request): the response that this server is to write, 101 or a
    /// refusal. When it has been written, `serve` gets the connection, in a task of its own.
    ///
    /// What goes wrong is traced. [`respond`](Self::respond) tells it instead.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_upgrade<S, R>(self, serve: S) -> Response<String>
    where
        S: FnOnce(WebSocketStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        match self.respond() {
            Ok((response, connection)) => {
                tokio::spawn(async move {
                    match connection.await {
                        Ok(ws) => serve(ws).await,
                        Err(error) => tracing::debug!(%error, "a handshake failed"),
                    }
                });
                response
            }
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                error.into_response()
            }
        }
    }
}
