//! Proxies: scripted ones, and real ones where they are installed.

#![cfg(feature = "proxy")]

#[cfg(feature = "rustls")]
#[path = "../tls/authority.rs"]
mod authority;
mod environment;
mod real;
mod scripted;
#[path = "../support/mod.rs"]
mod support;

use tokio::net::TcpSocket;
use wsstream::{ConnectError, Listener, WebSocketStream};

use support::within;

/// A server that greets everybody, and its port.
async fn greeter() -> u16 {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let Ok(mut ws) = listener.accept().await.unwrap().accept().await else { continue };
            ws.send("welcome").await.unwrap();
        }
    });
    port
}

/// A port where nobody listens, as long as the socket is held: nobody else gets it either.
fn nobody() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

async fn greeted(connect: wsstream::Connect) -> Result<(), ConnectError> {
    let mut ws: WebSocketStream = within(connect.into_future()).await?;
    assert_eq!(within(support::next(&mut ws)).await.unwrap().unwrap().as_text(), Some("welcome"));
    Ok(())
}
