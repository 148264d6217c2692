//! Through a proxy: HTTP CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928). Names are resolved by the proxy.

use std::{env, error::Error, net::SocketAddr, pin::pin};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{HOST, PROXY_AUTHORIZATION},
};
use hyper::{client::conn::http1, upgrade};
use hyper_util::{
    client::proxy::matcher::{Intercept, Matcher},
    rt::TokioIo,
};
use tokio_socks::{Error as SocksError, tcp::Socks5Stream};
use url::Host;

use super::{Destination, NetError, NetStream};

/// Bytes of the largest answer to CONNECT.
const MAX_ANSWER: usize = 16 * 1024;

/// Which proxy to use.
#[derive(Default)]
pub(crate) enum Choice {
    #[default]
    None,
    /// The one with this URL.
    This(String),
    /// The one that the environment names for the destination, if any.
    OfEnvironment,
}

/// A proxy that did not connect.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    /// What an HTTP proxy has answered.
    pub(crate) response: Option<Response<Bytes>>,
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
    /// It may heal, as far as the status of the response does not tell.
    pub(crate) is_transient: bool,
}

pub(super) struct Proxy {
    pub(super) host: Host,
    pub(super) port: u16,
    protocol: Protocol,
}

enum Protocol {
    Http { is_secure: bool, authorization: Option<HeaderValue> },
    Socks5 { credentials: Option<(String, String)> },
}

impl Choice {
    /// The proxy to use on the way to `to`.
    pub(super) fn of(&self, to: Destination<'_>) -> Result<Option<Proxy>, NetError> {
        match self {
            Self::None => Ok(None),
            Self::This(url) => match intercept(url) {
                Some(proxy) => Proxy::new(&proxy, "the proxy's URL").map(Some),
                None => Err(unusable("the proxy's URL")),
            },
            Self::OfEnvironment => {
                let scheme = if to.is_secure { "https" } else { "http" };
                // What cannot be used would be ignored, and the destination be reached around the proxy.
                let name = variable(scheme, |name| env::var(name).ok());
                if let Some((name, value)) = &name
                    && intercept(value).is_none()
                {
                    return Err(unusable(&format!("the environment variable {name}")));
                }
                // An asterisk is for addresses, too, as curl takes it.
                let has_none = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| env::var(name).ok());
                if has_none.is_some_and(|hosts| hosts.trim() == "*") {
                    return Ok(None);
                }
                let Ok(url) = Uri::try_from(format!("{scheme}://{to}/")) else { return Ok(None) };
                let proxy = Matcher::from_env().intercept(&url);
                let named = name.map_or("the environment's proxy", |(name, _)| name);
                proxy.map(|proxy| Proxy::new(&proxy, named)).transpose()
            }
        }
    }
}

/// The first of the variables for this scheme that says something.
fn variable(scheme: &str, get: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let names = match scheme {
        "https" => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    names.into_iter().find_map(|name| Some((name, get(name).filter(|value| !value.is_empty())?)))
}

fn intercept(proxy: &str) -> Option<Intercept> {
    Matcher::builder().all(proxy.to_owned()).build().intercept(&Uri::from_static("http://any.invalid/"))
}

fn unusable(what: &str) -> NetError {
    NetError::InvalidProxy(format!("{what} does not name a proxy; write http://, https:// or socks5://, and host:port"))
}

impl Proxy {
    fn new(proxy: &Intercept, named: &str) -> Result<Self, NetError> {
        let uri = proxy.uri();
        let host = uri.host().and_then(|host| Host::parse(host).ok()).ok_or_else(|| unusable(named))?;
        let (protocol, usual_port) = match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) => {
                let is_secure = scheme == "https";
                let authorization = proxy.basic_auth().cloned();
                (Protocol::Http { is_secure, authorization }, if is_secure { 443 } else { 80 })
            }
            Some("socks5" | "socks5h") => {
                let credentials = proxy.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned()));
                (Protocol::Socks5 { credentials }, 1080)
            }
            _ => return Err(unusable(named)),
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(usual_port), protocol })
    }

    /// The proxy itself is spoken to by TLS.
    pub(super) fn is_secure(&self) -> bool {
        matches!(self.protocol, Protocol::Http { is_secure: true, .. })
    }

    /// Has the proxy connect to `to`.
    pub(super) async fn tunnel(&self, stream: NetStream, to: Destination<'_>) -> Result<NetStream, NetError> {
        let tunnel = match &self.protocol {
            Protocol::Http { authorization, .. } => connect(stream, to, authorization.clone()).await,
            Protocol::Socks5 { credentials } => socks5(stream, to, credentials.as_ref()).await,
        };
        tunnel.map_err(|mut fault| {
            fault.message = format!("the proxy {}:{} did not connect to {to}: {}", self.host, self.port, fault.message);
            NetError::Proxy(Box::new(fault))
        })
    }
}

impl Fault {
    fn new(message: impl Into<String>, is_transient: bool) -> Self {
        Self { message: message.into(), response: None, source: None, is_transient }
    }

    fn caused(error: impl Error + Send + Sync + 'static, is_transient: bool) -> Self {
        let mut message = error.to_string();
        if let Some(cause) = error.source() {
            message.push_str(&format!(": {cause}"));
        }
        Self { message, response: None, source: Some(Box::new(error)), is_transient }
    }
}

