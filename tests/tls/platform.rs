//! What the platform trusts is trusted, with no set-up.

use std::{env, process::Command};

use wsstream::{CloseCode, WebSocketStream};

use crate::{
    authority::{Authority, server},
    serve,
    support::within,
};

const URL: &str = "WSSTREAM_TEST_URL";

/// The roots are read once in a process, so the client is one of its own, on a platform whose roots are those of a file.
#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn the_roots_of_the_platform_are_trusted() {
    let authority = Authority::new("the platform's");
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let (server, url) = serve(server(authority.good())).await;
    let mut client = Command::new(env::current_exe().unwrap());
    client.args(["--exact", "platform::a_client_without_any_set_up", "--ignored", "--nocapture"]);
    client.env(URL, url).env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
    let client = tokio::task::spawn_blocking(move || client.output().unwrap());
    let mut server = within(server).await.unwrap().unwrap();
    assert!(within(server.next_message()).await.unwrap().is_none());
    let output = within(client).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn a_client_without_any_set_up() {
    let url = env::var(URL).unwrap();
    let mut ws = within(WebSocketStream::connect(url).into_future()).await.unwrap();
    assert!(within(ws.close(CloseCode::NORMAL, "")).await.unwrap().was_clean);
}
