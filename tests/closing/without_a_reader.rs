//! Closing settles without a reader.

use super::*;

#[tokio::test(start_paused = true)]
async fn close_settles_with_unread_messages_when_the_peer_answers() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        for _ in 0..5 {
            peer.send(TEXT, b"unread").await;
        }
        settle().await;
        let close = tokio::spawn(async move { writable.close(CloseCode::NORMAL, "").await });
        peer.expect_close().await;
        peer.send_close(1000, "bye").await;
        drop(peer);
        let (info, time) = timed(close).await;
        assert_eq!(info.unwrap().unwrap().reason, "bye");
        assert_eq!(time, Duration::ZERO);
        for _ in 0..5 {
            assert_eq!(next_text(&mut readable).await.as_deref(), Some("unread"));
        }
        assert_eq!(next_text(&mut readable).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn close_times_out_when_the_peer_never_answers_and_what_came_stays_readable() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        for _ in 0..5 {
            peer.send(TEXT, b"unread").await;
        }
        settle().await;
        let (closed, time) = timed(writable.close(CloseCode::NORMAL, "")).await;
        assert!(matches!(closed, Err(CloseError::Connection(ConnectionError::CloseTimeout(CLOSE_TIMEOUT)))));
        assert_about(time, CLOSE_TIMEOUT);
        peer.expect_close().await;
        peer.expect_end().await;
        for _ in 0..5 {
            assert_eq!(next_text(&mut readable).await.as_deref(), Some("unread"));
        }
        let end = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(end, ReadError::Connection(ConnectionError::CloseTimeout(_))), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn close_times_out_when_the_peer_never_reads() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default(), NARROW);
        let (mut readable, mut writable) = ws.split();
        for _ in 0..5 {
            peer.send(TEXT, b"unread").await;
        }
        within(writable.send(vec![1; 1000])).await.unwrap();
        settle().await;
        let (closed, time) = timed(writable.close(CloseCode::NORMAL, "")).await;
        assert!(matches!(closed, Err(CloseError::Connection(ConnectionError::CloseTimeout(_)))), "{closed:?}");
        assert_about(time, CLOSE_TIMEOUT);
        for _ in 0..5 {
            assert_eq!(next_text(&mut readable).await.as_deref(), Some("unread"));
        }
        assert!(within(readable.next_message()).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn close_waits_as_long_as_bytes_make_progress() {
    let (ws, mut peer) = pair_over(Role::Server, Config::default(), NARROW);
    let (_readable, mut writable) = ws.split();
    let data = support::pattern(NARROW * 10);
    within(writable.send(data.clone())).await.unwrap();
    let close = tokio::spawn(async move { writable.close(CloseCode::NORMAL, "").await });
    // 9 s between any two reads, some 90 s in all: slow, not dead.
    let mut got = Vec::new();
    while got.len() < data.len() + 4 + 4 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        let mut buffer = [0; NARROW];
        let len = peer.io.read(&mut buffer).await.unwrap();
        assert!(len > 0, "the connection gave up after {} bytes", got.len());
        got.extend_from_slice(&buffer[..len]);
    }
    let sent = [frame(Role::Server, true, BINARY, &data), frame(Role::Server, true, support::CLOSE, &[0x03, 0xe8])];
    assert_eq!(got, sent.concat());
    peer.send_close(1000, "").await;
    within(close).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_close_timeout_can_be_set() {
    let time = Duration::from_millis(1234);
    let (ws, _peer) = pair_over(Role::Client, Config::default().close_timeout(time), WIDE);
    let mut ws = ws;
    let (closed, passed) = timed(ws.close(CloseCode::NORMAL, "")).await;
    assert!(closed.is_err());
    assert_about(passed, time);
}