async fn connect(
    stream: NetStream,
    to: Destination<'_>,
    authorization: Option<HeaderValue>,
) -> Result<NetStream, Fault> {
    let mut request = Request::connect(to.to_string()).header(HOST, to.to_string());
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(String::new()).map_err(|error| Fault::caused(error, false))?;

    // Whatever goes wrong with its transport may go well the next time; what the proxy says may not.
    let failed = |error: hyper::Error| {
        let is_transient = !error.is_parse() && !error.is_user();
        Fault::caused(error, is_transient)
    };
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_ANSWER);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut exchange = pin!(async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(refused(response.map(|_| Bytes::new())));
        }
        upgrade::on(response).await.map_err(failed)
    });
    let upgraded = tokio::select! {
        biased;
        upgraded = &mut exchange => upgraded?,
        // It ends with the upgrade, or fails; then so does the exchange.
        _ = connection.with_upgrades() => exchange.await?,
    };
    let parts = upgraded.downcast::<TokioIo<NetStream>>().map_err(|_| Fault::new("it is not what was given", false))?;
    if !parts.read_buf.is_empty() {
        return Err(Fault::new("it sent data before there was any to answer", false));
    }
    Ok(parts.io.into_inner())
}

fn refused(response: Response<Bytes>) -> Fault {
    let hint = match response.status() {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => "; give user and password in the proxy's URL",
        _ => "",
    };
    let message = format!("it answered with status {}{hint}", response.status());
    Fault { response: Some(response), ..Fault::new(message, false) }
}

async fn socks5(
    stream: NetStream,
    to: Destination<'_>,
    credentials: Option<&(String, String)>,
) -> Result<NetStream, Fault> {
    let result = match to.host {
        Host::Domain(name) => handshake(stream, (name.as_str(), to.port), credentials).await,
        Host::Ipv4(ip) => handshake(stream, SocketAddr::from((*ip, to.port)), credentials).await,
        Host::Ipv6(ip) => handshake(stream, SocketAddr::from((*ip, to.port)), credentials).await,
    };
    result.map(Socks5Stream::into_inner).map_err(|error| {
        use SocksError::*;
        let is_transient = matches!(
            error,
            Io(_) | GeneralSocksServerFailure | NetworkUnreachable | HostUnreachable | ConnectionRefused | TtlExpired
        );
        let mut fault = Fault::caused(error, is_transient);
        if let Some(error) = fault.source.as_ref().and_then(|source| source.downcast_ref()) {
            let hint = match error {
                NoAcceptableAuthMethods | AuthorizationRequired if credentials.is_none() => {
                    "; give user and password in the proxy's URL"
                }
                PasswordAuthFailure(_) => "; user or password is wrong",
                _ => "",
            };
            fault.message.push_str(hint);
        }
        fault
    })
}

async fn handshake<'a>(
    stream: NetStream,
    to: impl tokio_socks::IntoTargetAddr<'a>,
    credentials: Option<&(String, String)>,
) -> Result<Socks5Stream<NetStream>, SocksError> {
    match credentials {
        Some((user, password)) => Socks5Stream::connect_with_password_and_socket(stream, to, user, password).await,
        None => Socks5Stream::connect_with_socket(stream, to).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> Result<Proxy, NetError> {
        let host = Host::Domain("example.com".to_owned());
        let to = Destination { host: &host, port: 80, is_secure: false };
        Choice::This(url.to_owned()).of(to).map(Option::unwrap)
    }

    #[test]
    fn urls_name_proxies() {
        for (url, host, port) in [
            ("http://proxy.example:3128", "proxy.example", 3128),
            ("proxy.example:3128", "proxy.example", 3128),
            ("http://proxy.example", "proxy.example", 80),
            ("socks5://[::1]", "[::1]", 1080),
            ("socks5h://user:secret@127.0.0.1:9050", "127.0.0.1", 9050),
        ] {
            let proxy = proxy(url).unwrap();
            assert_eq!((proxy.host.to_string().as_str(), proxy.port), (host, port), "{url}");
        }
        let Protocol::Socks5 { credentials } = proxy("socks5://us%65r:s%3Acret@a").unwrap().protocol else { panic!() };
        assert_eq!(credentials.unwrap(), ("user".to_owned(), "s:cret".to_owned()));
        let Protocol::Http { authorization, .. } = proxy("http://user:secret@a").unwrap().protocol else { panic!() };
        assert_eq!(authorization.unwrap(), "Basic dXNlcjpzZWNyZXQ=");
    }

    #[test]
    fn what_names_none_is_refused_rather_than_ignored() {
        for url in ["", "not a url", "ftp://a", "socks4://a", "http://"] {
            let error = proxy(url).err().unwrap();
            assert!(matches!(&error, NetError::InvalidProxy(message) if message.contains("socks5://")), "{error:?}");
        }
    }

    #[test]
    fn the_variable_of_the_scheme_comes_first() {
        let set = |names: &'static [&'static str]| {
            move |name: &str| names.contains(&name).then(|| if name == "https_proxy" { "" } else { "x" }.to_owned())
        };
        let name = |scheme, names| variable(scheme, set(names)).map(|(name, _)| name);
        assert_eq!(name("https", &["HTTPS_PROXY", "ALL_PROXY"]), Some("HTTPS_PROXY"));
        assert_eq!(name("http", &["HTTPS_PROXY", "ALL_PROXY"]), Some("ALL_PROXY"));
        assert_eq!(name("https", &["https_proxy", "all_proxy"]), Some("all_proxy"));
        assert_eq!(name("http", &["HTTPS_PROXY"]), None);
    }
}
