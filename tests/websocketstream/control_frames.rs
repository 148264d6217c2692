//! Pings and backpressure.

use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wsstream::Config;

use super::peer::{BINARY, Frame, PING, PONG, TEXT, frame, open, open_config, timed};

fn pong(payload: &str) -> Option<Frame> {
    Some(Frame { fin: true, opcode: PONG, payload: payload.into() })
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_nobody_reads() {
    let (_ws, mut peer) = open().await;
    peer.send(PING, "quiet").await;
    assert_eq!(peer.frame().await, pong("quiet"));
    for message in ["m0", "m1", "m2"] {
        peer.send(TEXT, message).await;
    }
    peer.send(PING, "behind three").await;
    let (frame, time) = timed(peer.frame()).await;
    assert_eq!((frame, time), (pong("behind three"), Duration::ZERO));
}

/// Frames come in order: what stands behind data over the mark cannot be seen before that is read.
#[tokio::test(start_paused = true)]
async fn a_ping_behind_more_than_the_mark_is_answered_when_that_is_read() {
    let (mut ws, mut peer) = open_config(Config::default().read_high_water_mark(1024)).await;
    // More than mark, read buffer and transport hold.
    let serve = async {
        peer.send(BINARY, vec![0; 1 << 20]).await;
        peer.send(PING, "behind").await;
        peer.frame().await
    };
    tokio::pin!(serve);
    let unanswered = tokio::time::timeout(Duration::from_secs(5), &mut serve).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    let (message, frame) = tokio::join!(ws.next(), serve);
    assert_eq!((message.unwrap().unwrap().len(), frame), (1 << 20, pong("behind")));
}

/// The peer may not take us for dead meanwhile: it hears an unsolicited pong from time to time.
#[tokio::test(start_paused = true)]
async fn while_the_reader_lags_a_heartbeat_goes_out() {
    let config = Config::default().read_high_water_mark(1024).ping_interval(Duration::from_secs(20));
    let (_ws, peer) = open_config(config).await;
    let (mut read, mut write) = tokio::io::split(peer.io);
    tokio::spawn(async move { write.write_all(&frame(0x80 | BINARY, &[0; 1 << 20])).await });
    let mut header = [0; 6];
    let (heard, time) = timed(read.read_exact(&mut header)).await;
    heard.unwrap();
    assert_eq!(header[..2], [0x80 | PONG, 0x80]);
    assert!((20..21).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_our_own_measures_the_round_trip() {
    let (ws, mut peer) = open().await;
    let control = ws.control();
    let serve = async {
        let ping = peer.frame().await.unwrap();
        assert_eq!(ping.opcode, PING);
        tokio::time::sleep(Duration::from_millis(40)).await;
        peer.send(PONG, ping.payload).await;
    };
    let (round_trip, ()) = tokio::join!(control.ping(), serve);
    assert!((40..50).contains(&round_trip.unwrap().as_millis()));
}

/// The ping of a write-blocked connection overtakes what waits; so does the pong.
#[tokio::test(start_paused = true)]
async fn a_pong_overtakes_a_large_message() {
    let (mut ws, mut peer) = open().await;
    ws.send(vec![0; 8 << 20]).await.unwrap();
    peer.send(PING, "now").await;
    let mut before = 0;
    loop {
        match peer.frame().await.unwrap() {
            Frame { opcode: PONG, payload, .. } => break assert_eq!(payload, b"now"),
            frame => before += frame.payload.len(),
        }
    }
    assert!(before <= 1 << 20, "{before} bytes before the pong");
}
