//! The opening handshake, against scripted peers, against another implementation, and against itself.

mod client;
mod interop;
mod leftover;
mod listener;
mod server;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The key of the example in RFC 6455, 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request that is a proper handshake.
fn good_request() -> String {
    format!(
        "GET /live?x=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// Reads up to and including the blank line, and not a byte more.
async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("the transport ended in the middle of a head"));
    }
    String::from_utf8(head).unwrap()
}

/// Reads to the end of the transport.
async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The value of a header; names are compared without case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n\r\n").next()?.lines();
    let mut values = lines.filter_map(|line| line.split_once(": ")).filter(|(it, _)| it.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}

/// What answers a request's key.
fn accept_key(request: &str) -> String {
    derive_accept_key(header(request, "sec-websocket-key").unwrap().as_bytes())
}
