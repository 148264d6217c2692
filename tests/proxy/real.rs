//! Real proxies, from Debian's packages: `tinyproxy` for HTTP CONNECT, `microsocks` and `danted` for SOCKS5. Where they are
//! not installed, these tests say so and do nothing, unless `WSSTREAM_PEERS=required` is set.

use std::{
    env, fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use wsstream::{ConnectErrorKind, WebSocketStream};

use crate::{greeted, greeter, nobody, support::within};

/// A proxy at work, with its settings.
struct Proxy {
    program: Child,
    port: u16,
    _folder: TempDir,
}

impl Proxy {
    /// Starts a program that listens on a port of ours; `command` makes it from port and folder.
    fn start(program: &str, command: impl Fn(u16, &TempDir) -> Command) -> Option<Self> {
        if !is_installed(program) {
            let why = format!("skipped: `{program}` is not installed, so nothing can be sent through it\n");
            assert!(env::var("WSSTREAM_PEERS").is_err(), "{why}");
            // Past the capture of the test's output: whoever runs this is to know.
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            return None;
        }
        // Somebody else may take the port before the program does: then another one.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let mut command = command(port, &folder);
            let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut proxy = Self { program, port, _folder: folder };
            if proxy.is_up() {
                return Some(proxy);
            }
        }
        panic!("{program} does not start");
    }

    /// Waits until it listens, or has ended.
    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect(address).is_err() {
            if self.program.try_wait().unwrap().is_some() || Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn url(&self, scheme: &str, userinfo: &str) -> String {
        format!("{scheme}://{userinfo}127.0.0.1:{}", self.port)
    }

    fn tinyproxy(settings: &str) -> Option<Self> {
        Self::start("tinyproxy", |port, folder| {
            let path = folder.path().join("tinyproxy.conf");
            fs::write(&path, format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\n{settings}\n"))
                .unwrap();
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(path);
            command
        })
    }

    fn microsocks(credentials: &[&str]) -> Option<Self> {
        Self::start("microsocks", |port, _| {
            let mut command = Command::new("microsocks");
            command.args(["-i", "127.0.0.1", "-p", &port.to_string()]).args(credentials);
            command
        })
    }

    fn danted() -> Option<Self> {
        Self::start("danted", |port, folder| {
            let path = folder.path().join("danted.conf");
            let settings = format!(
                "logoutput: /dev/null\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\n\
                 clientmethod: none\n\
                 client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
                 socks block {{ from: 0.0.0.0/0 to: 127.0.0.9/32 }}\n\
                 socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n"
            );
            fs::write(&path, settings).unwrap();
            let mut command = Command::new("danted");
            command.arg("-f").arg(path).arg("-p").arg(folder.path().join("pid"));
            command
        })
    }
}

/// Found in the path, or where Debian has servers.
fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

async fn through(proxy: &str, port: u16) -> Result<(), wsstream::ConnectError> {
    greeted(WebSocketStream::connect(format!("ws://localhost:{port}/live")).proxy(proxy)).await
}

#[tokio::test]
async fn tinyproxy_without_password() {
    let Some(proxy) = Proxy::tinyproxy("") else { return };
    let port = greeter().await;
    through(&proxy.url("http", ""), port).await.unwrap();

    // Nobody listens at the end of the tunnel.
    let (_nobody, nobody) = nobody();
    let error = through(&proxy.url("http", ""), nobody).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Proxy, "{error}");
    assert!(error.response().is_some_and(|response| response.status().is_server_error()), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn tinyproxy_with_password() {
    let Some(proxy) = Proxy::tinyproxy("BasicAuth user secret") else { return };
    let port = greeter().await;
    through(&proxy.url("http", "user:secret@"), port).await.unwrap();
    for wrong in ["", "user:wrong@"] {
        let error = through(&proxy.url("http", wrong), port).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::Proxy);
        let status = error.response().expect("the proxy's answer").status().as_u16();
        assert!(matches!(status, 401 | 407), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn tinyproxy_lets_through_what_its_rules_allow() {
    let Some(proxy) = Proxy::tinyproxy("ConnectPort 443") else { return };
    let error = through(&proxy.url("http", ""), greeter().await).await.unwrap_err();
    assert_eq!(error.response().unwrap().status(), 403, "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn microsocks_without_password() {
    let Some(proxy) = Proxy::microsocks(&[]) else { return };
    let port = greeter().await;
    for scheme in ["socks5", "socks5h"] {
        through(&proxy.url(scheme, ""), port).await.unwrap();
    }
    let error =
        within(WebSocketStream::connect("ws://name.invalid/").proxy(proxy.url("socks5", "")).into_future()).await;
    assert_eq!(error.err().unwrap().kind(), ConnectErrorKind::Proxy, "the proxy looks names up");
    let (_nobody, nobody) = nobody();
    let error = through(&proxy.url("socks5", ""), nobody).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Proxy);
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn microsocks_with_password() {
    let Some(proxy) = Proxy::microsocks(&["-u", "user", "-P", "secret"]) else { return };
    let port = greeter().await;
    through(&proxy.url("socks5", "user:secret@"), port).await.unwrap();
    let error = through(&proxy.url("socks5", ""), port).await.unwrap_err();
    assert!(error.to_string().contains("give user and password in the proxy's URL"), "{error}");
    let error = through(&proxy.url("socks5", "user:wrong@"), port).await.unwrap_err();
    assert!(error.to_string().contains("user or password is wrong"), "{error}");
    assert!(error.kind() == ConnectErrorKind::Proxy && !error.is_transient());
}

#[tokio::test]
async fn dante() {
    let Some(proxy) = Proxy::danted() else { return };
    let port = greeter().await;
    through(&proxy.url("socks5", ""), port).await.unwrap();
    let blocked = WebSocketStream::connect(format!("ws://127.0.0.9:{port}/")).proxy(proxy.url("socks5", ""));
    let error = within(blocked.into_future()).await.err().unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Proxy);
    assert!(error.to_string().contains("not allowed") && !error.is_transient(), "{error}");
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn tls_through_either() {
    use crate::authority::{Authority, server};
    use wsstream::Listener;

    let authority = Authority::new("ours");
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().tls(server(authority.good()));
    let url = format!("wss://localhost:{}/live", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let mut ws = listener.accept().await.unwrap().accept().await.unwrap();
            ws.send("welcome").await.unwrap();
        }
    });
    let proxies = [(Proxy::tinyproxy(""), "http"), (Proxy::microsocks(&[]), "socks5")];
    for (proxy, scheme) in &proxies {
        let Some(proxy) = proxy else { continue };
        let connect = WebSocketStream::connect(&url).tls(authority.client()).proxy(proxy.url(scheme, ""));
        greeted(connect).await.unwrap();
    }
}
