//! After `remote-close.any.js`.

use std::time::Duration;

use futures::StreamExt;
use wsstream::{CloseCode, CloseInfo, Config, ConnectionError, ReadError, WriteError};

use super::{
    handlers,
    peer::{close_body, open, open_config, poll_once, timed},
};

/// How a connection ends that the server closes with this body; the answer says the same.
async fn closed_with(body: Vec<u8>) -> CloseInfo {
    let (ws, peer) = open().await;
    let server = tokio::spawn(handlers::remote_close(peer, body.clone()));
    let info = ws.closed().await.unwrap();
    assert!(info.was_clean);
    assert_eq!(server.await.unwrap(), body, "the answer repeats code and reason");
    info
}

#[tokio::test(start_paused = true)]
async fn clean_close_should_be_clean() {
    let (ws, peer) = open().await;
    let (mut readable, mut writable) = ws.split();
    let server = tokio::spawn(handlers::remote_close(peer, close_body(1000, "")));
    let info = readable.closed().await.unwrap();
    assert_eq!((info.close_code, info.reason.as_str(), info.was_clean), (CloseCode::NORMAL, "", true));
    assert!(readable.next_message().await.unwrap().is_none());
    assert!(readable.next().await.is_none());
    assert!(matches!(writable.ready().await, Err(WriteError::Closed)));
    assert!(matches!(writable.send("late").await, Err(WriteError::Closed)));
    assert_eq!(server.await.unwrap(), close_body(1000, ""));
}

#[tokio::test(start_paused = true)]
async fn close_frame_with_no_body_should_result_in_status_code_1005() {
    let info = closed_with(Vec::new()).await;
    assert_eq!((info.close_code, info.reason.as_str()), (CloseCode::NO_STATUS, ""));
}

#[tokio::test(start_paused = true)]
async fn reason_should_be_passed_through() {
    let info = closed_with(close_body(4000, "robot")).await;
    assert_eq!((u16::from(info.close_code), info.reason.as_str()), (4000, "robot"));
}

#[tokio::test(start_paused = true)]
async fn utf_8_reason_should_work() {
    // With a byte order mark in front, which is a character like others.
    let reason = "\u{feff}ロボット";
    assert_eq!(closed_with(close_body(4000, reason)).await.reason, reason);
}

#[tokio::test(start_paused = true)]
async fn codes_that_a_script_may_not_send_should_be_passed_through() {
    for code in [1001, 1003, 1008, 1011, 1014] {
        assert_eq!(u16::from(closed_with(close_body(code, "ga")).await.close_code), code);
    }
}

#[tokio::test(start_paused = true)]
async fn close_with_unwritten_data_should_not_be_considered_clean() {
    let (ws, peer) = open().await;
    let (mut readable, mut writable) = ws.split();
    writable.send(vec![0; 20 << 20]).await.unwrap();
    let mut flush = Box::pin(writable.flush());
    assert!(poll_once(&mut flush).await.is_pending());
    let server = tokio::spawn(handlers::remote_close(peer, close_body(4567, "")));

    let error = readable.closed().await.unwrap_err();
    let ConnectionError::Unsent(info) = &error else { panic!("{error:?}") };
    assert_eq!((u16::from(info.close_code), info.was_clean), (4567, false));
    assert_eq!(u16::from(error.close_code()), 4567);
    assert!(matches!(flush.await, Err(WriteError::Connection(ConnectionError::Unsent(_)))));
    assert!(matches!(writable.send("more").await, Err(WriteError::Connection(ConnectionError::Unsent(_)))));
    let read = readable.next_message().await.unwrap_err();
    assert!(matches!(read, ReadError::Connection(ConnectionError::Unsent(_))), "{read:?}");
    assert_eq!(server.await.unwrap(), close_body(4567, ""), "between two frames, the answer goes out");
}

/// The transport is full and the server reads nothing more: a send that waits is not kept waiting.
#[tokio::test(start_paused = true)]
async fn a_send_that_waits_fails_as_soon_as_the_close_frame_comes() {
    let (ws, mut peer) = open_config(Config::default().write_high_water_mark(1).max_frame_payload(1 << 20)).await;
    let (_readable, mut writable) = ws.split();
    writable.send(vec![0; 100_000]).await.unwrap();
    let mut send = Box::pin(writable.send("waits"));
    assert!(poll_once(&mut send).await.is_pending());
    tokio::task::yield_now().await;
    peer.close(4567, "").await;
    let (sent, time) = timed(send).await;
    assert!(matches!(sent, Err(WriteError::Closed)), "{sent:?}");
    assert!(time < Duration::from_secs(1), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn remote_code_and_reason_should_be_used() {
    let (mut ws, mut peer) = open().await;
    let close = ws.close(4111.try_into().unwrap(), "local");
    let serve = async {
        assert_eq!(peer.close_body().await, close_body(4111, "local"));
        peer.close(4222, "remote").await;
        drop(peer);
    };
    let (info, ()) = tokio::join!(close, serve);
    let info = info.unwrap();
    assert_eq!((u16::from(info.close_code), info.reason.as_str(), info.was_clean), (4222, "remote", true));
}

#[tokio::test(start_paused = true)]
async fn remote_code_and_reason_should_be_used_when_both_close_at_once() {
    let (mut ws, mut peer) = open().await;
    peer.close(4222, "remote").await;
    let close = ws.close(4111.try_into().unwrap(), "local");
    let serve = async {
        assert_eq!(peer.close_body().await, close_body(4111, "local"), "only one Close frame goes out");
        drop(peer);
    };
    let (info, ()) = tokio::join!(close, serve);
    assert_eq!(u16::from(info.unwrap().close_code), 4222);
}

/// How the transport ended makes no difference but in words: a ping may be on its way that can no longer be answered.
#[tokio::test(start_paused = true)]
async fn abrupt_close_should_give_an_error() {
    for ping in [true, false] {
        let (ws, peer) = open().await;
        let (mut readable, mut writable) = ws.split();
        let mut read = Box::pin(readable.next_message());
        assert!(poll_once(&mut read).await.is_pending());
        match ping {
            true => drop(tokio::spawn(handlers::abrupt(peer))),
            false => drop(peer),
        }

        let error = writable.closed().await.unwrap_err();
        match ping {
            true => assert!(matches!(error, ConnectionError::Io(_) | ConnectionError::Lost), "{error:?}"),
            false => assert!(matches!(error, ConnectionError::Lost), "{error:?}"),
        }
        assert_eq!(error.close_code(), CloseCode::ABNORMAL);
        let (read, ready) = (read.await.unwrap_err(), writable.ready().await.unwrap_err());
        assert!(matches!(read, ReadError::Connection(_)) && matches!(ready, WriteError::Connection(_)));
        assert_eq!((read.to_string(), ready.to_string()), (error.to_string(), error.to_string()));
    }
}
