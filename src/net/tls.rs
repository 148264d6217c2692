//! TLS, by rustls. The provider of cryptography is always named, never taken from what the application may have installed.

use std::{
    fmt, io,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::task::spawn_blocking;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use url::Host;

use super::NetStream;
use crate::role::Role;

/// What is spoken inside: the upgrade is one of HTTP/1.1 (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// A TLS handshake that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    /// A certificate is to blame, or that there is none.
    pub(crate) is_certificate: bool,
    /// What is wrong and what to do; it says what `error` says.
    pub(crate) message: String,
    /// A [`rustls::Error`] is inside where it was TLS that failed, and not what is below.
    pub(crate) error: io::Error,
}

/// Speaks TLS with a server.
pub(super) async fn connect(
    stream: NetStream,
    host: &Host,
    config: Option<Arc<ClientConfig>>,
) -> Result<NetStream, Fault> {
    let config = match config {
        Some(config) => config,
        None => default_config().await?,
    };
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.as_str()).map(|name| name.to_owned()).map_err(|_| Fault {
            is_certificate: true,
            message: format!("no certificate can be for the name {name}; use one that follows the rules of DNS"),
            error: io::ErrorKind::InvalidInput.into(),
        })?,
        Host::Ipv4(ip) => ServerName::from(*ip),
        Host::Ipv6(ip) => ServerName::from(*ip),
    };
    let connecting = TlsConnector::from(config).connect(name, stream).await;
    let stream = connecting.map_err(|error| fault(Role::Client, &format_args!("with {host}"), error))?;
    Ok(NetStream::from(tokio_rustls::TlsStream::from(stream)))
}

/// The platform's roots, loaded once: that reads files.
async fn default_config() -> Result<Arc<ClientConfig>, Fault> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let built = spawn_blocking(|| {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok::<_, rustls::Error>(builder.with_platform_verifier()?.with_no_client_auth())
    });
    match built.await.map_err(io::Error::other).and_then(|built| built.map_err(io::Error::other)) {
        // Whoever comes first: all share its sessions.
        Ok(config) => Ok(CONFIG.get_or_init(|| with_alpn(config)).clone()),
        Err(error) => Err(Fault {
            is_certificate: true,
            message: format!(
                "the platform's root certificates cannot be used ({error}); install them (ca-certificates), or give a \
                 configuration with `Connect::tls`"
            ),
            error,
        }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A client's configuration, made to say what is spoken inside.
pub(crate) fn with_alpn(config: impl Into<Arc<ClientConfig>>) -> Arc<ClientConfig> {
    let mut config = config.into();
    if config.alpn_protocols != [ALPN] {
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
    }
    config
}

/// The certificate of a [`Listener`](crate::Listener), and what else a [`ServerConfig`] says. A clone is a handle to the
/// same: what [`replace`](Self::replace) puts in is used for all handshakes that begin later, so that a certificate can be
/// renewed without a restart. Connections that are open go on.
///
/// ALPN is set to `http/1.1` whatever the configuration says: a WebSocket is an upgrade of that.
///
/// ```no_run
/// use rustls::ServerConfig;
/// use wsstream::{Listener, ServerTls};
///
/// fn load() -> ServerConfig {
///     // reads certificate and key
/// #   unimplemented!()
/// }
///
/// # async fn example() -> std::io::Result<()> {
/// let tls = ServerTls::new(load());
/// let mut listener = Listener::bind("0.0.0.0:443").await?.tls(tls.clone());
/// // later, on a signal or a timer
/// tls.replace(load());
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

impl ServerTls {
    /// Takes a configuration; see [`rustls::ServerConfig::builder_with_provider`].
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(prepared(config.into()))))
    }

    /// Uses another configuration for all handshakes that begin from now on, with all clones of this handle.
    pub fn replace(&self, config: impl Into<Arc<ServerConfig>>) {
        let config = prepared(config.into());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Speaks TLS with a client.
    pub(crate) async fn accept(&self, stream: NetStream) -> Result<NetStream, (Fault, NetStream)> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => Ok(NetStream::from(tokio_rustls::TlsStream::from(stream))),
            Err((error, stream)) => Err((fault(Role::Server, &"with a client", error), stream)),
        }
    }
}

fn prepared(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.alpn_protocols != [ALPN] {
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
    }
    config
}

impl From<ServerConfig> for ServerTls {
    fn from(config: ServerConfig) -> Self {
        Self::new(config)
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// What the handshake `with` somebody failed of, for an end in this role.
fn fault(role: Role, with: &dyn fmt::Display, error: io::Error) -> Fault {
    let (is_certificate, why) = match tls_error(&error) {
        Some(tls) => explain(role, tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof && role == Role::Client => {
            (false, "the server ended the connection; does it speak TLS on this port?".to_owned())
        }
        None => (false, error.to_string()),
    };
    Fault { is_certificate, message: format!("the TLS handshake {with} failed: {why}"), error }
}

/// What TLS has to say about an error of a transport, if it is one of TLS: in TLS 1.3, a server that does not like the
/// client's certificate says so when the client has finished already. Whether it is about a certificate, and in words.
pub(crate) fn explain_late(role: Role, error: &io::Error) -> Option<(bool, String)> {
    Some(explain(role, tls_error(error)?))
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn explain(role: Role, error: &rustls::Error) -> (bool, String) {
    use AlertDescription as Alert;
    let (us, them) = match role {
        Role::Client => ("client", "server"),
        Role::Server => ("server", "client"),
    };
    match error {
        rustls::Error::InvalidCertificate(fault) => (true, explain_certificate(them, fault)),
        rustls::Error::NoCertificatesPresented => (true, format!("the {them} has shown no certificate")),
        rustls::Error::AlertReceived(Alert::CertificateRequired) => (
            true,
            "the server demands a certificate of the client; `Connect::tls` takes a configuration with one".to_owned(),
        ),
        rustls::Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => (true, format!("the {them} does not accept the {us}'s certificate ({alert:?})")),
        rustls::Error::AlertReceived(Alert::NoApplicationProtocol) | rustls::Error::NoApplicationProtocol => {
            (false, format!("the {them} does not speak HTTP/1.1 here (by ALPN)"))
        }
        rustls::Error::AlertReceived(alert) => (false, format!("the {them} ended it ({alert:?})")),
        // rustls looks at the first bytes: these are not those of TLS.
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => match role {
            Role::Client => {
                (false, "the server's answer is not TLS but, perhaps, plain HTTP; use ws:// for it".to_owned())
            }
            Role::Server => (false, "the client's request is not TLS but, perhaps, plain HTTP".to_owned()),
        },
        other => (false, other.to_string()),
    }
}

fn explain_certificate(whose: &str, fault: &CertificateError) -> String {
    match fault {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the {whose}'s certificate is not for {} but for {presented}", expected.to_str())
        }
        CertificateError::NotValidForName => format!("the {whose}'s certificate is for another name"),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the {whose}'s certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the {whose}'s certificate is not valid yet; is the clock right?")
        }
        CertificateError::UnknownIssuer => {
            let remedy = match whose {
                "server" => "; `Connect::tls` takes a configuration that trusts an authority of your own",
                _ => "",
            };
            format!("the {whose}'s certificate is of an unknown issuer{remedy}")
        }
        other => format!("the {whose}'s certificate: {other}"),
    }
}
