//! Abort, cancel, runtimes that go away, leftovers.

use super::*;

#[tokio::test(start_paused = true)]
async fn abort_drops_the_transport_at_once_and_what_came_stays_readable() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, mut writable) = ws.split();
        peer.send(TEXT, b"came").await;
        settle().await;
        writable.abort();
        let ((), time) = timed(peer.expect_end()).await;
        assert_eq!(time, Duration::ZERO);
        let error = within(readable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Aborted), "{error:?}");
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("came"));
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::Aborted)), "{error:?}");
        let error = within(writable.send("late")).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::Aborted)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn abort_ends_what_waits() {
    let (ws, _peer) = pair_over(Role::Client, Config::default().write_high_water_mark(100), NARROW);
    let (mut readable, mut writable) = ws.split();
    let control = readable.control();
    within(writable.send(vec![0; 1000])).await.unwrap();
    let reading = tokio::spawn(async move { readable.next_message().await.map(|message| message.is_some()) });
    let writing = tokio::spawn(async move { writable.send("no room").await });
    let pinging = tokio::spawn({
        let control = control.clone();
        async move { control.ping().await }
    });
    let closing = tokio::spawn({
        let control = control.clone();
        async move {
            settle().await;
            control.close(CloseCode::NORMAL, "").await
        }
    });
    tokio::task::yield_now().await;
    settle().await;
    control.abort();
    assert!(matches!(within(reading).await.unwrap(), Err(ReadError::Connection(ConnectionError::Aborted))));
    assert!(within(writing).await.unwrap().is_err());
    assert!(matches!(within(pinging).await.unwrap(), Err(WriteError::Connection(ConnectionError::Aborted))));
    assert!(matches!(within(closing).await.unwrap(), Err(CloseError::Connection(ConnectionError::Aborted))));
}

#[tokio::test(start_paused = true)]
async fn cancel_discards_what_is_unread_and_closes() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (readable, mut writable) = ws.split();
        within(writable.send("accepted")).await.unwrap();
        peer.send(BINARY, &[1; 100_000]).await;
        settle().await;
        let closed = readable.closed();
        readable.cancel(code(3333), "not wanted").unwrap();
        assert!(matches!(within(writable.send("late")).await, Err(WriteError::Closed)));
        assert_eq!(peer.message().await, (TEXT, b"accepted".to_vec()));
        assert_eq!(peer.expect_close().await, Some((3333, "not wanted".into())));
        for _ in 0..10 {
            peer.send(BINARY, &[1; 100_000]).await;
        }
        peer.send_close(3333, "").await;
        drop(peer);
        assert_eq!(u16::from(within(closed).await.unwrap().close_code), 3333);
    }
}

#[test]
fn a_runtime_that_goes_away_is_reported_at_every_handle() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut readable, mut writable, _peer) = runtime.block_on(async {
        let (ws, mut peer) = pair(Role::Client);
        let (readable, writable) = ws.split();
        peer.send(TEXT, b"came").await;
        settle().await;
        (readable, writable, peer)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        assert_eq!(next_text(&mut readable).await.as_deref(), Some("came"));
        let error = within(readable.next_message()).await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
        let error = within(writable.send("late")).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
        let error = within(writable.closed()).await.unwrap_err();
        assert!(matches!(error, ConnectionError::RuntimeShutDown), "{error:?}");
        let error = within(writable.control().ping()).await.unwrap_err();
        assert!(matches!(error, WriteError::Connection(ConnectionError::RuntimeShutDown)), "{error:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn leftover_bytes_of_the_handshake_are_delivered() {
    for role in BOTH {
        let mut script = frame(other(role), true, TEXT, b"early");
        script.extend(frame(other(role), true, PING, b"p"));
        script.extend(&frame(other(role), true, TEXT, b"split in two")[..5]);
        let (near, far) = tokio::io::duplex(WIDE);
        let mut ws =
            WebSocketStream::from_upgraded(near, script.clone(), role, Negotiated::default(), Config::default());
        let mut peer = Raw::new(far, other(role));
        peer.write(&frame(other(role), true, TEXT, b"split in two")[5..]).await;
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("early"));
        assert_eq!(within(next(&mut ws)).await.unwrap().unwrap(), Message::text("split in two"));
        assert_eq!(peer.expect(PONG).await, b"p");
        assert_eq!(
            ws.stats().received.bytes as usize,
            script.len() + frame(other(role), true, TEXT, b"split in two").len() - 5
        );
    }
}

#[tokio::test(start_paused = true)]
async fn collect_over_its_limit_leaves_everything_readable() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        peer.send_part(false, BINARY, b"0123456789").await;
        peer.send_part(false, CONTINUATION, b"abcdefghij").await;
        for limit in [0, 9, 19] {
            let message = within(readable.next_message()).await.unwrap().unwrap();
            let error = within(message.collect(limit)).await.unwrap_err();
            assert!(matches!(error, CollectError::TooLarge { limit: named } if named == limit), "{error:?}");
        }
        peer.send_part(true, CONTINUATION, b"!").await;
        let message = within(readable.next_message()).await.unwrap().unwrap();
        assert_eq!(within(message.collect(21)).await.unwrap().as_bytes(), b"0123456789abcdefghij!");

        peer.send(BINARY, b"0123456789").await;
        let message = within(readable.next_message()).await.unwrap().unwrap();
        assert!(within(message.collect(9)).await.is_err());
        let mut message = within(readable.next_message()).await.unwrap().unwrap();
        let mut rest = Vec::new();
        within(message.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"0123456789");
    }
}
