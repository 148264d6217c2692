//! Closing ourselves.

use super::*;

#[tokio::test(start_paused = true)]
async fn everything_accepted_goes_before_the_close_frame() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default(), 1000);
        let (_readable, mut writable) = ws.split();
        let large = support::pattern(200_000);
        within(writable.send("first")).await.unwrap();
        within(writable.send(large.clone())).await.unwrap();
        let mut message = within(writable.start_message(MessageKind::Text)).await.unwrap();
        within(message.write("in ")).await.unwrap();
        within(message.write("pieces")).await.unwrap();
        message.finish().await.unwrap();
        let close = tokio::spawn(async move { writable.close(CloseCode::NORMAL, "done").await });

        assert_eq!(peer.message().await, (TEXT, b"first".to_vec()));
        assert_eq!(peer.message().await, (BINARY, large));
        assert_eq!(peer.message().await, (TEXT, b"in pieces".to_vec()));
        assert_eq!(peer.expect_close().await, Some((1000, "done".into())));
        peer.send_close(1000, "answer").await;
        drop(peer);
        let info = within(close).await.unwrap().unwrap();
        assert_eq!((info.close_code, info.reason.as_str(), info.was_clean), (CloseCode::NORMAL, "answer", true));
    }
}

#[tokio::test(start_paused = true)]
async fn writes_after_close_fail_and_send_nothing() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (_readable, mut writable) = ws.split();
        let control = writable.control();
        // Polled once and dropped: the connection is closing all the same.
        assert!(futures::FutureExt::now_or_never(control.close(CloseCode::NORMAL, "")).is_none());
        assert_eq!(control.ready_state(), ReadyState::Closing);
        assert!(matches!(within(writable.send("late")).await, Err(WriteError::Closed)));
        assert!(matches!(within(writable.start_message(MessageKind::Text)).await, Err(WriteError::Closed)));
        assert!(matches!(within(writable.ready()).await, Err(WriteError::Closed)));
        assert!(matches!(within(writable.feed(Message::text("late"))).await, Err(WriteError::Closed)));
        assert_eq!(peer.expect_close().await, Some((1000, String::new())));
        peer.send_close(1000, "").await;
        if role == Role::Server {
            peer.expect_end().await;
        }
        drop(peer);
        within(control.closed()).await.unwrap();
        assert_eq!(control.ready_state(), ReadyState::Closed);
        assert!(matches!(within(writable.send("late")).await, Err(WriteError::Closed)), "still the same after the end");
    }
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_until_the_peers_close() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        let closing = tokio::spawn(async move { writable.close(code(3001), "enough").await });
        assert_eq!(peer.expect_close().await, Some((3001, "enough".into())));
        for text in ["one", "two", "three"] {
            peer.send(TEXT, text.as_bytes()).await;
            assert_eq!(next_text(&mut readable).await.as_deref(), Some(text));
        }
        peer.send(TEXT, b"four").await;
        peer.send_close(3001, "").await;
        drop(peer);
        within(closing).await.unwrap().unwrap();
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("four"));
        assert_eq!(next_text(&mut readable).await, None);
        assert_eq!(next_text(&mut readable).await, None, "the end stays the end");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_close_counts() {
    let (ws, mut peer) = pair(Role::Server);
    let control = ws.control();
    let second = ws.control();
    let first = tokio::spawn(async move { control.close(code(4001), "first").await });
    settle().await;
    let second = tokio::spawn(async move { second.close(code(4002), "second").await });
    assert_eq!(peer.expect_close().await, Some((4001, "first".into())));
    peer.send_close(4001, "").await;
    peer.expect_end().await;
    assert_eq!(within(first).await.unwrap().unwrap(), within(second).await.unwrap().unwrap());
    drop(ws);
}

#[tokio::test(start_paused = true)]
async fn closing_without_a_readable_finds_the_peers_close_behind_any_amount_of_data() {
    let (ws, mut peer) = pair(Role::Client);
    let (readable, mut writable) = ws.split();
    drop(readable);
    let close = tokio::spawn(async move { writable.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    for _ in 0..64 {
        peer.send(BINARY, &[7; 64 * 1024]).await;
    }
    peer.send_close(1000, "found").await;
    drop(peer);
    assert_eq!(within(close).await.unwrap().unwrap().reason, "found");
}
