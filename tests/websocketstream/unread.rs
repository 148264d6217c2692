//! What is unread when a connection ends: it settles without a reader, and nothing received is lost.

use std::time::Duration;

use futures::StreamExt;
use tokio::{io::AsyncWriteExt, task::JoinHandle};
use wsstream::{CloseCode, CloseError, CloseInfo, Config, ConnectionError, Message, ReadError, Readable, Writable};

use super::{
    handlers,
    peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_body, frame, open, open_config, timed},
};

const UNREAD: [&str; 5] = ["m0", "m1", "m2", "m3", "m4"];

/// A connection with five messages that nobody has read. The server then echoes, and tells what it was closed with.
async fn unread() -> (Readable, Writable, JoinHandle<Vec<u8>>) {
    let (ws, mut peer) = open().await;
    for message in UNREAD {
        peer.send(TEXT, message).await;
    }
    let (readable, writable) = ws.split();
    // The answer to a ping behind them says that they have been received.
    peer.send(PING, "").await;
    assert_eq!(peer.message().await.unwrap().0, PONG);
    (readable, writable, tokio::spawn(handlers::echo(peer)))
}

/// All five are still there.
async fn assert_readable(readable: &mut Readable) {
    for expected in UNREAD {
        assert_eq!(readable.next().await.unwrap().unwrap(), Message::text(expected));
    }
}

fn assert_clean(info: &CloseInfo, code: u16) {
    assert_eq!((u16::from(info.close_code), info.was_clean), (code, true));
}

