//! Close codes and reasons.

use super::*;

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
