//! Options of the handshake that no public test looks at.

use tokio::io::{DuplexStream, duplex};
use wsstream::{Compression, Config, Connect, ConnectErrorKind, WebSocketStream};

use super::peer::{PIPE, Peer, header, try_open};

/// What the error of options that cannot be used is; nothing was sent.
async fn refused(url: &str, options: impl FnOnce(Connect<DuplexStream>) -> Connect<DuplexStream>) -> ConnectErrorKind {
    let (client, server) = duplex(PIPE);
    let error = options(WebSocketStream::connect_over(url, client)).await.unwrap_err();
    Peer { io: server }.end().await;
    error.kind()
}

#[tokio::test]
async fn a_subprotocol_that_is_no_token_is_refused() {
    for protocol in ["", "a b", "a,b", "a/b", "a\"b", "ü", "a\u{7f}", "a\r\nb: c"] {
        let kind = refused("ws://localhost/", |connect| connect.protocols([protocol])).await;
        assert_eq!(kind, ConnectErrorKind::InvalidOption, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_subprotocol_offered_twice_is_refused() {
    let kind = refused("ws://localhost/", |connect| connect.protocols(["a", "b", "a"])).await;
    assert_eq!(kind, ConnectErrorKind::InvalidOption);
    let kind = refused("ws://localhost/", |connect| connect.protocols(["a"]).protocols(["a"])).await;
    assert_eq!(kind, ConnectErrorKind::InvalidOption);
}

/// Case makes a difference, and the offers go out as one list.
#[tokio::test]
async fn subprotocols_that_differ_in_case_are_different_and_are_sent_as_one_list() {
    let (client, server) = duplex(PIPE);
    let mut peer = Peer { io: server };
    let connect = WebSocketStream::connect_over("ws://localhost/", client).protocols(["a", "A", "b"]).into_future();
    let serve = async {
        let request = peer.request().await;
        assert_eq!(header(&request, "sec-websocket-protocol"), Some("a, A, b"));
        peer.switch_protocols(&request, "Sec-WebSocket-Protocol: A\r\n").await;
    };
    let (ws, ()) = tokio::join!(connect, serve);
    assert_eq!(ws.unwrap().protocol(), "A");
}

#[tokio::test]
async fn a_subprotocol_that_is_not_acknowledged_fails_the_handshake() {
    let (result, mut peer) = try_open("", |connect| connect.protocols(["a"])).await;
    assert_eq!(result.unwrap_err().kind(), ConnectErrorKind::BadResponse);
    peer.end().await;

    let lax = Config::default().require_protocol(false);
    let (result, _peer) = try_open("", |connect| connect.protocols(["a"]).config(lax)).await;
    assert_eq!(result.unwrap().protocol(), "");
}

#[tokio::test]
async fn compression_is_offered_as_browsers_do_where_it_is_turned_on() {
    for (compression, offer) in
        [(None, None), (Some(Compression::default()), Some("permessage-deflate; client_max_window_bits"))]
    {
        let (client, server) = duplex(PIPE);
        let mut peer = Peer { io: server };
        let config = Config::default().compression(compression);
        let connect = WebSocketStream::connect_over("ws://localhost/", client).config(config).into_future();
        let serve = async {
            let request = peer.request().await;
            assert_eq!(header(&request, "sec-websocket-extensions"), offer);
            peer.switch_protocols(&request, "").await;
        };
        let (ws, ()) = tokio::join!(connect, serve);
        assert_eq!(ws.unwrap().extensions(), "");
    }
}

#[tokio::test]
async fn what_was_not_offered_fails_the_handshake() {
    for lines in [
        "Sec-WebSocket-Protocol: b\r\n",
        "Sec-WebSocket-Protocol: A\r\n",
        "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: permessage-foo\r\n",
    ] {
        let (result, mut peer) = try_open(lines, |connect| connect.protocols(["a"])).await;
        assert_eq!(result.unwrap_err().kind(), ConnectErrorKind::BadResponse, "{lines}");
        peer.end().await;
    }
}

#[tokio::test]
async fn a_fragment_is_refused_even_an_empty_one() {
    for url in ["ws://localhost/#", "ws://localhost/#top", "http://localhost/?a#b"] {
        assert_eq!(refused(url, |connect| connect).await, ConnectErrorKind::InvalidUrl, "{url}");
    }
}

#[tokio::test]
async fn http_and_https_are_synonyms_and_the_url_is_normalised() {
    for (given, url) in [
        ("http://localhost:80/a", "ws://localhost/a"),
        ("https://localhost/a", "wss://localhost/a"),
        ("WS://LOCALHOST/a/../b", "ws://localhost/b"),
    ] {
        let (client, server) = duplex(PIPE);
        let mut peer = Peer { io: server };
        let serve = async {
            let request = peer.request().await;
            peer.switch_protocols(&request, "").await;
        };
        let (ws, ()) = tokio::join!(WebSocketStream::connect_over(given, client).into_future(), serve);
        assert_eq!(ws.unwrap().url(), url);
    }
}

/// The URL is looked at first, whatever else is wrong.
#[tokio::test]
async fn of_several_faults_that_of_the_url_is_reported() {
    let kind = refused("ws://localhost/#", |connect| connect.protocols(["a b"])).await;
    assert_eq!(kind, ConnectErrorKind::InvalidUrl);
}
