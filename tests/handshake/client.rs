//! The client's side against scripted servers.

use std::{error::Error as _, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpListener,
    time::Instant,
};
use wsstream::{Config, Connect, ConnectError, ConnectErrorKind, WebSocketStream};

use super::{accept_key, read_head};

/// Connects to a server that answers with what `answer` makes of the accept key, and then waits for the client to go.
async fn connect_to(
    answer: impl FnOnce(String) -> Vec<u8>,
    options: impl FnOnce(Connect<DuplexStream>) -> Connect<DuplexStream>,
) -> Result<WebSocketStream, ConnectError> {
    let (client, mut server) = duplex(1 << 20);
    let serve = async {
        let request = read_head(&mut server).await;
        server.write_all(&answer(accept_key(&request))).await.unwrap();
    };
    let connect = options(WebSocketStream::connect_over("ws://example.com/live", client));
    let (result, ()) = tokio::join!(connect.into_future(), serve);
    result
}

/// A 101 with these lines, `ACCEPT` standing for the accept key.
fn upgrade_with(lines: &str) -> impl FnOnce(String) -> Vec<u8> + use<> {
    let lines = lines.to_owned();
    move |accept| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n").replace("ACCEPT", &accept).into_bytes()
}

const GOOD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n";

#[tokio::test(start_paused = true)]
async fn a_good_response_opens_the_connection() {
    let protocols = ["v2", "v1"];
    let answer = upgrade_with(&format!("{GOOD}Sec-WebSocket-Protocol: v1\r\n"));
    let ws = connect_to(answer, |connect| connect.protocols(protocols)).await.unwrap();
    assert_eq!((ws.protocol(), ws.url()), ("v1", "ws://example.com/live"));

    let spread = "upgrade: WebSocket\r\nconnection: keep-alive\r\nCONNECTION: foo, uPGRADE\r\n\
                  sec-websocket-accept:   ACCEPT  \r\n";
    let ws = connect_to(upgrade_with(spread), |connect| connect).await.unwrap();
    assert_eq!(ws.protocol(), "");

    let lax = Config::default().require_protocol(false);
    let ws = connect_to(upgrade_with(GOOD), |connect| connect.protocols(protocols).config(lax)).await.unwrap();
    assert_eq!(ws.protocol(), "");
}

