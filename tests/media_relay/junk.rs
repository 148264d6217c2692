//! A relay that is fed nonsense.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use bytes::Bytes;
use wsstream::{CloseCode, Message, WebSocketStream};

use crate::program::{Relay, report};

async fn publisher(relay: &mut Relay, channel: &str) -> WebSocketStream {
    let ws = WebSocketStream::connect(relay.url(channel)).protocols(["publish.media.v1"]).await.unwrap();
    relay.wait_for("published");
    ws
}

/// A frame as `frame.rs` has it.
fn frame(number: u64, payload: &[u8]) -> Bytes {
    let header = [&b"MR\x01\x01"[..], &7u32.to_be_bytes(), &number.to_be_bytes(), &[0; 8]].concat();
    [&header, payload].concat().into()
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_its_publisher_and_nobody_else() {
    let mut relay = Relay::start(&["--max-frame", "64KiB", "--linger", "3600"]);
    let viewer = relay.view("live", &["--out", "-"]);
    let wrong_version = [&b"MR\x02\x00"[..], &[0; 20]].concat();
    for (message, close_code) in [
        (Message::binary("junk"), 4400),
        (Message::binary(Bytes::new()), 4400),
        (Message::binary(wrong_version), 4400),
        (Message::text("MR\u{1}\u{1}01234567890123456789"), 4400),
        (Message::binary(frame(0, &[0; 64 << 10]).slice(..23)), 4400),
        (Message::binary(frame(0, &[0; 1 << 17])), 1009),
    ] {
        let mut ws = publisher(&mut relay, "live").await;
        let _ = ws.send(message).await;
        let closed = match ws.closed().await {
            Ok(info) => info,
            Err(error) => error.close_info(),
        };
        assert_eq!(u16::from(closed.close_code), close_code, "{closed:?}");
        assert!(close_code == 1009 || closed.reason.starts_with("a message is not a frame of media_relay; use"));
        relay.wait_for("ended");
    }
    // The largest there may be.
    let mut ws = publisher(&mut relay, "live").await;
    let payload = [7; 64 << 10];
    ws.send(Message::binary(frame(0, &payload))).await.unwrap();
    ws.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!(viewer.output().stdout, payload);
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_lives_through_clients_that_speak_otherwise() {
    let mut relay = Relay::start(&[]);
    for junk in [&b"\x16\x03\x01 no HTTP at all\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"GET /half HTTP/1.1\r\nHost"]
    {
        let mut tcp = TcpStream::connect(&relay.address).unwrap();
        tcp.write_all(junk).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    // What viewers say does not matter.
    let mut talker = WebSocketStream::connect(relay.url("live")).await.unwrap();
    relay.wait_for("joined");
    talker.send(Message::binary(vec![0; 1 << 20])).await.unwrap();
    // One that breaks the protocol.
    let mut tcp = TcpStream::connect(&relay.address).unwrap();
    let request = format!(
        "GET /live HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\u{f}\u{f}\u{f}",
        relay.address
    );
    tcp.write_all(request.as_bytes()).unwrap();
    let left = relay.wait_for("left");
    assert!(left["why"].as_str().unwrap().contains("broke the protocol"), "{left}");

    report(&relay.publish_bytes("live", b"hello"));
    let message = talker.next_message().await.unwrap().unwrap().collect(1000).await.unwrap();
    assert!(message.as_bytes().ends_with(b"hello"));
}
