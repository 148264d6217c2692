//! A server, a proxy in front of it, and clients that come through it.

use std::sync::Arc;

use tokio::{io::AsyncRead, io::AsyncWrite, net::TcpStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName},
    },
};
use wsstream::{Config, Listener, WebSocketStream};

use crate::{
    proxy::{Change, Program, Proxy},
    support::within,
};

const NAME: &str = "media.example";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ws,
    Wss,
}

pub(crate) struct Site {
    pub(crate) program: Program,
    pub(crate) proxy: Proxy,
    pub(crate) listener: Listener,
    scheme: Scheme,
    certificate: CertificateDer<'static>,
}

impl Site {
    /// `None` if the proxy is not installed. Within a runtime.
    pub(crate) fn start(program: Program, scheme: Scheme, changes: &[Change]) -> Option<Self> {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = tcp.local_addr().unwrap();
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        let proxy = program.start(server, &pem, changes)?;
        let (listener, certificate) = (Listener::from_std(tcp).unwrap(), made.cert.der().clone());
        Some(Self { program, proxy, listener, scheme, certificate })
    }

    /// A connection through the proxy: the client, the server.
    pub(crate) async fn open(&mut self, client: Config, server: Config) -> (WebSocketStream, WebSocketStream) {
        let addr = if self.scheme == Scheme::Wss { self.proxy.https } else { self.proxy.http };
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let connect = match self.scheme {
            Scheme::Ws => tokio::spawn(connect(tcp, "ws", client)),
            Scheme::Wss => {
                let mut roots = RootCertStore::empty();
                roots.add(self.certificate.clone()).unwrap();
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                let name = ServerName::try_from(NAME).unwrap();
                let tls = within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap();
                tokio::spawn(connect(tls, "wss", client))
            }
        };
        let upgrade = within(self.listener.accept()).await.unwrap();
        let is_told = |name: &str, value: &str| upgrade.headers().get(name).is_some_and(|it| it == value);
        assert!(is_told("host", NAME), "the origin check needs it: {:?}", upgrade.headers());
        assert!(is_told("x-forwarded-for", "127.0.0.1"), "{:?}", upgrade.headers());
        let proto = if self.scheme == Scheme::Wss { "https" } else { "http" };
        assert!(is_told("x-forwarded-proto", proto), "{:?}", upgrade.headers());
        let server = within(upgrade.accept().config(server).into_future()).await.unwrap();
        (within(connect).await.unwrap(), server)
    }
}

/// As a browser does it: with the origin of a page of this site.
async fn connect<T>(transport: T, scheme: &str, config: Config) -> WebSocketStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let origin = format!("http{}://{NAME}", scheme.trim_start_matches("ws"));
    let connect = WebSocketStream::connect_over(format!("{scheme}://{NAME}/live"), transport);
    connect.origin(origin).config(config).await.unwrap()
}
