//! The server's side against scripted clients.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use wsstream::{AcceptError, AcceptErrorKind, AcceptUpgrade, Config, Reject, Upgrade, WebSocketStream};

use super::{KEY, good_request, header, read_all, read_head};

/// Sends a request that should be refused; the answer, and the error that is reported.
async fn refused(request: &[u8], config: Config) -> (String, AcceptError) {
    let (mut client, server) = duplex(2 << 20);
    client.write_all(request).await.unwrap();
    let answer = async {
        let answer = read_all(&mut client).await;
        drop(client);
        answer
    };
    let (result, answer) = tokio::join!(WebSocketStream::accept(server).config(config).into_future(), answer);
    (answer, result.expect_err("a request that should be refused"))
}

/// Every refusal says why, in full, and that the connection ends.
fn assert_complete(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(header(head, "content-length"), Some(&*body.len().to_string()), "{answer}");
    assert_eq!(header(head, "content-type"), Some("text/plain; charset=utf-8"), "{answer}");
    assert!(header(head, "connection").unwrap().starts_with("close"), "{answer}");
    assert!(body.len() > 5 && body.ends_with('\n'), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn each_bad_request_has_its_status_and_a_body_that_says_why() {
    let good = good_request();
    let without = |line: &str| good.replacen(&format!("{line}\r\n"), "", 1);
    let with = |line: &str| good.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    let key_line = format!("Sec-WebSocket-Key: {KEY}");
    for (request, status, why) in [
        (good.replace("GET", "POST"), 405, "GET"),
        (good.replace("GET", "HEAD"), 405, "GET"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.1"),
        (good.replace("HTTP/1.1", "HTTP/3.0"), 400, "malformed HTTP"),
        (good.replace("/live?x=1", "example.com:80"), 400, "path"),
        (good.replace("Host:", "Host :"), 400, "malformed HTTP"),
        (good.replace("Host: example.com", "Host example.com"), 400, "malformed HTTP"),
        (without("Host: example.com"), 400, "Host"),
        (with("Host: example.com"), 400, "Host"),
        (without("Upgrade: websocket"), 426, "Upgrade"),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), 426, "Upgrade"),
        (without("Connection: Upgrade"), 400, "Connection"),
        (good.replace("Connection: Upgrade", "Connection: keep-alive"), 400, "Connection"),
        (without("Sec-WebSocket-Version: 13"), 426, "13"),
        (good.replace("Version: 13", "Version: 8"), 426, "13"),
        (good.replace("Version: 13", "Version: 13, 8"), 426, "13"),
        (without(&key_line), 400, "Sec-WebSocket-Key"),
        (with(&key_line), 400, "Sec-WebSocket-Key"),
        (good.replace(KEY, ""), 400, "Sec-WebSocket-Key"),
        (good.replace(KEY, &format!("{KEY}AAAA")), 400, "Sec-WebSocket-Key"),
        (good.replace(KEY, "AAAAAAAAAAAAAAAAAAAAAAAA"), 400, "Sec-WebSocket-Key"),
        (good.replace(KEY, "dGhlIHNhbXBsZSBub25jZQ!!"), 400, "Sec-WebSocket-Key"),
        (with("Content-Length: 5"), 400, "body"),
        (with("Transfer-Encoding: chunked"), 400, "body"),
        (with("Sec-WebSocket-Protocol: a b"), 400, "Sec-WebSocket-Protocol"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), 400, "not HTTP"),
        ("\u{16}\u{3}\u{1}\u{2}".to_owned(), 400, "TLS"),
    ] {
        let (answer, error) = refused(request.as_bytes(), Config::default()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_complete(&answer);
        assert!(answer.split_once("\r\n\r\n").unwrap().1.contains(why), "{request}: {answer}");
        assert_eq!(error.kind(), AcceptErrorKind::BadRequest, "{request}");
        assert_eq!(error.status().map(|it| it.as_u16()), Some(status), "{request}");
        let expected = |wanted, value: &'static str| (status == wanted).then_some(value);
        assert_eq!(header(&answer, "allow"), expected(405, "GET"));
        assert_eq!(header(&answer, "upgrade"), expected(426, "websocket"));
        let expects_version = status == 426 && why == "13";
        assert_eq!(header(&answer, "sec-websocket-version"), expects_version.then_some("13"), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn heads_over_a_limit_are_431_and_name_the_knob_to_us_alone() {
    let huge = good_request().replacen("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), 1);
    let (answer, error) = refused(huge.as_bytes(), Config::default()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_complete(&answer);
    assert!(!answer.contains("Config"), "{answer}");
    assert_eq!(error.kind(), AcceptErrorKind::HeadTooLarge);
    assert!(error.to_string().contains("16384 bytes; `Config::max_head_size`"), "{error}");

    let many = good_request().replacen("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(10_000)), 1);
    let (answer, error) = refused(many.as_bytes(), Config::default().max_head_size(1 << 20)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(error.to_string().contains("100 headers; `Config::max_headers`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_in_time() {
    for sent in ["", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let (mut client, server) = duplex(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        let started = Instant::now();
        let error = WebSocketStream::accept(server).await.err().unwrap();
        assert_eq!(error.kind(), AcceptErrorKind::Timeout);
        assert!(error.to_string().contains("30s; `Config::handshake_timeout`"), "{error}");
        assert!((30_000..=30_002).contains(&started.elapsed().as_millis()));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_the_answer_is_given_up_in_time() {
    let (mut client, server) = duplex(good_request().len());
    client.write_all(good_request().as_bytes()).await.unwrap();
    let upgrade = WebSocketStream::accept(server).await.unwrap();
    let error = upgrade.reject(StatusCode::NOT_FOUND).body(vec![0; 4096]).await.err().unwrap();
    assert_eq!(error.kind(), AcceptErrorKind::Timeout);
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_io_error() {
    for sent in ["", "GET / HTTP/1.1\r\nHo"] {
        let (mut client, server) = duplex(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        drop(client);
        let error = WebSocketStream::accept(server).await.err().unwrap();
        assert_eq!((error.kind(), error.status()), (AcceptErrorKind::Io, None), "{sent}");
    }
}

async fn upgrade(lines: &str) -> (DuplexStream, Upgrade<DuplexStream>) {
    let (mut client, server) = duplex(64 * 1024);
    let request = good_request().replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1);
    client.write_all(request.as_bytes()).await.unwrap();
    (client, WebSocketStream::accept(server).await.unwrap())
}

#[tokio::test]
async fn an_upgrade_shows_the_request_and_is_answered_as_decided() {
    let lines =
        "Origin: http://example.com\r\nX-One: 1\r\nSec-WebSocket-Protocol: v2, v1\r\nSec-WebSocket-Protocol: v0\r\n";
    let (mut client, upgrade) = upgrade(lines).await;
    assert_eq!(upgrade.uri(), "/live?x=1");
    assert_eq!(upgrade.headers()["x-one"], "1");
    assert_eq!(upgrade.origin(), Some("http://example.com"));
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["v2", "v1", "v0"]);
    assert_eq!(upgrade.peer_addr(), None);
    let ws = upgrade.accept().protocol("v1").header("set-cookie", "a=b").header("set-cookie", "c=d").await.unwrap();
    assert_eq!((ws.protocol(), ws.url()), ("v1", "/live?x=1"));
    let response = read_head(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{response}");
    assert_eq!(header(&response, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(header(&response, "sec-websocket-protocol"), Some("v1"));
    assert_eq!(response.matches("set-cookie").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_says_what_the_application_says() {
    let (mut client, upgrade) = upgrade("").await;
    let reject = upgrade.reject(StatusCode::UNAUTHORIZED).header("www-authenticate", "Bearer").body("who?");
    let (result, answer) = tokio::join!(reject.into_future(), read_all(&mut client));
    result.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n") && answer.ends_with("\r\n\r\nwho?"), "{answer}");
    assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
    assert_eq!(header(&answer, "content-length"), Some("4"));
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_are_refused_unless_allowed() {
    type Options = fn(AcceptUpgrade<DuplexStream>) -> AcceptUpgrade<DuplexStream>;
    let cases: [(&str, Options, bool); 7] = [
        ("", |accept| accept, true),
        ("Origin: https://example.com\r\n", |accept| accept, true),
        ("Origin: https://evil.example\r\n", |accept| accept, false),
        ("Origin: null\r\n", |accept| accept, false),
        ("Origin: https://app.example\r\n", |accept| accept.allow_origins(["https://app.example"]), true),
        ("Origin: https://evil.example\r\n", |accept| accept.allow_origins(["https://app.example"]), false),
        ("Origin: https://evil.example\r\n", |accept| accept.allow_any_origin(), true),
    ];
    for (line, options, passes) in cases {
        let (mut client, upgrade) = upgrade(line).await;
        let accept = options(upgrade.accept()).into_future();
        if passes {
            accept.await.unwrap_or_else(|error| panic!("{line}: {error}"));
            continue;
        }
        let (result, answer) = tokio::join!(accept, read_all(&mut client));
        let error = result.err().unwrap_or_else(|| panic!("{line} was let in"));
        assert_eq!((error.kind(), error.status()), (AcceptErrorKind::ForbiddenOrigin, Some(StatusCode::FORBIDDEN)));
        assert!(error.to_string().contains("allow_origins"), "{error}");
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert_complete(&answer);
    }
}

#[tokio::test(start_paused = true)]
async fn options_that_cannot_be_used_are_reported_and_the_client_gets_500() {
    use AcceptErrorKind::{InvalidOption, ProtocolNotOffered};
    type Options = fn(AcceptUpgrade<DuplexStream>) -> AcceptUpgrade<DuplexStream>;
    let accepts: [(Options, AcceptErrorKind, &str); 6] = [
        (|accept| accept.protocol("v3"), ProtocolNotOffered, "[v1]; pick one of `Upgrade::protocols`"),
        (|accept| accept.header("bad name", "x"), InvalidOption, "name"),
        (|accept| accept.header("x", "\u{e4}"), InvalidOption, "ASCII"),
        (|accept| accept.header("upgrade", "x"), InvalidOption, "belongs to the handshake"),
        (|accept| accept.header("sec-websocket-accept", "x"), InvalidOption, "belongs to the handshake"),
        (|accept| accept.allow_origins(["app.example"]), InvalidOption, "scheme://host"),
    ];
    for (options, kind, words) in accepts {
        let (mut client, upgrade) = upgrade("Sec-WebSocket-Protocol: v1\r\n").await;
        let (result, answer) = tokio::join!(options(upgrade.accept()).into_future(), read_all(&mut client));
        assert_own_fault(result.err().unwrap(), &answer, kind, words);
    }
    type RejectOptions = fn(Upgrade<DuplexStream>) -> Reject<DuplexStream>;
    let rejects: [(RejectOptions, &str); 4] = [
        (|upgrade| upgrade.reject(StatusCode::OK), "300 or above"),
        (|upgrade| upgrade.reject(StatusCode::SWITCHING_PROTOCOLS), "300 or above"),
        (|upgrade| upgrade.reject(StatusCode::NOT_FOUND).header("content-length", 3), "`content-length`"),
        (|upgrade| upgrade.reject(StatusCode::NOT_FOUND).header("x", "a\nb"), "`x`"),
    ];
    for (options, words) in rejects {
        let (mut client, upgrade) = upgrade("").await;
        let (result, answer) = tokio::join!(options(upgrade).into_future(), read_all(&mut client));
        assert_own_fault(result.err().unwrap(), &answer, InvalidOption, words);
    }
}

fn assert_own_fault(error: AcceptError, answer: &str, kind: AcceptErrorKind, words: &str) {
    assert_eq!((error.kind(), error.status()), (kind, Some(StatusCode::INTERNAL_SERVER_ERROR)), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_complete(answer);
}

#[tokio::test]
async fn an_upgrade_that_is_dropped_ends_the_transport() {
    let (mut client, upgrade) = upgrade("").await;
    drop(upgrade);
    assert_eq!(read_all(&mut client).await, "");
}

/// Closing a socket with unread input resets the connection, and a reset destroys what the client has not read yet.
#[tokio::test]
async fn a_refusal_survives_a_client_that_is_still_sending() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let serve = tokio::spawn(WebSocketStream::accept(tcp).into_future());
    let request = good_request().replacen("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(4 << 20)), 1);
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop(client);
    assert_eq!(serve.await.unwrap().err().unwrap().kind(), AcceptErrorKind::HeadTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lingers_after_its_refusal_is_not_waited_for() {
    let (mut client, server) = duplex(1 << 20);
    client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert!(WebSocketStream::accept(server).await.is_err());
    assert!(started.elapsed() <= Duration::from_millis(202), "a silent one: {:?}", started.elapsed());

    let (mut client, server) = duplex(1 << 20);
    client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = Instant::now();
    let chatter = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if client.write_all(b"more").await.is_err() {
                break;
            }
        }
    };
    let (result, ()) = tokio::join!(WebSocketStream::accept(server).into_future(), chatter);
    assert!(result.is_err());
    assert!(started.elapsed() <= Duration::from_millis(1102), "one that goes on: {:?}", started.elapsed());
}
