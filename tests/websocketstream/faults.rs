//! What a server may not send: the Close frame that says so, and the error that every handle gets.

use wsstream::{Config, ConnectionError, ProtocolError, ReadError, WriteError};

use super::peer::{BINARY, CLOSE, CONTINUATION, PING, TEXT, close_body, frame, open, open_config};

/// The server sends these bytes: the close code it is told, and the error.
async fn fault(config: Config, bytes: &[u8]) -> (u16, ConnectionError) {
    let (ws, mut peer) = open_config(config).await;
    peer.raw(bytes).await;
    let body = peer.close_body().await;
    drop(peer);
    let (code, reason) = body.split_first_chunk().expect("a close code");
    let (mut readable, mut writable) = ws.split();
    let error = readable.closed().await.unwrap_err();
    assert!(!reason.is_empty() && error.to_string().contains(std::str::from_utf8(&reason[..10]).unwrap()), "{error}");
    assert_eq!(u16::from(error.close_code()), 1006, "the peer sent no Close frame");
    let read = loop {
        match readable.next_message().await {
            Ok(Some(mut message)) => while message.chunk().await.is_ok_and(|chunk| chunk.is_some()) {},
            Ok(None) => panic!("a clean end"),
            Err(error) => break error,
        }
    };
    let write = writable.send("late").await.unwrap_err();
    assert!(matches!(read, ReadError::Connection(_)) && matches!(write, WriteError::Connection(_)));
    assert_eq!((read.to_string(), write.to_string()), (error.to_string(), error.to_string()));
    (u16::from_be_bytes(*code), error)
}

async fn rule(bytes: &[u8]) -> (u16, ProtocolError) {
    match fault(Config::default(), bytes).await {
        (code, ConnectionError::Protocol(rule)) => (code, rule),
        (_, error) => panic!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf_8_is_1007() {
    let split = [frame(TEXT, b"a\xe3\x83"), frame(0x80 | CONTINUATION, b"b")].concat();
    for bytes in
        [frame(0x80 | TEXT, b"a\xffb"), frame(0x80 | TEXT, b"a\xed\xa0\x80"), frame(0x80 | TEXT, b"\xe3"), split]
    {
        assert_eq!(rule(&bytes).await, (1007, ProtocolError::InvalidText));
    }
    // At the first wrong byte, though the frame announces a gigabyte.
    let announced = [&[0x80 | TEXT, 127][..], &(1u64 << 30).to_be_bytes(), b"a\xff"].concat();
    assert_eq!(rule(&announced).await, (1007, ProtocolError::InvalidText));
}

#[tokio::test(start_paused = true)]
async fn frames_against_the_rules_are_1002() {
    for (bytes, expected) in [
        (frame(0x80 | 0x40 | TEXT, b"a"), ProtocolError::ReservedBits),
        (frame(0x80 | 3, b""), ProtocolError::ReservedOpcode(3)),
        (frame(0x80 | 11, b""), ProtocolError::ReservedOpcode(11)),
        (frame(PING, b""), ProtocolError::FragmentedControl),
        (frame(0x80 | PING, &[0; 126]), ProtocolError::ControlTooLong),
        (frame(0x80 | CONTINUATION, b"a"), ProtocolError::UnexpectedContinuation),
        ([frame(TEXT, b"a"), frame(0x80 | BINARY, b"b")].concat(), ProtocolError::InterleavedMessage),
        (b"\x81\x81\0\0\0\0a".to_vec(), ProtocolError::Masked),
    ] {
        assert_eq!(rule(&bytes).await, (1002, expected), "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_close_frame_is_a_fault() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let close = frame(0x80 | CLOSE, &close_body(code, ""));
        assert_eq!(rule(&close).await, (1002, ProtocolError::InvalidCloseCode(code)));
    }
    assert_eq!(rule(&frame(0x80 | CLOSE, b"\x03")).await, (1002, ProtocolError::CloseBodyTooShort));
    assert_eq!(rule(&frame(0x80 | CLOSE, b"\x03\xe8a\xff")).await, (1007, ProtocolError::InvalidCloseReason));
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_1009() {
    let (code, error) = fault(Config::default().max_message_size(10), &frame(0x80 | BINARY, &[0; 11])).await;
    assert_eq!(code, 1009);
    assert!(matches!(error, ConnectionError::MessageTooLarge { limit: 10, .. }), "{error:?}");
    assert!(error.to_string().contains("max_message_size"), "{error}");
}

/// Fragments have no number: 200 000 of them are one message, and cost nothing once they are read.
#[tokio::test(start_paused = true)]
async fn a_message_may_have_any_number_of_fragments() {
    let (mut ws, mut peer) = open().await;
    tokio::spawn(async move {
        peer.raw(&frame(BINARY, b"x")).await;
        peer.raw(&frame(CONTINUATION, b"x").repeat(200_000)).await;
        peer.raw(&frame(0x80 | CONTINUATION, b"x")).await;
        peer.close_body().await;
    });
    let mut message = ws.next_message().await.unwrap().unwrap();
    let mut len = 0;
    while let Some(chunk) = message.chunk().await.unwrap() {
        len += chunk.len();
    }
    assert_eq!(len, 200_002);
}
