//! Which web pages may connect (RFC 6455, 10.2): a browser tells the page's origin, and lets any page connect anywhere.

use http::{
    HeaderMap,
    header::{HOST, ORIGIN},
};

use super::header;

/// Which origins a server takes connections from. A request without `Origin` does not come from a page and passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginPolicy {
    /// The server's own, and these.
    SameAnd(Vec<String>),
    Any,
}

impl Default for OriginPolicy {
    fn default() -> Self {
        Self::SameAnd(Vec::new())
    }
}

impl OriginPolicy {
    /// Allows one more origin; on failure, what is wrong with it.
    pub(crate) fn allow(&mut self, origin: &str) -> Result<(), String> {
        let Some(origin) = normalised(origin) else {
            return Err(format!("{origin:?} is not an origin; write scheme://host or scheme://host:port"));
        };
        if let Self::SameAnd(allowed) = self {
            allowed.push(origin);
        }
        Ok(())
    }

    /// Checks a request; on failure, what its origin is.
    pub(crate) fn check(&self, request: &HeaderMap) -> Result<(), String> {
        let Self::SameAnd(allowed) = self else { return Ok(()) };
        if !request.contains_key(ORIGIN) {
            return Ok(());
        }
        let Some(origin) = header::single(request, &ORIGIN).and_then(|origin| origin.to_str().ok()) else {
            return Err("not a single origin".to_owned());
        };
        let host = header::single(request, &HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match normalised(origin) {
            Some(normal) if allowed.contains(&normal) || is_same(&normal, host) => Ok(()),
            _ => Err(origin.to_owned()),
        }
    }
}

/// An origin in lower case and without its scheme's default port. Pages without an origin of their own say `null`.
fn normalised(origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    if origin == "null" {
        return Some(origin);
    }
    let (scheme, authority) = origin.split_once("://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let is_bare = !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' ', ',']);
    (is_bare && !scheme.is_empty()).then(|| format!("{scheme}://{}", without_default_port(scheme, authority)))
}

/// Whether a page comes from the host that is asked. Which scheme the server is reached by it does not know (TLS may
/// end before it), so a port that is left out is the one of the page's scheme, on both sides.
fn is_same(normalised_origin: &str, host: &str) -> bool {
    match normalised_origin.split_once("://") {
        // Other schemes (those of browser extensions, for example) name no network host.
        Some((scheme @ ("http" | "https"), authority)) => {
            without_default_port(scheme, &host.to_ascii_lowercase()) == authority
        }
        _ => false,
    }
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn passes(policy: &OriginPolicy, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        policy.check(&headers).is_ok()
    }

    #[test]
    fn the_same_origin_passes_whatever_way_it_is_written() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("https://example.com", "EXAMPLE.com:443"),
            ("http://example.com:80", "example.com"),
            ("http://example.com:8080", "example.com:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[::1]", "[::1]:443"),
        ] {
            assert!(passes(&OriginPolicy::default(), origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn other_origins_are_refused() {
        for (origin, host) in [
            ("http://evil.example", "example.com"),
            ("http://example.com.evil.example", "example.com"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("https://example.com:80", "example.com"),
            ("https://user@example.com", "example.com"),
            ("chrome-extension://example.com", "example.com"),
            ("example.com", "example.com"),
            ("null", "null"),
            ("", ""),
            ("http://", ""),
        ] {
            assert!(!passes(&OriginPolicy::default(), origin, host), "{origin} at {host}");
        }
        let mut two = HeaderMap::new();
        two.append(HOST, HeaderValue::from_static("example.com"));
        two.append(ORIGIN, HeaderValue::from_static("http://example.com"));
        two.append(ORIGIN, HeaderValue::from_static("http://example.com"));
        assert!(OriginPolicy::default().check(&two).is_err());
    }

    #[test]
    fn an_allowed_origin_passes_besides_the_servers_own() {
        let mut policy = OriginPolicy::default();
        policy.allow("https://App.Example:443/").unwrap();
        policy.allow("chrome-extension://abc").unwrap();
        for origin in ["https://app.example", "https://example.com", "chrome-extension://abc"] {
            assert!(passes(&policy, origin, "example.com"), "{origin}");
        }
        for origin in ["http://app.example", "https://app.example:8443", "null", "https://x.app.example"] {
            assert!(!passes(&policy, origin, "example.com"), "{origin}");
        }
        policy.allow("null").unwrap();
        assert!(passes(&policy, "null", "example.com"));
        for bad in ["app.example", "https://", "https://app.example/path", ""] {
            assert!(policy.allow(bad).is_err(), "{bad}");
        }
        assert!(passes(&OriginPolicy::Any, "https://evil.example", "example.com"));
    }

    #[test]
    fn a_request_without_origin_passes() {
        assert!(OriginPolicy::default().check(&HeaderMap::new()).is_ok());
    }
}
