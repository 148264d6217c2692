//! After `websocket-error.any.js`: the browser makes `WebSocketError` carry what to close with. Here that is a
//! `CloseCode` and a `&str`, and a `ConnectionError` says how a connection failed.

use wsstream::{CloseCode, CloseError, ConnectionError};

use super::peer::{close_body, open};

#[test]
fn defaults_should_be_correct() {
    for error in [ConnectionError::Lost, ConnectionError::Aborted, ConnectionError::UnfinishedMessage] {
        assert_eq!(error.close_code(), CloseCode::ABNORMAL, "{error}");
    }
}

#[test]
fn a_close_code_should_be_initialised_from_its_number() {
    assert_eq!(u16::from(CloseCode::try_from(3456).unwrap()), 3456);
}

fn assert_invalid(code: u16) {
    let error = CloseCode::try_from(code).unwrap_err();
    assert!(matches!(error, CloseError::InvalidCode(it) if it == code));
    assert!(error.to_string().contains(&code.to_string()), "{error}");
}

#[test]
fn invalid_code_999_should_fail() {
    assert_invalid(999);
}

#[test]
fn code_1001_should_be_valid() {
    assert_eq!(CloseCode::try_from(1001).unwrap(), CloseCode::GOING_AWAY);
}

#[test]
fn invalid_code_2999_should_fail() {
    assert_invalid(2999);
}

#[test]
fn invalid_code_5000_should_fail() {
    assert_invalid(5000);
}

#[tokio::test(start_paused = true)]
async fn passing_only_close_code_should_work() {
    let (ws, mut peer) = open().await;
    let control = ws.control();
    tokio::spawn(async move { control.close(3333.try_into().unwrap(), "").await });
    assert_eq!(peer.close_body().await, close_body(3333, ""));
}

#[tokio::test(start_paused = true)]
async fn a_non_empty_reason_without_a_code_should_be_refused() {
    let (mut ws, _peer) = open().await;
    let refused = ws.close(CloseCode::NO_STATUS, "specified").await;
    assert!(matches!(refused, Err(CloseError::ReasonWithoutCode)), "{refused:?}");
}

async fn assert_too_long(reason: &str) {
    let (mut ws, _peer) = open().await;
    let refused = ws.close(CloseCode::NORMAL, reason).await;
    assert!(matches!(refused, Err(CloseError::ReasonTooLong { len }) if len == reason.len()), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn overlong_reason_should_fail() {
    assert_too_long(&"x".repeat(124)).await;
}

#[tokio::test(start_paused = true)]
async fn reason_should_be_rejected_based_on_utf_8_bytes_not_character_count() {
    let reason = "\u{1f50c}".repeat(32);
    assert!(reason.chars().count() < 123);
    assert_too_long(&reason).await;
}
