//! Redirects between `ws` and `wss`.

use http::StatusCode;
use tokio::task::JoinHandle;
use wsstream::{ConnectErrorKind, Listener, WebSocketStream};

use crate::{
    authority::{Authority, server},
    listen, serve,
    support::within,
};

/// Sends one client elsewhere; what credentials it showed.
fn redirect(mut listener: Listener, location: String) -> JoinHandle<Option<String>> {
    tokio::spawn(async move {
        let upgrade = listener.accept().await.unwrap();
        let credentials = upgrade.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        upgrade.reject(StatusCode::FOUND).header("location", location).await.unwrap();
        credentials
    })
}

#[tokio::test]
async fn never_from_wss_to_ws() {
    let authority = Authority::new("ours");
    let (listener, url) = listen(server(authority.good())).await;
    // Not even to the same host.
    let there = redirect(listener, url.replace("wss", "ws"));
    let connect = WebSocketStream::connect(&url).tls(authority.client()).redirects(5);
    let error = within(connect.into_future()).await.err().unwrap();
    there.await.unwrap();
    assert_eq!(error.kind(), ConnectErrorKind::Redirect);
    assert!(error.to_string().contains("from wss to ws, which is never followed"), "{error}");
}

#[tokio::test]
async fn from_ws_to_wss_without_credentials() {
    let authority = Authority::new("ours");
    let (accepted, url) = serve(server(authority.good())).await;
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("ws://user:pass@127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let there = redirect(listener, url.clone());
    let connect = WebSocketStream::connect(plain).tls(authority.client()).redirects(1);
    let ws = within(connect.into_future()).await.unwrap();
    assert_eq!(ws.url(), url);
    assert!(there.await.unwrap().is_some());
    accepted.await.unwrap().unwrap();
}
