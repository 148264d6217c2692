//! How connections end: by agreement, by failure, by neglect. In virtual time, against a scripted peer.

mod support;

use std::{future::Future, time::Duration};

use futures::SinkExt;
use support::{BINARY, BOTH, CONTINUATION, PING, PONG, Raw, TEXT, WIDE, frame, header, other, pair, pair_over};
use support::{next, settle, within};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use wsstream::{
    CloseCode, CloseError, CollectError, Config, ConnectionError, MAX_CLOSE_REASON, Message, MessageKind, Negotiated,
    ProtocolError, ReadError, Readable, ReadyState, Role, WebSocketStream, WriteError,
};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A pipe so narrow that a few bytes fill it.
const NARROW: usize = 64;

fn code(code: u16) -> CloseCode {
    CloseCode::try_from(code).unwrap()
}

/// Virtual time that passes meanwhile.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let begin = Instant::now();
    let output = within(future).await;
    (output, begin.elapsed())
}

fn assert_about(time: Duration, expected: Duration) {
    assert!(time >= expected && time < expected + Duration::from_millis(10), "{time:?} instead of {expected:?}");
}

async fn next_text(readable: &mut Readable) -> Option<String> {
    let message = within(readable.next_message()).await.unwrap()?;
    let message = within(message.collect(1 << 20)).await.unwrap();
    Some(message.as_text().unwrap().to_owned())
}

// ---- 6.1: closing ourselves ----

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

// ---- 6.2: closing without a reader ----

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

// ---- 6.3: the peer closes ----

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

// ---- 6.4: what is reported ----

#[tokio::test(start_paused = true)]
async fn an_empty_close_body_is_1005_and_clean() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        peer.send(support::CLOSE, &[]).await;
        assert_eq!(peer.expect_close().await, None, "it is answered alike");
        drop(peer);
        let info = within(ws.closed()).await.unwrap();
        assert_eq!((info.close_code, info.reason.as_str(), info.was_clean), (CloseCode::NO_STATUS, "", true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_peers_code_is_reported_whoever_began() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let closed = ws.closed();
        let close = tokio::spawn(async move { ws.close(code(3000), "mine").await });
        assert_eq!(peer.expect_close().await, Some((3000, "mine".into())));
        peer.send_close(3999, "thine").await;
        drop(peer);
        let info = within(close).await.unwrap().unwrap();
        assert_eq!((u16::from(info.close_code), info.reason.as_str()), (3999, "thine"));
        assert_eq!(within(closed).await.unwrap(), info);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_without_a_body_can_be_sent() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let close = tokio::spawn(async move { ws.close(CloseCode::NO_STATUS, "").await });
        assert_eq!(peer.expect_close().await, None);
        peer.send(support::CLOSE, &[]).await;
        drop(peer);
        assert_eq!(within(close).await.unwrap().unwrap().close_code, CloseCode::NO_STATUS);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_transport_is_1006_after_everything_received() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        peer.send(TEXT, b"one").await;
        peer.send(TEXT, b"two").await;
        drop(peer);
        let error = within(readable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Lost), "{error:?}");
        assert_eq!(error.close_code(), CloseCode::ABNORMAL);
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("one"));
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("two"));
        for _ in 0..3 {
            let error = within(readable.next_message()).await.unwrap_err();
            assert!(matches!(error, ReadError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.send("late")).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.flush()).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(writable.close(CloseCode::NORMAL, "")).await.unwrap_err();
            assert!(matches!(error, CloseError::Connection(ConnectionError::Lost)), "{error:?}");
            let error = within(readable.control().ping()).await.unwrap_err();
            assert!(matches!(error, WriteError::Connection(ConnectionError::Lost)), "{error:?}");
            assert!(within(readable.closed()).await.is_err());
        }
        let last = within(next(&mut readable)).await.unwrap().unwrap_err();
        assert!(matches!(last, ReadError::Connection(ConnectionError::Lost)), "{last:?}");
        assert!(within(next(&mut readable)).await.is_none(), "a stream ends after its error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_ends_before_the_close_reply_is_unclean() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
        peer.expect_close().await;
        drop(peer);
        let error = within(close).await.unwrap().unwrap_err();
        assert!(matches!(error, CloseError::Connection(ConnectionError::Lost)), "{error:?}");
    }
}

