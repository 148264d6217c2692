//! Requests of whatever HTTP server: nothing but `http` and a future.

use std::{future, io, time::Duration};

use http::{Request, Version};
use tokio::{io::DuplexStream, sync::oneshot};
use wsstream::{AcceptErrorKind, Config, Connections, Message, Negotiated, Role, Upgrade, WebSocketStream};

use crate::{
    raw::KEY,
    support::{next, settle, within},
};

fn request() -> Request<&'static str> {
    Request::get("/live?x=1")
        .header("host", "example.com")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .body("whatever body type")
        .unwrap()
}

async fn never() -> io::Result<DuplexStream> {
    future::pending().await
}

#[tokio::test]
async fn the_connection_begins_when_the_transport_comes() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (hand_over, transport) = oneshot::channel();
    let transport = async { transport.await.map_err(io::Error::other) };
    let upgrade = Upgrade::from_request(&request(), transport).unwrap();
    assert_eq!((upgrade.uri().path(), upgrade.peer_addr()), ("/live", None));
    let (response, connection) = upgrade.accept().header("x-more", "1").respond().unwrap();
    assert_eq!((response.status().as_u16(), response.body().as_str()), (101, ""));
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["x-more"], "1");
    let connection = tokio::spawn(connection);
    hand_over.send(far).unwrap();
    let mut server = within(connection).await.unwrap().unwrap();
    assert_eq!(server.url(), "/live?x=1");
    let negotiated = Negotiated::default();
    let mut client = WebSocketStream::from_upgraded(near, "", Role::Client, negotiated, Config::default());
    client.send("hello").await.unwrap();
    assert_eq!(within(next(&mut server)).await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_never_comes_is_given_up_in_time() {
    let connections = Connections::new();
    let accept = Upgrade::from_request(&request(), never()).unwrap().accept().connections(&connections);
    let (_, connection) = accept.config(Config::default().handshake_timeout(Duration::from_secs(5))).respond().unwrap();
    // It is waited for, as long as there is time.
    let (error, report) = tokio::join!(connection, connections.shutdown(Duration::from_secs(60)));
    let error = error.err().unwrap();
    assert_eq!(error.kind(), AcceptErrorKind::Timeout);
    assert!(error.to_string().contains("5s; `Config::handshake_timeout`"), "{error}");
    assert_eq!(report, Default::default());
}

#[tokio::test]
async fn a_transport_that_fails_is_an_io_error() {
    let transport = async { Err::<DuplexStream, _>(io::Error::other("the cable")) };
    let (_, connection) = Upgrade::from_request(&request(), transport).unwrap().accept().respond().unwrap();
    let error = connection.await.err().unwrap();
    assert_eq!((error.kind(), error.status()), (AcceptErrorKind::Io, None));
    assert!(error.to_string().ends_with("the cable"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_is_said_once_to_us_and_once_to_the_client() {
    let mut http2 = request();
    (*http2.version_mut(), *http2.method_mut()) = (Version::HTTP_2, http::Method::CONNECT);
    let error = Upgrade::from_request(&http2, never()).err().unwrap();
    assert_eq!((error.kind(), error.status().unwrap().as_u16()), (AcceptErrorKind::BadRequest, 505));
    assert_eq!(
        error.into_response().body(),
        "A WebSocket handshake needs HTTP/1.1; extended CONNECT (RFC 8441) is not supported.\n"
    );

    let accept = Upgrade::from_request(&request(), never()).unwrap().accept();
    let error = accept.allow_origins(["no origin"]).respond().err().unwrap();
    assert_eq!(error.kind(), AcceptErrorKind::InvalidOption);
    assert!(error.to_string().contains("scheme://host"), "{error}");
    assert_eq!(error.into_response().body(), "The server cannot answer this request.\n");
}

/// A refused upgrade leaves no trace in the set, nor does one that is never answered.
#[tokio::test]
async fn after_a_shutdown_there_are_no_more() {
    let connections = Connections::new();
    let accept = || Upgrade::from_request(&request(), never()).unwrap().accept().connections(&connections);
    drop(accept().respond().unwrap());
    drop(accept());
    connections.shutdown(Duration::MAX).await;
    let error = accept().respond().err().unwrap();
    assert_eq!((error.kind(), error.status().unwrap().as_u16()), (AcceptErrorKind::ShuttingDown, 503));
    let response = accept().on_upgrade(async |_| unreachable!("refused"));
    assert_eq!((response.status().as_u16(), response.body().as_str()), (503, "The server is shutting down.\n"));
}

/// A shutdown that begins while the response is being written waits for what comes of it, and closes that, too.
#[tokio::test]
async fn a_connection_that_comes_about_during_a_shutdown_is_closed() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (hand_over, transport) = oneshot::channel();
    let transport = async { transport.await.map_err(io::Error::other) };
    let connections = Connections::new();
    let accept = Upgrade::from_request(&request(), transport).unwrap().accept().connections(&connections);
    let (_, connection) = accept.respond().unwrap();
    let connection = tokio::spawn(connection);
    let shutdown = tokio::spawn({
        let connections = connections.clone();
        async move { connections.shutdown(Duration::MAX).await }
    });
    settle().await;
    assert!(!shutdown.is_finished(), "it is waited for");
    hand_over.send(far).unwrap();
    let client = WebSocketStream::from_upgraded(near, "", Role::Client, Negotiated::default(), Config::default());
    assert_eq!(within(client.closed()).await.unwrap().reason, "shutting down");
    assert_eq!(within(shutdown).await.unwrap().clean, 1);
    within(connection).await.unwrap().unwrap();
}
