//! Header fields: those an application adds, and the token lists in those a peer sends.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Checks a header given by the application; on failure, what is wrong with it.
pub(crate) fn parse<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), String>
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    let name = name.try_into().map_err(|error| format!("a header's name: {}", error.into()))?;
    let value = value.try_into().map_err(|error| format!("the value of the header `{name}`: {}", error.into()))?;
    Ok((name, value))
}

/// Whether only the handshake itself may set this header; if so, what to use instead.
pub(super) fn owned_by_handshake(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "sec-websocket-protocol" => Some("give subprotocols by the builder's own method"),
        "connection" | "upgrade" | "content-length" | "transfer-encoding" => Some("leave it out"),
        name if name.starts_with("sec-websocket-") => Some("leave it out"),
        _ => None,
    }
}

/// `token` of RFC 9110, 5.6.2: what a subprotocol's name has to be (RFC 6455, 4.1).
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| is_token_byte(&byte))
}

pub(super) fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The elements of a comma-separated list that may be spread over several lines (RFC 9110, 5.6.1). A line that is not
/// ASCII counts as one element that equals nothing.
pub(super) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    lines.flat_map(|line| line.split(',')).map(|element| element.trim_matches([' ', '\t'])).filter(|it| !it.is_empty())
}

/// Whether a list has this element, in whatever case.
pub(super) fn has_element(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    list(headers, name).any(|it| it.eq_ignore_ascii_case(element))
}

/// The value of a header that must be there exactly once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, HOST};

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_list_is_spread_over_commas_and_lines() {
        let mut headers = headers(&[(CONNECTION, " keep-alive ,, x")]);
        headers.append(CONNECTION, HeaderValue::from_static("\tUPGRADE\t"));
        assert_eq!(list(&headers, &CONNECTION).collect::<Vec<_>>(), ["keep-alive", "x", "UPGRADE"]);
        assert!(has_element(&headers, &CONNECTION, "upgrade"));
        assert!(!has_element(&headers, &CONNECTION, "keep"));
    }

    #[test]
    fn a_single_header_is_there_exactly_once() {
        let mut headers = headers(&[(HOST, "a")]);
        assert_eq!(single(&headers, &HOST).unwrap(), "a");
        headers.append(HOST, HeaderValue::from_static("a"));
        assert!(single(&headers, &HOST).is_none());
        assert!(single(&headers, &CONNECTION).is_none());
    }

    #[test]
    fn tokens_have_no_separators() {
        assert!(is_token("media.v1") && is_token("!#$%&'*+-.^_`|~"));
        for bad in ["", "a b", "a,b", "a/b", "a:b", "ä", "a\r\n", "\"a\""] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_header_says_what_is_wrong() {
        assert!(parse("bad name", "x").unwrap_err().contains("name"));
        assert!(parse("good", "a\r\nb: c").unwrap_err().contains("`good`"));
        assert_eq!(parse("Good", "x").unwrap().0, "good");
    }
}
