//! Frames that arrive together with a head belong to the connection.

use tokio::io::{AsyncWriteExt, duplex};
use wsstream::{Config, Negotiated, Role, WebSocketStream};

use super::{accept_key, good_request, read_head};

/// "Hello", unmasked and masked, as in RFC 6455, 5.7.
const FROM_SERVER: &[u8] = b"\x81\x05Hello";
const FROM_CLIENT: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";

async fn assert_receives_hello(mut ws: WebSocketStream) {
    let message = ws.next_message().await.unwrap().expect("a message");
    assert_eq!(message.collect(100).await.unwrap().as_bytes(), b"Hello");
}

#[tokio::test]
async fn a_message_glued_to_the_response_is_received() {
    let (client, mut server) = duplex(4096);
    let serve = async {
        let accept = accept_key(&read_head(&mut server).await);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        server.write_all(&[head.as_bytes(), FROM_SERVER].concat()).await.unwrap();
    };
    let (ws, ()) = tokio::join!(WebSocketStream::connect_over("ws://a/", client).into_future(), serve);
    assert_receives_hello(ws.unwrap()).await;
}

#[tokio::test]
async fn a_message_of_a_client_that_does_not_wait_for_the_response_is_received() {
    let (mut client, server) = duplex(4096);
    client.write_all(&[good_request().as_bytes(), FROM_CLIENT].concat()).await.unwrap();
    let ws = WebSocketStream::accept(server).await.unwrap().accept().await.unwrap();
    assert_receives_hello(ws).await;
}

#[tokio::test]
async fn a_message_read_by_whoever_did_the_handshake_is_received() {
    let (_client, server) = duplex(4096);
    let negotiated = Negotiated::default().with_protocol("v1").with_url("/live");
    let (leftover, config) = (FROM_CLIENT.to_vec(), Config::default());
    let ws = WebSocketStream::from_upgraded(server, leftover, Role::Server, negotiated, config);
    assert_eq!((ws.protocol(), ws.url()), ("v1", "/live"));
    assert_receives_hello(ws).await;
}
