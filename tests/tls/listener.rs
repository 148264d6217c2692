//! A listener that speaks TLS: silent clients, clients that speak something else, a certificate that is renewed.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wsstream::{Config, ConnectErrorKind, Listener, Retry, ServerTls, WebSocketStream};

use crate::{
    authority::{Authority, server},
    listen, serve,
    support::within,
};

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let authority = Authority::new("ours");
    let [old, new] = [authority.good(), authority.good()];
    let tls = ServerTls::new(server(old.clone()));
    let (mut listener, url) = listen(tls.clone()).await;
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while open.len() < 3 {
            open.push(listener.accept().await.unwrap().accept().await.unwrap());
        }
        open
    });
    // What the server shows is seen by a client that looks at it.
    let shown = async || {
        let address = url.trim_start_matches("wss://localhost:").trim_end_matches("/live");
        let tcp = TcpStream::connect(("127.0.0.1", address.parse().unwrap())).await.unwrap();
        let connector = TlsConnector::from(Arc::new(authority.client()));
        let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        let shown = tls.get_ref().1.peer_certificates().unwrap()[0].clone();
        (WebSocketStream::connect_over(&url, tls).await.unwrap(), shown)
    };
    let (mut first, certificate) = within(shown()).await;
    assert_eq!(certificate, old.certificate);
    tls.replace(server(new.clone()));
    let (_second, certificate) = within(shown()).await;
    assert_eq!(certificate, new.certificate);
    tls.replace(Arc::new(server(old.clone())));
    let (_third, certificate) = within(shown()).await;
    assert_eq!(certificate, old.certificate);

    // The first one has not noticed.
    let mut open = within(accepting).await.unwrap();
    within(open[0].send("still here")).await.unwrap();
    assert_eq!(within(crate::support::next(&mut first)).await.unwrap().unwrap().as_text(), Some("still here"));
}

async fn dial(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
}

#[tokio::test]
async fn silent_clients_hold_up_nobody_and_are_dropped_in_time() {
    let authority = Authority::new("ours");
    let (listener, url) = listen(server(authority.good())).await;
    let mut listener = listener.max_pending_handshakes(2).config(Config::default().handshake_timeout(MOMENT));
    let mut silent = dial(&listener).await;
    let mut half = dial(&listener).await;
    half.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    let serve = tokio::spawn(async move {
        loop {
            if let Ok(ws) = listener.accept().await.unwrap().accept().await {
                break ws;
            }
        }
    });
    // On a busy machine the time may be up for a good client, too: it comes again.
    let connect = WebSocketStream::connect(&url).tls(authority.client()).retry(Retry::default());
    within(connect.into_future()).await.unwrap();
    within(serve).await.unwrap();
    // They were in its way until their time was up.
    for dropped in [&mut silent, &mut half] {
        assert!(matches!(within(dropped.read(&mut [0; 100])).await, Ok(0) | Err(_)));
    }
}

const MOMENT: Duration = Duration::from_millis(300);

/// The time is for both together: a client that has spent it on TLS has none left for the request.
#[tokio::test]
async fn a_client_that_speaks_tls_and_then_nothing_is_dropped() {
    let authority = Authority::new("ours");
    let (listener, _) = listen(server(authority.good())).await;
    let mut listener = listener.config(Config::default().handshake_timeout(MOMENT));
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { listener.accept().await.map(drop) });
    let connector = TlsConnector::from(Arc::new(authority.client()));
    let mut tls = within(async {
        loop {
            // As above.
            let tcp = TcpStream::connect(addr).await.unwrap();
            if let Ok(tls) = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await {
                break tls;
            }
        }
    })
    .await;
    assert!(matches!(within(tls.read(&mut [0; 100])).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_from_tls() {
    let authority = Authority::new("ours");
    // Our client to our server, which speaks TLS.
    let (_server, url) = serve(server(authority.good())).await;
    let error = within(WebSocketStream::connect(url.replace("wss", "ws")).into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::BadResponse);
    assert!(error.to_string().contains("the server's answer is TLS, not HTTP; use wss:// for it"), "{error}");

    // Our client to a server that does not.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", plain.local_addr().unwrap().port());
    let answer = async {
        let (mut tcp, _) = plain.accept().await.unwrap();
        tcp.read_u8().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
        tcp
    };
    let connect = within(WebSocketStream::connect(&url).tls(authority.client()).into_future());
    let (result, _tcp) = tokio::join!(connect, answer);
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Tls);
    assert!(error.to_string().contains("not TLS but, perhaps, plain HTTP; use ws://"), "{error}");
    assert!(!error.is_transient());

    // And to one that just ends the connection, which may be about to be up.
    let end = async { drop(plain.accept().await.unwrap()) };
    let connect = within(WebSocketStream::connect(&url).tls(authority.client()).into_future());
    let (result, ()) = tokio::join!(connect, end);
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Io, "{error}");
    assert!(error.is_transient());

    // Our client to our server that does not.
    let mut plain = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", plain.local_addr().unwrap().port());
    tokio::spawn(async move { plain.accept().await.map(drop) });
    let error = within(WebSocketStream::connect(&url).tls(authority.client()).into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("not TLS but, perhaps, plain HTTP"), "{error}");
}

fn offering(mut config: ClientConfig, protocols: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

#[tokio::test]
async fn http_1_1_is_agreed_on_whatever_the_configurations_say() {
    let authority = Authority::new("ours");
    // The client, as a server sees it.
    for protocols in [&[][..], &[&b"h2"[..]], &[b"h2", b"http/1.1"]] {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}/", tcp.local_addr().unwrap().port());
        let tls = offering(authority.client(), protocols);
        let connect = tokio::spawn(WebSocketStream::connect(url).tls(tls).into_future());
        let (tcp, _) = within(tcp.accept()).await.unwrap();
        let mut config = server(authority.good());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = within(TlsAcceptor::from(Arc::new(config)).accept(tcp)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        connect.abort();
    }
    // The listener, as clients see it.
    let mut config: ServerConfig = server(authority.good());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (mut listener, _) = listen(config).await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { listener.accept().await.map(drop) });
    for (protocols, agreed) in [(&[][..], None), (&[&b"h2"[..], b"http/1.1"], Some(&b"http/1.1"[..]))] {
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(offering(authority.client(), protocols)));
        let tls = within(connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), agreed);
    }
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(offering(authority.client(), &[b"h2"])));
    assert!(within(connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.is_err());
}
