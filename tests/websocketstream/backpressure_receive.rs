//! After `backpressure-receive.any.js`.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;
use wsstream::Message;

use super::{handlers, peer::open};

/// Two high-water marks: 256 KiB, and the read buffer.
const BOUND: u64 = 512 * 1024;

#[tokio::test(start_paused = true)]
async fn backpressure_should_be_applied_to_received_messages() {
    let (mut ws, peer) = open().await;
    tokio::spawn(handlers::send_backpressure(peer));
    sleep(Duration::from_secs(2)).await;
    let received = ws.stats().received;
    assert!(received.bytes > 0 && received.bytes <= BOUND, "{received:?}");

    assert_eq!(ws.next().await.unwrap().unwrap(), Message::binary(""));
    for _ in 0..16 {
        assert_eq!(ws.next().await.unwrap().unwrap().len(), 1 << 20);
    }
    let seconds = ws.next().await.unwrap().unwrap();
    let seconds: f64 = seconds.as_text().unwrap().parse().unwrap();
    assert!((2.0..2.1).contains(&seconds), "the server sent it all in {seconds} s");
}
