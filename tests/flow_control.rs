//! Backpressure in both directions, and control frames that get past it.

mod support;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use support::{BINARY, BOTH, CONTINUATION, PING, PONG, Raw, TEXT, WIDE, frame, header, next, other, pair, pair_over};
use support::{pattern, settle, within};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use wsstream::{CloseCode, Config, Control, Message, MessageKind, Negotiated, Role, WebSocketStream, WriteError};

const KIB: usize = 1024;

/// Mark, one read buffer, one chunk.
const RECEIVED: usize = (256 + 256 + 256) * KIB;

async fn until_paused(control: &Control) {
    let paused = async {
        while control.stats().received.pauses == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(paused).await;
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// Pushes `script` into the socket, round and round, until it has taken nothing for a while; bytes taken.
async fn push_until_full(socket: &TcpStream, script: &[u8]) -> usize {
    let mut pushed = 0;
    while tokio::time::timeout(Duration::from_millis(300), socket.writable()).await.is_ok() {
        if let Ok(len) = socket.try_write(&script[pushed % script.len()..]) {
            pushed += len;
            assert!(pushed < 256 << 20, "nothing holds the peer up");
        }
    }
    pushed
}

#[tokio::test]
async fn a_fast_peer_is_held_up_until_the_reader_resumes_and_no_byte_is_lost() {
    for role in BOTH {
        for len in [1, 125, 64 * KIB] {
            let (near, mut far) = tcp_pair().await;
            let ws = WebSocketStream::from_upgraded(near, "", role, Negotiated::default(), Config::default());
            let (mut readable, _writable) = ws.split();
            let control = readable.control();
            // One message more or less shows in the sum of its sequence.
            let batch = (8 << 20) / (len + 20);
            let script: Vec<u8> = (0..batch.clamp(100, 20_000))
                .flat_map(|i| {
                    let mut payload = pattern(len);
                    payload[0] = i as u8;
                    frame(other(role), true, BINARY, &payload)
                })
                .collect();
            let pushed = push_until_full(&far, &script).await;
            until_paused(&control).await;
            let stats = control.stats();
            assert!(stats.received.buffered_max <= RECEIVED, "{len} B: {stats:?}");
            assert!(stats.received.bytes as usize <= RECEIVED, "{len} B: {stats:?}");
            assert_eq!(control.stats().received.bytes, stats.received.bytes);

            // The frame that was cut by the full socket is completed, then the transport ends.
            let frame_len = header(other(role), true, BINARY, len as u64).len() + len;
            let messages = pushed.div_ceil(frame_len);
            let rest = messages * frame_len - pushed;
            let at = pushed % script.len();
            let rest = script.iter().cycle().skip(at).take(rest).copied().collect::<Vec<_>>();
            let finish = tokio::spawn(async move {
                far.write_all(&rest).await.unwrap();
                far.shutdown().await.unwrap();
                far
            });
            let per_script = script.len() / frame_len;
            let expected = pattern(len);
            for i in 0..messages {
                let message = within(next(&mut readable)).await.unwrap().unwrap();
                assert_eq!(message.as_bytes()[0], (i % per_script) as u8, "message {i} of {messages}");
                assert_eq!(message.as_bytes()[1..], expected[1..]);
            }
            assert!(within(next(&mut readable)).await.unwrap().is_err(), "then the end of the transport");
            assert!(control.stats().received.buffered_max <= RECEIVED);
            drop(within(finish).await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn empty_messages_and_endless_frames_are_bounded_too() {
    for role in BOTH {
        let sender = other(role);
        let pings: Vec<u8> = (0..20).flat_map(|_| frame(sender, true, PING, &[1; 125])).collect();
        let floods = [
            (vec![], frame(sender, true, BINARY, b"")),
            (header(sender, true, BINARY, 1 << 62), vec![7; 1000]),
            (vec![], [frame(sender, true, TEXT, b"x"), pings].concat()),
            (frame(sender, false, TEXT, b""), frame(sender, false, CONTINUATION, b"y")),
        ];
        for (head, script) in floods {
            let (ws, peer) = pair_over(role, Config::default(), 50_000);
            let (mut read, mut write) = tokio::io::split(peer.io);
            let flood = tokio::spawn(async move {
                write.write_all(&head).await?;
                loop {
                    write.write_all(&script).await?;
                }
                #[allow(unreachable_code)]
                Ok::<(), std::io::Error>(())
            });
            let drain = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
            let control = ws.control();
            until_paused(&control).await;
            settle().await;
            let stats = control.stats();
            settle().await;
            assert_eq!(control.stats(), stats, "nothing goes on while nobody reads");
            assert!(stats.received.buffered_max <= RECEIVED, "{stats:?}");
            assert!(!flood.is_finished());
            flood.abort();
            drop(ws);
            control.abort();
            let _ = within(drain).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reading_resumes_at_half_of_the_mark() {
    let config = Config::default().read_high_water_mark(10_000);
    let (ws, mut peer) = pair_over(Role::Client, config, WIDE);
    let (mut readable, _writable) = ws.split();
    // Each counts for its frame and 64: 1068. Ten of them are over the mark.
    for _ in 0..100 {
        peer.send(BINARY, &[9; 1000]).await;
    }
    settle().await;
    let control = readable.control();
    let queued = control.stats().received.buffered;
    assert!((10_000..11_068).contains(&queued), "{queued}");
    for left in (0..100).rev() {
        within(next(&mut readable)).await.unwrap().unwrap();
        settle().await;
        let queued = control.stats().received.buffered;
        assert!(queued < 11_068 && (queued > 3_000 || left < 10), "{queued} with {left} to come");
    }
    assert!(control.stats().received.pauses > 5);
}

#[tokio::test(start_paused = true)]
async fn sending_waits_at_the_mark_and_goes_on_when_the_peer_reads() {
    for role in BOTH {
        let mark = 10_000;
        let (ws, mut peer) = pair_over(role, Config::default().write_high_water_mark(mark), 100);
        let (_readable, mut writable) = ws.split();
        assert_eq!(writable.desired_size(), mark as isize);
        assert_eq!(writable.buffered_amount(), 0);
        within(writable.ready()).await.unwrap();

        let mut accepted = 0u32;
        // A future that has to wait is dropped, and then nothing of its message is sent.
        while let Some(sent) = futures::FutureExt::now_or_never(writable.send(vec![accepted as u8; 1000])) {
            sent.unwrap();
            accepted += 1;
            settle().await;
        }
        assert!((9..=11).contains(&accepted), "{accepted}");
        assert!(writable.desired_size() <= 0);
        assert_eq!(writable.desired_size(), mark as isize - writable.buffered_amount() as isize);
        assert!(futures::FutureExt::now_or_never(writable.ready()).is_none());
        assert!(futures::FutureExt::now_or_never(writable.flush()).is_none());
        assert!(futures::FutureExt::now_or_never(writable.start_message(MessageKind::Text)).is_none());

        let reading = tokio::spawn(async move {
            for i in 0..accepted {
                assert_eq!(peer.message().await, (BINARY, vec![i as u8; 1000]));
            }
            peer
        });
        within(writable.ready()).await.unwrap();
        assert!(writable.buffered_amount() <= mark / 2, "waiting ends at half of the mark");
        within(writable.flush()).await.unwrap();
        assert_eq!(writable.buffered_amount(), 0);
        assert_eq!(writable.desired_size(), mark as isize);
        let mut peer = within(reading).await.unwrap();

        let mut message = within(writable.start_message(MessageKind::Binary)).await.unwrap();
        let mut written = 0;
        while let Some(result) = futures::FutureExt::now_or_never(message.write(vec![written as u8; 1000])) {
            result.unwrap();
            written += 1;
            settle().await;
        }
        assert!((9..=11).contains(&written), "{written}");
        message.finish().await.unwrap(); // never waits
        let expected: Vec<u8> = (0..written).flat_map(|i| [i as u8; 1000]).collect();
        assert_eq!(peer.message().await, (BINARY, expected));
        assert_eq!(writable.control().stats().sent.messages, u64::from(accepted) + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_large_message_overshoots_the_mark() {
    for role in BOTH {
        let (ws, mut peer) = pair_over(role, Config::default().write_high_water_mark(1000), 100);
        let (_readable, mut writable) = ws.split();
        within(writable.send(pattern(300_000))).await.unwrap();
        assert!(writable.desired_size() <= 1000 - 300_000);
        assert!(futures::FutureExt::now_or_never(writable.send("waits")).is_none());
        assert_eq!(peer.message().await, (BINARY, pattern(300_000)));
    }
}

#[tokio::test(start_paused = true)]
async fn flush_writes_what_a_sink_was_fed() {
    for role in BOTH {
        let (ws, mut peer) = pair(role);
        let (_readable, mut writable) = ws.split();
        settle().await; // the driver has nothing to do and sleeps
        within(writable.feed(Message::text("fed"))).await.unwrap();
        within(writable.flush()).await.unwrap();
        assert_eq!(peer.message().await, (TEXT, b"fed".to_vec()));
        within(writable.feed(Message::text("fed again"))).await.unwrap();
        within(SinkExt::flush(&mut writable)).await.unwrap();
        assert_eq!(peer.message().await, (TEXT, b"fed again".to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_though_nobody_polls() {
    for role in BOTH {
        let (_ws, mut peer) = pair(role);
        for payload in [&b""[..], b"p", &[7; 125]] {
            peer.send(PING, payload).await;
            assert_eq!(peer.expect(PONG).await, payload);
        }
        // A pong that nobody asked for is nothing.
        peer.send(PONG, b"heartbeat").await;
        peer.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_overtakes_queued_data_at_the_next_frame_boundary() {
    for role in BOTH {
        let (mut ws, mut peer) = pair_over(role, Config::default(), 100);
        within(ws.send(pattern(1 << 20))).await.unwrap();
        settle().await;
        peer.send(PING, b"now").await;
        settle().await;
        let first = peer.frame().await.unwrap();
        assert_eq!((first.opcode, first.fin), (BINARY, false), "this frame was on the wire");
        assert_eq!(peer.expect(PONG).await, b"now");
        let mut payload = first.payload;
        while payload.len() < 1 << 20 {
            let next = peer.frame().await.unwrap();
            assert_eq!(next.opcode, CONTINUATION);
            payload.extend(next.payload);
        }
        assert_eq!(payload, pattern(1 << 20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_waits_for_the_end_of_a_frame_of_declared_length() {
    for role in BOTH {
        let (mut ws, mut peer) = pair(role);
        let mut message = within(ws.start_message(MessageKind::Text).length(10)).await.unwrap();
        within(message.write("first")).await.unwrap();
        settle().await;
        peer.send(PING, b"?").await;
        settle().await;
        // What was accepted has been written; the pong that waits is not the application's.
        within(message.flush()).await.unwrap();
        within(message.write("later")).await.unwrap();
        message.finish().await.unwrap();
        assert_eq!(peer.message().await, (TEXT, b"firstlater".to_vec()));
        assert_eq!(peer.expect(PONG).await, b"?");
    }
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_while_pongs_cannot_be_written_and_none_is_dropped() {
    for role in BOTH {
        let (ws, peer) = pair_over(role, Config::default(), 1000);
        let sender = other(role);
        let Raw { io, .. } = peer;
        let (read, mut write) = tokio::io::split(io);
        let flood = tokio::spawn(async move {
            for i in 0..20_000u32 {
                write.write_all(&frame(sender, true, PING, &i.to_be_bytes())).await.unwrap();
            }
            write
        });
        settle().await;
        for _ in 0..10 {
            settle().await;
        }
        let received = ws.stats().received.bytes;
        settle().await;
        assert_eq!(ws.stats().received.bytes, received, "reading goes on though no pong can be written");
        assert!(received < 100_000, "{received}");
        let mut peer = Raw::new(tokio::io::join(read, tokio::io::sink()), sender);
        for i in 0..20_000u32 {
            assert_eq!(peer.expect(PONG).await, i.to_be_bytes());
        }
        within(flood).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_measures_the_round_trip() {
    let (ws, mut peer) = pair(Role::Server);
    let control = ws.control();
    let ping = tokio::spawn(async move { control.ping().await });
    let payload = peer.expect(PING).await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    peer.send(PONG, b"another").await;
    peer.send(PONG, &payload).await;
    let time = within(ping).await.unwrap().unwrap();
    assert!(time >= Duration::from_millis(120) && time < Duration::from_millis(130), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn text_that_is_refused_sends_nothing_and_the_message_goes_on() {
    let (mut ws, mut peer) = pair(Role::Client);
    let mut message = within(ws.start_message(MessageKind::Text)).await.unwrap();
    within(message.write("good ")).await.unwrap();
    let refused = within(message.write(&b"b\xff"[..])).await;
    assert!(matches!(refused, Err(WriteError::InvalidUtf8(at)) if at.valid_up_to() == 6), "{refused:?}");
    within(message.write("text")).await.unwrap();
    message.finish().await.unwrap();
    assert_eq!(peer.message().await, (TEXT, b"good text".to_vec()));
}

/// Takes whatever it is given, and counts it; never says anything.
struct Bottomless(Arc<AtomicUsize>);

impl AsyncRead for Bottomless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Bottomless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(data.len(), SeqCst);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_writer_that_never_has_to_wait_lets_others_come_in_between() {
    for role in BOTH {
        for (len, flushes) in [(100, false), (1000, true), (64 * KIB, false), (64 * KIB, true)] {
            let written = Arc::new(AtomicUsize::new(0));
            let transport = Bottomless(written.clone());
            let mut ws = WebSocketStream::from_upgraded(transport, "", role, Negotiated::default(), Config::default());
            let writer = tokio::spawn(async move {
                for _ in 0..(16 << 20) / len {
                    ws.send(vec![7; len]).await.unwrap();
                    if flushes {
                        ws.flush().await.unwrap();
                    }
                }
                ws
            });
            let (mut most, mut before) = (0, 0);
            while !writer.is_finished() {
                tokio::task::yield_now().await;
                let now = written.load(SeqCst);
                most = most.max(now - before);
                before = now;
            }
            assert!(before > 15 << 20, "{role:?}, {len} B: {before}");
            // What costs a turn, and one mark more.
            assert!(most <= 1 << 20, "{role:?}, {len} B: {most} at a time");
        }
    }
}

#[tokio::test]
async fn what_shares_a_task_with_a_writer_that_never_has_to_wait_gets_its_turn() {
    // It is polled after the writer, which used to spend the budget of the task each time.
    for role in BOTH {
        let transport = Bottomless(Arc::default());
        let mut ws = WebSocketStream::from_upgraded(transport, "", role, Negotiated::default(), Config::default());
        let upload = async {
            for _ in 0..10_000 {
                ws.send(vec![7; 64 * KIB]).await.unwrap();
            }
        };
        let (stop, mut stopped) = mpsc::channel(1);
        stop.send(()).await.unwrap();
        tokio::select! {
            biased;
            () = upload => panic!("{role:?}: nothing else came"),
            _ = stopped.recv() => {}
        }
    }
}

#[tokio::test]
async fn what_is_dropped_while_it_gives_way_has_not_been_sent_and_nothing_else_is_lost() {
    for role in BOTH {
        let (near, far) = duplex(64 << 20);
        let start = |transport, role| {
            WebSocketStream::from_upgraded(transport, "", role, Negotiated::default(), Config::default())
        };
        let (mut sender, mut receiver) = (start(near, role), start(far, other(role)));
        let (mut accepted, mut dropped) = (Vec::new(), 0);
        for number in 0..600_u32 {
            let mut message = vec![0; 64 * KIB];
            message[..4].copy_from_slice(&number.to_be_bytes());
            match poll_once(sender.send(message)).await {
                Poll::Ready(sent) => {
                    sent.unwrap();
                    accepted.push(number);
                }
                Poll::Pending => {
                    dropped += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        assert!(dropped > 0 && accepted.len() > 100, "{role:?}: {dropped} dropped, {} accepted", accepted.len());
        for number in accepted {
            let message = next(&mut receiver).await.unwrap().unwrap();
            assert_eq!(message.as_bytes()[..4], number.to_be_bytes(), "{role:?}");
        }
        let closed = tokio::spawn(async move { sender.close(CloseCode::NORMAL, "").await.unwrap() });
        assert!(within(receiver.next()).await.is_none());
        assert!(within(closed).await.unwrap().was_clean);
    }
}

/// One poll of a future that is dropped after it.
async fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
