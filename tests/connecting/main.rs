//! Getting a connection: redirects, trying again, options of sockets, other transports.

mod redirects;
mod retries;
mod transports;

#[path = "../support/mod.rs"]
mod support;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use support::within;

/// A server that answers each connection with the next of its lines, and in the end upgrades.
struct Scripted {
    listener: TcpListener,
    port: u16,
}

impl Scripted {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// A request, and where to answer it.
    async fn request(&self) -> (String, TcpStream) {
        let (mut tcp, _) = within(self.listener.accept()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(tcp.read_u8()).await.unwrap());
        }
        (String::from_utf8(head).unwrap(), tcp)
    }

    /// Answers one request; what it was.
    async fn answer(&self, status: &str, headers: &str) -> String {
        let (request, mut tcp) = self.request().await;
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n");
        tcp.write_all(answer.as_bytes()).await.unwrap();
        request
    }

    /// Upgrades one request; what it was.
    async fn upgrade(&self) -> (String, TcpStream) {
        let (request, mut tcp) = self.request().await;
        let accept = derive_accept_key(header(&request, "sec-websocket-key").unwrap().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        tcp.write_all(answer.as_bytes()).await.unwrap();
        (request, tcp)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values =
        head.lines().filter_map(|line| line.split_once(": ")).filter(|(it, _)| it.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}
