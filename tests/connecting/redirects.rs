//! Redirects: not followed unless asked for, never down, and without credentials to strangers.

use wsstream::{Connect, ConnectError, ConnectErrorKind, WebSocketStream};

use crate::{Scripted, header, support::within};

async fn connect(connect: Connect) -> Result<WebSocketStream, ConnectError> {
    within(connect.into_future()).await
}

/// With everything that proves who the client is.
fn with_credentials(url: &str) -> Connect {
    let url = url.replace("ws://", "ws://user:pass@");
    WebSocketStream::connect(url).header("cookie", "a=b").header("proxy-authorization", "Basic x").header("x-mine", "1")
}

#[tokio::test]
async fn a_redirect_is_a_refusal_by_default() {
    let server = Scripted::new().await;
    let refused = connect(WebSocketStream::connect(server.url("/")));
    let (refused, _) = tokio::join!(refused, server.answer("302 Found", "Location: /other\r\n"));
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    assert_eq!(error.response().unwrap().headers()["location"], "/other");
    assert!(error.to_string().contains("302 Found; `Connect::redirects` follows redirects"), "{error}");
}

#[tokio::test]
async fn redirects_within_the_origin_keep_credentials() {
    let server = Scripted::new().await;
    let serve = async {
        let absolute = format!("Location: http://127.0.0.1:{}/c?x#part\r\n", server.port);
        assert!(server.answer("301 Moved Permanently", "Location: b\r\n").await.starts_with("GET /a/a HTTP"));
        assert!(server.answer("308 Permanent Redirect", &absolute).await.starts_with("GET /a/b HTTP"));
        server.upgrade().await
    };
    let (ws, (request, _tcp)) = tokio::join!(connect(with_credentials(&server.url("/a/a")).redirects(2)), serve);
    assert_eq!(ws.unwrap().url(), server.url("/c?x"));
    assert!(request.starts_with("GET /c?x HTTP"), "{request}");
    assert_eq!(header(&request, "authorization"), Some("Basic dXNlcjpwYXNz"));
    assert_eq!(header(&request, "cookie"), Some("a=b"));
}

#[tokio::test]
async fn credentials_do_not_leave_their_origin_nor_come_back() {
    let [ours, theirs] = [Scripted::new().await, Scripted::new().await];
    let serve = async {
        for status in ["302 Found", "303 See Other"] {
            // Userinfo in the redirect is nobody's credentials either.
            let away = theirs.url("/").replace("ws://", "http://eve:eve@");
            let request = ours.answer(status, &format!("Location: {away}\r\n")).await;
            let is_first = status == "302 Found";
            assert_eq!(header(&request, "authorization").is_some(), is_first);
            let back = format!("Location: {}\r\n", ours.url("/"));
            let request = theirs.answer("307 Temporary Redirect", &back).await;
            assert_eq!(header(&request, "x-mine"), Some("1"));
            for credentials in ["authorization", "cookie", "proxy-authorization"] {
                assert_eq!(header(&request, credentials), None);
            }
        }
        ours.upgrade().await
    };
    let (ws, (request, _tcp)) = tokio::join!(connect(with_credentials(&ours.url("/")).redirects(10)), serve);
    ws.unwrap();
    for credentials in ["authorization", "cookie", "proxy-authorization"] {
        assert_eq!(header(&request, credentials), None);
    }
    // Header fields given with the builder are credentials as well.
    let bearer = WebSocketStream::connect(ours.url("/")).header("authorization", "Bearer secret").redirects(1);
    let serve = async {
        let request = ours.answer("302 Found", &format!("Location: {}\r\n", theirs.url("/"))).await;
        assert_eq!(header(&request, "authorization"), Some("Bearer secret"));
        theirs.upgrade().await
    };
    let (ws, (request, _tcp)) = tokio::join!(connect(bearer), serve);
    ws.unwrap();
    assert_eq!(header(&request, "authorization"), None);
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_said_to() {
    let server = Scripted::new().await;
    for (location, words) in [
        ("ftp://example.com/", "which cannot be connected to: the URL has the scheme ftp"),
        ("http://", "which cannot be connected to"),
        ("/again", "redirected more than 1 times"),
    ] {
        let serve = async {
            for _ in 0..=usize::from(location == "/again") {
                server.answer("302 Found", &format!("Location: {location}\r\n")).await;
            }
        };
        let (refused, ()) = tokio::join!(connect(WebSocketStream::connect(server.url("/")).redirects(1)), serve);
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Redirect, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.response().unwrap().status(), 302);
        assert!(!error.is_transient());
    }
    // Without a Location, and with statuses that are no redirects, there is nothing to follow.
    for (status, headers) in [("302 Found", ""), ("304 Not Modified", "Location: /\r\n"), ("300 Multiple", "")] {
        let refused = connect(WebSocketStream::connect(server.url("/")).redirects(1));
        let (refused, _) = tokio::join!(refused, server.answer(status, headers));
        assert_eq!(refused.err().unwrap().kind(), ConnectErrorKind::Refused, "{status}");
    }
}