// ---- 6.5: who ends the transport ----

#[tokio::test(start_paused = true)]
async fn a_server_ends_the_transport_first() {
    // Whoever began.
    let (mut ws, mut peer) = pair(Role::Server);
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_eq!(time, Duration::ZERO);
    within(close).await.unwrap().unwrap();

    let (ws, mut peer) = pair(Role::Server);
    peer.send_close(1000, "").await;
    peer.expect_close().await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_eq!(time, Duration::ZERO);
    within(ws.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_two_seconds_for_the_server_to_end_the_transport() {
    let (mut ws, mut peer) = pair(Role::Client);
    let closed = ws.closed();
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    let ((), time) = timed(peer.expect_end()).await;
    assert_about(time, Duration::from_secs(2));
    assert!(within(close).await.unwrap().unwrap().was_clean);
    within(closed).await.unwrap();

    // A server that does its duty is not waited for.
    let (mut ws, mut peer) = pair(Role::Client);
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    peer.io.shutdown().await.unwrap();
    let (info, time) = timed(close).await;
    info.unwrap().unwrap();
    assert_eq!(time, Duration::ZERO);
}

// ---- 6.6: codes and reasons ----

#[tokio::test(start_paused = true)]
async fn codes_and_reasons_that_may_not_be_sent_are_refused_and_the_connection_goes_on() {
    for number in [0, 999, 1004, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535] {
        let refused = CloseCode::try_from(number);
        assert!(matches!(refused, Err(CloseError::InvalidCode(code)) if code == number), "{number}");
    }
    let (ws, mut peer) = pair(Role::Client);
    let (mut readable, mut writable) = ws.split();
    let refused = within(writable.close(CloseCode::ABNORMAL, "")).await;
    assert!(matches!(refused, Err(CloseError::InvalidCode(1006))), "{refused:?}");
    let refused = within(writable.close(CloseCode::NO_STATUS, "why")).await;
    assert!(matches!(refused, Err(CloseError::ReasonWithoutCode)), "{refused:?}");
    let long = "x".repeat(MAX_CLOSE_REASON + 1);
    let refused = within(writable.control().close(CloseCode::NORMAL, &long)).await;
    assert!(matches!(refused, Err(CloseError::ReasonTooLong { len: 124 })), "{refused:?}");

    within(writable.send("still open")).await.unwrap();
    assert_eq!(peer.message().await, (TEXT, b"still open".to_vec()));
    peer.send(TEXT, b"this way too").await;
    assert_eq!(next_text(&mut readable).await.as_deref(), Some("this way too"));

    let longest = "é".repeat(61) + "x";
    let close = tokio::spawn({
        let longest = longest.clone();
        async move { writable.close(CloseCode::NORMAL, &longest).await }
    });
    assert_eq!(peer.expect_close().await, Some((1000, longest.clone())));
    peer.send_close(1000, &longest).await;
    drop(peer);
    assert_eq!(within(close).await.unwrap().unwrap().reason, longest);
}

#[tokio::test(start_paused = true)]
async fn every_code_that_may_be_sent_is_sent_and_received() {
    for number in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let (mut ws, mut peer) = pair(Role::Server);
        let close = tokio::spawn(async move { ws.close(code(number), "").await });
        assert_eq!(peer.expect_close().await, Some((number, String::new())));
        peer.send_close(number, "r").await;
        peer.expect_end().await;
        assert_eq!(within(close).await.unwrap().unwrap().close_code, code(number));
    }
}

/// What the connection answers to bytes that break a rule.
async fn fault(role: Role, config: Config, bytes: &[u8]) -> (u16, String, ConnectionError) {
    let (ws, mut peer) = pair_over(role, config, WIDE);
    let (mut readable, mut writable) = ws.split();
    peer.write(bytes).await;
    let (code, reason) = peer.expect_close().await.expect("the fault has a code");
    peer.expect_end().await;
    drop(peer);
    let error = within(readable.closed()).await.unwrap_err();
    assert_eq!(error.close_code(), CloseCode::ABNORMAL, "the peer sent no valid Close frame");
    let read = loop {
        match within(readable.next_message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a failed connection does not end well"),
            Err(error) => break error,
        }
    };
    assert_eq!(read.to_string(), error.to_string());
    let write = within(writable.send("")).await.unwrap_err();
    assert_eq!(write.to_string(), error.to_string());
    (code, reason, error)
}

#[tokio::test(start_paused = true)]
async fn close_frames_that_break_the_rules_are_protocol_errors() {
    for role in BOTH {
        let close = |body: &[u8]| frame(other(role), true, support::CLOSE, body);
        for number in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let (code, reason, error) = fault(role, Config::default(), &close(&number.to_be_bytes())).await;
            assert_eq!(code, 1002);
            assert!(reason.contains(&number.to_string()), "{reason}");
            assert!(
                matches!(error, ConnectionError::Protocol(ProtocolError::InvalidCloseCode(code)) if code == number)
            );
        }
        let (code, _, error) = fault(role, Config::default(), &close(&[3])).await;
        assert_eq!(code, 1002);
        assert!(matches!(error, ConnectionError::Protocol(ProtocolError::CloseBodyTooShort)), "{error:?}");
        let (code, _, error) = fault(role, Config::default(), &close(b"\x03\xe8\xff")).await;
        assert_eq!(code, 1007);
        assert!(matches!(error, ConnectionError::Protocol(ProtocolError::InvalidCloseReason)), "{error:?}");
    }
}