#[tokio::test(start_paused = true)]
async fn close_settles_without_a_reader_and_they_stay_readable() {
    let (mut readable, mut writable, server) = unread().await;
    let (info, time) = timed(writable.close(CloseCode::NORMAL, "")).await;
    assert_clean(&info.unwrap(), 1000);
    assert!(time < Duration::from_millis(10), "{time:?}");
    assert_eq!(server.await.unwrap(), close_body(1000, ""));
    assert_readable(&mut readable).await;
    assert!(readable.next_message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn cancel_settles_at_once() {
    let (readable, writable, server) = unread().await;
    readable.cancel(CloseCode::NO_STATUS, "").unwrap();
    let (info, time) = timed(writable.closed()).await;
    assert_clean(&info.unwrap(), 1005);
    assert!(time < Duration::from_millis(10), "{time:?}");
    assert_eq!(server.await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn abort_settles_at_once_and_they_stay_readable() {
    let (mut readable, mut writable, server) = unread().await;
    writable.abort();
    let (closed, time) = timed(writable.closed()).await;
    assert!(matches!(closed, Err(ConnectionError::Aborted)), "{closed:?}");
    assert_eq!(time, Duration::ZERO);
    assert_readable(&mut readable).await;
    let end = readable.next_message().await.unwrap_err();
    assert!(matches!(end, ReadError::Connection(ConnectionError::Aborted)), "{end:?}");
    assert!(server.await.is_err(), "there is no Close frame");
}

#[tokio::test(start_paused = true)]
async fn dropping_everything_settles_at_once() {
    let (readable, writable, server) = unread().await;
    let closed = writable.closed();
    drop((readable, writable));
    let (info, time) = timed(closed).await;
    assert_clean(&info.unwrap(), 1001);
    assert!(time < Duration::from_millis(10), "{time:?}");
    assert_eq!(server.await.unwrap(), close_body(1001, ""));
}

#[tokio::test(start_paused = true)]
async fn the_close_of_the_peer_settles_without_a_reader_and_they_stay_readable() {
    let (ws, mut peer) = open().await;
    for message in UNREAD {
        peer.send(TEXT, message).await;
    }
    tokio::spawn(handlers::remote_close(peer, close_body(4000, "bye")));
    let (mut readable, _writable) = ws.split();
    let (info, time) = timed(readable.closed()).await;
    assert_clean(&info.unwrap(), 4000);
    assert!(time <= Duration::from_millis(110), "the answer waits for a reader, but not long: {time:?}");
    assert_readable(&mut readable).await;
    assert!(readable.next_message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lost_transport_settles_without_a_reader_and_they_stay_readable() {
    let (ws, mut peer) = open().await;
    for message in UNREAD {
        peer.send(TEXT, message).await;
    }
    drop(peer);
    let (mut readable, _writable) = ws.split();
    let (closed, time) = timed(readable.closed()).await;
    assert!(matches!(closed, Err(ConnectionError::Lost)), "{closed:?}");
    assert_eq!(time, Duration::ZERO);
    assert_readable(&mut readable).await;
    let end = readable.next_message().await.unwrap_err();
    assert!(matches!(end, ReadError::Connection(ConnectionError::Lost)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_after_a_local_close_are_delivered() {
    let (ws, mut peer) = open().await;
    let (mut readable, mut writable) = ws.split();
    let serve = async {
        peer.close_body().await;
        for message in UNREAD {
            peer.send(TEXT, message).await;
        }
        peer.close(1000, "").await;
        drop(peer);
    };
    let (info, ()) = tokio::join!(writable.close(CloseCode::NORMAL, ""), serve);
    assert_clean(&info.unwrap(), 1000);
    assert_readable(&mut readable).await;
    assert!(readable.next_message().await.unwrap().is_none());
}

// ---- more than the high-water mark: the transport is not read any more, so that no Close frame can be seen ----

/// A megabyte, of which the reader may hold a kilobyte, and a Close frame behind it.
async fn lagging() -> (Readable, Writable, JoinHandle<Peer>) {
    let (ws, mut peer) = open_config(Config::default().read_high_water_mark(1024)).await;
    let server = tokio::spawn(async move {
        // The transport may go while this is being written.
        for byte in 0..16 {
            let bytes = frame(0x80 | BINARY, &vec![byte; 64 * 1024]);
            if peer.io.write_all(&bytes).await.is_err() {
                return peer;
            }
        }
        let bytes = frame(0x80 | CLOSE, &close_body(4000, "bye"));
        let _ = peer.io.write_all(&bytes).await;
        peer
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (readable, writable) = ws.split();
    assert_eq!(writable.control().stats().received.pauses, 1);
    (readable, writable, server)
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_on_a_reader_that_lags_after_the_close_timeout() {
    let (mut readable, mut writable, server) = lagging().await;
    let (closed, time) = timed(writable.close(CloseCode::NORMAL, "")).await;
    let Err(CloseError::Connection(ConnectionError::CloseTimeout(limit))) = closed else { panic!("{closed:?}") };
    assert_eq!(limit, Duration::from_secs(10));
    assert!((10_000..10_100).contains(&time.as_millis()), "{time:?}");
    // What had been received can be read, and does not look whole.
    let mut message = readable.next_message().await.unwrap().unwrap();
    assert!(!message.chunk().await.unwrap().unwrap().is_empty());
    let end = loop {
        match message.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut message looks whole"),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, ReadError::Connection(ConnectionError::CloseTimeout(_))), "{end:?}");
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancel_discards_what_lags_and_finds_the_close_frame() {
    let (readable, writable, server) = lagging().await;
    readable.cancel(CloseCode::NORMAL, "enough").unwrap();
    let peer = server.await.unwrap();
    drop(peer);
    let (info, time) = timed(writable.closed()).await;
    assert_clean(&info.unwrap(), 4000);
    assert!(time < Duration::from_millis(10), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_readable_discards_what_lags_and_finds_the_close_frame() {
    let (readable, writable, server) = lagging().await;
    drop(readable);
    let mut peer = server.await.unwrap();
    assert_eq!(peer.close_body().await, close_body(4000, "bye"));
    drop(peer);
    assert_clean(&writable.closed().await.unwrap(), 4000);
}

#[tokio::test(start_paused = true)]
async fn abort_does_not_care() {
    let (_readable, mut writable, server) = lagging().await;
    writable.abort();
    let (closed, time) = timed(writable.closed()).await;
    assert!(matches!(closed, Err(ConnectionError::Aborted)), "{closed:?}");
    assert_eq!(time, Duration::ZERO);
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_close_of_the_peer_waits_behind_what_lags_and_nothing_is_lost() {
    let (mut readable, writable, server) = lagging().await;
    let mut closed = writable.closed();
    let unseen = tokio::time::timeout(Duration::from_secs(15), &mut closed).await;
    assert!(unseen.is_err(), "{unseen:?}");
    for byte in 0..16 {
        let message = readable.next().await.unwrap().unwrap();
        assert_eq!(message.as_bytes(), vec![byte; 64 * 1024]);
    }
    assert!(readable.next().await.is_none());
    let mut peer = server.await.unwrap();
    assert_eq!(peer.close_body().await, close_body(4000, "bye"));
    drop(peer);
    assert_clean(&closed.await.unwrap(), 4000);
}

/// A request and a Close frame back to back: what a reader that keeps up answers still goes out.
#[tokio::test(start_paused = true)]
async fn what_the_reader_answers_to_the_last_message_goes_before_the_answer_to_the_close_frame() {
    let (ws, mut peer) = open().await;
    let (mut readable, mut writable) = ws.split();
    let echo = async {
        while let Some(message) = readable.next().await {
            writable.send(message.unwrap()).await.unwrap();
        }
        readable.closed().await
    };
    let serve = async {
        let request = [frame(0x80 | TEXT, b"request"), frame(0x80 | CLOSE, &close_body(4000, "bye"))];
        peer.raw(&request.concat()).await;
        assert_eq!(peer.message().await.unwrap(), (TEXT, b"request".to_vec()));
        assert_eq!(peer.close_body().await, close_body(4000, "bye"));
        drop(peer);
    };
    let ((info, time), ()) = tokio::join!(timed(echo), serve);
    assert_clean(&info.unwrap(), 4000);
    assert_eq!(time, Duration::ZERO, "nothing is waited for once the reader has caught up");
}
