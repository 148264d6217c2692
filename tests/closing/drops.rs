//! What dropping a handle does.

use super::*;

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
