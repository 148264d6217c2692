//! What only an HTTP server does: connections that go on after a refusal, HTTP/2, and mistakes in its use.

use std::convert::Infallible;

use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};
use wsstream::{AcceptError, AcceptErrorKind, HttpUpgrade};

use crate::{
    application::Server,
    raw::{KEY, ask_over, request},
    support::{Raw, TEXT, within},
};

async fn refuse_and_then_accept(server: Server) {
    let mut tcp = TcpStream::connect(server.addr).await.unwrap();
    for (request, status) in [
        (request("/echo", "").replacen("Version: 13", "Version: 8", 1), 426),
        (request("/echo", "Origin: https://evil.example\r\n"), 403),
        (request("/nothing", ""), 404),
        (request("/echo", ""), 101),
    ] {
        let answer = ask_over(&mut tcp, request.as_bytes()).await;
        assert_eq!(answer.status(), status, "{answer:?}");
    }
    let mut client = Raw::new(tcp, wsstream::Role::Client);
    client.send(TEXT, b"after all").await;
    assert_eq!(client.message().await.1, b"after all");
}

#[tokio::test]
async fn hyper_goes_on_after_a_refusal() {
    refuse_and_then_accept(Server::hyper().await).await;
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_goes_on_after_a_refusal() {
    refuse_and_then_accept(Server::axum().await).await;
}

/// An extended CONNECT (RFC 8441), from a client that was told that there is such a thing.
#[tokio::test]
async fn http2_is_refused_with_a_word_about_it() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = service_fn(|mut request: Request<hyper::body::Incoming>| async move {
        Ok::<_, Infallible>(match HttpUpgrade::from_hyper(&mut request) {
            Ok(_) => Response::new("let in".to_owned()),
            Err(error) => error.into_response(),
        })
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server.enable_connect_protocol();
    tokio::spawn(server.serve_connection(TokioIo::new(far), service));
    let client = hyper::client::conn::http2::handshake::<_, _, String>(TokioExecutor::new(), TokioIo::new(near));
    let (mut client, connection) = within(client).await.unwrap();
    tokio::spawn(connection);
    // An ordinary exchange first: by then the server's settings have come.
    let plain = Request::get("http://example.com/").body(String::new()).unwrap();
    assert_eq!(within(client.send_request(plain)).await.unwrap().status(), 505);
    let connect = Request::connect("http://example.com/echo")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(String::new())
        .unwrap();
    let mut response = within(client.send_request(connect)).await.unwrap();
    assert_eq!(response.status(), 505);
    let mut body = Vec::new();
    while let Some(Ok(frame)) = crate::support::next(&mut FrameStream(response.body_mut())).await {
        body.extend(frame);
    }
    assert_eq!(body, b"A WebSocket handshake needs HTTP/1.1; extended CONNECT (RFC 8441) is not supported.\n");
}

/// The data of a body.
struct FrameStream<'a>(&'a mut hyper::body::Incoming);

impl futures::Stream for FrameStream<'_> {
    type Item = Result<bytes::Bytes, hyper::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use hyper::body::Body;
        std::pin::Pin::new(&mut *self.0).poll_frame(cx).map_ok(|frame| frame.into_data().unwrap_or_default())
    }
}

/// The first mistake everybody makes.
#[tokio::test]
async fn a_connection_without_upgrades_is_an_error_that_says_so() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (errors, mut failed) = mpsc::unbounded_channel::<AcceptError>();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let errors = errors.clone();
        async move {
            let (response, connection) = HttpUpgrade::from_hyper(&mut request).unwrap().accept().respond().unwrap();
            tokio::spawn(async move { errors.send(connection.await.err().unwrap()) });
            Ok::<_, Infallible>(response)
        }
    });
    let server = tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(far), service));
    let (mut near_read, mut near_write) = tokio::io::split(near);
    tokio::io::AsyncWriteExt::write_all(&mut near_write, request("/", "").as_bytes()).await.unwrap();
    let error = within(failed.recv()).await.unwrap();
    assert_eq!(error.kind(), AcceptErrorKind::Io);
    assert!(error.to_string().contains("`with_upgrades`"), "{error}");
    let mut rest = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut near_read, &mut rest)).await;
    assert!(rest.starts_with(b"HTTP/1.1 101 "), "{}", rest.escape_ascii());
    let _ = within(server).await;
}

#[test]
fn a_request_without_a_connection_is_not_upgradable() {
    let mut request = Request::get("/")
        .header("host", "a")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .body(())
        .unwrap();
    let error = HttpUpgrade::from_hyper(&mut request).err().unwrap();
    assert_eq!((error.kind(), error.status().unwrap().as_u16()), (AcceptErrorKind::NotUpgradable, 500));
    assert_eq!(error.into_response().body(), "The server cannot upgrade this request.\n");
}
