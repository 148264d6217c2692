//! The same over TLS, which has buffers of its own.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wsstream::{Listener, Message, WebSocketStream};

use crate::{
    allocator::Meter,
    authority::{Authority, server},
    peer::{KIB, alone_in_real_time},
};

/// What TLS holds for a connection, in both directions, besides what is sent and received.
const TLS: usize = 128 * KIB;

async fn listener(authority: &Authority) -> Listener {
    Listener::bind("127.0.0.1:0").await.unwrap().tls(server(authority.good()))
}

/// A client that has shaken hands by TLS, and writes what it likes.
async fn dial(authority: &Authority, addr: SocketAddr) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client()));
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn open(authority: &Authority) -> (WebSocketStream, TlsStream<TcpStream>) {
    let mut listener = listener(authority).await;
    let addr = listener.local_addr().unwrap();
    let client = async {
        let mut client = dial(authority, addr).await;
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client
    };
    let accept = async { listener.accept().await.unwrap().accept().await.unwrap() };
    let (client, ws) = tokio::join!(client, accept);
    (ws, client)
}

/// Fills whatever is between the two until nothing more goes in: no byte has been taken for as long as anything takes.
async fn write_until_stuck(client: &mut TlsStream<TcpStream>, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Ok(len) = tokio::time::timeout(std::time::Duration::from_millis(500), client.write(bytes)).await {
        written += len.unwrap();
    }
    written
}

#[test]
fn a_reader_that_lags_behind_a_fast_peer_by_tls() {
    alone_in_real_time(|| async {
        let authority = Authority::new("ours");
        let (ws, mut client) = open(&authority).await;
        let meter = Meter::start();
        // A message that goes on for ever, its mask all zero.
        client.write_all(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await.unwrap();
        let chunk = vec![0; 64 * KIB];
        let written = write_until_stuck(&mut client, &chunk).await;
        assert!(written > 512 * KIB, "it was fast: {written}");
        // Both ends are of this process: the peer has one in TLS's buffers of its own.
        meter.assert_below(768 * KIB + TLS + TLS + chunk.len(), "received by TLS and not taken");
        drop(ws);
    });
}

#[test]
fn a_peer_that_never_reads_by_tls() {
    alone_in_real_time(|| async {
        let authority = Authority::new("ours");
        let (mut ws, _client) = open(&authority).await;
        let meter = Meter::start();
        let message = Message::binary(vec![7; 64 * KIB]);
        let sending = async {
            loop {
                ws.send(message.clone()).await.unwrap();
            }
        };
        let stuck = tokio::time::timeout(std::time::Duration::from_secs(2), sending).await;
        assert!(stuck.is_err());
        meter.assert_below(512 * KIB + 64 * KIB + TLS, "accepted and not sent by TLS");
    });
}

#[test]
fn an_idle_connection_by_tls() {
    alone_in_real_time(|| async {
        let authority = Authority::new("ours");
        drop(open(&authority).await);
        let meter = Meter::start();
        let mut open_ones = Vec::new();
        for _ in 0..20 {
            open_ones.push(open(&authority).await);
        }
        let each = meter.live() / open_ones.len();
        eprintln!("idle by TLS, both ends: {each} bytes");
        assert!(each < 64 * KIB, "{each} bytes for both ends");
    });
}

/// Handshake messages nearly as large as rustls takes them, 64 KiB, never finished.
#[test]
fn clients_that_never_finish_a_handshake_by_tls() {
    const CLIENTS: usize = 50;
    alone_in_real_time(|| async {
        let authority = Authority::new("ours");
        let mut listener = listener(&authority).await;
        let addr = listener.local_addr().unwrap();
        let meter = Meter::start();
        let attack = async {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let mut tcp = TcpStream::connect(addr).await.unwrap();
                // A ClientHello of 60 KiB in records of 16 KiB, of which the fourth does not end.
                let mut hello = Vec::new();
                for _ in 0..4 {
                    hello.extend_from_slice(&[0x16, 3, 1, 0x40, 0]);
                    hello.resize(hello.len() + 0x4000, 0);
                }
                hello[5..9].copy_from_slice(&[1, 0, 0xf0, 0]);
                hello.truncate(56 * KIB);
                let _ = tcp.write_all(&hello).await;
                clients.push(tcp);
            }
            let mut good = dial(&authority, addr).await;
            good.write_all(REQUEST.as_bytes()).await.unwrap();
            good.read_u8().await.unwrap();
            clients
        };
        let serve = async {
            loop {
                drop(listener.accept().await.unwrap().accept().await);
            }
        };
        tokio::select! {
            clients = attack => drop(clients),
            () = serve => unreachable!(),
        }
        assert!(meter.peak() > CLIENTS * 56 * KIB, "they were pending: {}", meter.peak());
        meter.assert_below(CLIENTS * 80 * KIB + 256 * KIB, "unfinished handshakes of TLS");
    });
}
