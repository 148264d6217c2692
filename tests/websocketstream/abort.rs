//! After `abort.any.js`. What aborts a handshake here is dropping its future.

use std::time::Duration;

use futures::StreamExt;
use tokio::{
    io::duplex,
    net::{TcpListener, TcpStream},
};
use wsstream::{Message, WebSocketStream};

use super::{
    handlers,
    peer::{PIPE, Peer, timed},
};

#[tokio::test]
async fn abort_before_constructing_should_prevent_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(WebSocketStream::connect(format!("ws://{addr}/")));
    drop(WebSocketStream::connect(format!("ws://{addr}/")).into_future());
    let marker = TcpStream::connect(addr).await.unwrap();
    let (_, first) = listener.accept().await.unwrap();
    assert_eq!(first, marker.local_addr().unwrap(), "somebody connected before");
}

#[tokio::test(start_paused = true)]
async fn abort_during_handshake_should_work() {
    let (client, server) = duplex(PIPE);
    let mut peer = Peer { io: server };
    let connect = WebSocketStream::connect_over("ws://localhost/", client).into_future();
    let (aborted, time) = timed(tokio::time::timeout(Duration::from_millis(1), async {
        tokio::join!(connect, handlers::handshake_sleep_2(&mut peer))
    }))
    .await;
    assert!(aborted.is_err() && time < Duration::from_millis(10), "{time:?}");
    peer.end().await;
}

#[tokio::test(start_paused = true)]
async fn abort_after_connect_should_do_nothing() {
    let (client, server) = duplex(PIPE);
    let mut peer = Peer { io: server };
    let mut connect = WebSocketStream::connect_over("ws://localhost/", client).into_future();
    let serve = async {
        let request = peer.request().await;
        peer.switch_protocols(&request, "").await;
    };
    let (ws, ()) = tokio::join!(&mut connect, serve);
    tokio::spawn(handlers::echo(peer));
    drop(connect);
    let mut ws = ws.unwrap();
    ws.send("connected").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::text("connected"));
}
