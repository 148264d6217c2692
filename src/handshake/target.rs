//! What a client connects to: the URL, taken apart.

use data_encoding::BASE64;
use http::{Uri, header::HeaderValue};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::connect_error::{ConnectError, ConnectErrorKind};

/// A URL that a client can connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Normalised, `ws` or `wss`, without userinfo.
    pub(crate) url: String,
    pub(crate) is_secure: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The `Host` header: with a port unless it is the scheme's own (RFC 6455, 4.1).
    pub(super) authority: HeaderValue,
    /// The request target: path and query.
    pub(super) path: Uri,
    /// The userinfo, as Basic credentials (RFC 7617).
    pub(super) authorization: Option<HeaderValue>,
}

impl Target {
    /// Takes a URL by the rules of WHATWG WebSockets, 3.1: `http` and `https` are synonyms of `ws` and `wss`, a
    /// fragment is an error. Userinfo, which browsers ignore, becomes Basic credentials.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |fault: &str| ConnectError::new(ConnectErrorKind::InvalidUrl, format!("the URL {fault}"));
        let mut url = Url::parse(url).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => invalid("is relative; begin it with ws:// or wss://"),
            error => ConnectError::caused(ConnectErrorKind::InvalidUrl, "the URL does not parse", error),
        })?;
        let scheme = match url.scheme() {
            "ws" | "http" => "ws",
            "wss" | "https" => "wss",
            other => {
                let message = format!("the URL has the scheme {other}; use ws, wss, http or https");
                return Err(ConnectError::new(ConnectErrorKind::UnsupportedScheme, message));
            }
        };
        if url.fragment().is_some() {
            return Err(invalid("has a fragment, which a WebSocket URL must not; cut it off, or write # as %23"));
        }
        let authorization = basic_credentials(&url);
        url.set_scheme(scheme)
            .and_then(|()| url.set_username(""))
            .and_then(|()| url.set_password(None))
            .map_err(|()| invalid("cannot be made a ws or wss URL"))?;

        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(invalid("has no host"));
        };
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = &url[url::Position::BeforePath..];
        Ok(Self {
            is_secure: scheme == "wss",
            host: host.to_owned(),
            port,
            authority: authority.try_into().map_err(|_| invalid("has a host that does not fit into a header"))?,
            path: path.parse().map_err(|_| invalid("has a path that does not fit into a request"))?,
            authorization,
            url: url.into(),
        })
    }

    /// Where a redirect to `location`, which may be relative, leads. Within the origin, credentials of the URL stay.
    pub(crate) fn redirected_to(&self, location: &str) -> Result<Self, ConnectError> {
        let invalid = |error| ConnectError::caused(ConnectErrorKind::InvalidUrl, "the URL does not parse", error);
        let mut url = Url::parse(&self.url).and_then(|base| base.join(location)).map_err(invalid)?;
        url.set_fragment(None);
        let mut target = Self::parse(url.as_str())?;
        target.authorization = self.authorization.clone().filter(|_| target.is_same_origin(self));
        Ok(target)
    }

    /// Scheme, host and port are the same.
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        (self.is_secure, &self.host, self.port) == (other.is_secure, &other.host, other.port)
    }
}

fn basic_credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(&credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_a_synonym_and_the_url_is_normalised() {
        for (given, url, authority, path) in [
            ("ws://Example.COM", "ws://example.com/", "example.com", "/"),
            ("http://example.com:80/a/../b?q=1", "ws://example.com/b?q=1", "example.com", "/b?q=1"),
            ("https://example.com:8443/", "wss://example.com:8443/", "example.com:8443", "/"),
            ("wss://example.com:443/x", "wss://example.com/x", "example.com", "/x"),
            ("ws://example.com:443/", "ws://example.com:443/", "example.com:443", "/"),
            ("ws://[::1]:9000/?a b", "ws://[::1]:9000/?a%20b", "[::1]:9000", "/?a%20b"),
            ("ws://bücher.example/ß`|{}^\"", "ws://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ] {
            let target = Target::parse(given).unwrap();
            assert!(target.url.starts_with(url), "{given}: {}", target.url);
            assert_eq!(target.authority, authority, "{given}");
            assert!(target.path.to_string().starts_with(path), "{given}: {}", target.path);
            assert_eq!(target.is_secure, url.starts_with("wss"), "{given}");
        }
        assert_eq!(Target::parse("wss://example.com").unwrap().port, 443);
        assert_eq!(Target::parse("ws://example.com").unwrap().port, 80);
    }

    #[test]
    fn what_is_no_websocket_url_is_refused() {
        use ConnectErrorKind::{InvalidUrl, UnsupportedScheme};
        for (given, kind, words) in [
            ("/live", InvalidUrl, "relative"),
            ("example.com", InvalidUrl, "relative"),
            ("", InvalidUrl, "relative"),
            ("ws://", InvalidUrl, "does not parse"),
            ("ws://a:99999/", InvalidUrl, "does not parse"),
            ("ws://a b/", InvalidUrl, "does not parse"),
            ("ws://example.com/#", InvalidUrl, "fragment"),
            ("ws://example.com/#top", InvalidUrl, "fragment"),
            ("ftp://example.com/", UnsupportedScheme, "ftp"),
            ("localhost:8080", UnsupportedScheme, "localhost"),
        ] {
            let error = Target::parse(given).unwrap_err();
            assert_eq!(error.kind(), kind, "{given}");
            assert!(error.to_string().contains(words), "{given}: {error}");
        }
    }

    #[test]
    fn redirects_lead_elsewhere_and_credentials_stay() {
        let from = Target::parse("wss://user:pass@example.com/live/1?x").unwrap();
        for (location, url, keeps) in [
            ("2", "wss://example.com/live/2", true),
            ("/", "wss://example.com/", true),
            ("?y", "wss://example.com/live/1?y", true),
            ("https://example.com:443/a#b", "wss://example.com/a", true),
            ("//other.example/a", "wss://other.example/a", false),
            ("https://example.com:444/", "wss://example.com:444/", false),
            ("http://example.com/", "ws://example.com/", false),
            ("wss://me:mine@sub.example.com/", "wss://sub.example.com/", false),
            ("wss://me:mine@example.com/", "wss://example.com/", true),
        ] {
            let to = from.redirected_to(location).unwrap();
            assert_eq!(to.url, url, "{location}");
            let expected = from.authorization.as_ref().filter(|_| keeps);
            assert_eq!(to.authorization.as_ref(), expected, "{location}");
        }
        for location in ["ftp://example.com/", "https://", "wss://a b/"] {
            assert!(from.redirected_to(location).is_err(), "{location}");
        }
    }

    #[test]
    fn userinfo_becomes_basic_credentials_and_leaves_the_url() {
        let target = Target::parse("ws://us%65r:p%3Ass%C3%A4@example.com/").unwrap();
        assert_eq!(target.url, "ws://example.com/");
        let expected = format!("Basic {}", BASE64.encode("user:p:ssä".as_bytes()));
        assert_eq!(target.authorization.unwrap(), expected);
        let password_only = Target::parse("ws://:secret@example.com/").unwrap();
        assert_eq!(password_only.authorization.unwrap(), format!("Basic {}", BASE64.encode(b":secret")));
        assert!(Target::parse("ws://@example.com/").unwrap().authorization.is_none());
    }
}
