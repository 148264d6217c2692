//! `wss` with an authority of one's own, and clients that have to show a certificate of it:
//! `cargo run --example private_authority`.
//!
//! Here the program issues the certificates itself. Elsewhere they are files; `rustls::pki_types::pem::PemObject` reads them.

use std::{error::Error, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use wsstream::{CloseCode, Listener, Message, WebSocketStream};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let authority = authority()?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let roots = Arc::new(roots);
    let provider = Arc::new(ring::default_provider());

    let (certificate, key) = issue(&authority, "localhost")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    let mut listener = Listener::bind("127.0.0.1:0").await?.tls(server);
    let url = format!("wss://localhost:{}/", listener.local_addr()?.port());
    let serving = tokio::spawn(async move {
        let upgrade = listener.accept().await?;
        let shown = upgrade.transport().peer_certificates().map_or(0, <[_]>::len);
        let mut ws = upgrade.accept().await?;
        ws.send(Message::text(format!("you have shown {shown} certificate"))).await?;
        ws.close(CloseCode::NORMAL, "").await?;
        Result::Ok(())
    });

    let (certificate, key) = issue(&authority, "client 17")?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    let mut ws = WebSocketStream::connect(&url).tls(client).await?;
    while let Some(message) = ws.next_message().await? {
        println!("{}", message.collect(1024).await?.as_text().unwrap_or_default());
    }
    serving.await?
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn issue(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, authority)?;
    Ok((certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der())?))
}
