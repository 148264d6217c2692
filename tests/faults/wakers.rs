//! Whatever returns `Pending` keeps the waker of that poll, in place of that of an earlier one, and wakes it in time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Sink, Stream, future::LocalBoxFuture};
use http::StatusCode;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use wsstream::{CloseCode, Config, Listener, Message, MessageKind, Role, Upgrade, WebSocketStream};

use super::{
    probe::Probe,
    support::{BINARY, BOTH, CONTINUATION, PONG, Raw, TEXT, WIDE, pair, pair_over, settle, within},
};

/// Longer than a connection takes to close.
const LONG: Duration = Duration::from_secs(30);

/// Polls with two wakers, one after the other; `cause` makes it go on. The second is woken, and the poll after is ready.
async fn wakes<R>(what: &str, mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>, cause: impl AsyncFnOnce()) -> R {
    let (first, second) = (Probe::new(None), Probe::new(None));
    settle().await;
    for probe in [&first, &second] {
        assert!(probe.poll(&mut poll).is_pending(), "{what} has nothing to wait for");
        settle().await;
        assert!(!probe.was_woken(), "{what} is woken for nothing");
        // And still kept, when the driver has run.
        assert!(probe.is_kept(), "{what} has lost its waker");
    }
    cause().await;
    settle().await;
    assert!(second.was_woken(), "{what} is not woken");
    match second.poll(&mut poll) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("{what} was woken for nothing"),
    }
}

/// As [`wakes`], for a future.
async fn future_wakes<F: Future>(what: &str, future: F, cause: impl AsyncFnOnce()) -> F::Output {
    let mut future = Box::pin(future);
    wakes(what, |cx| future.as_mut().poll(cx), cause).await
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_by_what_comes() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (mut readable, _writable) = ws.split();
        let message =
            future_wakes("next_message", readable.next_message(), async || peer.send_part(false, BINARY, b"ab").await);
        let mut message = message.await.unwrap().unwrap();
        assert_eq!(within(message.chunk()).await.unwrap().unwrap(), "ab");

        let chunk = future_wakes("chunk", message.chunk(), async || peer.send_part(false, CONTINUATION, b"cd").await);
        assert_eq!(chunk.await.unwrap().unwrap(), "cd");
        let item = wakes(
            "the chunks",
            |cx| Pin::new(&mut message).poll_next(cx),
            async || {
                peer.send_part(false, CONTINUATION, b"ef").await;
            },
        );
        assert_eq!(item.await.unwrap().unwrap(), "ef");
        let mut bytes = [0; 10];
        let read = wakes(
            "AsyncRead",
            |cx| {
                let mut buffer = ReadBuf::new(&mut bytes);
                Pin::new(&mut message).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            },
            async || peer.send_part(false, CONTINUATION, b"gh").await,
        );
        assert_eq!(read.await.unwrap(), 2);
        let filled = wakes(
            "AsyncBufRead",
            |cx| Pin::new(&mut message).poll_fill_buf(cx).map_ok(<[u8]>::to_vec),
            async || peer.send_part(false, CONTINUATION, b"ij").await,
        );
        assert_eq!(filled.await.unwrap(), b"ij");
        let whole =
            future_wakes("collect", message.collect(100), async || peer.send_part(true, CONTINUATION, b"").await);
        assert_eq!(whole.await.unwrap().as_bytes(), b"ij");

        let item = wakes(
            "the messages",
            |cx| Pin::new(&mut readable).poll_next(cx),
            async || {
                peer.send(TEXT, b"whole").await;
            },
        );
        assert_eq!(item.await.unwrap().unwrap(), Message::text("whole"));
    }
}

