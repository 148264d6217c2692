//! Requests as bytes, and answers as they come.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::within;

/// The key of the example in RFC 6455, 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A proper handshake, with more header lines.
pub(crate) fn request(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// A response: its head, and its body if it is no upgrade.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The values of a header; names are compared without case.
    pub(crate) fn header<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Sends bytes over a connection of their own, and reads the answer.
pub(crate) async fn ask(addr: SocketAddr, bytes: &[u8]) -> (Answer, TcpStream) {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let answer = ask_over(&mut tcp, bytes).await;
    (answer, tcp)
}

pub(crate) async fn ask_over(tcp: &mut TcpStream, bytes: &[u8]) -> Answer {
    tcp.write_all(bytes).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(tcp.read_u8()).await.unwrap_or_else(|_| panic!("after {}", head.escape_ascii())));
    }
    let mut answer = Answer { head: String::from_utf8(head).unwrap(), body: String::new() };
    if answer.status() != 101 {
        let len: usize = answer.header("content-length")[0].parse().unwrap();
        let mut body = vec![0; len];
        within(tcp.read_exact(&mut body)).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
    }
    answer
}
