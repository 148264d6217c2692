//! `wss://`, both ends, over real sockets.

#![cfg(feature = "rustls")]

mod authority;
mod certificates;
mod connections;
mod endings;
mod listener;
mod platform;
mod redirects;
#[path = "../support/mod.rs"]
mod support;

use rustls::ServerConfig;
use tokio::task::JoinHandle;
use wsstream::{AcceptError, Listener, ServerTls, WebSocketStream};

/// A listener on a free port, and its URL.
async fn listen(tls: impl Into<ServerTls>) -> (Listener, String) {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap().tls(tls);
    let port = listener.local_addr().unwrap().port();
    (listener, format!("wss://localhost:{port}/live"))
}

/// A server that accepts whoever gets that far, and its URL.
async fn serve(tls: ServerConfig) -> (JoinHandle<Result<WebSocketStream, AcceptError>>, String) {
    let (mut listener, url) = listen(tls).await;
    let accept = async move { listener.accept().await.unwrap().accept().await };
    (tokio::spawn(accept), url)
}
