//! After `write.any.js`.

use std::time::Duration;

use wsstream::{CloseCode, ConnectionError, InvalidUtf8, Message, MessageKind, WriteError};

use super::{
    handlers,
    peer::{BINARY, CLOSE, close_body, open, poll_once, timed},
};

#[tokio::test(start_paused = true)]
async fn a_write_that_was_incomplete_at_close_time_should_fail() {
    let (ws, peer) = open().await;
    let (_readable, mut writable) = ws.split();
    tokio::spawn(handlers::echo_exit(peer));
    writable.send("Goodbye").await.unwrap();
    writable.send(vec![0; 8 << 20]).await.unwrap();
    let unsent = |result: Result<(), WriteError>| {
        let Err(WriteError::Connection(error @ ConnectionError::Unsent(_))) = result else { panic!("{result:?}") };
        assert_eq!(error.close_code(), CloseCode::NORMAL);
        error.to_string()
    };
    let flushed = unsent(writable.flush().await);
    assert_eq!(unsent(writable.send("word").await), flushed);
    assert_eq!(writable.closed().await.unwrap_err().to_string(), flushed);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_pending_write_and_all_handles_after_close_should_do_no_harm() {
    let (ws, peer) = open().await;
    let closed = ws.closed();
    let (readable, mut writable) = ws.split();
    tokio::spawn(handlers::echo_exit(peer));
    writable.send("Goodbye").await.unwrap();
    writable.send(vec![0; 8 << 20]).await.unwrap();
    let mut flush = Box::pin(writable.flush());
    assert!(poll_once(&mut flush).await.is_pending());
    drop(flush);
    drop((readable, writable));
    assert!(matches!(closed.await, Err(ConnectionError::Unsent(_))));
}

#[tokio::test(start_paused = true)]
async fn dropping_all_handles_while_writes_are_pending_should_send_what_was_accepted() {
    let (ws, mut peer) = open().await;
    let closed = ws.closed();
    let (readable, mut writable) = ws.split();
    let mut accepted = 0;
    for _ in 0..20 {
        let mut send = Box::pin(writable.send(vec![0; 100_000]));
        match poll_once(&mut send).await {
            std::task::Poll::Ready(sent) => sent.unwrap(),
            std::task::Poll::Pending => break,
        }
        accepted += 1;
    }
    assert!((2..20).contains(&accepted), "{accepted}");
    drop((readable, writable));
    for _ in 0..accepted {
        assert_eq!(peer.message().await.unwrap(), (BINARY, vec![0; 100_000]));
    }
    assert_eq!(peer.message().await.unwrap(), (CLOSE, close_body(1001, "")));
    peer.close(1001, "").await;
    drop(peer);
    let (info, time) = timed(closed).await;
    assert_eq!((info.unwrap().close_code, time), (CloseCode::GOING_AWAY, Duration::ZERO));
}

/// What a browser replaces, a caller here learns about.
#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf_8_is_refused_and_nothing_of_it_sent() {
    let invalid: InvalidUtf8 = Message::text_from_utf8(&b"a\xed\xa0\x80b"[..]).unwrap_err();
    assert_eq!(invalid.valid_up_to(), 1);

    let (mut ws, mut peer) = open().await;
    let mut message = ws.start_message(MessageKind::Text).await.unwrap();
    let refused = message.write(&b"a\xed\xa0\x80b"[..]).await;
    assert!(matches!(refused, Err(WriteError::InvalidUtf8(_))), "{refused:?}");
    message.write("ab").await.unwrap();
    message.finish().await.unwrap();
    assert_eq!(peer.message().await.unwrap().1, b"ab");
}
