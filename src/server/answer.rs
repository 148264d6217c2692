//! The two answers to an upgrade, about to be sent.

use std::{io, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{Upgrade, refuse, unsent};
use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    connections::{Admission, Connections},
    handshake::{
        deadline_after,
        origin::OriginPolicy,
        parse_header,
        refusal::Refusal,
        server::{Agreement, head_bytes},
    },
    negotiated::Negotiated,
    net::NetStream,
    role::Role,
    stream::WebSocketStream,
};

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
    pub(super) upgrade: Upgrade<T>,
    agreement: Agreement,
    origins: OriginPolicy,
    /// What is wrong with the first option that cannot be used.
    fault: Option<String>,
}

impl<T> AcceptUpgrade<T> {
    pub(super) fn new(upgrade: Upgrade<T>, agreement: Agreement, origins: OriginPolicy) -> Self {
        Self { upgrade, agreement, origins, fault: None }
    }

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
    pub(super) fn decide(&mut self) -> Result<Decision, (AcceptError, Refusal)> {
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
pub(super) struct Decision {
    pub(super) response: Response<()>,
    negotiated: Negotiated,
    admission: Option<Admission>,
}

impl Decision {
    /// Once the response is out.
    pub(super) fn open<T>(self, transport: T, leftover: BytesMut, config: Config) -> WebSocketStream
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
    pub(super) fn new(upgrade: Upgrade<T>, refusal: Refusal) -> Self {
        Self { upgrade, refusal, fault: None }
    }

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

    pub(super) fn note(&mut self, fault: String) {
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
