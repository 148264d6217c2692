//! In which order the handles learn of an end: the halves as soon as it is certain, `closed` when the transport is gone.

use std::time::Duration;

use futures::FutureExt;
use wsstream::{ConnectionError, ReadyState, WriteError};

use super::peer::{TEXT, close_body, open, timed};

#[tokio::test(start_paused = true)]
async fn the_halves_know_of_a_clean_end_before_closed_resolves() {
    let (ws, mut peer) = open().await;
    let control = ws.control();
    let (mut readable, mut writable) = ws.split();
    peer.close(1000, "").await;
    assert_eq!(peer.close_body().await, close_body(1000, ""));
    // The server keeps the transport open.
    let (end, time) = timed(readable.next_message()).await;
    assert!(end.unwrap().is_none() && time == Duration::ZERO);
    assert!(matches!(writable.send("late").await, Err(WriteError::Closed)));
    assert_eq!(control.ready_state(), ReadyState::Closing);
    let (info, time) = timed(control.closed()).await;
    assert!(info.unwrap().was_clean);
    assert!((2000..2100).contains(&time.as_millis()), "a client waits two seconds for the server: {time:?}");
    assert_eq!(control.ready_state(), ReadyState::Closed);
    peer.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_closed_reports_a_failure_both_halves_have_it_too() {
    let (ws, peer) = open().await;
    let (mut readable, mut writable) = ws.split();
    drop(peer);
    let error = readable.closed().await.unwrap_err();
    assert!(matches!(error, ConnectionError::Lost), "{error:?}");
    let read = readable.next_message().now_or_never().expect("known by now").unwrap_err();
    let ready = writable.ready().now_or_never().expect("known by now").unwrap_err();
    assert_eq!((read.to_string(), ready.to_string()), (error.to_string(), error.to_string()));
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_open_before_anything_ends() {
    let (ws, mut peer) = open().await;
    assert_eq!(ws.ready_state(), ReadyState::Open);
    assert!(ws.closed().now_or_never().is_none());
    // Messages that came with the handshake, and its end: first the messages, then the end.
    peer.send(TEXT, "first").await;
    drop(peer);
    let (mut readable, _writable) = ws.split();
    let message = readable.next_message().await.unwrap().unwrap();
    assert_eq!(message.collect(100).await.unwrap().as_text(), Some("first"));
    assert!(readable.next_message().await.is_err());
}
