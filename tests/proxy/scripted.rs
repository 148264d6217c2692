//! Proxies that say what a test wants them to.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use wsstream::{ConnectError, ConnectErrorKind, WebSocketStream};

use crate::{greeted, greeter, nobody, support::within};

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(tcp.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Connects through a proxy that answers CONNECT with these bytes and ends there; the request, and the error.
async fn refused_by_http(answer: &[u8]) -> (String, ConnectError) {
    let (proxy, address) = listener().await;
    let serve = async {
        let (mut tcp, _) = within(proxy.accept()).await.unwrap();
        let request = read_head(&mut tcp).await;
        tcp.write_all(answer).await.unwrap();
        request
    };
    let connect = WebSocketStream::connect("ws://media.invalid:81/live").proxy(format!("http://{address}"));
    let (result, request) = tokio::join!(within(connect.into_future()), serve);
    (request, result.err().unwrap())
}

#[tokio::test]
async fn the_status_of_an_http_proxy_is_told() {
    for (status, is_transient, words) in [
        ("407 Proxy Authentication Required", false, "; give user and password in the proxy's URL"),
        ("403 Forbidden", false, "403"),
        ("404 Not Found", false, "404"),
        ("502 Bad Gateway", true, "502"),
        ("504 Gateway Timeout", true, "504"),
        ("429 Too Many Requests", true, "429"),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nX-Why: so\r\nContent-Length: 3\r\n\r\nno!");
        let (request, error) = refused_by_http(answer.as_bytes()).await;
        assert!(request.starts_with("CONNECT media.invalid:81 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("\r\nhost: media.invalid:81\r\n"), "{request}");
        assert_eq!(error.kind(), ConnectErrorKind::Proxy, "{error}");
        let response = error.response().expect("the proxy's answer");
        assert_eq!(
            (response.status().to_string().as_str(), response.headers()["x-why"].as_bytes()),
            (status, &b"so"[..])
        );
        assert_eq!(error.is_transient(), is_transient, "{error}");
        let message = error.to_string();
        assert!(message.contains("did not connect to media.invalid:81") && message.contains(words), "{message}");
        assert!(message.contains(&status[..3]), "{message}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_none_is_said_to_be() {
    for (answer, is_transient) in [(&b""[..], true), (b"HTTP/1.1 200 O", true), (b"SSH-2.0-OpenSSH\r\n\r\n", false)] {
        let (_, error) = refused_by_http(answer).await;
        assert_eq!(error.kind(), ConnectErrorKind::Proxy, "{error}");
        assert!(error.response().is_none());
        assert_eq!(error.is_transient(), is_transient, "{answer:?}: {error}");
    }
    let (_, error) = refused_by_http(b"HTTP/1.1 200 OK\r\n\r\nearly").await;
    assert!(error.to_string().contains("it sent data before"), "{error}");
}

#[tokio::test]
async fn a_tunnel_is_a_transport() {
    let port = greeter().await;
    let (proxy, address) = listener().await;
    let serve = async {
        let (mut tcp, _) = within(proxy.accept()).await.unwrap();
        let request = read_head(&mut tcp).await;
        // As simple proxies do it.
        tcp.write_all(b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
        let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = copy_bidirectional(&mut tcp, &mut upstream).await;
        request
    };
    // A name that only the proxy knows.
    let connect = WebSocketStream::connect("ws://media.invalid/live");
    let connect = connect.proxy(format!("http://us%65r:secret@{address}"));
    let (result, request) = tokio::join!(greeted(connect), within(serve));
    result.unwrap();
    assert!(request.to_lowercase().contains("\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n"), "{request}");
}

/// TLS to the proxy, and through it TLS to the server.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_proxy_may_be_spoken_to_by_tls() {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;
    use wsstream::Listener;

    use crate::authority::{Authority, server};

    let authority = Authority::new("ours");
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().tls(server(authority.good()));
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut ws = listener.accept().await.unwrap().accept().await.unwrap();
        ws.send("welcome").await.unwrap();
        ws.closed().await
    });
    let (proxy, address) = self::listener().await;
    let acceptor = TlsAcceptor::from(Arc::new(server(authority.good())));
    let serve = async {
        let (tcp, _) = within(proxy.accept()).await.unwrap();
        let mut tls = acceptor.accept(tcp).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(tls.read_u8()).await.unwrap());
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = copy_bidirectional(&mut tls, &mut upstream).await;
        String::from_utf8(head).unwrap()
    };
    let connect = WebSocketStream::connect("wss://localhost/live").tls(authority.client());
    let (result, request) = tokio::join!(greeted(connect.proxy(format!("https://{address}"))), within(serve));
    result.unwrap();
    assert!(request.starts_with("CONNECT localhost:443 HTTP/1.1\r\n"), "{request}");

    // Its certificate is checked as any other.
    let strangers = TlsAcceptor::from(Arc::new(server(Authority::new("theirs").good())));
    let serve = async { strangers.accept(within(proxy.accept()).await.unwrap().0).await.is_err() };
    let connect =
        WebSocketStream::connect("ws://localhost/").tls(authority.client()).proxy(format!("https://{address}"));
    let (result, is_refused) = tokio::join!(within(connect.into_future()), within(serve));
    assert_eq!(result.err().unwrap().kind(), ConnectErrorKind::Certificate);
    assert!(is_refused);
}

/// What a SOCKS5 proxy answers to the request of a client without credentials.
async fn refused_by_socks(method: u8, reply: u8) -> ConnectError {
    let (proxy, address) = listener().await;
    let serve = async {
        let (mut tcp, _) = within(proxy.accept()).await.unwrap();
        let mut greeting = [0; 3];
        tcp.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, [5, 1, 0]);
        tcp.write_all(&[5, method]).await.unwrap();
        if method == 0 {
            let mut request = [0; 7 + 13];
            tcp.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"\x05\x01\x00\x03\x0dmedia.invalid\x00\x50");
            tcp.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        }
    };
    let connect = WebSocketStream::connect("ws://media.invalid/live").proxy(format!("socks5://{address}"));
    let (result, ()) = tokio::join!(within(connect.into_future()), serve);
    result.err().unwrap()
}

#[tokio::test]
async fn the_answers_of_a_socks_proxy_are_told() {
    for (reply, is_transient, words) in [
        (1, true, "General SOCKS server failure"),
        (2, false, "not allowed"),
        (3, true, "Network unreachable"),
        (4, true, "Host unreachable"),
        (5, true, "Connection refused"),
        (6, true, "TTL expired"),
        (7, false, "Command not supported"),
        (8, false, "Address type not supported"),
    ] {
        let error = refused_by_socks(0, reply).await;
        assert_eq!(error.kind(), ConnectErrorKind::Proxy);
        assert!(error.to_string().contains(words), "{reply}: {error}");
        assert_eq!(error.is_transient(), is_transient, "{reply}: {error}");
    }
    let error = refused_by_socks(0xff, 0).await;
    assert!(error.to_string().contains("give user and password in the proxy's URL"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let (_nobody, port) = nobody();
    let address = format!("127.0.0.1:{port}");
    for scheme in ["http", "socks5"] {
        let connect = WebSocketStream::connect("ws://media.invalid/").proxy(format!("{scheme}://{address}"));
        let error = within(connect.into_future()).await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Io);
        assert!(error.to_string().contains(&address) && error.is_transient(), "{error}");
    }
    let error = within(WebSocketStream::connect("ws://a/").proxy("gopher://a").into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::InvalidOption);
}
