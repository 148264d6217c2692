//! What is being sent when this end closes: all that was accepted goes first, and nothing else is.

use futures::SinkExt;
use wsstream::{CloseCode, CloseError, ConnectionError, Message, MessageKind, WriteError};

use super::peer::{BINARY, CLOSE, TEXT, close_body, open, poll_once};

#[tokio::test(start_paused = true)]
async fn everything_accepted_goes_before_the_close_frame_and_later_writes_fail() {
    let (ws, mut peer) = open().await;
    let control = ws.control();
    let (_readable, mut writable) = ws.split();
    for message in ["a", "b", "c"] {
        writable.send(message).await.unwrap();
    }
    let mut close = Box::pin(control.close(CloseCode::NORMAL, "done"));
    assert!(poll_once(&mut close).await.is_pending());
    assert!(matches!(writable.send("late").await, Err(WriteError::Closed)));
    assert!(matches!(writable.start_message(MessageKind::Text).await.err(), Some(WriteError::Closed)));
    assert!(matches!(writable.feed(Message::text("late")).await, Err(WriteError::Closed)));
    for message in ["a", "b", "c"] {
        assert_eq!(peer.message().await.unwrap(), (TEXT, message.as_bytes().to_vec()));
    }
    assert_eq!(peer.message().await.unwrap(), (CLOSE, close_body(1000, "done")));
    peer.close(1000, "").await;
    drop(peer);
    assert!(close.await.unwrap().was_clean);
}

#[tokio::test(start_paused = true)]
async fn all_handles_may_be_dropped_while_a_large_message_is_on_its_way() {
    let (mut ws, mut peer) = open().await;
    let closed = ws.closed();
    ws.send(vec![7; 8 << 20]).await.unwrap();
    drop(ws);
    let (opcode, payload) = peer.message().await.unwrap();
    assert!(opcode == BINARY && payload.len() == 8 << 20 && payload.iter().all(|byte| *byte == 7));
    assert_eq!(peer.message().await.unwrap(), (CLOSE, close_body(1001, "")));
    peer.close(1001, "").await;
    drop(peer);
    assert!(closed.await.unwrap().was_clean);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_waits_fails_at_close_and_nothing_of_it_is_sent() {
    let (ws, mut peer) = open().await;
    let control = ws.control();
    let (_readable, mut writable) = ws.split();
    writable.send(vec![1; 1 << 20]).await.unwrap();
    let mut send = Box::pin(writable.send(vec![2; 1 << 20]));
    assert!(poll_once(&mut send).await.is_pending());
    let mut close = Box::pin(control.close(CloseCode::NORMAL, ""));
    assert!(poll_once(&mut close).await.is_pending());
    assert!(matches!(send.await, Err(WriteError::Closed)));
    assert_eq!(peer.message().await.unwrap(), (BINARY, vec![1; 1 << 20]));
    assert_eq!(peer.message().await.unwrap(), (CLOSE, close_body(1000, "")));
}

#[tokio::test(start_paused = true)]
async fn a_write_after_abort_fails() {
    let (ws, mut peer) = open().await;
    let (_readable, mut writable) = ws.split();
    writable.abort();
    let sent = writable.send("late").await;
    assert!(sent.is_err(), "it is never sent");
    peer.end().await;
}

/// A close in the middle of a message cuts it; the peer can tell, since its last frame is missing.
#[tokio::test(start_paused = true)]
async fn a_message_cut_by_close_does_not_look_whole() {
    let (mut ws, mut peer) = open().await;
    let control = ws.control();
    let mut message = ws.start_message(MessageKind::Text).await.unwrap();
    message.write("half").await.unwrap();
    let mut close = Box::pin(control.close(CloseCode::NORMAL, ""));
    assert!(poll_once(&mut close).await.is_pending());
    assert!(matches!(message.write("more").await, Err(WriteError::Closed)));
    assert!(matches!(message.finish().await, Err(WriteError::Closed)));
    let frame = peer.frame().await.unwrap();
    assert_eq!((frame.opcode, frame.fin, frame.payload), (TEXT, false, b"half".to_vec()));
    let frame = peer.frame().await.unwrap();
    assert_eq!((frame.opcode, frame.payload), (CLOSE, close_body(1000, "")));
}

/// Closing again, or waiting again, is told the same end.
#[tokio::test(start_paused = true)]
async fn every_close_is_told_the_same_end() {
    let (mut ws, peer) = open().await;
    drop(peer);
    assert!(ws.closed().await.is_err());
    for _ in 0..2 {
        let closed = ws.close(CloseCode::NORMAL, "").await;
        assert!(matches!(closed, Err(CloseError::Connection(ConnectionError::Lost))), "{closed:?}");
    }
}
