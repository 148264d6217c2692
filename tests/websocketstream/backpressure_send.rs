//! After `backpressure-send.any.js`.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wsstream::MessageKind;

use super::{
    handlers,
    peer::{open, timed},
};

const LEN: usize = 8 << 20;

/// A whole message is the caller's memory already: it is accepted at once and may overshoot the mark. What waits for the
/// peer is `flush`, and the message after it.
#[tokio::test(start_paused = true)]
async fn backpressure_should_be_applied_to_sent_messages() {
    let (mut ws, peer) = open().await;
    let server = tokio::spawn(handlers::receive_backpressure(peer));
    let (sent, time) = timed(ws.send(vec![0; LEN])).await;
    sent.unwrap();
    assert_eq!(time, Duration::ZERO);
    let (flushed, time) = timed(ws.flush()).await;
    flushed.unwrap();
    assert!((2000..2100).contains(&time.as_millis()), "{time:?}");
    assert_eq!(server.await.unwrap().0, LEN);
}

#[tokio::test(start_paused = true)]
async fn a_message_behind_one_over_the_mark_waits() {
    let (ws, peer) = open().await;
    let _server = tokio::spawn(handlers::receive_backpressure(peer));
    let (_readable, mut writable) = ws.split();
    writable.send(vec![0; LEN]).await.unwrap();
    assert!(writable.desired_size() < 0);
    let (ready, time) = timed(writable.ready()).await;
    ready.unwrap();
    assert!((2000..2100).contains(&time.as_millis()), "{time:?}");
    assert!(writable.desired_size() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_written_in_chunks_waits_for_room() {
    let (mut ws, peer) = open().await;
    let server = tokio::spawn(handlers::receive_backpressure(peer));
    let write = async {
        let mut message = ws.start_message(MessageKind::Binary).await.unwrap();
        message.write_all(&[0; LEN]).await.unwrap();
        message.finish().await.unwrap();
    };
    let ((), time) = timed(write).await;
    assert!((2000..2100).contains(&time.as_millis()), "{time:?}");
    assert_eq!(server.await.unwrap().0, LEN);
    assert!(ws.stats().sent.buffered_max <= (256 + 64 + 1) * 1024, "{:?}", ws.stats());
}
