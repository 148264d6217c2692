//! What lies between the handles and the core: who is woken, who is refused, and what is given back.

mod answers;
mod giving_way;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures::{FutureExt, StreamExt, channel::oneshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    engine::{Engine, end},
    in_place::InPlace,
    outbound::{Outbound, WriteState},
    read_buffer::READ_BUFFER,
    shared::mask_key,
    *,
};
use crate::{CloseCode, Compression, Config, MessageKind, Negotiated, ReadyState, Role, WebSocketStream};

fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None)
}

fn pair(config: &Config) -> (WebSocketStream, WebSocketStream) {
    let (a, b) = duplex(64 * 1024);
    let start = |transport, role| {
        WebSocketStream::start(transport, BytesMut::new(), role, Negotiated::default(), config.clone())
    };
    (start(a, Role::Client), start(b, Role::Server))
}

/// An engine that nobody runs but the test.
fn engine(config: &Config) -> (Engine, DuplexStream, DuplexStream) {
    let (transport, peer) = duplex(64 * 1024);
    let shared = Arc::new(Shared::new(Role::Client, Negotiated::default(), config.clone()));
    (Engine::new(BytesMut::new(), shared), transport, peer)
}

/// Of a frame (RFC 6455, 5.2), up to the mask key: with the first byte, and what the second holds besides the length.
pub(super) fn header(first: u8, masked: u8, len: u64) -> BytesMut {
    let mut header = BytesMut::from(&[first][..]);
    match len {
        0..=125 => header.extend_from_slice(&[masked | len as u8]),
        126..=0xFFFF => {
            header.extend_from_slice(&[masked | 126]);
            header.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            header.extend_from_slice(&[masked | 127]);
            header.extend_from_slice(&len.to_be_bytes());
        }
    }
    header
}

