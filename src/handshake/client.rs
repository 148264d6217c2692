//! The client's side: the request, and what a response has to be (RFC 6455, 4.1).

use std::{io, time::Duration};

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{
        AUTHORIZATION, CONNECTION, COOKIE, HOST, ORIGIN, PROXY_AUTHORIZATION, SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::{
    error::{Error as TungsteniteError, ProtocolError},
    handshake::{
        client::{Response as ParsedResponse, generate_key, generate_request},
        derive_accept_key,
        machine::TryParse,
    },
};

use super::{
    extensions,
    head::{HeadError, HeadKind, read_head},
    header, response_body,
    target::Target,
};
use crate::{
    config::Config,
    connect_error::{ConnectError, ConnectErrorKind},
    negotiated::Negotiated,
};

/// How long a server is listened to that takes no request.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    protocols: Vec<String>,
    headers: HeaderMap,
}

impl Offer {
    /// Offers one more subprotocol.
    pub(crate) fn add_protocol(&mut self, protocol: String) -> Result<(), ConnectError> {
        if !header::is_token(&protocol) {
            let rule = "it must be a token: letters, digits and !#$%&'*+-.^_`|~";
            return Err(invalid_option(format!("the subprotocol {protocol:?} cannot be offered; {rule}")));
        }
        if self.protocols.contains(&protocol) {
            return Err(invalid_option(format!("the subprotocol {protocol:?} is offered twice; offer it once")));
        }
        self.protocols.push(protocol);
        Ok(())
    }

    /// Adds a header to the request.
    pub(crate) fn add_header(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), ConnectError> {
        let remedy = if name == HOST { Some("it is made from the URL") } else { header::owned_by_handshake(&name) };
        if let Some(remedy) = remedy {
            return Err(invalid_option(format!("the header `{name}` belongs to the handshake; {remedy}")));
        }
        self.headers.append(name, value);
        Ok(())
    }

    /// Sets the `Origin` header.
    pub(crate) fn set_origin(&mut self, value: HeaderValue) {
        self.headers.insert(ORIGIN, value);
    }

    /// Drops what proves who the client is: the request goes to somebody else.
    pub(crate) fn drop_credentials(&mut self) {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            self.headers.remove(name);
        }
    }

    /// The request's bytes, and the accept key that answers it.
    fn request(&self, target: &Target, config: &Config) -> Result<(Vec<u8>, String), ConnectError> {
        let key = generate_key();
        let mut request = Request::new(());
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, target.authority.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let unusable = |error| ConnectError::caused(ConnectErrorKind::InvalidOption, "the request", error);
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::try_from(&key).map_err(|error| unusable(error.into()))?);
        if !self.protocols.is_empty() {
            let protocols = HeaderValue::try_from(self.protocols.join(", ")).map_err(|error| unusable(error.into()))?;
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols);
        }
        if let Some(offer) = extensions::offer(config.compression.as_ref()) {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer);
        }
        // Credentials that the application gives itself take the place of those in the URL.
        if let Some(authorization) = &target.authorization
            && !self.headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let (bytes, key) = generate_request(request).map_err(unusable)?;
        Ok((bytes, derive_accept_key(key.as_bytes())))
    }
}

/// A connection that the server agreed to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) negotiated: Negotiated,
    /// What came after the response: the first frames.
    pub(crate) leftover: BytesMut,
}

/// Sends the request and reads the response.
///
/// # Cancel safety
/// Not cancel-safe: the handshake is lost with the future.
pub(crate) async fn open<T>(
    io: &mut T,
    target: &Target,
    offer: &Offer,
    config: &Config,
    deadline: Instant,
) -> Result<Opened, ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (request, accept_key) = offer.request(target, config)?;
    let exchange = async {
        let written = match io.write_all(&request).await {
            Ok(()) => io.flush().await,
            Err(error) => Err(error),
        };
        let Err(error) = written else { return read_response(io, config).await };
        // A server that takes no request may have said why, by HTTP or by TLS.
        match timeout(LAST_WORDS, read_response(io, config)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.io_source().is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) => Err(error),
            _ => Err(ConnectError::caused(ConnectErrorKind::Io, "sending the handshake request failed", error)),
        }
    };
    let (response, leftover) = match timeout_at(deadline, exchange).await {
        Ok(response) => response?,
        Err(_) => return Err(timed_out("the server did not answer the handshake", config.handshake_timeout)),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = response_body::read_start(io, response.status(), response.headers(), leftover, deadline).await;
        return Err(ConnectError::refused(response.map(|_| body)));
    }
    let mut negotiated = check(response.headers(), &accept_key, offer, config)?;
    negotiated.url.clone_from(&target.url);
    Ok(Opened { negotiated, leftover })
}

