//! How connections end, and what TLS says about it (RFC 8446, 6.1).

use std::{io, sync::Arc};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use wsstream::{CloseCode, ConnectionError, ReadError, Role, WebSocketStream};

use crate::{
    authority::{Authority, server},
    support::{BINARY, CLOSE, Raw, within},
};

/// A client, and its peer that speaks TLS and writes what it is told to.
async fn open() -> (WebSocketStream, Raw<TlsStream<TcpStream>>) {
    let authority = Authority::new("ours");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", tcp.local_addr().unwrap().port());
    let client: ClientConfig = authority.client();
    let connect = within(WebSocketStream::connect(url).tls(client).into_future());
    let accept = async {
        let (tcp, _) = tcp.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(Arc::new(server(authority.good()))).accept(tcp).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let response = format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        tls.write_all(response.as_bytes()).await.unwrap();
        tls.flush().await.unwrap();
        tls
    };
    let (client, tls) = tokio::join!(connect, within(accept));
    (client.unwrap(), Raw::new(tls, Role::Server))
}

/// Ends TCP, and not TLS: what somebody in the middle can do.
async fn cut(peer: Raw<TlsStream<TcpStream>>) {
    let (mut tcp, _) = peer.io.into_inner();
    tcp.shutdown().await.unwrap();
    drop(tcp);
}

fn is_cut(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Io(io) if io.kind() == io::ErrorKind::UnexpectedEof)
}

#[tokio::test]
async fn an_end_without_close_notify_in_a_message_is_unclean() {
    let (mut ws, mut peer) = open().await;
    peer.send_part(false, BINARY, b"begun").await;
    peer.io.flush().await.unwrap();
    let closed = ws.closed();
    let mut message = within(ws.next_message()).await.unwrap().unwrap();
    assert_eq!(within(message.chunk()).await.unwrap().unwrap(), "begun");
    cut(peer).await;
    for _ in 0..3 {
        let error = within(message.chunk()).await.unwrap_err();
        assert!(matches!(&error, ReadError::Connection(error) if is_cut(error)), "{error}");
    }
    let error = within(closed).await.unwrap_err();
    assert!(is_cut(&error), "{error}");
    assert_eq!(error.close_code(), CloseCode::ABNORMAL);
}

#[tokio::test]
async fn an_end_between_messages_is_unclean_with_close_notify_or_without() {
    let (ws, peer) = open().await;
    cut(peer).await;
    assert!(is_cut(&within(ws.closed()).await.unwrap_err()));

    let (ws, mut peer) = open().await;
    peer.io.shutdown().await.unwrap();
    let error = within(ws.closed()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Lost), "{error}");
}

/// Close frames cannot be forged, so that nothing is lost with what TLS would still have said.
#[tokio::test]
async fn after_both_close_frames_close_notify_is_not_missed() {
    // Begun by the peer.
    let (ws, mut peer) = open().await;
    peer.send_close(1000, "done").await;
    peer.io.flush().await.unwrap();
    assert_eq!(peer.expect_close().await, Some((1000, "done".to_owned())));
    cut(peer).await;
    let info = within(ws.closed()).await.unwrap();
    assert!(info.was_clean && info.reason == "done", "{info:?}");

    // Begun by us.
    let (mut ws, mut peer) = open().await;
    let answer = async {
        assert_eq!(peer.expect_close().await, Some((1000, "bye".to_owned())));
        peer.send_close(1000, "bye").await;
        peer.io.flush().await.unwrap();
        cut(peer).await;
    };
    let (info, ()) = tokio::join!(within(ws.close(CloseCode::NORMAL, "bye")), answer);
    assert!(info.unwrap().was_clean);
}

/// A Close frame does not make up for a message that was cut before it.
#[tokio::test]
async fn a_close_frame_in_a_message_is_unclean_as_without_tls() {
    let (mut ws, mut peer) = open().await;
    peer.send_part(false, BINARY, b"begun").await;
    peer.send(CLOSE, &1000u16.to_be_bytes()).await;
    peer.io.flush().await.unwrap();
    let closed = ws.closed();
    let mut message = within(ws.next_message()).await.unwrap().unwrap();
    assert_eq!(within(message.chunk()).await.unwrap().unwrap(), "begun");
    cut(peer).await;
    assert!(within(message.chunk()).await.is_err());
    let error = within(closed).await.unwrap_err();
    assert!(matches!(error, ConnectionError::MessageCut(_)), "{error}");
}

/// A peer that looks can tell our end from one that somebody else has made.
#[tokio::test]
async fn our_own_end_says_close_notify() {
    let (mut ws, mut peer) = open().await;
    let answer = async {
        assert!(peer.expect_close().await.is_some());
        peer.send_close(1000, "").await;
        peer.io.shutdown().await.unwrap();
        peer.io.read(&mut [0; 100]).await
    };
    let (info, end) = tokio::join!(within(ws.close(CloseCode::NORMAL, "")), within(answer));
    assert!(info.unwrap().was_clean);
    assert_eq!(end.unwrap(), 0, "without close_notify this is an error");
}
