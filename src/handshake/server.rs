//! The server's side: what a request has to be, and the response to it (RFC 6455, 4.2).

use std::collections::HashSet;

use bytes::BytesMut;
use data_encoding::BASE64;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        ALLOW, CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
};
use tokio::io::AsyncRead;
use tokio_tungstenite::tungstenite::{
    error::{CapacityError, Error as TungsteniteError, ProtocolError},
    handshake::{derive_accept_key, machine::TryParse, server::write_response},
};

use super::{
    extensions,
    head::{Head, HeadError, HeadKind, read_head},
    header,
    refusal::Refusal,
};
use crate::{
    accept_error::{AcceptError, AcceptErrorKind},
    config::Config,
    negotiated::Negotiated,
};

/// A request that is a WebSocket handshake.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The offered subprotocols, in the client's order of preference.
    pub(crate) protocols: Vec<String>,
    /// Answers the client's key.
    accept_key: String,
}

/// Why there is no handshake to answer.
#[derive(Debug)]
pub(crate) struct BadRequest {
    pub(crate) error: AcceptError,
    /// What to tell the client, if it can still be told anything.
    pub(crate) refusal: Option<Refusal>,
}

impl From<(AcceptErrorKind, Refusal, String)> for BadRequest {
    fn from((kind, refusal, why): (AcceptErrorKind, Refusal, String)) -> Self {
        Self { error: AcceptError::new(kind, why).with_refusal(refusal.to_response()), refusal: Some(refusal) }
    }
}

/// Reads a request; what came after it belongs to the connection.
///
/// # Cancel safety
/// Not cancel-safe: the handshake is lost with the future.
pub(crate) async fn read_request<R>(io: &mut R, config: &Config) -> Result<(UpgradeRequest, BytesMut), BadRequest>
where
    R: AsyncRead + Unpin,
{
    let Head { bytes, leftover } =
        read_head(io, BytesMut::new(), HeadKind::Request, config).await.map_err(no_request)?;
    let (parts, ()) = parse(&bytes)?.into_parts();
    let request = check_fields(parts.uri, parts.headers).map_err(|(refusal, why)| bad(refusal, why))?;
    Ok((request, leftover))
}

/// Checks a request whose head an HTTP server has read.
pub(crate) fn check(
    method: &Method,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
) -> Result<UpgradeRequest, AcceptError> {
    let checked = match version {
        // Over HTTP/2 a WebSocket is a stream, opened by an extended CONNECT (RFC 8441), which has neither key nor upgrade.
        Version::HTTP_2 | Version::HTTP_3 => {
            let why = "A WebSocket handshake needs HTTP/1.1; extended CONNECT (RFC 8441) is not supported.";
            Err(refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, why))
        }
        _ if method != Method::GET => Err(wrong_method()),
        Version::HTTP_11 => check_fields(uri, headers),
        _ => Err(wrong_version()),
    };
    checked.map_err(|(refusal, why)| bad(refusal, why).error)
}

fn no_request(error: HeadError) -> BadRequest {
    if let Some(message) = HeadError::limit_message("request", &error) {
        // The client is told what was too large, but not how this server is configured.
        let refusal = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request head is too large.");
        return (AcceptErrorKind::HeadTooLarge, refusal, message).into();
    }
    let error = match error {
        HeadError::Io(error) => AcceptError::caused(AcceptErrorKind::Io, "reading the handshake request failed", error),
        HeadError::Ended(0) => {
            AcceptError::new(AcceptErrorKind::Io, "the client closed the transport without sending a request")
        }
        HeadError::NotHttp(looks_like) => {
            let why = format!("The request is {looks_like}.");
            return bad(Refusal::new(StatusCode::BAD_REQUEST, &why), format!("the client's request is {looks_like}"));
        }
        HeadError::Ended(_) | HeadError::TooLarge(_) | HeadError::TooManyHeaders(_) => {
            AcceptError::new(AcceptErrorKind::Io, "the client closed the transport in the middle of its request")
        }
    };
    BadRequest { error, refusal: None }
}

fn bad(refusal: Refusal, why: impl Into<String>) -> BadRequest {
    (AcceptErrorKind::BadRequest, refusal, why.into()).into()
}

