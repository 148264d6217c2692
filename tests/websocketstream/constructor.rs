//! After `constructor.any.js`.

use futures::{Sink, Stream, StreamExt};
use tokio::io::duplex;
use wsstream::{ConnectErrorKind, Message, ReadError, Readable, WebSocketStream, Writable, WriteError};

use super::{
    handlers,
    peer::{PIPE, Peer, open},
};

#[tokio::test]
async fn constructing_with_an_invalid_url_should_fail() {
    for (url, kind) in [
        ("invalid:", ConnectErrorKind::UnsupportedScheme),
        ("", ConnectErrorKind::InvalidUrl),
        ("/relative", ConnectErrorKind::InvalidUrl),
    ] {
        let (client, server) = duplex(PIPE);
        let error = WebSocketStream::connect_over(url, client).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error}");
        Peer { io: server }.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn constructing_with_a_valid_url_should_work() {
    let url = "ws://localhost:8888/echo?a=b";
    let (client, server) = duplex(PIPE);
    let mut peer = Peer { io: server };
    let serve = async {
        let request = peer.request().await;
        peer.switch_protocols(&request, "").await;
    };
    let (ws, ()) = tokio::join!(WebSocketStream::connect_over(url, client).into_future(), serve);
    assert_eq!(ws.unwrap().url(), url);
}

#[tokio::test(start_paused = true)]
async fn setting_a_protocol_in_the_constructor_should_work() {
    let (client, server) = duplex(PIPE);
    tokio::spawn(handlers::protocol_array(Peer { io: server }));
    let connect = WebSocketStream::connect_over("ws://localhost/protocol_array", client).protocols(["alpha", "beta"]);
    let mut ws = connect.await.unwrap();
    assert_eq!(ws.protocol(), "alpha");
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::text("alpha"));
    assert!(ws.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn connection_failure_should_fail_and_say_why() {
    let (client, server) = duplex(PIPE);
    tokio::spawn(handlers::not_found(Peer { io: server }));
    let error = WebSocketStream::connect_over("ws://localhost/404", client).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    let response = error.response().unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (404, &b"not here"[..]));
}

#[tokio::test(start_paused = true)]
async fn what_is_opened_should_have_the_right_types() {
    fn readable(_: &(impl Stream<Item = Result<Message, ReadError>> + Send + Unpin)) {}
    fn writable(_: &(impl Sink<Message, Error = WriteError> + Send + Unpin)) {}
    let (ws, _peer) = open().await;
    let (protocol, extensions): (&str, &str) = (ws.protocol(), ws.extensions());
    assert_eq!((protocol, extensions), ("", ""));
    let (r, w): (Readable, Writable) = ws.split();
    readable(&r);
    writable(&w);
}
