//! The proxy that the environment names: for whom it is used, and for whom not.
//!
//! The environment is that of a process, so each client is one of its own.

use std::{env, process::Command};

use tokio::{io::AsyncReadExt, net::TcpListener};
use wsstream::{ConnectErrorKind, WebSocketStream};

use crate::{nobody, support::within};

const URL: &str = "WSSTREAM_TEST_URL";

const VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];

/// Runs a client with these variables, `PROXY` standing for the address of a proxy: the first bytes that the proxy gets
/// from it, if any, and how it ended.
async fn client(url: &str, variables: &[(&str, &str)]) -> (Option<[u8; 8]>, String) {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let mut client = Command::new(env::current_exe().unwrap());
    client.args(["--exact", "environment::a_client_that_asks_the_environment", "--ignored", "--nocapture"]);
    for name in VARIABLES {
        client.env_remove(name);
    }
    client.env_remove("REQUEST_METHOD").env(URL, url);
    client.envs(variables.iter().map(|(name, value)| (name, value.replace("PROXY", &address))));
    let mut client = tokio::task::spawn_blocking(move || client.output().unwrap());
    let seen = async {
        let (mut tcp, _) = proxy.accept().await.unwrap();
        let mut first = [0; 8];
        let len = tcp.read(&mut first).await.unwrap();
        assert!(len > 0);
        Some(first)
    };
    let (seen, output) = within(async {
        tokio::select! {
            seen = seen => (seen, client.await),
            output = &mut client => (None, output),
        }
    })
    .await;
    let output = output.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}");
    let kind = stdout.lines().find_map(|line| line.split_once("the end: ")).expect("a word about its end").1.to_owned();
    (seen, kind)
}

#[tokio::test]
#[ignore = "run by the tests below"]
async fn a_client_that_asks_the_environment() {
    let connect = WebSocketStream::connect(env::var(URL).unwrap()).proxy_from_env();
    let error = within(connect.into_future()).await.expect_err("no proxy here connects");
    println!("the end: {:?} {error}", error.kind());
}

#[tokio::test]
async fn variables_name_the_proxy_of_their_scheme() {
    for (url, variables) in [
        ("ws://media.invalid/", &[("HTTP_PROXY", "http://PROXY")][..]),
        ("ws://media.invalid/", &[("http_proxy", "PROXY")]),
        ("ws://media.invalid/", &[("ALL_PROXY", "http://PROXY")]),
        ("wss://media.invalid/", &[("HTTPS_PROXY", "http://PROXY"), ("HTTP_PROXY", "http://127.0.0.1:1")]),
        ("wss://media.invalid/", &[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://PROXY")]),
        ("ws://media.invalid/", &[("HTTP_PROXY", "http://PROXY"), ("NO_PROXY", "other.invalid,10.0.0.0/8")]),
    ] {
        if url.starts_with("wss") && !cfg!(feature = "rustls") {
            continue;
        }
        let (seen, end) = client(url, variables).await;
        assert_eq!(seen.as_ref().map(|it| &it[..]), Some(&b"CONNECT "[..]), "{variables:?}");
        assert!(end.starts_with("Proxy "), "{end}");
    }
    let (seen, _) = client("ws://media.invalid/", &[("ALL_PROXY", "socks5://PROXY")]).await;
    assert_eq!(&seen.unwrap()[..3], [5, 1, 0]);
}

#[tokio::test]
async fn hosts_without_a_proxy_are_connected_to() {
    let (_nobody, port) = nobody();
    let url = format!("ws://127.0.0.1:{port}/");
    for variables in [
        &[][..],
        &[("HTTPS_PROXY", "http://PROXY")],
        &[("ALL_PROXY", "http://PROXY"), ("NO_PROXY", "example.com, 127.0.0.0/8")],
        &[("HTTP_PROXY", "http://PROXY"), ("no_proxy", "*")],
    ] {
        let (seen, end) = client(&url, variables).await;
        assert!(seen.is_none() && end.starts_with("Io "), "{variables:?}: {end}");
    }
}

#[tokio::test]
async fn a_variable_that_names_no_proxy_is_an_error() {
    let (seen, end) = client("ws://media.invalid/", &[("HTTP_PROXY", "gopher://PROXY")]).await;
    assert!(seen.is_none() && end.starts_with(&format!("{:?} ", ConnectErrorKind::InvalidOption)), "{end}");
    assert!(end.contains("the environment variable HTTP_PROXY does not name a proxy"), "{end}");
}
