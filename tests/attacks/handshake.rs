//! Handshakes that never end, and those that are all head.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Instant, interval},
};
use wsstream::{AcceptErrorKind, Config, ConnectErrorKind, Listener, WebSocketStream};

use crate::{
    allocator::Meter,
    peer::{ENDLESS, KIB, MIB, alone, alone_in_real_time},
};

/// `max_head_size`, one read beyond it, and what parsing takes.
const HEAD: usize = 16 * KIB + 4 * KIB + 32 * KIB;

fn request(lines: &str) -> String {
    format!(
        "GET /live HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

/// Sends this to a server; the answer's status, and the kind of the error.
async fn refused(request: &[u8], what: &str) -> (String, AcceptErrorKind) {
    let (mut client, server) = duplex(4 * KIB);
    let meter = Meter::start();
    let attack = async {
        let (mut read, mut write) = tokio::io::split(&mut client);
        let send = async {
            // The server does not take all of it.
            let _ = write.write_all(request).await;
            let _ = write.shutdown().await;
        };
        let mut status = [0; 12];
        let receive = async {
            read.read_exact(&mut status).await.unwrap();
            let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
        };
        tokio::join!(send, receive);
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    let (status, result) = tokio::join!(attack, WebSocketStream::accept(server).into_future());
    meter.assert_below(HEAD, what);
    (status, result.err().unwrap().kind())
}

#[test]
fn a_head_of_one_mebibyte() {
    alone(|| async {
        let long = request(&format!("X: {}\r\n", "x".repeat(MIB)));
        assert_eq!(refused(long.as_bytes(), "a long header").await, ("431".into(), AcceptErrorKind::HeadTooLarge));
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MIB));
        assert_eq!(refused(long.as_bytes(), "a long target").await, ("431".into(), AcceptErrorKind::HeadTooLarge));
        let empty = "\r\n".repeat(MIB / 2);
        assert_eq!(refused(empty.as_bytes(), "empty lines").await, ("431".into(), AcceptErrorKind::HeadTooLarge));
    });
}

#[test]
fn a_head_of_ten_thousand_headers() {
    alone(|| async {
        let many = request(&"A:\r\n".repeat(10_000));
        assert_eq!(refused(many.as_bytes(), "many headers").await, ("431".into(), AcceptErrorKind::HeadTooLarge));
    });
}

#[test]
fn a_head_of_one_byte_a_second() {
    alone(|| async {
        let (mut client, server) = duplex(4 * KIB);
        let started = Instant::now();
        let attack = async {
            let mut tick = interval(Duration::from_secs(1));
            for byte in request("").bytes() {
                tick.tick().await;
                if client.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
            panic!("nobody hung up");
        };
        let accept = async {
            let error = WebSocketStream::accept(server).await.err().unwrap();
            (error.kind(), started.elapsed().as_secs())
        };
        let ((), outcome) = tokio::join!(attack, accept);
        assert_eq!(outcome, (AcceptErrorKind::Timeout, 30));
    });
}

#[test]
fn a_response_of_one_byte_a_second() {
    alone(|| async {
        let (client, mut server) = duplex(4 * KIB);
        let started = Instant::now();
        let attack = async {
            let mut tick = interval(Duration::from_secs(1));
            for byte in "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n".bytes() {
                tick.tick().await;
                if server.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
            panic!("nobody hung up");
        };
        let connect = async {
            let error = WebSocketStream::connect_over("ws://a/", client).await.err().unwrap();
            (error.kind(), started.elapsed().as_secs())
        };
        let ((), outcome) = tokio::join!(attack, connect);
        assert_eq!(outcome, (ConnectErrorKind::Timeout, 30));
    });
}

/// Lets a server answer a handshake with this, again and again; the error, and how long it took.
async fn connect_to(answer: &[u8], again: bool) -> (ConnectErrorKind, Duration) {
    let (client, mut server) = duplex(4 * KIB);
    let meter = Meter::start();
    let started = Instant::now();
    let attack = async {
        let mut sent = 0;
        while sent == 0 || again {
            if server.write_all(answer).await.is_err() {
                return;
            }
            sent += answer.len();
            if sent > ENDLESS {
                break;
            }
        }
        // Held open, silent.
        let _ = tokio::io::copy(&mut server, &mut tokio::io::sink()).await;
    };
    let connect = async {
        let error = WebSocketStream::connect_over("ws://a/", client).await.err().unwrap();
        let body = error.response().map_or(0, |response| response.body().len());
        assert!(body <= 8 * KIB);
        (error.kind(), started.elapsed())
    };
    let ((), outcome) = tokio::join!(attack, connect);
    meter.assert_below(HEAD, "an answer");
    outcome
}

#[test]
fn answers_without_end() {
    alone(|| async {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n";
        let (kind, time) = connect_to(interim.as_bytes(), true).await;
        assert_eq!((kind, time.as_secs()), (ConnectErrorKind::Timeout, 30));
        let head = "HTTP/1.1 101 Switching Protocols\r\nX: x\r\n";
        assert_eq!(connect_to(head.as_bytes(), true).await.0, ConnectErrorKind::HeadTooLarge);
        // A body that announces more than there is memory, and then stalls: one second is spent on it.
        let refusal = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\nno", 1u64 << 62);
        let (kind, time) = connect_to(refusal.as_bytes(), false).await;
        assert_eq!((kind, time.as_secs()), (ConnectErrorKind::Refused, 1));
        // One that comes without end.
        let refusal = format!("HTTP/1.1 403 Forbidden\r\n\r\n{}", "no".repeat(1000));
        assert_eq!(connect_to(refusal.as_bytes(), true).await.0, ConnectErrorKind::Refused);
    });
}

#[test]
fn a_head_full_of_subprotocols() {
    alone(|| async {
        let letters = || ('a'..='z').chain('A'..='Z').chain('0'..='9');
        let offers: Vec<_> = letters().flat_map(|a| letters().map(move |b| format!("{a}{b}"))).collect();
        let list = offers.join(",");
        let request = request(&format!("Sec-WebSocket-Protocol: {list}\r\n"));
        let config = Config::default();
        let (mut client, server) = duplex(32 * KIB);
        client.write_all(request.as_bytes()).await.unwrap();
        let meter = Meter::start();
        let upgrade = WebSocketStream::accept(server).config(config).await.unwrap();
        assert_eq!(upgrade.protocols().count(), offers.len());
        meter.assert_below(HEAD + 100 * offers.len(), "many subprotocols");
    });
}

/// Handshakes that the listener of the test below may have pending.
const PENDING: usize = 256;

/// How many file descriptors this process has open.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many connections the limit on descriptors leaves room for, 10,000 at most.
#[cfg(target_os = "linux")]
fn as_many_as_possible() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    10_000.min(soft - 2 * PENDING)
}

fn shake_hands(addr: SocketAddr) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request("").as_bytes()).unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    String::from_utf8_lossy(&status).into_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_connections_that_never_finish_a_handshake() {
    alone_in_real_time(|| async {
        let config = Config::default().handshake_timeout(Duration::from_millis(50));
        let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().config(config).max_pending_handshakes(PENDING);
        let addr = listener.local_addr().unwrap();
        let before = descriptors();
        let meter = Meter::start();
        let attack = tokio::task::spawn_blocking(move || {
            let count = as_many_as_possible();
            let mut clients: Vec<TcpStream> = Vec::with_capacity(count);
            let mut most = 0;
            for number in 0..count {
                // Twice as many at a time as may be pending: the others wait in the system's queue, and none is turned
                // away by the system. A client is through when the server has hung up on it.
                if let Some(oldest) = number.checked_sub(2 * PENDING) {
                    assert_eq!(clients[oldest].read(&mut [0]).unwrap_or(0), 0, "nobody is answered");
                }
                let mut client = TcpStream::connect(addr).unwrap();
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
                clients.push(client);
                if number % 97 == 0 {
                    most = most.max(descriptors().saturating_sub(before + clients.len()));
                }
            }
            // The places are all taken, and a good client is served all the same.
            let status = shake_hands(addr);
            (clients.len(), most, status)
        });
        let serve = async {
            loop {
                let upgrade = listener.accept().await.unwrap();
                drop(upgrade.accept().await);
            }
        };
        let (clients, most, status) = tokio::select! {
            attack = attack => attack.unwrap(),
            () = serve => unreachable!(),
        };
        eprintln!("{clients} clients, at most {most} of them accepted at a time");
        assert_eq!(status, "HTTP/1.1 101");
        // The good one may be among them, and the directory that is being listed.
        assert!((PENDING / 2..=PENDING + 2).contains(&most), "{most} were accepted at a time");
        meter.assert_below(PENDING * 8 * KIB + clients * 8 + MIB, "unfinished handshakes");
    });
}
