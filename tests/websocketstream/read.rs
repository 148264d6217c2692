//! After `read.any.js`.

use futures::StreamExt;
use tokio::io::AsyncReadExt;
use wsstream::MessageKind;

use super::{handlers, peer::open};

#[tokio::test(start_paused = true)]
async fn binary_messages_should_be_bytes() {
    let (mut ws, peer) = open().await;
    tokio::spawn(handlers::echo(peer));
    ws.send(vec![0; 16]).await.unwrap();
    let message = ws.next().await.unwrap().unwrap();
    assert_eq!((message.kind(), message.as_bytes()), (MessageKind::Binary, &[0; 16][..]));
    assert_eq!(message.as_text(), None);
}

#[tokio::test(start_paused = true)]
async fn types_alternate_and_empty_messages_are_messages() {
    let (mut ws, peer) = open().await;
    tokio::spawn(handlers::echo(peer));
    for (kind, payload) in [(MessageKind::Text, "a"), (MessageKind::Binary, ""), (MessageKind::Text, "")] {
        let mut message = ws.start_message(kind).await.unwrap();
        message.write(payload).await.unwrap();
        message.finish().await.unwrap();
        let message = ws.next().await.unwrap().unwrap();
        assert_eq!((message.kind(), message.as_bytes()), (kind, payload.as_bytes()));
    }
}

/// What a browser has no reader for: into the caller's own buffer, from the middle of a frame.
#[tokio::test(start_paused = true)]
async fn bytes_go_into_the_buffer_of_the_caller_before_their_frame_is_complete() {
    let (mut ws, mut peer) = open().await;
    // The header of a binary frame of 1000 bytes, and its first four.
    peer.raw(b"\x82\x7e\x03\xe8abcd").await;
    let mut message = ws.next_message().await.unwrap().unwrap();
    let mut buffer = [0; 3];
    message.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"abc");
    assert_eq!(message.chunk().await.unwrap().unwrap(), "d");
}