/// The response, and what came after it.
async fn read_response<T>(io: &mut T, config: &Config) -> Result<(Response<()>, BytesMut), ConnectError>
where
    T: AsyncRead + Unpin,
{
    let mut bytes = BytesMut::new();
    loop {
        let head = read_head(io, bytes, HeadKind::Response, config).await.map_err(no_response)?;
        let response = parse(&head.bytes)?;
        if is_final(response.status()) {
            return Ok((response, head.leftover));
        }
        bytes = head.leftover;
    }
}

/// Whether this is the answer. Interim responses may come before it, "Early Hints" for example (RFC 9110, 15.2).
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// The error of a handshake that takes too long.
pub(crate) fn timed_out(what: &str, limit: Duration) -> ConnectError {
    let message = format!("{what} within {limit:?}; `Config::handshake_timeout` raises the limit");
    ConnectError::new(ConnectErrorKind::Timeout, message)
}

fn no_response(error: HeadError) -> ConnectError {
    if let Some(message) = HeadError::limit_message("response", &error) {
        return ConnectError::new(ConnectErrorKind::HeadTooLarge, message);
    }
    match error {
        HeadError::Io(error) => {
            ConnectError::caused(ConnectErrorKind::Io, "reading the handshake response failed", error)
        }
        HeadError::Ended(0) => {
            ConnectError::new(ConnectErrorKind::Io, "the server closed the transport without answering the handshake")
        }
        HeadError::Ended(_) => ConnectError::new(
            ConnectErrorKind::Io,
            "the server closed the transport in the middle of the handshake response",
        ),
        HeadError::NotHttp(looks_like) => {
            let remedy = if looks_like.starts_with("TLS") { "; use wss:// for it" } else { "" };
            bad_response(format!("the server's answer is {looks_like}{remedy}"))
        }
        HeadError::TooLarge(_) | HeadError::TooManyHeaders(_) => bad_response("the response head is too large"),
    }
}

fn parse(head: &[u8]) -> Result<Response<()>, ConnectError> {
    let malformed =
        |error| ConnectError::caused(ConnectErrorKind::BadResponse, "the server's answer is malformed HTTP", error);
    match ParsedResponse::try_parse(head) {
        Ok(Some((size, response))) if size == head.len() => Ok(response.map(|_| ())),
        Ok(_) => Err(bad_response("the server's answer is malformed HTTP")),
        // Proxies and simple servers refuse in HTTP/1.0; what they say is worth more than the fact that they do so.
        Err(TungsteniteError::Protocol(ProtocolError::WrongHttpVersion)) => {
            let newer = String::from_utf8_lossy(head).replacen("HTTP/1.0", "HTTP/1.1", 1);
            match ParsedResponse::try_parse(newer.as_bytes()) {
                Ok(Some((_, response))) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                    let mut response = response.map(|_| ());
                    *response.version_mut() = http::Version::HTTP_10;
                    Ok(response)
                }
                _ => Err(bad_response("the server's answer is HTTP/1.0, which cannot upgrade")),
            }
        }
        Err(error) => Err(malformed(error)),
    }
}

/// Checks a response with status 101.
fn check(headers: &HeaderMap, accept_key: &str, offer: &Offer, config: &Config) -> Result<Negotiated, ConnectError> {
    if !header::single(headers, &UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(bad_response("the response upgrades, but not with `Upgrade: websocket`"));
    }
    if !header::has_element(headers, &CONNECTION, "upgrade") {
        return Err(bad_response("the response upgrades, but without `Connection: Upgrade`"));
    }
    if header::single(headers, &SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value != accept_key) {
        let message = "the response's `Sec-WebSocket-Accept` does not fit the request; it is missing, or from a cache";
        return Err(bad_response(message));
    }
    let deflate = extensions::accepted(headers, config.compression.as_ref()).map_err(bad_response)?;
    let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let protocol = match (chosen.next(), chosen.next()) {
        (None, _) if config.require_protocol && !offer.protocols.is_empty() => {
            let offered = offer.protocols.join(", ");
            return Err(bad_response(format!(
                "the server picked none of the offered subprotocols ({offered}); `Config::require_protocol` allows that"
            )));
        }
        (None, _) => String::new(),
        (Some(_), Some(_)) => return Err(bad_response("the server picked several subprotocols")),
        (Some(chosen), None) => match offer.protocols.iter().find(|offered| chosen == offered.as_str()) {
            Some(protocol) => protocol.clone(),
            None => {
                return Err(bad_response(format!(
                    "the server picked the subprotocol {chosen:?}, which was not offered"
                )));
            }
        },
    };
    let mut negotiated = Negotiated::default().with_protocol(protocol);
    negotiated.set_deflate(deflate);
    Ok(negotiated)
}

