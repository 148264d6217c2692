//! Protocol errors.

use super::*;

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
