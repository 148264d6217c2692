//! The servers that the public tests talk to, scripted again.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

use super::peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_body, header};

/// Echoes messages; echoes the Close frame, and ends the transport. What the Close frame said.
pub(crate) async fn echo(mut peer: Peer) -> Vec<u8> {
    loop {
        match peer.message().await.expect("a Close frame before the end") {
            (CLOSE, body) => {
                peer.send(CLOSE, &body).await;
                return body;
            }
            (PING, payload) => peer.send(PONG, payload).await,
            (opcode, payload) => peer.send(opcode, payload).await,
        }
    }
}

/// Reads until the text "Goodbye" has come, then closes.
pub(crate) async fn echo_exit(mut peer: Peer) {
    while peer.message().await.expect("a message") != (TEXT, b"Goodbye".to_vec()) {}
    peer.close(1000, "").await;
    peer.close_body().await;
}

/// Closes with this body; what the answer said.
pub(crate) async fn remote_close(mut peer: Peer, body: Vec<u8>) -> Vec<u8> {
    peer.send(CLOSE, body).await;
    peer.close_body().await
}

/// Drops the transport without a Close frame.
pub(crate) async fn abrupt(mut peer: Peer) {
    peer.send(PING, "").await;
}

/// Answers the Close frame a second late.
pub(crate) async fn delayed_passive_close(mut peer: Peer) {
    let body = peer.close_body().await;
    sleep(Duration::from_secs(1)).await;
    peer.send(CLOSE, body).await;
}

/// Drops the transport on a Close frame, without an answer.
pub(crate) async fn passive_close_abort(mut peer: Peer) {
    peer.close_body().await;
}

/// Sends an empty message and 16 of 1 MiB, then how many seconds those took.
pub(crate) async fn send_backpressure(mut peer: Peer) {
    peer.send(BINARY, "").await;
    let start = Instant::now();
    for _ in 0..16 {
        peer.send(BINARY, vec![0; 1 << 20]).await;
    }
    peer.send(TEXT, start.elapsed().as_secs_f64().to_string()).await;
    peer.close_body().await;
}

/// Sleeps for two seconds, then receives a message; its length. The connection stays open.
pub(crate) async fn receive_backpressure(mut peer: Peer) -> (usize, Peer) {
    sleep(Duration::from_secs(2)).await;
    let (_, payload) = peer.message().await.expect("a message");
    (payload.len(), peer)
}

/// Picks the first subprotocol offered, sends its name, and closes.
pub(crate) async fn protocol_array(mut peer: Peer) {
    let request = peer.request().await;
    let offered = header(&request, "sec-websocket-protocol").unwrap();
    let first = offered.split(", ").next().unwrap();
    peer.switch_protocols(&request, &format!("Sec-WebSocket-Protocol: {first}\r\n")).await;
    peer.send(TEXT, first).await;
    peer.send(CLOSE, close_body(1000, "")).await;
    peer.close_body().await;
}

/// Reads the request, and answers it two seconds later, if the client is still there.
pub(crate) async fn handshake_sleep_2(peer: &mut Peer) {
    let request = peer.request().await;
    sleep(Duration::from_secs(2)).await;
    peer.switch_protocols(&request, "").await;
}

/// There is no such page.
pub(crate) async fn not_found(mut peer: Peer) {
    peer.request().await;
    peer.io.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nnot here").await.unwrap();
}
