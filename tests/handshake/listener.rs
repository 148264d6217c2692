//! Many clients at one listener.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};
use wsstream::{Config, Listener, WebSocketStream};

use super::{good_request, read_all};

async fn listener(max_pending: usize) -> Listener {
    Listener::bind("127.0.0.1:0").await.unwrap().max_pending_handshakes(max_pending)
}

async fn connect(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
}

/// Polls `accept` until the runtime has nothing left to do for it; `true` if it found no client.
async fn finds_nobody(listener: &mut Listener) -> bool {
    let mut accept = pin!(listener.accept());
    for _ in 0..100 {
        let is_ready = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_ready())).await;
        if is_ready {
            return false;
        }
        // Lets the runtime look at its sockets, too.
        tokio::task::yield_now().await;
    }
    true
}

#[tokio::test]
async fn silent_clients_hold_up_nobody() {
    let mut listener = listener(1024).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        // Fewer at a time than the system queues.
        for _ in 0..50 {
            silent.push(connect(&listener).await);
        }
        assert!(finds_nobody(&mut listener).await);
    }
    let mut good = connect(&listener).await;
    good.write_all(good_request().as_bytes()).await.unwrap();
    let upgrade = listener.accept().await.unwrap();
    assert_eq!(upgrade.peer_addr(), Some(good.local_addr().unwrap()));
    // Clients that speak late are heard, too: dropped accept futures have lost nothing.
    silent[7].write_all(good_request().as_bytes()).await.unwrap();
    let upgrade = listener.accept().await.unwrap();
    assert_eq!(upgrade.peer_addr(), Some(silent[7].local_addr().unwrap()));
}

#[tokio::test]
async fn no_more_than_the_bound_are_in_the_handshake() {
    let mut listener = listener(2).await;
    let first = connect(&listener).await;
    let _second = connect(&listener).await;
    assert!(finds_nobody(&mut listener).await);
    let mut third = connect(&listener).await;
    third.write_all(good_request().as_bytes()).await.unwrap();
    assert!(finds_nobody(&mut listener).await, "two are pending already");
    drop(first);
    let upgrade = listener.accept().await.unwrap();
    assert_eq!(upgrade.peer_addr(), Some(third.local_addr().unwrap()));
}

#[tokio::test]
async fn a_place_is_free_again_when_time_is_up() {
    let config = Config::default().handshake_timeout(Duration::from_millis(20));
    let mut listener = listener(1).await.config(config);
    let mut silent = connect(&listener).await;
    let mut good = connect(&listener).await;
    good.write_all(good_request().as_bytes()).await.unwrap();
    let upgrade = listener.accept().await.unwrap();
    assert_eq!(upgrade.peer_addr(), Some(good.local_addr().unwrap()));
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn bad_requests_are_answered_and_end_nothing() {
    let mut listener = listener(10).await;
    let mut bad = connect(&listener).await;
    bad.write_all(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let gone = connect(&listener).await;
    drop(gone);
    let addr = listener.local_addr().unwrap();
    let accept = tokio::spawn(async move { listener.accept().await.map(|upgrade| upgrade.uri().to_string()) });
    let answer = read_all(&mut bad).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let mut good = TcpStream::connect(addr).await.unwrap();
    good.write_all(good_request().as_bytes()).await.unwrap();
    assert_eq!(accept.await.unwrap().unwrap(), "/live?x=1");
}

#[tokio::test]
async fn a_socket_made_elsewhere_is_taken_over() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut listener = Listener::from_std(socket).unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serve = async { listener.accept().await.unwrap().accept().await };
    let (client, server) = tokio::join!(WebSocketStream::connect(url).into_future(), serve);
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let first = listener(1).await;
    let error = Listener::bind(first.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
