//! Another implementation as the peer, in both roles, and this one with itself.
// The error type of tungstenite's callbacks is what it is.
#![allow(clippy::result_large_err)]

use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{
    Error as PeerError,
    client::IntoClientRequest,
    handshake::server::{Request, Response},
};
use wsstream::{ConnectErrorKind, Listener, WebSocketStream};

#[tokio::test]
async fn tungstenite_as_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/live?x=1", listener.local_addr().unwrap());
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let pick = |request: &Request, mut response: Response| {
            assert_eq!(request.uri(), "/live?x=1");
            assert_eq!(request.headers()["sec-websocket-protocol"], "v2, v1");
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("v1"));
            Ok(response)
        };
        tokio_tungstenite::accept_hdr_async(tcp, pick).await.unwrap()
    };
    let connect = WebSocketStream::connect(&url).protocols(["v2", "v1"]).into_future();
    let (ws, _peer) = tokio::join!(connect, serve);
    let ws = ws.unwrap();
    assert_eq!(ws.protocol(), "v1");
    assert_eq!(ws.url(), url.replace("http", "ws"));
}

#[tokio::test]
async fn tungstenite_as_the_server_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let refuse = |_: &Request, _: Response| {
            Err(http::Response::builder().status(403).header("x-why", "no").body(Some("not you".to_owned())).unwrap())
        };
        assert!(tokio_tungstenite::accept_hdr_async(tcp, refuse).await.is_err());
    };
    let (result, ()) = tokio::join!(WebSocketStream::connect(&url).into_future(), serve);
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    let response = error.response().unwrap();
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::FORBIDDEN, &b"not you"[..]));
}

#[tokio::test]
async fn tungstenite_as_the_client() {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = async {
        let upgrade = listener.accept().await.unwrap();
        assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["v2", "v1"]);
        upgrade.accept().protocol("v1").await.unwrap()
    };
    let mut request = format!("ws://{addr}/live").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("v2, v1"));
    let (ws, peer) = tokio::join!(serve, tokio_tungstenite::connect_async(request));
    assert_eq!((ws.protocol(), ws.url()), ("v1", "/live"));
    let (_peer, response) = peer.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "v1");
}

#[tokio::test]
async fn tungstenite_as_the_client_that_is_refused() {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = async {
        let upgrade = listener.accept().await.unwrap();
        upgrade.reject(StatusCode::NOT_FOUND).body("not here").await.unwrap();
    };
    let ((), peer) = tokio::join!(serve, async { tokio_tungstenite::connect_async(format!("ws://{addr}/")).await });
    match peer {
        Err(PeerError::Http(response)) => assert_eq!(response.status(), StatusCode::NOT_FOUND),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_itself_over_tcp_by_name() {
    let mut listener = Listener::bind("localhost:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let serve = async {
        let upgrade = listener.accept().await.unwrap();
        assert!(upgrade.peer_addr().is_some());
        assert_eq!(upgrade.headers()["authorization"], "Basic dXNlcjpwYXNz");
        upgrade.accept().await.unwrap()
    };
    let url = format!("ws://user:pass@{host}/live");
    let connect = WebSocketStream::connect(&url).origin(format!("http://{host}")).into_future();
    let (ws, server) = tokio::join!(connect, serve);
    assert_eq!(ws.unwrap().url(), format!("ws://{host}/live"));
    assert_eq!(server.url(), "/live");
}
