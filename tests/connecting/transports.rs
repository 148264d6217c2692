//! Options of sockets, and transports that somebody else makes.

use std::time::Duration;

use wsstream::{CloseCode, ConnectErrorKind, Listener, TcpOptions, WebSocketStream};

use crate::support::{next, within};

#[tokio::test]
async fn options_of_sockets_are_set_at_both_ends() {
    let options = TcpOptions::default()
        .send_buffer_size(64 * 1024)
        .receive_buffer_size(64 * 1024)
        .keepalive(Duration::from_secs(30))
        .notsent_lowat(64 * 1024);
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().tcp(options.clone());
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accept = async {
        let upgrade = listener.accept().await.unwrap();
        assert!(!upgrade.transport().is_tls());
        upgrade.accept().await.unwrap()
    };
    let (client, mut server) = tokio::join!(WebSocketStream::connect(url).tcp(options).into_future(), within(accept));
    let mut client = client.unwrap();
    within(client.send("hello")).await.unwrap();
    assert_eq!(within(next(&mut server)).await.unwrap().unwrap().as_text(), Some("hello"));
}

/// Addresses of documentation (RFC 5737): nobody answers, or the network says so at once.
#[tokio::test]
async fn an_address_that_goes_nowhere_is_given_up() {
    let connect = WebSocketStream::connect("ws://192.0.2.1/").connect_timeout(Duration::from_millis(50));
    let error = within(connect.into_future()).await.err().unwrap();
    match error.kind() {
        ConnectErrorKind::Timeout => {
            assert!(error.to_string().contains("192.0.2.1:80 within 50ms; `Connect::connect_timeout`"), "{error}");
        }
        kind => assert_eq!(kind, ConnectErrorKind::Io, "{error}"),
    }
    assert!(error.is_transient());
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_are_transports() {
    use tokio::net::{UnixListener, UnixStream};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let serve = async {
        let (unix, _) = listener.accept().await.unwrap();
        let upgrade = WebSocketStream::accept(unix).await.unwrap();
        assert_eq!(upgrade.headers()["host"], "localhost");
        upgrade.accept().await.unwrap()
    };
    let connect = async {
        let unix = UnixStream::connect(&path).await.unwrap();
        WebSocketStream::connect_over("ws://localhost/live", unix).await.unwrap()
    };
    let (mut client, mut server) = within(async { tokio::join!(connect, serve) }).await;
    within(client.send("hello")).await.unwrap();
    assert_eq!(within(next(&mut server)).await.unwrap().unwrap().as_text(), Some("hello"));
    let (closed, none) = tokio::join!(within(client.close(CloseCode::NORMAL, "")), within(server.next_message()));
    assert!(closed.unwrap().was_clean && none.unwrap().is_none());
}
