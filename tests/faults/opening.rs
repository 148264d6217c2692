//! Faults of the transport during the opening handshake.

use tokio::{
    io::{AsyncReadExt, DuplexStream},
    time::timeout,
};
use wsstream::{AcceptError, AcceptErrorKind, ConnectError, ConnectErrorKind, WebSocketStream};

use super::{
    faulty::{BENIGN, FATAL, Fault, Faulty},
    harness::{AN_HOUR, assert_no_task_left, tasks},
    probe::probed,
};

const URL: &str = "ws://localhost/live";

/// The head goes through in pieces.
const NARROW: usize = 40;

async fn connect<T>(transport: T) -> Result<WebSocketStream, ConnectError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    probed(WebSocketStream::connect_over(URL, transport).protocols(["a"]).into_future()).await
}

async fn accept<T>(transport: T) -> Result<WebSocketStream, AcceptError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let upgrade = probed(WebSocketStream::accept(transport).into_future()).await?;
    probed(upgrade.accept().protocol("a").into_future()).await
}

/// A server whose answer is no.
async fn refuse<T>(transport: T) -> Result<(), AcceptError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let upgrade = probed(WebSocketStream::accept(transport).into_future()).await?;
    probed(upgrade.reject(http::StatusCode::NOT_FOUND).body("There is nothing here.\n").into_future()).await
}

fn check_connect(fault: Fault, error: &ConnectError) {
    let kinds: &[ConnectErrorKind] = match fault {
        // The server's own limit may pass first.
        Fault::Stuck => &[ConnectErrorKind::Timeout, ConnectErrorKind::Io],
        _ => &[ConnectErrorKind::Io],
    };
    assert!(kinds.contains(&error.kind()), "{fault:?}: {error:?}");
}

fn check_accept(fault: Fault, error: &AcceptError) {
    let kinds: &[AcceptErrorKind] = match fault {
        Fault::Stuck => &[AcceptErrorKind::Timeout, AcceptErrorKind::Io],
        _ => &[AcceptErrorKind::Io],
    };
    assert!(kinds.contains(&error.kind()), "{fault:?}: {error:?}");
}

/// Ends a connection that was opened; in bounded time, however that goes.
async fn end(ws: Option<WebSocketStream>) {
    let Some(ws) = ws else { return };
    let closed = ws.closed();
    drop(ws);
    let _ = closed.await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_transport_fails_anywhere_in_the_handshake() {
    for fault in FATAL.into_iter().chain(BENIGN) {
        for n in 0.. {
            let before = tasks();
            let (near, far) = tokio::io::duplex(NARROW);
            let (near, record) = Faulty::new(near, fault, n);
            let both = async { tokio::join!(connect(near), accept(far)) };
            let (client, server) =
                timeout(AN_HOUR, both).await.unwrap_or_else(|_| panic!("it hangs: {fault:?} at {n}"));
            let struck = record.lock().unwrap().has_struck();
            match &client {
                Ok(ws) => assert_eq!(ws.protocol(), "a"),
                Err(error) => {
                    assert!(struck && FATAL.contains(&fault), "{fault:?} at {n}: {error}");
                    check_connect(fault, error);
                    assert!(record.lock().unwrap().was_dropped);
                }
            }
            timeout(AN_HOUR, async { tokio::join!(end(client.ok()), end(server.ok())) }).await.expect("both end");
            assert_no_task_left(before).await;
            if !struck {
                assert!(n > 5, "there are that many operations: {n}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_transport_fails_anywhere_in_the_handshake() {
    for fault in FATAL.into_iter().chain(BENIGN) {
        for n in 0.. {
            let before = tasks();
            let (near, far) = tokio::io::duplex(NARROW);
            let (near, record) = Faulty::new(near, fault, n);
            let both = async { tokio::join!(accept(near), connect(far)) };
            let (server, client) =
                timeout(AN_HOUR, both).await.unwrap_or_else(|_| panic!("it hangs: {fault:?} at {n}"));
            let struck = record.lock().unwrap().has_struck();
            match &server {
                Ok(ws) => assert_eq!(ws.protocol(), "a"),
                Err(error) => {
                    assert!(struck && FATAL.contains(&fault), "{fault:?} at {n}: {error}");
                    check_accept(fault, error);
                    assert!(record.lock().unwrap().was_dropped);
                }
            }
            timeout(AN_HOUR, async { tokio::join!(end(client.ok()), end(server.ok())) }).await.expect("both end");
            assert_no_task_left(before).await;
            if !struck {
                assert!(n > 5, "there are that many operations: {n}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_over_a_transport_that_fails_anywhere() {
    for fault in FATAL.into_iter().chain(BENIGN) {
        for at_the_server in [false, true] {
            for n in 0.. {
                let before = tasks();
                let (near, far) = tokio::io::duplex(NARROW);
                let (near, record) = Faulty::new(near, fault, n);
                let both = async {
                    if at_the_server {
                        tokio::join!(refuse(near), connect(far))
                    } else {
                        let (client, server) = tokio::join!(connect(near), refuse(far));
                        (server, client)
                    }
                };
                let (server, client) =
                    timeout(AN_HOUR, both).await.unwrap_or_else(|_| panic!("it hangs: {fault:?} at {n}"));
                let struck = record.lock().unwrap().has_struck();
                let error = client.expect_err("it is refused, or fails");
                if error.kind() == ConnectErrorKind::Refused {
                    let response = error.response().expect("a response");
                    assert_eq!(response.status(), http::StatusCode::NOT_FOUND);
                    let whole = "There is nothing here.\n".as_bytes();
                    assert!(whole.starts_with(response.body()));
                    assert!(struck && FATAL.contains(&fault) || response.body() == whole);
                } else {
                    assert!(struck && FATAL.contains(&fault), "{fault:?} at {n}: {error}");
                    check_connect(fault, &error);
                }
                if let Err(error) = server {
                    assert!(struck && FATAL.contains(&fault), "{fault:?} at {n}: {error}");
                    check_accept(fault, &error);
                }
                assert!(record.lock().unwrap().was_dropped);
                assert_no_task_left(before).await;
                if !struck {
                    assert!(n > 5, "there are that many operations: {n}");
                    break;
                }
            }
        }
    }
}

/// Reads what a client or a server says first, and falls silent.
async fn silent(mut peer: DuplexStream) {
    let mut buffer = [0; 1000];
    while peer.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_silent_is_given_up() {
    let (near, far) = tokio::io::duplex(1000);
    let (client, ()) = timeout(AN_HOUR, async { tokio::join!(connect(near), silent(far)) }).await.expect("it ends");
    assert_eq!(client.unwrap_err().kind(), ConnectErrorKind::Timeout);
    let (near, far) = tokio::io::duplex(1000);
    let (server, ()) = timeout(AN_HOUR, async { tokio::join!(accept(near), silent(far)) }).await.expect("it ends");
    assert_eq!(server.unwrap_err().kind(), AcceptErrorKind::Timeout);
}