/// All that may end a wait: each is found by a reader, by a writer and by `closed`.
#[tokio::test(start_paused = true)]
async fn everybody_is_woken_by_the_end() {
    for role in BOTH {
        for way in ["close", "abort", "loss", "fault"] {
            let (ws, mut peer) = pair_over(role, Config::default().write_high_water_mark(10), 16);
            let (mut readable, mut writable) = ws.split();
            let control = readable.control();
            within(writable.send(vec![0; 100])).await.unwrap();
            let mut waiting: Vec<(&str, LocalBoxFuture<'_, ()>)> = Vec::new();
            let (closed, again) = (readable.closed(), control.closed());
            waiting.push(("next_message", Box::pin(async { drop(readable.next_message().await) })));
            waiting.push(("send", Box::pin(async { drop(writable.send("more").await) })));
            waiting.push(("ping", Box::pin(async { drop(control.ping().await) })));
            waiting.push(("closed", Box::pin(async { drop(closed.await) })));
            waiting.push(("its clone", Box::pin(async { drop(again.await) })));
            let mut probes = Vec::new();
            for (what, future) in &mut waiting {
                for probe in [Probe::new(None), Probe::new(None)] {
                    assert!(probe.poll(|cx| future.as_mut().poll(cx)).is_pending(), "{way}: {what}");
                    settle().await;
                    assert!(probe.is_kept() && !probe.was_woken(), "{way}: {what}");
                    probes.push(probe);
                }
            }
            match way {
                "close" => peer.send_close(1000, "").await,
                "abort" => control.abort(),
                "loss" => {}
                _ => peer.send(3, b"").await,
            }
            // What is under way comes out, or not: both are the end, and a transport that lingers keeps nobody for long.
            if way == "loss" {
                drop(peer);
            } else {
                let mut rest = Vec::new();
                let _ = tokio::time::timeout(LONG, peer.io.read_to_end(&mut rest)).await;
            }
            // A failed connection lingers for a moment, and a ping waits for its end to tell which it was.
            tokio::time::sleep(LONG).await;
            for ((what, future), probe) in waiting.iter_mut().zip(probes.chunks(2)) {
                assert!(probe[1].was_woken(), "{way}: {what}");
                assert!(probe[1].poll(|cx| future.as_mut().poll(cx)).is_ready(), "{way}: {what}");
            }
        }
    }
}

/// A connection whose peer reads nothing: the mark is overshot.
async fn full(role: Role) -> (WebSocketStream, Raw) {
    let (mut ws, peer) = pair_over(role, Config::default().write_high_water_mark(100), 64);
    within(ws.send(vec![7; 1000])).await.unwrap();
    settle().await;
    (ws, peer)
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_woken_by_room() {
    for role in BOTH {
        let (mut ws, mut peer) = full(role).await;
        future_wakes("send", ws.send("more"), async || drop(peer.message().await)).await.unwrap();

        let (ws, mut peer) = full(role).await;
        let (_readable, mut writable) = ws.split();
        future_wakes("ready", writable.ready(), async || drop(peer.message().await)).await.unwrap();

        let (mut ws, mut peer) = full(role).await;
        future_wakes("flush", ws.flush(), async || drop(peer.message().await)).await.unwrap();

        let (mut ws, mut peer) = full(role).await;
        let started = future_wakes("start_message", ws.start_message(MessageKind::Binary), async || {
            drop(peer.message().await);
        });
        let mut message = started.await.unwrap();
        within(message.write(vec![8; 1000])).await.unwrap();
        let written = future_wakes("write", message.write(Bytes::from_static(b"more")), async || {
            let _ = peer.io.read(&mut [0; 64]).await.unwrap();
            let mut rest = vec![0; 900];
            peer.io.read_exact(&mut rest).await.unwrap();
        });
        written.await.unwrap();
        within(message.write(vec![9; 1000])).await.unwrap();
        let written = wakes(
            "AsyncWrite",
            |cx| Pin::new(&mut message).poll_write(cx, b"more"),
            async || {
                let mut rest = vec![0; 1000];
                peer.io.read_exact(&mut rest).await.unwrap();
            },
        );
        assert_eq!(written.await.unwrap(), 4);
        within(message.write(vec![9; 1000])).await.unwrap();
        let flushed = wakes(
            "AsyncWrite's flush",
            |cx| Pin::new(&mut message).poll_flush(cx),
            async || {
                let mut rest = [0; 50];
                while tokio::time::timeout(Duration::from_secs(1), peer.io.read(&mut rest)).await.is_ok() {}
            },
        );
        flushed.await.unwrap();
        message.finish().await.unwrap();

        let (mut ws, mut peer) = full(role).await;
        let ready = wakes(
            "poll_ready",
            |cx| Sink::poll_ready(Pin::new(&mut ws), cx),
            async || {
                drop(peer.message().await);
            },
        );
        ready.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn closing_and_pinging_are_woken_by_the_answer() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let control = ws.control();
        let ping = future_wakes("ping", control.ping(), async || {
            // The one of the first poll is the only one.
            let payload = peer.expect(super::support::PING).await;
            peer.send(PONG, &payload).await;
        });
        ping.await.unwrap();

        let (mut ws, mut peer) = pair(role);
        let answer = async || {
            peer.expect_close().await;
            peer.send_close(1000, "").await;
            drop(peer);
        };
        future_wakes("close", ws.close(CloseCode::NORMAL, ""), answer).await.unwrap();

        let (ws, mut peer) = pair(role);
        let control = ws.control();
        let answer = async || {
            peer.expect_close().await;
            peer.send_close(1000, "").await;
            drop(peer);
        };
        future_wakes("Control::close", control.close(CloseCode::NORMAL, ""), answer).await.unwrap();

        let (mut ws, mut peer) = pair(role);
        let answer = async || {
            peer.expect_close().await;
            peer.send_close(1000, "").await;
            drop(peer);
        };
        wakes("poll_close", |cx| Sink::poll_close(Pin::new(&mut ws), cx), answer).await.unwrap();

        let (ws, peer) = pair(role);
        assert!(future_wakes("closed", ws.closed(), async || drop(peer)).await.is_err());
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn an_opening_handshake_is_woken_by_its_transport() {
    let (near, mut far) = tokio::io::duplex(WIDE);
    let accept = WebSocketStream::accept(near).into_future();
    let _ = future_wakes("accept", accept, async || far.write_all(REQUEST).await.unwrap()).await.unwrap();

    let (near, mut far) = tokio::io::duplex(WIDE);
    let connect = WebSocketStream::connect_over("ws://localhost/", near).into_future();
    let refused = future_wakes("connect_over", connect, async || {
        far.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    assert!(refused.await.is_err());
}

/// A request that has been read, over a pipe too narrow for the answer.
async fn upgrade() -> (Upgrade<DuplexStream>, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(20);
    let accept = WebSocketStream::accept(near).into_future();
    let (upgrade, ()) = tokio::join!(accept, async { far.write_all(REQUEST).await.unwrap() });
    (upgrade.unwrap(), far)
}

/// The answer goes on with each byte that is taken.
async fn answer_wakes<F: Future>(what: &str, answer: F, mut far: DuplexStream) {
    let mut answer = Box::pin(answer);
    let (first, second) = (Probe::new(None), Probe::new(None));
    for probe in [&first, &second] {
        assert!(probe.poll(|cx| answer.as_mut().poll(cx)).is_pending(), "{what}");
    }
    assert!(!second.was_woken(), "{what}");
    far.read_exact(&mut [0; 1]).await.unwrap();
    assert!(second.was_woken(), "{what} is not woken");
    let mut rest = Vec::new();
    within(async {
        tokio::select! {
            _ = answer => {}
            _ = far.read_to_end(&mut rest) => {}
        }
    })
    .await;
    assert!(rest.starts_with(b"TTP/1.1 "), "{what}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_handshake_is_woken_by_room() {
    let (asked, far) = upgrade().await;
    answer_wakes("AcceptUpgrade", asked.accept().into_future(), far).await;
    let (asked, far) = upgrade().await;
    answer_wakes("Reject", asked.reject(StatusCode::NOT_FOUND).into_future(), far).await;
}

#[tokio::test]
async fn a_listener_is_woken_by_a_request() {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut accept = Box::pin(listener.accept());
    let probes = [Probe::new(None), Probe::new(None), Probe::new(None)];
    for probe in &probes[..2] {
        assert!(probe.poll(|cx| accept.as_mut().poll(cx)).is_pending());
    }
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let woken = async |probe: &Probe| {
        while !probe.was_woken() {
            tokio::task::yield_now().await;
        }
    };
    within(woken(&probes[1])).await;
    assert!(probes[2].poll(|cx| accept.as_mut().poll(cx)).is_pending());
    tcp.write_all(REQUEST).await.unwrap();
    within(woken(&probes[2])).await;
    let _ = within(accept).await.unwrap();

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    let mut connect = Box::pin(WebSocketStream::connect(url).into_future());
    let probe = Probe::new(None);
    assert!(probe.poll(|cx| connect.as_mut().poll(cx)).is_pending());
    within(woken(&probe)).await;
}
