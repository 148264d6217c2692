//! After `close.any.js`.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::{io::duplex, task::JoinHandle};
use wsstream::{CloseCode, CloseError, CloseInfo, ConnectionError, Message, ReadyState, WebSocketStream};

use super::{
    handlers,
    peer::{PIPE, Peer, close_body, open, poll_once, timed},
};

/// An open connection to an echo server, and what that is told when the connection is closed.
async fn open_echo() -> (WebSocketStream, JoinHandle<Vec<u8>>) {
    let (ws, peer) = open().await;
    (ws, tokio::spawn(handlers::echo(peer)))
}

fn assert_clean(info: &CloseInfo, code: u16, reason: &str) {
    assert_eq!((u16::from(info.close_code), info.reason.as_str(), info.was_clean), (code, reason, true));
}

/// The connection has taken no harm.
async fn assert_works(mut ws: WebSocketStream, server: JoinHandle<Vec<u8>>) {
    assert_eq!(ws.ready_state(), ReadyState::Open);
    ws.send("still there?").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::text("still there?"));
    assert_clean(&ws.close(code(4000), "after all").await.unwrap(), 4000, "after all");
    assert_eq!(server.await.unwrap(), close_body(4000, "after all"));
}

fn code(code: u16) -> CloseCode {
    code.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn close_code_should_be_sent_to_server_and_reflected_back() {
    let (mut ws, server) = open_echo().await;
    let info = ws.close(code(3456), "pizza").await.unwrap();
    assert_clean(&info, 3456, "pizza");
    assert_eq!(ws.closed().await.unwrap(), info);
    assert_eq!(server.await.unwrap(), close_body(3456, "pizza"));
}

#[tokio::test(start_paused = true)]
async fn no_close_argument_should_send_empty_close_frame() {
    let (mut ws, server) = open_echo().await;
    assert_clean(&ws.close(CloseCode::NO_STATUS, "").await.unwrap(), 1005, "");
    assert_eq!(server.await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn unspecified_close_code_should_send_empty_close_frame() {
    let (ws, server) = open_echo().await;
    assert_clean(&ws.control().close(CloseCode::NO_STATUS, "").await.unwrap(), 1005, "");
    assert_eq!(server.await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn unspecified_close_code_with_empty_reason_should_send_empty_close_frame() {
    let (ws, server) = open_echo().await;
    let (_readable, mut writable) = ws.split();
    assert_clean(&writable.close(CloseCode::NO_STATUS, "").await.unwrap(), 1005, "");
    assert_eq!(server.await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn unspecified_close_code_with_non_empty_reason_should_be_refused() {
    let (mut ws, server) = open_echo().await;
    let refused = ws.close(CloseCode::NO_STATUS, "non-empty").await;
    assert!(matches!(refused, Err(CloseError::ReasonWithoutCode)), "{refused:?}");
    assert_works(ws, server).await;
}

#[tokio::test(start_paused = true)]
async fn close_with_an_overlong_reason_should_fail() {
    let (mut ws, server) = open_echo().await;
    let refused = ws.close(CloseCode::NORMAL, &".".repeat(124)).await;
    assert!(matches!(refused, Err(CloseError::ReasonTooLong { len: 124 })), "{refused:?}");
    assert_works(ws, server).await;

    let (mut ws, server) = open_echo().await;
    let longest = ".".repeat(123);
    assert_clean(&ws.close(CloseCode::NORMAL, &longest).await.unwrap(), 1000, &longest);
    assert_eq!(server.await.unwrap(), close_body(1000, &longest));
}

/// There is no connection to close before it is open: dropping the future is all there is.
#[tokio::test(start_paused = true)]
async fn close_during_handshake_should_work() {
    let (client, server) = duplex(PIPE);
    let mut peer = Peer { io: server };
    let mut connect = WebSocketStream::connect_over("ws://localhost/", client).into_future();
    assert!(poll_once(&mut connect).await.is_pending());
    drop(connect);
    peer.request().await;
    peer.end().await;
}

/// A code that must not be sent is none: only those that stand for something else than a Close frame's body exist.
async fn assert_invalid(invalid: u16) {
    let error = CloseCode::try_from(invalid).unwrap_err();
    assert!(matches!(error, CloseError::InvalidCode(code) if code == invalid), "{error:?}");
}

#[tokio::test]
async fn close_with_invalid_code_999_should_fail() {
    assert_invalid(999).await;
}

/// A browser's script may not send it; whoever writes a server has to.
#[tokio::test(start_paused = true)]
async fn close_with_code_1001_should_send_it() {
    let (mut ws, server) = open_echo().await;
    assert_clean(&ws.close(CloseCode::GOING_AWAY, "bye").await.unwrap(), 1001, "bye");
    assert_eq!(server.await.unwrap(), close_body(1001, "bye"));
}

#[tokio::test]
async fn close_with_invalid_code_2999_should_fail() {
    assert_invalid(2999).await;
}

#[tokio::test]
async fn close_with_invalid_code_5000_should_fail() {
    assert_invalid(5000).await;
}

#[tokio::test(start_paused = true)]
async fn close_with_the_code_of_a_missing_close_frame_should_fail() {
    let (mut ws, server) = open_echo().await;
    let refused = ws.close(CloseCode::ABNORMAL, "").await;
    assert!(matches!(refused, Err(CloseError::InvalidCode(1006))), "{refused:?}");
    assert_works(ws, server).await;
}

#[test]
fn the_codes_that_can_be_sent() {
    let sendable: Vec<u16> = (0..=u16::MAX).filter(|code| CloseCode::try_from(*code).is_ok()).collect();
    let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
    assert_eq!(sendable, expected);
}

#[tokio::test(start_paused = true)]
async fn the_first_close_counts_and_arguments_are_checked_even_after_it() {
    let (ws, server) = open_echo().await;
    let control = ws.control();
    let (first, second) =
        tokio::join!(control.close(code(4001), "first"), async { control.close(code(4002), "second").await });
    assert_clean(&first.unwrap(), 4001, "first");
    assert_clean(&second.unwrap(), 4001, "first");
    assert_eq!(server.await.unwrap(), close_body(4001, "first"));
    let refused = control.close(CloseCode::NO_STATUS, "a reason").await;
    assert!(matches!(refused, Err(CloseError::ReasonWithoutCode)), "{refused:?}");
}

/// What a `Sink` closes with is up to the sink: 1000, since it is told nothing.
#[tokio::test(start_paused = true)]
async fn closing_the_writable_should_result_in_a_clean_close() {
    let (ws, server) = open_echo().await;
    let (readable, mut writable) = ws.split();
    SinkExt::close(&mut writable).await.unwrap();
    assert_clean(&readable.closed().await.unwrap(), 1000, "");
    assert_eq!(server.await.unwrap(), close_body(1000, ""));
}

#[tokio::test(start_paused = true)]
async fn closed_can_be_awaited_any_number_of_times() {
    let (ws, _server) = open_echo().await;
    let (_readable, mut writable) = ws.split();
    let mut closed = writable.closed();
    SinkExt::close(&mut writable).await.unwrap();
    assert_clean(&(&mut closed).await.unwrap(), 1000, "");
    assert_clean(&(&mut closed).await.unwrap(), 1000, "");
    assert_clean(&closed.clone().await.unwrap(), 1000, "");
    SinkExt::close(&mut writable).await.unwrap();
    assert_clean(&writable.closed().await.unwrap(), 1000, "");
    assert_eq!(writable.control().ready_state(), ReadyState::Closed);
}

#[tokio::test(start_paused = true)]
async fn writer_close_should_not_resolve_until_handshake_completes() {
    for through_the_sink in [false, true] {
        let (ws, peer) = open().await;
        let (_readable, mut writable) = ws.split();
        tokio::spawn(handlers::delayed_passive_close(peer));
        let close = async {
            match through_the_sink {
                true => SinkExt::close(&mut writable).await.unwrap(),
                false => assert_clean(&writable.close(CloseCode::NORMAL, "").await.unwrap(), 1000, ""),
            }
        };
        let ((), time) = timed(close).await;
        assert!((1000..1100).contains(&time.as_millis()), "{time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn incomplete_closing_handshake_should_be_considered_unclean_close() {
    let (mut ws, peer) = open().await;
    tokio::spawn(handlers::passive_close_abort(peer));
    let (error, time) = timed(ws.close(code(4000), "because")).await;
    assert!(time < Duration::from_millis(100), "{time:?}");
    let Err(CloseError::Connection(error)) = error else { panic!("{error:?}") };
    assert!(matches!(error, ConnectionError::Lost), "{error:?}");
    assert_eq!(error.close_code(), CloseCode::ABNORMAL);
    assert!(matches!(ws.closed().await, Err(ConnectionError::Lost)));
}

/// To abort is to drop the transport without a word: the opposite of a clean close, and it takes no code.
#[tokio::test(start_paused = true)]
async fn aborting_the_writable_should_result_in_an_unclean_close() {
    let (ws, mut peer) = open().await;
    let (_readable, mut writable) = ws.split();
    writable.send("accepted before").await.unwrap();
    writable.flush().await.unwrap();
    writable.abort();
    let (closed, time) = timed(writable.closed()).await;
    assert!(matches!(closed, Err(ConnectionError::Aborted)), "{closed:?}");
    assert_eq!((closed.unwrap_err().close_code(), time), (CloseCode::ABNORMAL, Duration::ZERO));
    assert_eq!(peer.message().await.unwrap().1, b"accepted before");
    peer.end().await;
}

#[tokio::test(start_paused = true)]
async fn canceling_the_readable_should_result_in_a_clean_close() {
    let (ws, server) = open_echo().await;
    let (readable, writable) = ws.split();
    readable.cancel(CloseCode::NO_STATUS, "").unwrap();
    assert_clean(&writable.closed().await.unwrap(), 1005, "");
    assert_eq!(server.await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn canceling_the_readable_with_a_code_should_send_that_code() {
    let (ws, server) = open_echo().await;
    let (readable, writable) = ws.split();
    readable.cancel(code(3333), "").unwrap();
    assert_clean(&writable.closed().await.unwrap(), 3333, "");
    assert_eq!(server.await.unwrap(), close_body(3333, ""));
}

#[tokio::test(start_paused = true)]
async fn canceling_the_readable_with_a_code_and_reason_should_use_them() {
    let (ws, server) = open_echo().await;
    let (readable, writable) = ws.split();
    readable.cancel(code(3456), "set").unwrap();
    assert_clean(&writable.closed().await.unwrap(), 3456, "set");
    assert_eq!(server.await.unwrap(), close_body(3456, "set"));
}

#[tokio::test(start_paused = true)]
async fn canceling_the_readable_with_a_reason_but_no_code_should_be_refused() {
    let (ws, server) = open_echo().await;
    let (readable, mut writable) = ws.split();
    let refused = readable.cancel(CloseCode::NO_STATUS, "specified");
    assert!(matches!(refused, Err(CloseError::ReasonWithoutCode)), "{refused:?}");
    // Nothing has been sent: the first Close frame is the one of this close.
    assert_clean(&writable.close(CloseCode::NORMAL, "").await.unwrap(), 1000, "");
    assert_eq!(server.await.unwrap(), close_body(1000, ""));
}
