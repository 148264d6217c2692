//! Whose certificates are accepted, and what is said of those that are not.

use std::{error::Error, io};

use rustls::{CertificateError, ClientConfig};
use wsstream::{ConnectError, ConnectErrorKind, Message, WebSocketStream};

use crate::{
    authority::{Authority, Identity, old_server, server},
    listen, serve,
    support::{next, within},
};

async fn connect(url: &str, tls: ClientConfig) -> Result<WebSocketStream, ConnectError> {
    within(WebSocketStream::connect(url).tls(tls).into_future()).await
}

/// Connects to a server with this certificate, trusting `authority`, and gives the error.
async fn refused(authority: &Authority, identity: Identity) -> ConnectError {
    let (_server, url) = serve(server(identity)).await;
    connect(&url, authority.client()).await.expect_err("a certificate that is not to be accepted")
}

fn tls_error(error: &ConnectError) -> &rustls::Error {
    let io: &io::Error = error.source().unwrap().downcast_ref().unwrap();
    io.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_told() {
    let authority = Authority::new("ours");
    for tls in [server(authority.good()), old_server(authority.good())] {
        let (server, url) = serve(tls).await;
        let mut client = connect(&url, authority.client()).await.unwrap();
        let mut server = server.await.unwrap().unwrap();
        client.send(Message::text("secret")).await.unwrap();
        assert_eq!(within(next(&mut server)).await.unwrap().unwrap(), Message::text("secret"));
        assert_eq!(client.url(), url);
    }
}

#[tokio::test]
async fn addresses_may_be_named_by_certificates() {
    let authority = Authority::new("ours");
    let (server, url) = serve(server(authority.good())).await;
    connect(&url.replace("localhost", "127.0.0.1"), authority.client()).await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_expired_certificate_is_said_to_be_that() {
    let authority = Authority::new("ours");
    let error = refused(&authority, authority.expired()).await;
    assert_eq!(error.kind(), ConnectErrorKind::Certificate);
    assert!(error.to_string().contains("the server's certificate has expired"), "{error}");
    assert!(matches!(
        tls_error(&error),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
    ));
    assert!(!error.is_transient());

    let error = refused(&authority, authority.not_yet_valid()).await;
    assert_eq!(error.kind(), ConnectErrorKind::Certificate);
    assert!(error.to_string().contains("not valid yet; is the clock right?"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_names_both() {
    let authority = Authority::new("ours");
    let error = refused(&authority, authority.issue(&["media.example", "10.0.0.1"], |_| {})).await;
    assert_eq!(error.kind(), ConnectErrorKind::Certificate);
    let message = error.to_string();
    assert!(message.contains("is not for localhost but for") && message.contains("media.example"), "{message}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_unknown_issuer_is_not_trusted() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let error = refused(&ours, theirs.good()).await;
    assert_eq!(error.kind(), ConnectErrorKind::Certificate);
    assert!(error.to_string().contains("of an unknown issuer; `Connect::tls`"), "{error}");
    assert!(matches!(tls_error(&error), rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::PermissionDenied);

    // Nor is it by the platform, without a word.
    let (_server, url) = serve(server(theirs.good())).await;
    let error = within(WebSocketStream::connect(&url).into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Certificate, "{error}");
}

#[tokio::test]
async fn a_client_may_have_to_show_a_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let identity = ours.good();
    let (mut listener, url) = listen(ours.server_for_clients(ours.good())).await;
    let accept = async {
        let upgrade = listener.accept().await.unwrap();
        assert!(upgrade.transport().is_tls());
        let certificates = upgrade.transport().peer_certificates().expect("the client's certificate").to_vec();
        (upgrade.accept().await.unwrap(), certificates)
    };
    let connect_with = async |identity| connect(&url, ours.client_with(identity)).await;
    let ((_server, certificates), client) = tokio::join!(within(accept), connect_with(Some(identity.clone())));
    client.unwrap();
    assert_eq!(certificates, [identity.certificate]);

    tokio::spawn(async move { listener.accept().await.map(drop) });
    let error = connect_with(None).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Certificate, "{error}");
    assert!(error.to_string().contains("demands a certificate of the client; `Connect::tls`"), "{error}");
    assert!(!error.is_transient());

    for identity in [theirs.good(), ours.expired()] {
        let error = connect_with(Some(identity)).await.err().unwrap();
        assert_eq!(error.kind(), ConnectErrorKind::Certificate, "{error}");
        assert!(error.to_string().contains("the server does not accept the client's certificate"), "{error}");
    }
}