// ---- 6.7: protocol errors ----

#[tokio::test(start_paused = true)]
async fn protocol_errors_are_answered_with_1002_and_a_reason() {
    for role in BOTH {
        let us = other(role);
        let cases: Vec<(Vec<u8>, ProtocolError)> = vec![
            ([&[0xc2][..], &frame(us, true, BINARY, b"")[1..]].concat(), ProtocolError::ReservedBits),
            (frame(us, true, 3, b""), ProtocolError::ReservedOpcode(3)),
            (frame(us, true, 15, b""), ProtocolError::ReservedOpcode(15)),
            (frame(us, false, PING, b""), ProtocolError::FragmentedControl),
            (frame(us, true, PING, &[0; 126]), ProtocolError::ControlTooLong),
            (frame(us, true, CONTINUATION, b"x"), ProtocolError::UnexpectedContinuation),
            ([frame(us, false, TEXT, b"a"), frame(us, true, TEXT, b"b")].concat(), ProtocolError::InterleavedMessage),
            (header(us, true, BINARY, 1 << 63), ProtocolError::LengthTooLarge),
            (
                frame(role, true, BINARY, b"x"),
                if role == Role::Server { ProtocolError::Unmasked } else { ProtocolError::Masked },
            ),
        ];
        for (bytes, expected) in cases {
            let (code, reason, error) = fault(role, Config::default(), &bytes).await;
            assert_eq!((code, reason), (1002, expected.to_string()));
            assert!(matches!(error, ConnectionError::Protocol(error) if error == expected), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bad_utf8_is_1007_at_the_first_bad_byte() {
    for role in BOTH {
        // The frame is far from complete.
        let bytes = [header(other(role), true, TEXT, 1 << 40), b"good \xff".to_vec()].concat();
        let (code, _, error) = fault(role, Config::default(), &bytes).await;
        assert_eq!(code, 1007);
        assert!(matches!(error, ConnectionError::Protocol(ProtocolError::InvalidText)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_utf8_behind_text_that_fills_the_queue_is_found_without_further_bytes() {
    for role in BOTH {
        let config = Config::default().read_high_water_mark(1);
        let (ws, mut peer) = pair_over(role, config, WIDE);
        let (mut readable, _writable) = ws.split();
        peer.write(&[header(other(role), true, TEXT, 1 << 40), b"good \xff".to_vec()].concat()).await;
        let mut message = within(readable.next_message()).await.unwrap().unwrap();
        assert_eq!(within(message.chunk()).await.unwrap().unwrap(), "good ");
        let error = within(message.chunk()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::Protocol(ProtocolError::InvalidText))));
        assert_eq!(peer.expect_close().await.unwrap().0, 1007);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_are_1009_and_name_their_knob() {
    for role in BOTH {
        let bytes = [frame(other(role), false, BINARY, &[0; 60]), header(other(role), true, CONTINUATION, 41)].concat();
        let (code, reason, error) = fault(role, Config::default().max_message_size(100), &bytes).await;
        assert_eq!((code, reason.as_str()), (1009, "message of more than 100 bytes"));
        assert!(error.to_string().contains("max_message_size"), "{error}");

        // Exactly the limit passes.
        let (mut ws, mut peer) = pair_over(role, Config::default().max_message_size(100), WIDE);
        peer.send(BINARY, &[7; 100]).await;
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap().len(), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_message_over_its_limit_is_1009_and_the_end() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, Config::default().max_whole_message_size(100), WIDE);
        peer.send(BINARY, &[7; 100]).await;
        peer.send(BINARY, &[8; 101]).await;
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap().len(), 100);
        let error = within(next(&mut ws)).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("max_whole_message_size"), "{error}");
        assert!(within(next(&mut ws)).await.is_none());
        assert_eq!(peer.expect_close().await, Some((1009, "message of more than 100 bytes".into())));
        peer.expect_end().await;
        drop(peer);
        let closed = within(ws.closed()).await.unwrap_err();
        assert_eq!(closed.to_string(), error.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_ends_though_the_peer_goes_on_sending() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default(), NARROW);
        peer.write(&frame(other(role), true, 3, b"")).await;
        let (mut read, mut write) = tokio::io::split(peer.io);
        let flood = tokio::spawn(async move {
            // Virtual time passes only where everybody waits.
            while write.write_all(&[0; 50]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let drain = tokio::spawn(async move { while read.read(&mut [0; 100]).await.is_ok_and(|len| len > 0) {} });
        let error = within(ws.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Protocol(_)), "{error:?}");
        within(flood).await.unwrap();
        within(drain).await.unwrap();
    }
}

// ---- 6.8: dropping ----

#[tokio::test(start_paused = true)]
async fn dropping_everything_sends_what_was_accepted_then_1001() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, Config::default(), NARROW);
        let closed = ws.closed();
        within(ws.send("accepted")).await.unwrap();
        within(ws.send(vec![5; 100_000])).await.unwrap();
        drop(ws);
        assert_eq!(peer.message().await, (TEXT, b"accepted".to_vec()));
        assert_eq!(peer.message().await, (BINARY, vec![5; 100_000]));
        assert_eq!(peer.expect_close().await, Some((1001, String::new())));
        // What still comes is discarded, so that the Close frame behind it is found.
        for _ in 0..10 {
            peer.send(BINARY, &[6; 1000]).await;
        }
        peer.send_close(1001, "").await;
        drop(peer);
        assert_eq!(within(closed).await.unwrap().close_code, CloseCode::GOING_AWAY);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_does_not_outlive_the_close_timeout() {
    for role in BOTH {
        // The peer sends for ever: what is discarded is no progress.
        let (ws, peer) = pair_over(role, Config::default(), NARROW);
        let closed = ws.closed();
        let Raw { io, role: sender, .. } = peer;
        let (_read, mut write) = tokio::io::split(io);
        let flood = tokio::spawn(async move {
            while write.write_all(&frame(sender, true, BINARY, &[0; 20])).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        drop(ws);
        let (closed, time) = timed(closed).await;
        assert!(matches!(closed, Err(ConnectionError::CloseTimeout(_))), "{closed:?}");
        assert!(time <= CLOSE_TIMEOUT + Duration::from_millis(10), "{time:?}");
        within(flood).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_readable_leaves_the_writable_and_pings_alive() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (readable, mut writable) = ws.split();
        drop(readable);
        for i in 0..20u8 {
            peer.send(BINARY, &[0; 100_000]).await;
            peer.send(PING, &[i]).await;
            assert_eq!(peer.expect(PONG).await, [i]);
        }
        within(writable.send("alive")).await.unwrap();
        assert_eq!(peer.message().await, (TEXT, b"alive".to_vec()));
        let closed = writable.closed();
        drop(writable);
        assert_eq!(peer.expect_close().await, Some((1001, String::new())));
        peer.send_close(1001, "").await;
        drop(peer);
        within(closed).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_writable_leaves_the_readable_alive() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, writable) = ws.split();
        drop(writable);
        peer.send(TEXT, b"still here").await;
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("still here"));
        peer.expect_silence().await;
        let closed = readable.closed();
        drop(readable);
        assert_eq!(peer.expect_close().await, Some((1001, String::new())));
        peer.send_close(1001, "").await;
        drop(peer);
        within(closed).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_handle_keeps_the_connection_open_until_the_last_is_dropped() {
    let (ws, mut peer) = pair(Role::Server);
    let (readable, writable) = ws.split();
    let control = readable.control();
    let copy = control.clone();
    let closed = control.closed();
    drop((readable, writable, control));
    peer.send(PING, b"?").await;
    assert_eq!(peer.expect(PONG).await, b"?");
    assert_eq!(copy.ready_state(), ReadyState::Open);
    peer.expect_silence().await;
    drop(copy);
    // `closed` is no handle: it alone does not keep the connection open.
    assert_eq!(peer.expect_close().await, Some((1001, String::new())));
    peer.send_close(1001, "").await;
    within(closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_message_writer_fails_the_connection_with_1011() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        let mut message = within(writable.start_message(MessageKind::Text)).await.unwrap();
        within(message.write("half of it")).await.unwrap();
        settle().await;
        drop(message);
        assert!(matches!(within(writable.send("more")).await, Err(WriteError::Closed | WriteError::Connection(_))));
        let half = peer.frame().await.unwrap();
        assert_eq!((half.fin, half.payload.as_slice()), (false, &b"half of it"[..]));
        assert_eq!(peer.expect_close().await.unwrap().0, 1011);
        peer.expect_end().await;
        drop(peer);
        let error = within(writable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::UnfinishedMessage), "{error:?}");
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::UnfinishedMessage)), "{error:?}");
        let error = within(writable.send("more")).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::UnfinishedMessage)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_writer_dropped_before_its_first_chunk_fails_the_connection_too() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        drop(within(ws.start_message(MessageKind::Binary)).await.unwrap());
        assert_eq!(peer.expect_close().await.unwrap().0, 1011);
        drop(peer);
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::UnfinishedMessage)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_declared_length_left_incomplete_ends_without_a_close_frame() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let mut message = within(ws.start_message(MessageKind::Binary).length(10)).await.unwrap();
        within(message.write("half")).await.unwrap();
        settle().await;
        drop(message);
        // A Close frame here would be taken for payload.
        let mut bytes = Vec::new();
        within(peer.io.read_to_end(&mut bytes)).await.unwrap();
        assert_eq!(bytes.len(), header(role, true, BINARY, 10).len() + 4);
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::UnfinishedMessage)));
    }
}