#[tokio::test(start_paused = true)]
async fn a_101_that_breaks_the_rules_fails() {
    for (lines, words) in [
        ("", "Upgrade: websocket"),
        ("Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n", "Upgrade: websocket"),
        (&GOOD.replace("websocket\r", "h2c\r"), "Upgrade: websocket"),
        (&format!("{GOOD}Upgrade: h2c\r\n"), "Upgrade: websocket"),
        (&GOOD.replace("Connection: Upgrade", "Connection: close"), "Connection"),
        (&GOOD.replace("Connection: Upgrade", "Connection: upgraded"), "Connection"),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", "Sec-WebSocket-Accept"),
        (&GOOD.replace("ACCEPT", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "Sec-WebSocket-Accept"),
        (&format!("{GOOD}Sec-WebSocket-Accept: ACCEPT\r\n"), "Sec-WebSocket-Accept"),
        (&format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate; x\r\n"), "permessage-deflate"),
        (GOOD, "Config::require_protocol"),
        (&format!("{GOOD}Sec-WebSocket-Protocol: v3\r\n"), "v3"),
        (&format!("{GOOD}Sec-WebSocket-Protocol: V1\r\n"), "V1"),
        (&format!("{GOOD}Sec-WebSocket-Protocol: v1, v2\r\n"), "v1, v2"),
        (&format!("{GOOD}Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol: v1\r\n"), "several"),
        (&format!("{GOOD}no header line\r\n"), "malformed"),
    ] {
        let connect = connect_to(upgrade_with(lines), |connect| connect.protocols(["v1", "v2"])).await;
        let error = connect.err().unwrap_or_else(|| panic!("{lines} was taken"));
        assert_eq!(error.kind(), ConnectErrorKind::BadResponse, "{lines}");
        assert!(error.to_string().contains(words), "{lines}: {error}");
        assert!(error.response().is_none());
    }
    let unasked = upgrade_with(&format!("{GOOD}Sec-WebSocket-Protocol: v1\r\n"));
    assert_eq!(kind(connect_to(unasked, |connect| connect).await), ConnectErrorKind::BadResponse);
    let old = |accept| [b"HTTP/1.0", &upgrade_with(GOOD)(accept)[8..]].concat();
    assert_eq!(kind(connect_to(old, |connect| connect).await), ConnectErrorKind::BadResponse);
    let not_http = |_| b"SSH-2.0-OpenSSH_9.9\r\n".to_vec();
    assert_eq!(kind(connect_to(not_http, |connect| connect).await), ConnectErrorKind::BadResponse);
}

fn kind(result: Result<WebSocketStream, ConnectError>) -> ConnectErrorKind {
    match result {
        Ok(_) => panic!("a connection where none should be"),
        Err(error) => error.kind(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_with_status_headers_and_body() {
    let long = "x".repeat(100_000);
    for (response, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Length: 4\r\n\r\nwhy?and more", 403, "why?"),
        ("HTTP/1.1 401 Unauthorized\r\nX-Why: no\r\nContent-Length: 0\r\n\r\n", 401, ""),
        ("HTTP/1.0 503 Service Unavailable\r\nX-Why: no\r\n\r\nbusy", 503, "busy"),
        ("HTTP/1.1 302 Found\r\nX-Why: no\r\nLocation: ws://other/\r\nContent-Length: 0\r\n\r\n", 302, ""),
        ("HTTP/1.1 200 OK\r\nX-Why: no\r\nContent-Length: 100\r\n\r\nstalls", 200, "stalls"),
        (
            "HTTP/1.1 500 Oops\r\nX-Why: no\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            500,
            "abcde",
        ),
        (&format!("HTTP/1.1 404 Not Found\r\nX-Why: no\r\n\r\n{long}"), 404, &long[..8192]),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 410 Gone\r\nX-Why: no\r\nContent-Length: 1\r\n\r\n!", 410, "!"),
        ("HTTP/1.1 204 No Content\r\nX-Why: no\r\n\r\n", 204, ""),
    ] {
        let started = Instant::now();
        let result = connect_to(|_| response.as_bytes().to_vec(), |connect| connect).await;
        let error = result.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Refused, "{error}");
        let refusal = error.response().unwrap();
        assert_eq!((refusal.status().as_u16(), &refusal.body()[..]), (status, body.as_bytes()));
        assert_eq!(refusal.headers()["x-why"], "no");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(started.elapsed() <= Duration::from_millis(1001), "{status} took {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_hides_no_refusal_even_when_time_is_nearly_up() {
    let (client, mut server) = duplex(1024);
    let config = Config::default().handshake_timeout(Duration::from_millis(500));
    let started = Instant::now();
    let serve = async {
        read_head(&mut server).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.write_all(b"HTTP/1.1 429 Slow Down\r\nContent-Length: 9\r\n\r\nwait").await.unwrap();
    };
    let connect = WebSocketStream::connect_over("ws://a/", client).config(config).into_future();
    let (result, ()) = tokio::join!(connect, serve);
    let error = result.err().unwrap();
    let response = error.response().expect("the refusal");
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::TOO_MANY_REQUESTS, &b"wait"[..]));
    assert!(started.elapsed() <= Duration::from_millis(502), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn heads_over_a_limit_name_the_limit_and_the_knob() {
    let huge = |_| [b"HTTP/1.1 101 Yes\r\nX: ", "x".repeat((1 << 20) - 100).as_bytes()].concat();
    let error = connect_to(huge, |connect| connect).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::HeadTooLarge);
    assert!(error.to_string().contains("16384 bytes; `Config::max_head_size`"), "{error}");

    let many = |_| ["HTTP/1.1 101 Yes\r\n", &"X: y\r\n".repeat(10_000)].concat().into_bytes();
    let large = Config::default().max_head_size(1 << 20);
    let error = connect_to(many, |connect| connect.config(large)).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::HeadTooLarge);
    assert!(error.to_string().contains("100 headers; `Config::max_headers`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_in_time() {
    for (sent, what) in [(&b""[..], "not answer"), (b"HTTP/1.1 101 Switching Prot", "not answer")] {
        let (client, mut server) = duplex(1024);
        server.write_all(sent).await.unwrap();
        let started = Instant::now();
        let error = WebSocketStream::connect_over("ws://a/", client).await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Timeout);
        assert!(error.to_string().contains(what) && error.to_string().contains("30s; `Config::handshake_timeout`"));
        assert!((30_000..=30_002).contains(&started.elapsed().as_millis()));
        read_head(&mut server).await;
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "the transport is dropped");
    }
    // A limit beyond the clock's range is none, not a panic.
    let config = Config::default().handshake_timeout(Duration::MAX);
    let ws = connect_to(upgrade_with(GOOD), |connect| connect.config(config)).await;
    assert!(ws.is_ok());
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_io_error() {
    for sent in ["", "HTTP/1.1 101 Switching"] {
        let (client, mut server) = duplex(1024);
        server.write_all(sent.as_bytes()).await.unwrap();
        let serve = async move { read_head(&mut server).await };
        let (result, _) = tokio::join!(WebSocketStream::connect_over("ws://a/", client).into_future(), serve);
        assert_eq!(kind(result), ConnectErrorKind::Io, "{sent}");
    }
    let (client, server) = duplex(1024);
    drop(server);
    let error = WebSocketStream::connect_over("ws://a/", client).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Io);
    assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
}

#[tokio::test]
async fn options_that_cannot_be_used_are_reported_before_anything_is_sent() {
    type Options = fn(Connect<DuplexStream>) -> Connect<DuplexStream>;
    let bad: [(Options, &str); 12] = [
        (|connect| connect.header("host", "other"), "made from the URL"),
        (|connect| connect.header("Connection", "close"), "`connection` belongs to the handshake"),
        (|connect| connect.header("upgrade", "h2c"), "leave it out"),
        (|connect| connect.header("sec-websocket-key", "x"), "leave it out"),
        (|connect| connect.header("sec-websocket-version", "8"), "leave it out"),
        (|connect| connect.header("sec-websocket-extensions", "x"), "leave it out"),
        (|connect| connect.header("sec-websocket-protocol", "x"), "by the builder's own method"),
        (|connect| connect.header("content-length", "3"), "leave it out"),
        (|connect| connect.header("bad name", "x"), "name"),
        (|connect| connect.header("x", "a\r\nb: c").header("also bad", "x"), "value of the header `x`"),
        (|connect| connect.protocols(["v1", "v1"]), "twice"),
        (|connect| connect.protocols(["a b"]), "token"),
    ];
    for (options, words) in bad {
        let (client, mut server) = duplex(1024);
        let error = options(WebSocketStream::connect_over("ws://a/", client)).await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::InvalidOption, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }
    let error = WebSocketStream::connect("ws://example.com/#top").await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::InvalidUrl);
    #[cfg(not(feature = "rustls"))]
    {
        let error = WebSocketStream::connect("wss://example.com/").await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::UnsupportedScheme);
        assert!(error.to_string().contains("enable the feature `rustls`"), "{error}");
    }
    let error = WebSocketStream::connect("ws://a/").origin("a\nb").await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::InvalidOption);
}

#[tokio::test]
async fn what_the_builder_is_given_is_sent() {
    let (client, mut server) = duplex(1024);
    let connect = WebSocketStream::connect_over("https://user:pass@example.com:444/live", client)
        .protocols(["v2", "v1"])
        .header("x-one", "1")
        .header(http::header::COOKIE, http::HeaderValue::from_static("a=b"))
        .origin("https://example.com")
        .into_future();
    let serve = async move { read_head(&mut server).await };
    let (_, request) = tokio::join!(connect, serve);
    assert!(request.starts_with("GET /live HTTP/1.1\r\n"), "{request}");
    for (name, value) in [
        ("host", "example.com:444"),
        ("origin", "https://example.com"),
        ("sec-websocket-protocol", "v2, v1"),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("x-one", "1"),
        ("cookie", "a=b"),
    ] {
        assert_eq!(super::header(&request, name), Some(value));
    }
}

#[tokio::test]
async fn dropping_the_future_aborts_the_handshake_and_closes_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut connect = WebSocketStream::connect(url).into_future();
    let mut peer = tokio::select! {
        _ = &mut connect => panic!("nobody answered"),
        peer = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            read_head(&mut peer).await;
            peer
        } => peer,
    };
    drop(connect);
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn nobody_listening_is_an_io_error_that_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = WebSocketStream::connect(format!("ws://{addr}/")).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Io);
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionRefused);
}
