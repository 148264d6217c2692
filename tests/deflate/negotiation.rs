//! What is agreed on in the handshake, and what fails it.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use wsstream::{AcceptErrorKind, Compression, Config, ConnectErrorKind, Negotiated, WebSocketStream};

use crate::support::{next, within};

fn with(compression: impl Into<Option<Compression>>) -> Config {
    Config::default().compression(compression)
}

/// Both ends of a handshake with these configurations.
async fn shake_hands(client: Config, server: Config) -> (WebSocketStream, WebSocketStream) {
    let (near, far) = duplex(4096);
    let connect = WebSocketStream::connect_over("ws://localhost/", near).config(client).into_future();
    let accept = async { WebSocketStream::accept(far).config(server).await.unwrap().accept().await.unwrap() };
    let (client, server) = within(async { tokio::join!(connect, accept) }).await;
    (client.unwrap(), server)
}

#[tokio::test]
async fn compression_is_used_if_both_ends_want_it() {
    let on = Compression::default();
    let small = on.send_window_bits(12).receive_window_bits(11).send_takeover(false);
    for (client, server, agreed) in [
        (None, None, ""),
        (Some(on), None, ""),
        (None, Some(on), ""),
        (Some(on), Some(on), "permessage-deflate"),
        (
            Some(small),
            Some(on),
            "permessage-deflate; server_max_window_bits=11; client_no_context_takeover; client_max_window_bits=12",
        ),
        (Some(on), Some(small), "permessage-deflate; server_no_context_takeover; client_max_window_bits=11"),
    ] {
        let (mut client, mut server) = shake_hands(with(client), with(server)).await;
        assert_eq!((client.extensions(), server.extensions()), (agreed, agreed));
        let text = "a text that is compressed, compressed, compressed".repeat(10);
        within(client.send(text.as_str())).await.unwrap();
        assert_eq!(within(next(&mut server)).await.unwrap().unwrap().as_text(), Some(&text[..]));
        let came = server.stats().received.bytes;
        assert_eq!(came < 200, !agreed.is_empty(), "{came} bytes for {}", text.len());
    }
}

#[tokio::test]
async fn the_decision_of_a_server_may_be_another_for_each_client() {
    let (near, far) = duplex(4096);
    let connect = WebSocketStream::connect_over("ws://localhost/", near).config(with(Compression::default()));
    let accept = async {
        let upgrade = WebSocketStream::accept(far).await.unwrap();
        assert_eq!(upgrade.headers()["sec-websocket-extensions"], "permessage-deflate; client_max_window_bits");
        upgrade.accept().config(with(Compression::default())).await.unwrap()
    };
    let (client, server) = within(async { tokio::join!(connect.into_future(), accept) }).await;
    assert_eq!((client.unwrap().extensions(), server.extensions()), ("permessage-deflate", "permessage-deflate"));
}

/// A client's error at a response with these extensions.
async fn response(config: Config, extensions: &str) -> String {
    let (near, mut far) = duplex(4096);
    let connect = WebSocketStream::connect_over("ws://localhost/", near).config(config).into_future();
    let answer = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(far.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
        );
        far.write_all(head.as_bytes()).await.unwrap();
        far
    };
    let (result, _far) = within(async { tokio::join!(connect, answer) }).await;
    let error = result.expect_err(extensions);
    assert_eq!(error.kind(), ConnectErrorKind::BadResponse);
    error.to_string()
}

#[tokio::test]
async fn a_client_fails_at_an_answer_that_it_did_not_invite() {
    let on = || with(Compression::default());
    for (config, extensions, words) in [
        (with(None), "permessage-deflate", "not offered"),
        (on(), "permessage-deflate; client_max_window_bits=16", "8 to 15"),
        (on(), "permessage-deflate; mystery", "no parameter"),
        (on(), "permessage-deflate, permessage-deflate", "twice"),
        (on(), "x-other", "not offered"),
        (on(), "permessage-deflate;;", "malformed"),
        (with(Compression::default().receive_takeover(false)), "permessage-deflate", "missing"),
    ] {
        let error = response(config, extensions).await;
        assert!(error.contains(words), "{extensions}: {error}");
    }
}

#[tokio::test]
async fn a_request_whose_extensions_cannot_be_read_is_refused() {
    // Whether compression is on or off (RFC 6455, 9.1).
    for config in [with(None), with(Compression::default())] {
        let (mut near, far) = duplex(4096);
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\"10\r\n\r\n";
        near.write_all(request.as_bytes()).await.unwrap();
        let error = within(WebSocketStream::accept(far).config(config).into_future()).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (AcceptErrorKind::BadRequest, Some(StatusCode::BAD_REQUEST)));
        let mut answer = String::new();
        within(near.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Sec-WebSocket-Extensions"), "{answer}");
    }
}

#[test]
fn what_somebody_else_agreed_on_is_checked() {
    for good in ["", "permessage-deflate", "permessage-deflate; server_max_window_bits=8; client_no_context_takeover"] {
        Negotiated::default().with_extensions(good).unwrap();
    }
    for (wrong, words) in [
        ("permessage-deflate; client_max_window_bits", "takes a number"),
        ("permessage-deflate; server_max_window_bits=1", "8 to 15"),
        ("x-other", "not offered"),
        ("permessage-deflate;", "malformed"),
        ("permessage-deflate\n", "header"),
    ] {
        let error = Negotiated::default().with_extensions(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}