/// Long in virtual time; what takes it hangs.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("it hangs")
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_waits_for_a_frame_of_declared_length_keeps_nobody_from_completing_it() {
    for mark in [1, 64, 256 * 1024] {
        let (mut client, mut server) = pair(&config().write_high_water_mark(mark));
        let mut writer = client.start_message(MessageKind::Binary).length(10).await.unwrap();
        soon(writer.write(&b"01234"[..])).await.unwrap();
        let control = server.control();
        let ping = tokio::spawn(async move { control.ping().await });
        let reader = soon(server.next_message()).await.unwrap().unwrap();
        // By the time the pong waits, and the driver with it.
        tokio::time::advance(Duration::from_secs(1)).await;
        soon(writer.flush()).await.unwrap();
        soon(writer.write(&b"56789"[..])).await.unwrap();
        soon(writer.finish()).await.unwrap();
        assert_eq!(soon(reader.collect(100)).await.unwrap().as_bytes(), b"0123456789", "mark {mark}");
        soon(ping).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_compressed_and_comes_to_nothing_yet_leaves_room_for_more() {
    let config = config().compression(Compression::default()).write_high_water_mark(1000);
    let (a, b) = duplex(64 * 1024);
    let negotiated = || Negotiated::default().with_extensions("permessage-deflate").unwrap();
    let start =
        |transport, role| WebSocketStream::start(transport, BytesMut::new(), role, negotiated(), config.clone());
    let (mut client, mut server) = (start(a, Role::Client), start(b, Role::Server));
    let mut writer = soon(client.start_message(MessageKind::Binary).into_future()).await.unwrap();
    for _ in 0..100 {
        soon(writer.write(vec![7; 1000])).await.unwrap();
        tokio::task::yield_now().await;
    }
    soon(writer.flush()).await.unwrap();
    soon(writer.flush()).await.unwrap();
    soon(writer.finish()).await.unwrap();
    let reader = soon(server.next_message()).await.unwrap().unwrap();
    assert_eq!(soon(reader.collect(1 << 20)).await.unwrap().len(), 100_000);
}

/// An engine that halves share with a driver, which is but this waker.
fn place(negotiated: Negotiated, config: Config) -> (Place<DuplexStream>, Arc<Shared>, Arc<Woken>, DuplexStream) {
    let shared = Arc::new(Shared::new(Role::Client, negotiated, config));
    let (transport, peer) = duplex(1000);
    let place = Place::new(transport, BytesMut::new(), shared.clone());
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    shared.driver_is_polled(&Context::from_waker(&Waker::from(woken.clone())));
    (place, shared, woken, peer)
}

struct Woken(AtomicBool);

impl Woken {
    /// Since it was asked before.
    fn is(&self) -> bool {
        self.0.swap(false, SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[tokio::test]
async fn the_driver_does_not_wait_for_a_half_that_compresses_but_is_woken_by_it() {
    let negotiated = Negotiated::default().with_extensions("permessage-deflate").unwrap();
    let (place, _shared, woken, _peer) = place(negotiated, config().compression(Compression::default()));
    let come = || place.lock_or_come_back().is_some();
    let turn = place.lock();
    assert!(!come(), "it would block its thread");
    drop(turn);
    for is_due in [true, false] {
        assert!(place.read().is_pending());
        assert_eq!(woken.is(), is_due, "at the end of the next turn, and once");
    }
    assert!(come() && place.read().is_pending());
    assert!(!woken.is(), "it has been");
}

#[test]
fn a_half_that_finds_the_engine_busy_leaves_it_to_the_driver() {
    let (place, shared, woken, mut peer) = place(Negotiated::default(), config());
    // Whoever has it may have looked for input, or for frames, for the last time.
    let turn = place.lock();
    shared.turn.half_waits();
    assert!(place.read().is_pending());
    assert!(woken.is() && shared.turn.is_drivers());
    shared.turn.half_waits();
    assert_eq!(place.write(1), 0);
    assert!(woken.is() && shared.turn.is_drivers());
    let mut outbound = shared.outbound();
    outbound.outbox.message(MessageKind::Binary, vec![7].into(), &mut mask_key);
    assert!(place.write_accepted(outbound), "it is where it was put");
    assert!(woken.is());
    drop(turn);
    assert!(place.lock().round(true).is_pending());
    assert_eq!(peer.read_u8().now_or_never().unwrap().unwrap(), 0x82);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_message_is_skipped_without_another_read() {
    let (mut client, mut server) = pair(&config().read_high_water_mark(10_000));
    client.send(vec![1; 200_000]).await.unwrap();
    let mut reader = soon(server.next_message()).await.unwrap().unwrap();
    soon(reader.chunk()).await.unwrap().unwrap();
    drop(reader);
    soon(client.close(CloseCode::NORMAL, "")).await.expect("the server finds the Close frame behind the message");
}

#[tokio::test]
async fn nothing_is_accepted_once_the_answer_to_a_close_frame_is_due() {
    for reader_goes in [false, true] {
        let (mut engine, mut transport, mut peer) = engine(&config());
        // A message that the reader has yet to see, so that the answer waits for it, and a Close frame.
        peer.write_all(&[0x82, 0, 0x88, 2, 0x03, 0xE8]).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(engine.read(&mut transport, cx).is_ready());
        engine.exchange();
        assert!(matches!(engine.shared.outbound().state, WriteState::Open), "what it answers still goes out");
        let mut outbound = engine.shared.outbound();
        let requests = outbound.request();
        (requests.discard, requests.caught_up) = (reader_goes, !reader_goes);
        drop(outbound);
        engine.exchange();
        // Were it accepted after the last fetch, it would be lost, or follow the Close frame.
        assert!(matches!(engine.shared.outbound().state, WriteState::Closed));
    }
}

#[tokio::test]
async fn a_ping_that_comes_too_late_is_not_waited_for() {
    let (engine, _transport, _peer) = engine(&config());
    let (answer, mut trip) = oneshot::channel();
    // After the driver has looked for requests for the last time.
    engine.shared.request_ping(answer);
    end(&engine.shared, Err(ConnectionError::Lost));
    assert!(trip.try_recv().is_err());
}

#[tokio::test]
async fn a_fault_behind_good_text_needs_no_more_bytes_to_be_told() {
    // The good text alone fills the queue, so that decoding stops in front of the fault; then there is silence.
    let (mut engine, mut transport, mut peer) = engine(&config().read_high_water_mark(1));
    peer.write_all(b"\x81\x03ok\xFF").await.unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(engine.read(&mut transport, cx).is_ready());
    let mut chunks = VecDeque::new();
    engine.shared.inbound().take(&mut chunks, cx);
    engine.shared.inbound().credit(chunks.iter().map(|queued| queued.cost).sum());
    assert!(engine.read(&mut transport, cx).is_ready());
    assert!(matches!(engine.connection.ending(), Some(Err(ConnectionError::Protocol(_)))));
}

/// A client that has waited for a message once, and a server; then the time that a ping takes.
async fn ping_after(wait: impl FnOnce(&mut WebSocketStream)) -> Duration {
    let (mut client, server) = pair(&config());
    // Both drivers have had their first turn: from here on the half that waits is the one that is woken.
    tokio::time::sleep(Duration::from_millis(1)).await;
    wait(&mut client);
    soon(server.control().ping()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_leaves_reading_to_the_driver_at_once() {
    let trip = ping_after(|client| {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut next = Box::pin(client.next_message());
        assert!(next.as_mut().poll(cx).is_pending());
    });
    assert_eq!(trip.await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_polled_any_more_is_taken_over_by_the_driver() {
    let trip = ping_after(|client| {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(futures::Stream::poll_next(Pin::new(client), cx).is_pending());
    })
    .await;
    assert!(trip > Duration::ZERO, "the waker that was woken is nobody's");
    assert!(trip <= 2 * PATIENCE, "{trip:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_has_got_something_and_does_not_come_back_leaves_the_rest_to_the_driver_at_once() {
    let (near, mut far) = duplex(1 << 20);
    let config = config().read_high_water_mark(1 << 20);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Client, Negotiated::default(), config);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(ws.poll_next_unpin(cx).is_pending(), "it is the reader that will be woken");
    far.write_all(&header(0x82, 0, 0)).await.unwrap();
    assert!(ws.poll_next_unpin(cx).is_ready() && ws.poll_next_unpin(cx).is_pending());
    // Now the driver is not woken with it: it looks by the clock.
    tokio::time::sleep(Duration::from_millis(1)).await;
    // More than a read takes, and a ping behind it.
    let mut sent = header(0x82, 0, 0);
    sent.extend_from_slice(&header(0x82, 0, 2 * READ_BUFFER as u64));
    sent.resize(sent.len() + 2 * READ_BUFFER, 7);
    sent.extend_from_slice(&[0x89, 0]);
    far.write_all(&sent).await.unwrap();
    let begin = tokio::time::Instant::now();
    assert!(ws.poll_next_unpin(cx).is_ready());
    assert_eq!(soon(far.read_u8()).await.unwrap(), 0x8A, "the answer to the ping");
    assert_eq!(begin.elapsed(), Duration::ZERO, "the driver need not find out by itself that nobody comes");
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_has_had_nothing_is_not_asked_again_before_it_wakes() {
    /// Counts how often it is read.
    struct Counts<T>(T, Arc<std::sync::atomic::AtomicUsize>);
    impl<T: AsyncRead + Unpin> AsyncRead for Counts<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.1.fetch_add(1, SeqCst);
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }
    impl<T: AsyncWrite + Unpin> AsyncWrite for Counts<T> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, data)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }
    let (near, mut far) = duplex(64 * 1024);
    let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let transport = Counts(near, reads.clone());
    let mut ws = WebSocketStream::start(transport, BytesMut::new(), Role::Client, Negotiated::default(), config());
    for round in 1..4 {
        for _ in 0..10 {
            tokio::select! {
                biased;
                _ = ws.next_message() => unreachable!(),
                () = tokio::task::yield_now() => {}
            }
            ws.send("a question").await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(reads.load(SeqCst), 2 * round - 1, "round {round}: what came, and nothing more");
        far.write_all(&[0x82, 1, b'!']).await.unwrap();
        let answer = soon(ws.next_message()).await.unwrap().unwrap();
        assert_eq!(soon(answer.collect(1)).await.unwrap().as_bytes(), b"!");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quick_reader_is_never_said_to_lag() {
    // What comes counts for the buffer that it keeps, which reaches the mark: each read of a loopback's 65,483 bytes paused the
    // connection and woke the driver, though the reader was there.
    for piece in [READ_BUFFER / 4, READ_BUFFER / 2, READ_BUFFER - 10] {
        for wants_whole in [false, true] {
            let (near, mut far) = duplex(2 * READ_BUFFER);
            let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Client, Negotiated::default(), config());
            let control = ws.control();
            let reader = tokio::spawn(async move {
                for _ in 0..8 {
                    let mut message = ws.next_message().await.unwrap().unwrap();
                    if wants_whole {
                        assert_eq!(message.collect(READ_BUFFER).await.unwrap().len(), piece);
                    } else {
                        while message.chunk().await.unwrap().is_some() {}
                    }
                }
            });
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut frame = header(0x82, 0, piece as u64);
                frame.resize(frame.len() + piece, 7);
                far.write_all(&frame).await.unwrap();
            }
            soon(reader).await.unwrap();
            assert_eq!(control.stats().received.pauses, 0, "{piece} bytes, whole: {wants_whole}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_longer_than_the_last_one_by_a_terabyte_takes_no_memory() {
    // When the memory that was taken for it after the last one's length was full, what its header announced was allocated.
    const FRAME: usize = 64 * 1024;
    let (near, mut far) = duplex(2 * READ_BUFFER);
    let mut ws = WebSocketStream::start(near, BytesMut::new(), Role::Client, Negotiated::default(), config());
    let frame = |first, len| {
        let mut frame = header(first, 0, len);
        frame.resize(frame.len() + FRAME, 7);
        frame
    };
    let peer = tokio::spawn(async move {
        for (last, len) in [(0x80, FRAME as u64), (0x00, 1 << 62)] {
            for (first, len) in [(0x02, FRAME as u64), (0x00, FRAME as u64), (last, len)] {
                far.write_all(&frame(first, len)).await.unwrap();
            }
        }
        for _ in 0..20 {
            far.write_all(&[7; FRAME]).await.unwrap();
        }
        far
    });
    assert_eq!(soon(ws.next()).await.unwrap().unwrap().len(), 3 * FRAME);
    let end = tokio::spawn(async move { drop(peer.await) });
    assert!(soon(ws.next()).await.unwrap().is_err(), "the peer has gone");
    end.await.unwrap();
}

#[test]
fn connections_may_be_dropped_by_a_thread_that_has_ended() {
    struct Kept(Option<tokio::runtime::Runtime>, WebSocketStream, Arc<AtomicBool>);
    impl Drop for Kept {
        fn drop(&mut self) {
            self.0.take();
            self.2.store(self.1.stats().ready_state == ReadyState::Closed, SeqCst);
        }
    }
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Kept>> = Default::default();
    }
    let is_closed = Arc::new(AtomicBool::new(false));
    let closed = is_closed.clone();
    let thread = std::thread::spawn(|| {
        // What a thread has used first it drops last: after the read buffers.
        KEPT.with_borrow(|kept| assert!(kept.is_none()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (mut client, mut server) = pair(&config());
            server.send(vec![7; 10_000]).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap().len(), 10_000);
            client
        });
        KEPT.set(Some(Kept(Some(runtime), client, closed)));
    });
    thread.join().unwrap();
    assert!(is_closed.load(SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_in_a_halfs_turn_ends_the_connection() {
    /// Panics when it is read for the second time: first by the driver, then by the reader, which it wakes.
    struct Panics(u32);
    impl AsyncRead for Panics {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.0 += 1;
            assert!(self.0 < 2, "as asked for");
            let waker = cx.waker().clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                waker.wake();
            });
            Poll::Pending
        }
    }
    impl AsyncWrite for Panics {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut ws = WebSocketStream::start(Panics(0), BytesMut::new(), Role::Client, Negotiated::default(), config());
    tokio::time::sleep(Duration::from_millis(1)).await;
    let closed = ws.closed();
    let reading = tokio::spawn(async move { ws.next_message().await.map(|_| ()) });
    assert!(soon(reading).await.unwrap_err().is_panic());
    assert!(matches!(soon(closed).await, Err(ConnectionError::RuntimeShutDown)));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_woken_to_write_and_brings_more_instead_loses_nothing() {
    use futures::SinkExt;
    // 131,289 bytes had not been taken when the transport was ready again, half a second before somebody wrote them.
    let (client, mut server) = pair(&config());
    let (_readable, mut client) = client.split();
    let begin = tokio::time::Instant::now();
    let sending = tokio::spawn(async move {
        for i in 0..40u8 {
            for _ in 0..3 {
                client.feed(crate::Message::binary(vec![i; 20_000])).await.unwrap();
            }
            SinkExt::flush(&mut client).await.unwrap();
        }
        client
    });
    for i in 0..40u8 {
        for _ in 0..3 {
            let message = soon(futures::StreamExt::next(&mut server)).await.unwrap().unwrap();
            assert_eq!(message.as_bytes(), [i; 20_000]);
        }
    }
    drop(soon(sending).await);
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody had to wait for the clock");
}