fn parse(head: &[u8]) -> Result<Request<()>, BadRequest> {
    let (refusal, why) = match Request::<()>::try_parse(head) {
        Ok(Some((size, request))) if size == head.len() => return Ok(request),
        Ok(_) => refuse(StatusCode::BAD_REQUEST, "The request is malformed HTTP."),
        Err(TungsteniteError::Protocol(ProtocolError::WrongHttpMethod)) => wrong_method(),
        Err(TungsteniteError::Protocol(ProtocolError::WrongHttpVersion)) => wrong_version(),
        Err(TungsteniteError::Protocol(ProtocolError::HttparseError(error))) => {
            refuse(StatusCode::BAD_REQUEST, format!("The request is malformed HTTP: {error}."))
        }
        Err(TungsteniteError::Capacity(CapacityError::TooManyHeaders)) => {
            refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many headers.")
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("The request is malformed HTTP: {error}.")),
    };
    Err(bad(refusal, why))
}

/// What the client is told, and what the application is.
fn refuse(status: StatusCode, why: impl Into<String>) -> (Refusal, String) {
    let why = why.into();
    let told = format!("refused a request with status {}: {why}", status.as_u16());
    (Refusal::new(status, why), told)
}

fn wrong_method() -> (Refusal, String) {
    let (refusal, why) = refuse(StatusCode::METHOD_NOT_ALLOWED, "A WebSocket handshake is a GET request.");
    (refusal.with_header(ALLOW, HeaderValue::from_static("GET")), why)
}

fn wrong_version() -> (Refusal, String) {
    refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "A WebSocket handshake needs HTTP/1.1.")
}