fn invalid_option(message: String) -> ConnectError {
    ConnectError::new(ConnectErrorKind::InvalidOption, message)
}

fn bad_response(message: impl Into<String>) -> ConnectError {
    ConnectError::new(ConnectErrorKind::BadResponse, message)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, DuplexStream, duplex},
        task::yield_now,
    };

    use super::*;
    use crate::handshake::deadline_after;

    const FRAMES: &[u8] = b"\x81\x02hi\r\n\r\n\x00";

    async fn read_request(peer: &mut DuplexStream) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(peer.read_u8().await.unwrap());
        }
        String::from_utf8(request).unwrap()
    }

    async fn open_over(io: &mut DuplexStream) -> Result<Opened, ConnectError> {
        let target = Target::parse("ws://example.com/live").unwrap();
        let config = Config::default();
        let deadline = deadline_after(config.handshake_timeout);
        open(io, &target, &Offer::default(), &config, deadline).await
    }

    /// Answers with an upgrade and the first frames, in two writes, the first one of `cut` bytes.
    async fn answer_cut_at(peer: &mut DuplexStream, cut: usize) -> usize {
        let request = read_request(peer).await;
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 101 Sure\r\nUpgrade: WebSocket\r\nConnection: keep-alive\r\nConnection: x, upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let response = [head.as_bytes(), FRAMES].concat();
        let (first, second) = response.split_at(cut.min(response.len()));
        peer.write_all(first).await.unwrap();
        for _ in 0..4 {
            yield_now().await;
        }
        peer.write_all(second).await.unwrap();
        response.len()
    }

    #[tokio::test]
    async fn wherever_the_response_is_cut_no_frame_is_lost() {
        let mut cut = 0;
        loop {
            let (mut io, mut peer) = duplex(4096);
            let (opened, len) = tokio::join!(open_over(&mut io), answer_cut_at(&mut peer, cut));
            drop(peer);
            let opened = opened.unwrap();
            assert_eq!(opened.negotiated.url, "ws://example.com/live");
            let mut rest = opened.leftover.to_vec();
            io.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, FRAMES, "cut at {cut}");
            cut += 1;
            if cut > len {
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_byte_at_a_time_is_the_same() {
        let (mut io, mut peer) = duplex(1);
        let answer = async {
            answer_cut_at(&mut peer, 0).await;
            drop(peer);
        };
        let open = async {
            let mut rest = open_over(&mut io).await.unwrap().leftover.to_vec();
            io.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, FRAMES);
        };
        tokio::join!(open, answer);
    }

    #[test]
    fn the_request_is_that_of_rfc_6455() {
        let mut offer = Offer::default();
        offer.add_protocol("b.v2".to_owned()).unwrap();
        offer.add_protocol("B.v2".to_owned()).unwrap();
        offer.add_header(HeaderName::from_static("cookie"), HeaderValue::from_static("a=b")).unwrap();
        offer.add_header(HeaderName::from_static("cookie"), HeaderValue::from_bytes(b"\xff").unwrap()).unwrap();
        offer.set_origin(HeaderValue::from_static("https://example.com"));
        let target = Target::parse("ws://user:secret@example.com:8080/live?x=1").unwrap();
        let (request, accept_key) = offer.request(&target, &Config::default()).unwrap();
        let request = request.iter().map(|&byte| char::from(byte)).collect::<String>();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        assert_eq!(accept_key, derive_accept_key(key.as_bytes()));
        assert!(request.starts_with("GET /live?x=1 HTTP/1.1\r\nHost: example.com:8080\r\n"), "{request}");
        for line in [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: b.v2, B.v2",
            "cookie: a=b",
            "cookie: \u{ff}",
            "Origin: https://example.com",
            "authorization: Basic dXNlcjpzZWNyZXQ=",
        ] {
            assert_eq!(request.lines().filter(|it| *it == line).count(), 1, "{line} in {request}");
        }
        offer.add_header(AUTHORIZATION, HeaderValue::from_static("Bearer x")).unwrap();
        let (request, _) = offer.request(&target, &Config::default()).unwrap();
        let request = request.iter().map(|&byte| char::from(byte)).collect::<String>();
        assert!(request.contains("authorization: Bearer x\r\n") && !request.contains("Basic"), "{request}");
    }
}
