//! Opening a connection over a transport of our own: dial, shake hands, follow redirects.

use http::{StatusCode, header::LOCATION};
use tokio::time::{Instant, timeout_at};

use super::{Dial, Request};
use crate::{
    connect_error::{ConnectError, ConnectErrorKind},
    handshake::{client::timed_out, deadline_after, target::Target},
    net::{Destination, NetError, NetStream},
    stream::WebSocketStream,
};

impl Dial {
    /// One try, redirects included.
    pub(super) async fn open(&self, mut request: Request) -> Result<WebSocketStream, ConnectError> {
        let deadline = deadline_after(request.config.handshake_timeout);
        let mut followed = 0;
        loop {
            let stream = self.dial(&request, deadline).await?;
            let opened = request.clone().open(stream, deadline).await;
            match opened.map_err(|error| in_words_of_tls(&request.target, error)) {
                Err(error) if self.redirects > 0 && is_redirect(&error) => {
                    if followed == self.redirects {
                        let message = format!("redirected more than {followed} times");
                        return Err(error.retold(ConnectErrorKind::Redirect, message));
                    }
                    followed += 1;
                    request = follow(request, error)?;
                }
                result => return result,
            }
        }
    }

    async fn dial(&self, request: &Request, deadline: Instant) -> Result<NetStream, ConnectError> {
        let Target { host, port, is_secure, .. } = &request.target;
        let to = Destination { host, port: *port, is_secure: *is_secure };
        match timeout_at(deadline, self.dialer.dial(to)).await {
            Ok(result) => result.map_err(connect_error),
            Err(_) => Err(timed_out(&format!("no connection to {to}"), request.config.handshake_timeout)),
        }
    }
}

fn connect_error(error: NetError) -> ConnectError {
    use ConnectErrorKind::*;
    match error {
        NetError::Resolve(host, error) => ConnectError::caused(Resolve, format_args!("resolving {host} failed"), error),
        NetError::Connect(to, error) => ConnectError::caused(Io, format_args!("connecting to {to} failed"), error),
        NetError::ConnectTimeout(to, limit) => {
            let message =
                format!("no connection to {to} within {limit:?}; `Connect::connect_timeout` raises the limit");
            ConnectError::new(Timeout, message)
        }
        #[cfg(feature = "rustls")]
        NetError::Tls(fault) => {
            let is_tls = fault.error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            let kind = match fault.is_certificate {
                true => Certificate,
                false if is_tls => Tls,
                false => Io,
            };
            ConnectError::explained(kind, fault.message, fault.error)
        }
        #[cfg(not(feature = "rustls"))]
        NetError::NoTls => ConnectError::new(
            UnsupportedScheme,
            "wss and https need TLS, which this build does not have; enable the feature `rustls`, or give a TLS stream to \
             `WebSocketStream::connect_over`",
        ),
        #[cfg(feature = "proxy")]
        NetError::Proxy(fault) => ConnectError::proxy(fault.message, fault.response, fault.source, fault.is_transient),
        #[cfg(feature = "proxy")]
        NetError::InvalidProxy(message) => ConnectError::new(InvalidOption, message),
    }
}

/// A TLS handshake can fail after its end, as far as the client can tell.
#[cfg(feature = "rustls")]
fn in_words_of_tls(target: &Target, error: ConnectError) -> ConnectError {
    let explained = error.io_source().and_then(|io| crate::net::tls::explain_late(crate::role::Role::Client, io));
    match explained {
        Some((is_certificate, why)) => {
            let kind = if is_certificate { ConnectErrorKind::Certificate } else { ConnectErrorKind::Tls };
            error.retold(kind, format!("the TLS handshake with {} failed: {why}", target.host))
        }
        None => error,
    }
}

#[cfg(not(feature = "rustls"))]
fn in_words_of_tls(_: &Target, error: ConnectError) -> ConnectError {
    error
}

/// Whether the server wants the client to go elsewhere (RFC 9110, 15.4), and says where.
fn is_redirect(error: &ConnectError) -> bool {
    use StatusCode as S;
    let is_status = |status| {
        matches!(status, S::MOVED_PERMANENTLY | S::FOUND | S::SEE_OTHER | S::TEMPORARY_REDIRECT | S::PERMANENT_REDIRECT)
    };
    error.kind() == ConnectErrorKind::Refused
        && error.response().is_some_and(|it| is_status(it.status()) && it.headers().contains_key(LOCATION))
}

/// The request to make instead. Credentials do not leave their origin, and do not come back once they are dropped.
fn follow(mut request: Request, redirect: ConnectError) -> Result<Request, ConnectError> {
    let fault = |redirect: ConnectError, what: String| redirect.retold(ConnectErrorKind::Redirect, what);
    let location = redirect.response().and_then(|response| response.headers().get(LOCATION));
    let Some(location) = location.and_then(|value| std::str::from_utf8(value.as_bytes()).ok()) else {
        return Err(fault(redirect, "redirected to a URL that is not UTF-8".to_owned()));
    };
    let target = match request.target.redirected_to(location) {
        Ok(target) => target,
        Err(error) => {
            let message = format!("redirected to {location:?}, which cannot be connected to: {error}");
            return Err(fault(redirect, message));
        }
    };
    if request.target.is_secure && !target.is_secure {
        let message = format!("redirected to {}, from wss to ws, which is never followed", target.url);
        return Err(fault(redirect, message));
    }
    tracing::debug!(to = target.url.split('?').next(), "redirected");
    if !target.is_same_origin(&request.target) {
        request.offer.drop_credentials();
    }
    request.target = target;
    Ok(request)
}
