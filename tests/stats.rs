//! The numbers of a connection, against exchanges whose numbers are known.

mod support;

use std::time::Duration;

use support::{BINARY, BOTH, CONTINUATION, PING, TEXT, frame, next, other, pair_over, settle, within};
use tokio::time::advance;
use wsstream::{CloseCode, Config, MessageKind, ReadyState};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None)
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_is_counted() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, config(), 1 << 16);
        let script = [
            frame(other(role), true, TEXT, b"one"),
            frame(other(role), false, BINARY, b"two, "),
            frame(other(role), true, PING, b"ping"),
            frame(other(role), true, CONTINUATION, b"in fragments"),
        ]
        .concat();
        peer.write(&script).await;
        settle().await;
        let received = ws.stats().received;
        assert_eq!(received.bytes, script.len() as u64);
        assert_eq!((received.messages, received.frames, received.control_frames), (2, 3, 1));
        assert!(received.buffered > 20 && received.buffered == received.buffered_max);
        assert_eq!((received.pauses, received.paused), (0, Duration::ZERO));
        assert_eq!(ws.stats().sent.control_frames, 1, "the pong");

        within(next(&mut ws)).await.unwrap().unwrap();
        within(next(&mut ws)).await.unwrap().unwrap();
        settle().await;
        let after = ws.stats().received;
        assert_eq!((after.buffered, after.buffered_max), (0, received.buffered_max));
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_out_is_counted() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, config().max_frame_payload(1000), 1 << 16);
        within(ws.send("whole")).await.unwrap();
        within(ws.send(vec![7; 5000])).await.unwrap();
        let mut message = within(ws.start_message(MessageKind::Binary)).await.unwrap();
        within(message.write(&b"in "[..])).await.unwrap();
        within(message.write(&b"pieces"[..])).await.unwrap();
        assert_eq!(wsstream::Stats::default().sent.messages, 0);
        message.finish().await.unwrap();
        within(ws.flush()).await.unwrap();
        let mut bytes = 0;
        let mut frames = 0;
        for _ in 0..3 {
            loop {
                let frame = peer.frame().await.unwrap();
                frames += 1;
                let header = if frame.payload.len() > 125 { 4 } else { 2 };
                let key = if role == wsstream::Role::Client { 4 } else { 0 };
                bytes += header + key + frame.payload.len();
                if frame.fin {
                    break;
                }
            }
        }
        let sent = ws.stats().sent;
        assert_eq!((sent.messages, sent.frames, sent.control_frames), (3, frames, 0));
        assert_eq!((sent.bytes, sent.buffered), (bytes as u64, 0));
        assert!(sent.buffered_max >= 5000);
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_are_counted_and_timed_while_they_last() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config().read_high_water_mark(1000), 4096);
        let (mut readable, mut writable) = ws.split();
        let control = readable.control();

        // The consumer lags.
        peer.send(BINARY, &[1; 2000]).await;
        settle().await;
        advance(5 * SECOND).await;
        let received = control.stats().received;
        assert_eq!((received.pauses, received.paused), (1, 5 * SECOND), "the present pause counts");
        within(next(&mut readable)).await.unwrap().unwrap();
        settle().await;
        advance(5 * SECOND).await;
        assert_eq!(control.stats().received.paused, 5 * SECOND, "it is over");

        // The peer lags.
        within(writable.send(vec![2; 10_000])).await.unwrap();
        settle().await;
        advance(3 * SECOND).await;
        let sent = control.stats().sent;
        assert_eq!((sent.pauses, sent.paused), (1, 3 * SECOND));
        peer.message().await;
        settle().await;
        let sent = control.stats().sent;
        assert_eq!((sent.buffered, sent.paused), (0, 3 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_is_told() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, config(), 4096);
        let control = ws.control();
        assert_eq!(control.ready_state(), ReadyState::Open);
        let closing = tokio::spawn({
            let control = control.clone();
            async move { control.close(CloseCode::NORMAL, "").await }
        });
        peer.expect_close().await;
        assert_eq!(control.stats().ready_state, ReadyState::Closing);
        peer.send_close(1000, "").await;
        drop(peer);
        within(closing).await.unwrap().unwrap();
        assert_eq!(control.stats().ready_state, ReadyState::Closed);
        drop(ws);
    }
}
