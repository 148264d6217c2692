//! The peer closes.

use super::*;

#[tokio::test(start_paused = true)]
async fn everything_before_the_peers_close_is_delivered_then_none() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, writable) = ws.split();
        let mut script = Vec::new();
        for text in ["one", "", "three"] {
            script.extend(frame(other(role), true, TEXT, text.as_bytes()));
        }
        script.extend(frame(other(role), true, support::CLOSE, &support::close_body(4321, "that is all")));
        peer.write(&script).await;
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("one"));
        assert_eq!(next_text(&mut readable).await.as_deref(), Some(""));
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("three"));
        assert_eq!(next_text(&mut readable).await, None);
        assert_eq!(peer.expect_close().await, Some((4321, String::new())).map(|(c, _)| (c, "that is all".into())));
        drop(peer);
        let info = within(writable.closed()).await.unwrap();
        assert_eq!((u16::from(info.close_code), info.reason.as_str()), (4321, "that is all"));
        assert!(info.was_clean);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_close_comes_without_anybody_reading() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        for _ in 0..5 {
            peer.send(TEXT, b"unread").await;
        }
        peer.send_close(1000, "").await;
        let (close, time) = timed(peer.expect_close()).await;
        assert_eq!(close.map(|(code, _)| code), Some(1000));
        assert!(time <= Duration::from_millis(110), "the answer took {time:?}");
        drop(peer);
        let mut ws = ws;
        within(ws.closed()).await.unwrap();
        for _ in 0..5 {
            assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("unread"));
        }
        assert!(within(next(&mut ws)).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_close_is_immediate_when_the_reader_waits() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        let reader = tokio::spawn(async move { within(readable.next_message()).await.unwrap().is_none() });
        settle().await;
        peer.send_close(1000, "").await;
        let (_, time) = timed(peer.expect_close()).await;
        assert_eq!(time, Duration::ZERO);
        drop(peer);
        assert!(within(reader).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_answers_to_the_last_message_goes_before_the_close_reply() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        let echo = tokio::spawn(async move {
            while let Some(mut message) = readable.next_message().await? {
                let mut echo = writable.start_message(message.kind()).await?;
                while let Some(chunk) = message.chunk().await? {
                    echo.write(chunk).await?;
                }
                echo.finish().await?;
            }
            writable.close(CloseCode::NORMAL, "").await?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        });
        let mut script = frame(other(role), true, TEXT, b"last words");
        script.extend(frame(other(role), true, support::CLOSE, &support::close_body(1000, "")));
        peer.write(&script).await;
        assert_eq!(peer.message().await, (TEXT, b"last words".to_vec()));
        assert_eq!(peer.expect_close().await, Some((1000, String::new())));
        drop(peer);
        within(echo).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_a_while_goes_before_the_close_reply_too() {
    // The reply went out as soon as the last message had been handed over, which a driver on another thread could be quick to.
    for (role, is_whole) in [(Role::Client, true), (Role::Client, false), (Role::Server, true), (Role::Server, false)] {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        let mut script = frame(other(role), true, TEXT, b"last words");
        script.extend(frame(other(role), true, support::CLOSE, &support::close_body(1000, "")));
        peer.write(&script).await;
        if is_whole {
            assert_eq!(within(next(&mut readable)).await.unwrap().unwrap(), Message::text("last words"));
        } else {
            let mut message = within(readable.next_message()).await.unwrap().unwrap();
            while within(message.chunk()).await.unwrap().is_some() {}
        }
        settle().await;
        within(writable.send("answer")).await.unwrap();
        assert!(within(readable.next_message()).await.unwrap().is_none());
        assert_eq!(peer.message().await, (TEXT, b"answer".to_vec()), "{role:?}, whole: {is_whole}");
        assert_eq!(peer.expect_close().await.unwrap().0, 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn data_not_sent_when_the_peer_closes_makes_the_end_unclean_with_the_peers_code() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default(), NARROW);
        let (mut readable, mut writable) = ws.split();
        within(writable.send(vec![1; 100_000])).await.unwrap();
        settle().await;
        peer.send(TEXT, b"received").await;
        peer.send_close(4000, "enough").await;
        // The frame that is on the wire is completed, and the Close frame follows it.
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("received"));
        // Until the reader has had its time to answer, data still goes out.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let cut = peer.frame().await.unwrap();
        assert!(!cut.fin, "the message had a second frame, which is lost");
        assert_eq!(peer.expect_close().await, Some((4000, "enough".into())));
        drop(peer);
        let unsent = |error: &ConnectionError| {
            matches!(error, ConnectionError::Unsent(info) if u16::from(info.close_code) == 4000
                && info.reason == "enough" && !info.was_clean)
        };
        let error = within(readable.closed()).await.unwrap_err();
        assert!(unsent(&error), "{error:?}");
        assert_eq!(u16::from(error.close_code()), 4000);
        for _ in 0..2 {
            match within(readable.next_message()).await {
                Err(ReadError::Connection(error)) => assert!(unsent(&error), "{error:?}"),
                other => panic!("{other:?}"),
            }
            match within(writable.send("more")).await {
                Err(WriteError::Connection(error)) => assert!(unsent(&error), "{error:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_fails_at_the_peers_close() {
    for role in BOTH {
        // A mark that half a frame reaches: what waits is already in the frame that is on the wire.
        let config = Config::default().write_high_water_mark(100);
        let (ws, mut peer) = pair_over(role, config, NARROW);
        let (readable, mut writable) = ws.split();
        within(writable.send(vec![1; 1000])).await.unwrap();
        let waiting = tokio::spawn(async move { writable.send("no room").await });
        settle().await;
        assert!(!waiting.is_finished());
        drop(readable);
        peer.send_close(1000, "").await;
        let (result, time) = timed(waiting).await;
        assert!(result.unwrap().is_err());
        assert_eq!(time, Duration::ZERO, "a write that can never be accepted need not wait");
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_between_fragments_of_ours_goes_to_a_frame_boundary() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        let mut message = within(writable.start_message(MessageKind::Text)).await.unwrap();
        within(message.write("half")).await.unwrap();
        settle().await;
        peer.send_close(1000, "").await;
        assert!(within(readable.next_message()).await.unwrap().is_none());
        assert!(matches!(within(message.write("more")).await, Err(WriteError::Closed)));
        drop(message);
        let half = peer.frame().await.unwrap();
        assert_eq!((half.fin, half.payload.as_slice()), (false, &b"half"[..]));
        peer.expect_close().await;
        drop(peer);
        // What was accepted has been sent; that its end is missing is for the peer to see.
        within(readable.closed()).await.unwrap();
    }
}

/// The answer to the peer's Close frame once waited for a reader that lags although it was on its way already, and
/// then nothing noticed that it had been written.
#[tokio::test(start_paused = true)]
async fn closes_that_cross_while_ours_is_on_the_wire_settle_at_once() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default(), 1);
        let (readable, mut writable) = ws.split();
        let close = tokio::spawn(async move { writable.close(CloseCode::NORMAL, "").await });
        settle().await;
        let start = tokio::time::Instant::now();
        peer.send(TEXT, b"unread").await;
        peer.send_close(1000, "").await;
        assert_eq!(peer.expect_close().await.unwrap().0, 1000);
        drop(peer);
        within(close).await.unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        drop(readable);
    }
}