#[tokio::test(start_paused = true)]
async fn finishing_too_early_fails_the_connection() {
    let (mut ws, mut peer) = pair(Role::Server);
    let mut message = within(ws.start_message(MessageKind::Text)).await.unwrap();
    message.write_all(&"é".as_bytes()[..1]).await.unwrap();
    let error = message.finish().await.unwrap_err();
    assert!(matches!(error, WriteError::InvalidUtf8(_)), "{error:?}");
    while let Some(frame) = peer.frame().await {
        if frame.opcode == support::CLOSE {
            assert_eq!(frame.payload[..2], 1011u16.to_be_bytes());
        } else {
            assert!(!frame.fin, "a text that is cut within a character looks whole");
        }
    }
    drop(peer);
    assert!(matches!(within(ws.closed()).await, Err(ConnectionError::UnfinishedMessage)));

    let (mut ws, mut peer) = pair(Role::Server);
    let mut message = within(ws.start_message(MessageKind::Binary).length(5)).await.unwrap();
    message.write("1234").await.unwrap();
    let too_long = message.write("56").await;
    assert!(matches!(too_long, Err(WriteError::WrongLength { declared: 5, written: 6 })), "{too_long:?}");
    message.write("5").await.unwrap();
    message.finish().await.unwrap();
    assert_eq!(peer.message().await, (BINARY, b"12345".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_written_to_a_message_after_shutdown() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let mut message = within(ws.start_message(MessageKind::Binary)).await.unwrap();
        within(message.write_all(b"whole")).await.unwrap();
        within(message.shutdown()).await.unwrap();
        within(message.shutdown()).await.unwrap();
        assert!(within(message.write_all(b"more")).await.is_err());
        assert!(within(message.write("more")).await.is_err());
        message.finish().await.unwrap();
        within(ws.send("next")).await.unwrap();
        assert_eq!(peer.message().await, (BINARY, b"whole".to_vec()));
        assert_eq!(peer.message().await, (TEXT, b"next".to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaked_message_writer_is_caught() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let mut message = within(ws.start_message(MessageKind::Text)).await.unwrap();
        within(message.write("half")).await.unwrap();
        std::mem::forget(message);
        assert!(within(ws.send("another")).await.is_err(), "it would be taken for a part of the first");
        let mut seen = Vec::new();
        while let Some(frame) = peer.frame().await {
            if frame.opcode == support::CLOSE {
                assert_eq!(frame.payload[..2], 1011u16.to_be_bytes());
            } else {
                assert!(!frame.fin);
                seen.extend(frame.payload);
            }
        }
        assert!(b"half".starts_with(&seen), "{seen:?}");
        drop(peer);
        assert!(matches!(within(ws.closed()).await, Err(ConnectionError::UnfinishedMessage)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaked_message_writer_never_looks_whole_after_a_close() {
    let (mut ws, mut peer) = pair(Role::Server);
    let mut message = within(ws.start_message(MessageKind::Text)).await.unwrap();
    within(message.write("half")).await.unwrap();
    std::mem::forget(message);
    let close = tokio::spawn(async move { ws.close(CloseCode::NORMAL, "").await });
    let half = peer.frame().await.unwrap();
    assert!(!half.fin);
    peer.expect_close().await;
    peer.send_close(1000, "").await;
    let _ = within(close).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_message_is_cut_at_the_other_end() {
    // Ourselves at both ends: what one end does not finish must not look finished at the other.
    let (near, far) = tokio::io::duplex(WIDE);
    let mut client = WebSocketStream::from_upgraded(near, "", Role::Client, Negotiated::default(), Config::default());
    let mut server = WebSocketStream::from_upgraded(far, "", Role::Server, Negotiated::default(), Config::default());
    let mut message = within(client.start_message(MessageKind::Text)).await.unwrap();
    within(message.write("half")).await.unwrap();
    within(message.flush()).await.unwrap();
    drop(message);
    let mut received = within(server.next_message()).await.unwrap().unwrap();
    assert_eq!(within(received.chunk()).await.unwrap().unwrap(), "half");
    for _ in 0..3 {
        assert!(matches!(within(received.chunk()).await, Err(ReadError::Connection(ConnectionError::MessageCut(_)))));
    }
    drop(received);
    assert!(matches!(within(client.closed()).await, Err(ConnectionError::UnfinishedMessage)));
    let _ = within(server.closed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_message_reader_skips_the_rest() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        // Before anything but the first chunk has come, in the midst of it, and when all of it has come.
        for waiting in [0, 1, 2] {
            peer.send_part(false, BINARY, b"begin").await;
            if waiting > 0 {
                peer.send_part(false, CONTINUATION, b"middle").await;
            }
            if waiting > 1 {
                peer.send_part(true, CONTINUATION, b"end").await;
            }
            settle().await;
            let mut message = within(readable.next_message()).await.unwrap().unwrap();
            assert_eq!(within(message.chunk()).await.unwrap().unwrap(), "begin");
            drop(message);
            if waiting < 2 {
                peer.send_part(false, CONTINUATION, &vec![3; 700_000]).await;
                peer.send_part(true, CONTINUATION, b"end").await;
            }
            peer.send(TEXT, b"next").await;
            assert_eq!(next_text(&mut readable).await.as_deref(), Some("next"));
        }
        assert_eq!(readable.control().stats().received.messages, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_message_is_an_unclean_end_even_if_it_was_skipped() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        peer.send_part(false, TEXT, b"begin").await;
        drop(within(readable.next_message()).await.unwrap().unwrap());
        peer.send_part(false, CONTINUATION, b"more").await;
        peer.send_close(1000, "").await;
        assert_eq!(peer.expect_close().await.unwrap().0, 1000);
        drop(peer);
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::MessageCut(_))), "{error:?}");
        assert_eq!(within(readable.closed()).await.unwrap_err().close_code(), CloseCode::NORMAL);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undecided_upgrade_that_is_dropped_ends_the_transport() {
    let (near, mut far) = tokio::io::duplex(WIDE);
    far.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await
    .unwrap();
    let upgrade = within(WebSocketStream::accept(near).into_future()).await.unwrap();
    drop(upgrade);
    let mut answer = Vec::new();
    within(far.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test(start_paused = true)]
async fn a_connect_future_that_is_dropped_ends_the_transport() {
    let (near, mut far) = tokio::io::duplex(WIDE);
    let connecting = tokio::spawn(WebSocketStream::connect_over("ws://localhost/", near).into_future());
    let mut request = vec![0; 4];
    within(far.read_exact(&mut request)).await.unwrap();
    assert_eq!(request, b"GET ");
    connecting.abort();
    within(far.read_to_end(&mut request)).await.unwrap();
    assert!(request.ends_with(b"\r\n\r\n"), "nothing but the request was sent");
}

// ---- 6.10: nothing that was cut looks finished ----

/// Ways to read a message, each until it ends or fails; the bytes that came, and the error.
async fn read_in_every_way(way: usize, readable: &mut Readable) -> (Vec<u8>, Result<(), String>) {
    let mut bytes = Vec::new();
    if way == 5 {
        let end = match within(next(&mut *readable)).await.expect("a message has begun") {
            Ok(message) => {
                bytes.extend_from_slice(message.as_bytes());
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        return (bytes, end);
    }
    let mut message = within(readable.next_message()).await.unwrap().unwrap();
    let end = match way {
        0 => loop {
            match within(message.chunk()).await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.to_string()),
            }
        },
        1 => loop {
            match within(message.read(&mut [0; 3])).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error.to_string()),
            }
        },
        2 => match within(message.read_to_end(&mut bytes)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        3 => loop {
            let (len, text) = match within(message.fill_buf()).await {
                Ok([]) => break Ok(()),
                Ok(buffer) => (buffer.len(), buffer.to_vec()),
                Err(error) => break Err(error.to_string()),
            };
            bytes.extend_from_slice(&text);
            message.consume(len);
        },
        4 => loop {
            match within(next(&mut message)).await {
                Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
                None => break Ok(()),
                Some(Err(error)) => break Err(error.to_string()),
            }
        },
        _ => match within(message.collect(1000)).await {
            Ok(whole) => {
                bytes.extend_from_slice(whole.as_bytes());
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        },
    };
    (bytes, end)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_cut_never_looks_finished_with_any_way_to_read_it() {
    for role in BOTH {
        for way in 0..7 {
            for with_close in [false, true] {
                // Between two frames, within one, and behind one whose header alone came.
                for cut in [
                    frame(other(role), false, BINARY, b"begin"),
                    [header(other(role), true, BINARY, 100), b"begin".to_vec()].concat(),
                    [frame(other(role), false, BINARY, b"begin"), header(other(role), true, CONTINUATION, 7)].concat(),
                ] {
                    let (ws, mut peer) = pair(role);
                    let (mut readable, _writable) = ws.split();
                    peer.write(&cut).await;
                    // A Close frame can only stand between frames.
                    let close = with_close && cut == frame(other(role), false, BINARY, b"begin");
                    if close {
                        peer.send_close(1000, "").await;
                    }
                    drop(peer);
                    let (bytes, end) = read_in_every_way(way, &mut readable).await;
                    let error = end.expect_err("it was cut");
                    if ![1, 5, 6].contains(&way) {
                        assert_eq!(bytes, b"begin", "way {way}");
                    }
                    if !close {
                        assert_eq!(error, ConnectionError::Lost.to_string(), "way {way}");
                        let again = within(readable.next_message()).await.map(|message| message.is_some());
                        assert!(again.is_err(), "the same for ever: {again:?}");
                    } else {
                        assert!(error.contains("in the middle of a message"), "way {way}: {error}");
                    }
                }
            }
        }
    }
}

// ---- abort, cancel, runtimes, leftovers ----

#[tokio::test(start_paused = true)]
async fn abort_drops_the_transport_at_once_and_what_came_stays_readable() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        peer.send(TEXT, b"came").await;
        settle().await;
        writable.abort();
        let ((), time) = timed(peer.expect_end()).await;
        assert_eq!(time, Duration::ZERO);
        let error = within(readable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Aborted), "{error:?}");
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("came"));
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::Aborted)), "{error:?}");
        let error = within(writable.send("late")).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::Aborted)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn abort_ends_what_waits() {
    let (ws, _peer) = pair_over(Role::Client, Config::default().write_high_water_mark(100), NARROW);
    let (mut readable, mut writable) = ws.split();
    let control = readable.control();
    within(writable.send(vec![0; 1000])).await.unwrap();
    let reading = tokio::spawn(async move { readable.next_message().await.map(|message| message.is_some()) });
    let writing = tokio::spawn(async move { writable.send("no room").await });
    let pinging = tokio::spawn({
        let control = control.clone();
        async move { control.ping().await }
    });
    let closing = tokio::spawn({
        let control = control.clone();
        async move {
            settle().await;
            control.close(CloseCode::NORMAL, "").await
        }
    });
    tokio::task::yield_now().await;
    settle().await;
    control.abort();
    assert!(matches!(within(reading).await.unwrap(), Err(ReadError::Connection(ConnectionError::Aborted))));
    assert!(within(writing).await.unwrap().is_err());
    assert!(matches!(within(pinging).await.unwrap(), Err(WriteError::Connection(ConnectionError::Aborted))));
    assert!(matches!(within(closing).await.unwrap(), Err(CloseError::Connection(ConnectionError::Aborted))));
}

#[tokio::test(start_paused = true)]
async fn cancel_discards_what_is_unread_and_closes() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (readable, mut writable) = ws.split();
        within(writable.send("accepted")).await.unwrap();
        peer.send(BINARY, &[1; 100_000]).await;
        settle().await;
        let closed = readable.closed();
        readable.cancel(code(3333), "not wanted").unwrap();
        assert!(matches!(within(writable.send("late")).await, Err(WriteError::Closed)));
        assert_eq!(peer.message().await, (TEXT, b"accepted".to_vec()));
        assert_eq!(peer.expect_close().await, Some((3333, "not wanted".into())));
        for _ in 0..10 {
            peer.send(BINARY, &[1; 100_000]).await;
        }
        peer.send_close(3333, "").await;
        drop(peer);
        assert_eq!(u16::from(within(closed).await.unwrap().close_code), 3333);
    }
}

#[test]
fn a_runtime_that_goes_away_is_reported_at_every_handle() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut readable, mut writable, _peer) = runtime.block_on(async {
        let (ws, mut peer) = pair(Role::Client);
        let (readable, writable) = ws.split();
        peer.send(TEXT, b"came").await;
        settle().await;
        (readable, writable, peer)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("came"));
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
        let error = within(writable.send("late")).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
        let error = within(writable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::RuntimeShutDown), "{error:?}");
        let error = within(writable.control().ping()).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn leftover_bytes_of_the_handshake_are_delivered() {
    for role in BOTH {
        let mut script = frame(other(role), true, TEXT, b"early");
        script.extend(frame(other(role), true, PING, b"p"));
        script.extend(&frame(other(role), true, TEXT, b"split in two")[..5]);
        let (near, far) = tokio::io::duplex(WIDE);
        let mut ws =
            WebSocketStream::from_upgraded(near, script.clone(), role, Negotiated::default(), Config::default());
        let mut peer = Raw::new(far, other(role));
        peer.write(&frame(other(role), true, TEXT, b"split in two")[5..]).await;
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("early"));
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("split in two"));
        assert_eq!(peer.expect(PONG).await, b"p");
        assert_eq!(
            ws.stats().received.bytes as usize,
            script.len() + frame(other(role), true, TEXT, b"split in two").len() - 5
        );
    }
}

#[tokio::test(start_paused = true)]
async fn collect_over_its_limit_leaves_everything_readable() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        peer.send_part(false, BINARY, b"0123456789").await;
        peer.send_part(false, CONTINUATION, b"abcdefghij").await;
        for limit in [0, 9, 19] {
            let message = within(readable.next_message()).await.unwrap().unwrap();
            let error = within(message.collect(limit)).await.unwrap_err();
            assert!(matches!(error, CollectError::TooLarge { limit: named } if named == limit), "{error:?}");
        }
        peer.send_part(true, CONTINUATION, b"!").await;
        let message = within(readable.next_message()).await.unwrap().unwrap();
        assert_eq!(within(message.collect(21)).await.unwrap().as_bytes(), b"0123456789abcdefghij!");

        peer.send(BINARY, b"0123456789").await;
        let message = within(readable.next_message()).await.unwrap().unwrap();
        assert!(within(message.collect(9)).await.is_err());
        let mut message = within(readable.next_message()).await.unwrap().unwrap();
        let mut rest = Vec::new();
        within(message.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"0123456789");
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