/// Checks a GET request of HTTP/1.1 against RFC 6455, 4.2.1.
fn check_fields(uri: Uri, headers: HeaderMap) -> Result<UpgradeRequest, (Refusal, String)> {
    let bad_request = |why: &str| Err(refuse(StatusCode::BAD_REQUEST, why));
    if !uri.path().starts_with('/') {
        return bad_request("The request target has no path.");
    }
    if header::single(&headers, &HOST).is_none() {
        return bad_request("There must be one Host header.");
    }
    if !header::has_element(&headers, &UPGRADE, "websocket") {
        let (refusal, why) =
            refuse(StatusCode::UPGRADE_REQUIRED, "This is a WebSocket: `Upgrade: websocket` is needed.");
        return Err((refusal.with_header(UPGRADE, HeaderValue::from_static("websocket")), why));
    }
    if !header::has_element(&headers, &CONNECTION, "upgrade") {
        return bad_request("The Connection header must have `Upgrade`.");
    }
    if header::single(&headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let (refusal, why) = refuse(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13.");
        let refusal = refusal.with_header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err((refusal.with_header(UPGRADE, HeaderValue::from_static("websocket")), why));
    }
    let Some(key) = header::single(&headers, &SEC_WEBSOCKET_KEY).filter(|key| is_valid_key(key.as_bytes())) else {
        return bad_request("There must be one Sec-WebSocket-Key of 16 bytes in base64.");
    };
    // A body would be taken for frames.
    let has_length = headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    if has_length || headers.contains_key(TRANSFER_ENCODING) {
        return bad_request("A WebSocket handshake has no body.");
    }
    let mut protocols: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for protocol in header::list(&headers, &SEC_WEBSOCKET_PROTOCOL) {
        if !header::is_token(protocol) {
            return bad_request("Sec-WebSocket-Protocol must be a list of tokens.");
        }
        // A set: comparing each with each, a head full of short ones would cost 24 ms.
        if seen.insert(protocol) {
            protocols.push(protocol.to_owned());
        }
    }
    if extensions::check(&headers).is_err() {
        return bad_request("Sec-WebSocket-Extensions must be a list of extensions.");
    }
    let accept_key = derive_accept_key(key.as_bytes());
    Ok(UpgradeRequest { uri, headers, protocols, accept_key })
}

fn is_valid_key(key: &[u8]) -> bool {
    key.len() == 24 && BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// The response that agrees to an upgrade.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    protocol: Option<String>,
    headers: HeaderMap,
}

impl Agreement {
    /// Picks a subprotocol.
    pub(crate) fn set_protocol(&mut self, protocol: String) {
        self.protocol = Some(protocol);
    }

    /// Picks the first of these that is offered, if there is one.
    pub(crate) fn choose_protocol(&mut self, request: &UpgradeRequest, spoken: impl IntoIterator<Item: Into<String>>) {
        self.protocol = spoken.into_iter().map(Into::into).find(|protocol| request.protocols.contains(protocol));
    }

    /// Adds a header of the application's; on failure, what is wrong with it.
    pub(crate) fn add_header(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), String> {
        if let Some(remedy) = header::owned_by_handshake(&name) {
            return Err(format!("the header `{name}` belongs to the handshake; {remedy}"));
        }
        check_writable(&name, &value)?;
        self.headers.append(name, value);
        Ok(())
    }

    /// The response, and what is agreed on with it.
    pub(crate) fn agree_to(
        self,
        request: &UpgradeRequest,
        config: &Config,
    ) -> Result<(Response<()>, Negotiated), AcceptError> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept_key = HeaderValue::try_from(&request.accept_key).map_err(unusable)?;
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key);
        if let Some(protocol) = &self.protocol {
            if !request.protocols.contains(protocol) {
                let offered = request.protocols.join(", ");
                let message =
                    format!("the client offered not {protocol:?} but [{offered}]; pick one of `Upgrade::protocols`");
                return Err(AcceptError::new(AcceptErrorKind::ProtocolNotOffered, message));
            }
            let protocol = HeaderValue::try_from(protocol).map_err(unusable)?;
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let mut negotiated =
            Negotiated::default().with_protocol(self.protocol.unwrap_or_default()).with_url(request.uri.to_string());
        negotiated.set_deflate(extensions::choose(&request.headers, config.compression.as_ref()));
        if !negotiated.extensions.is_empty() {
            let extensions = HeaderValue::try_from(&negotiated.extensions).map_err(unusable)?;
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        headers.extend(self.headers);
        Ok((response, negotiated))
    }
}

/// The bytes of a response.
pub(crate) fn head_bytes(response: &Response<()>) -> Result<Vec<u8>, AcceptError> {
    let mut bytes = Vec::with_capacity(256);
    write_response(&mut bytes, response).map_err(unusable)?;
    Ok(bytes)
}

fn unusable(error: impl Into<TungsteniteError>) -> AcceptError {
    let error: TungsteniteError = error.into();
    AcceptError::caused(AcceptErrorKind::InvalidOption, "the response cannot be written", error)
}

/// Whether a header can be written; tungstenite writes visible ASCII only.
pub(super) fn check_writable(name: &HeaderName, value: &HeaderValue) -> Result<(), String> {
    match value.to_str() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the value of the header `{name}` is not visible ASCII; encode it")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const REQUEST: &[u8] = b"GET /live?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: v2,v1\r\nSec-WebSocket-Protocol: v1, v0\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const FRAMES: &[u8] = b"\x81\x82\0\0\0\0hi\r\n\r\n\x00";

    #[tokio::test]
    async fn wherever_the_request_is_cut_no_frame_is_lost() {
        let all = [REQUEST, FRAMES].concat();
        for cut in 1..=all.len() {
            let (first, second) = all.split_at(cut);
            let mut io = first.chain(second);
            let (request, leftover) = read_request(&mut io, &Config::default()).await.unwrap();
            assert_eq!(request.uri, "/live?x=1");
            assert_eq!(request.protocols, ["v2", "v1", "v0"]);
            let mut rest = leftover.to_vec();
            io.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, FRAMES, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn the_response_is_that_of_rfc_6455() {
        let (request, _) = read_request(&mut &REQUEST[..], &Config::default()).await.unwrap();
        let mut agreement = Agreement::default();
        agreement.set_protocol("v1".to_owned());
        let cookie = || (HeaderName::from_static("set-cookie"), HeaderValue::from_static("a=b"));
        agreement.add_header(cookie().0, cookie().1).unwrap();
        agreement.add_header(cookie().0, cookie().1).unwrap();
        let (response, negotiated) = agreement.agree_to(&request, &Config::default()).unwrap();
        let response = String::from_utf8(head_bytes(&response).unwrap()).unwrap().to_lowercase();
        assert!(response.starts_with("http/1.1 101 switching protocols\r\n") && response.ends_with("\r\n\r\n"));
        for (line, count) in [
            ("connection: upgrade", 1),
            ("upgrade: websocket", 1),
            // The example of RFC 6455, 1.3.
            ("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", 1),
            ("sec-websocket-protocol: v1", 1),
            ("set-cookie: a=b", 2),
        ] {
            assert_eq!(response.lines().filter(|it| *it == line).count(), count, "{line} in {response}");
        }
        assert_eq!(negotiated, Negotiated::default().with_protocol("v1").with_url("/live?x=1"));
    }
}
