//! Trying again: what may heal, and nothing else.

use std::time::Duration;

use wsstream::{ConnectErrorKind, Retry, WebSocketStream};

use crate::{Scripted, support::within};

fn quick() -> Retry {
    Retry::default().min_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(5))
}

#[tokio::test]
async fn what_may_heal_is_tried_again() {
    let server = Scripted::new().await;
    let serve = async {
        // Ended before and after the request, refused for now in three ways.
        drop(within(server.listener.accept()).await.unwrap());
        drop(server.request().await);
        for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"] {
            server.answer(status, "").await;
        }
        server.answer("429 Too Many Requests", "Retry-After: 0\r\n").await;
        server.upgrade().await
    };
    let connect = within(WebSocketStream::connect(server.url("/")).retry(quick()).into_future());
    let (ws, _served) = tokio::join!(connect, serve);
    ws.unwrap();
}

#[tokio::test]
async fn what_will_not_heal_is_not_tried_again() {
    let server = Scripted::new().await;
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "302 Found", "200 OK"] {
        let connect = within(WebSocketStream::connect(server.url("/")).retry(quick()).into_future());
        let (refused, _) = tokio::join!(connect, server.answer(status, "Retry-After: 0\r\n"));
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Refused);
        assert!(!error.to_string().contains("tries"), "{error}");
    }
    for url in ["ws://", "ftp://example.com/", "/live"] {
        assert!(within(WebSocketStream::connect(url).retry(quick()).into_future()).await.is_err());
    }
}

#[tokio::test]
async fn tries_are_bounded_and_counted() {
    let server = Scripted::new().await;
    let serve = async {
        for _ in 0..3 {
            server.answer("503 Service Unavailable", "").await;
        }
    };
    let connect = within(WebSocketStream::connect(server.url("/")).retry(quick().max_tries(3)).into_future());
    let (refused, ()) = tokio::join!(connect, serve);
    let error = refused.err().unwrap();
    assert_eq!(error.response().unwrap().status(), 503);
    assert!(error.to_string().contains("given up after 3 tries"), "{error}");

    // Nobody is there at all.
    let url = server.url("/");
    drop(server);
    let error = within(WebSocketStream::connect(url).retry(quick().max_tries(2)).into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Io);
    assert!(error.is_transient() && error.to_string().contains("given up after 2 tries"), "{error}");
}
