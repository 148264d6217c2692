//! What is made once: frames, compressed messages, writes.

use std::{
    collections::HashSet,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstream::{
    Compression, Message, Role, WebSocketStream,
    fanout::{Fanout, Receiver, ReceiverEnd, ReceiverOptions},
};

use crate::{
    config, json, negotiated, pair,
    support::{BINARY, PING, PONG, Raw, WIDE, next, other, parse, pattern, settle, within},
};

/// What a transport has been given.
#[derive(Default)]
struct Given {
    is_shut: bool,
    panics: bool,
    waker: Option<Waker>,
    bytes: Vec<u8>,
    /// Where the larger slices lay in memory.
    places: HashSet<usize>,
    writes: usize,
    slices: usize,
    /// How often it was asked for bytes.
    reads: usize,
}

/// A transport that notes what it is given, and takes it as long as it is not shut.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Given>>);

impl AsyncRead for Noting {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reads += 1;
        Poll::Pending
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!given.panics, "as a transport should not");
        if given.is_shut {
            given.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        given.writes += 1;
        given.slices += slices.len();
        let before = given.bytes.len();
        for slice in slices {
            if slice.len() > 1024 {
                given.places.insert(slice.as_ptr() as usize);
            }
            given.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(given.bytes.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn open(fanout: &Fanout, deflate: Option<&str>) -> (Noting, Receiver) {
    let transport = Noting::default();
    let ws = WebSocketStream::from_upgraded(transport.clone(), "", Role::Server, negotiated(deflate), config());
    (transport, fanout.audience().join(ws.split().1, ReceiverOptions::default().budget(16 << 20)))
}

fn join(fanout: &Fanout, deflate: Option<&str>) -> Noting {
    let (transport, receiver) = open(fanout, deflate);
    tokio::spawn(receiver);
    transport
}

#[tokio::test(start_paused = true)]
async fn payload_and_compressed_frames_are_the_same_memory_for_all_receivers() {
    for (compressed, deflate) in
        [(false, None), (false, Some("")), (true, Some("")), (true, Some("; server_no_context_takeover"))]
    {
        let mut fanout = Fanout::new();
        if compressed {
            fanout = fanout.compression(Compression::default());
        }
        let transports = [(); 3].map(|()| join(&fanout, deflate));
        // Text that compresses, and not to next to nothing.
        let text: String = (0..30_000u32).map(|at| format!("{} ", at.wrapping_mul(2_654_435_761))).collect();
        let payload = Bytes::from(text);
        let place = payload.as_ptr() as usize;
        fanout.publish(Message::text_from_utf8(payload).unwrap()).await;
        fanout.publish(json(2, 3000)).await;
        settle().await;
        let [first, second, third] = transports.map(|transport| transport.0.lock().unwrap().places.clone());
        assert!(!first.is_empty() && first == second && second == third, "{compressed} {deflate:?}");
        assert_eq!(first.contains(&place), !compressed, "the caller's own bytes, where they go as they are");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_up_costs_a_write_of_one_piece_and_nothing_else() {
    let mut fanout = Fanout::new();
    let polls = Arc::new(AtomicUsize::new(0));
    let transports = [(); 8].map(|()| {
        let (transport, mut receiver) = open(&fanout, None);
        let polls = polls.clone();
        tokio::spawn(poll_fn(move |cx| {
            polls.fetch_add(1, SeqCst);
            Pin::new(&mut receiver).poll(cx)
        }));
        transport
    });
    settle().await;
    let begun = polls.load(SeqCst);
    let reads = transports.each_ref().map(|transport| transport.0.lock().unwrap().reads);
    for _ in 0..50 {
        fanout.publish(pattern(16_384)).await;
        settle().await;
    }
    let mut places = HashSet::new();
    for (transport, reads) in transports.iter().zip(reads) {
        let mut given = transport.0.lock().unwrap();
        assert_eq!((given.writes, given.slices), (50, 50));
        assert_eq!(given.reads, reads, "neither the task of the connection was woken, nor did the receiver's read");
        for _ in 0..50 {
            let frame = parse(Role::Server, &mut given.bytes).expect("all of them have come");
            assert!(frame.fin && frame.opcode == BINARY && frame.payload == pattern(16_384));
        }
        places.insert(given.places.iter().copied().collect::<std::collections::BTreeSet<_>>());
    }
    assert_eq!(places.len(), 1, "the same memory for all");
    assert_eq!(polls.load(SeqCst), begun, "one task serves all of them");
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_ends_its_own_connection_only() {
    let mut fanout = Fanout::new();
    let [(_first, before), (broken, receiver), (last, after)] = [(); 3].map(|()| open(&fanout, None));
    let [before, receiver, after] = [before, receiver, after].map(tokio::spawn);
    settle().await;
    broken.0.lock().unwrap().panics = true;
    for _ in 0..2 {
        fanout.publish(pattern(100)).await;
        settle().await;
    }
    let received = within(receiver).await.unwrap();
    assert!(matches!(received.end, ReceiverEnd::Connection(Err(_))), "{:?}", received.end);
    assert!(!before.is_finished() && !after.is_finished());
    assert_eq!(last.0.lock().unwrap().writes, 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_behind_gets_many_frames_in_a_write() {
    for size in [10, 500, 2000, 10_000] {
        let mut fanout = Fanout::new();
        let transport = join(&fanout, None);
        transport.0.lock().unwrap().is_shut = true;
        for _ in 0..320 {
            fanout.publish(pattern(size)).await;
            settle().await;
        }
        let waker = {
            let mut given = transport.0.lock().unwrap();
            given.is_shut = false;
            given.waker.take()
        };
        waker.expect("it waits").wake();
        settle().await;
        let mut given = transport.0.lock().unwrap();
        for _ in 0..320 {
            let frame = parse(Role::Server, &mut given.bytes).expect("all of them have come");
            assert!(frame.fin && frame.opcode == BINARY && frame.payload == pattern(size));
        }
        assert!(given.writes <= 20, "{} writes for 320 frames of {size} bytes", given.writes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_compresses_for_itself_too_stays_in_step_with_its_peer() {
    // With context takeover, the peer's window holds what the fan-out sent, which this end's does not.
    for params in ["", "; server_no_context_takeover", "; server_max_window_bits=12"] {
        let mut fanout = Fanout::new().compression(Compression::default().send_window_bits(12));
        let (near, mut far) = pair(Role::Server, Some(params), WIDE);
        let (_readable, mut writable) = near.split();
        for round in 0..5 {
            let own = json(round, 5000);
            within(writable.send(own.clone())).await.unwrap();
            assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), Message::text(own.clone()));

            let receiver = fanout.audience().join(writable, ReceiverOptions::default());
            let handle = receiver.handle();
            let receiver = tokio::spawn(receiver);
            for number in 0..3 {
                let shared = json(1000 + number, 40_000);
                within(fanout.publish(shared.clone())).await;
                assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), Message::text(shared));
            }
            handle.leave();
            let received = within(receiver).await.unwrap();
            assert_eq!(received.stats.sent_messages, 3);
            writable = received.writable;

            // Much like what it sent before, so that a wrong window would show.
            within(writable.send(own.clone())).await.unwrap();
            assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), Message::text(own), "{params:?}, round {round}");
        }
        let sent = far.stats().received.bytes;
        assert!(sent < 20_000, "it was compressed: {sent} bytes for 650,000");
    }
}

#[tokio::test(start_paused = true)]
async fn pongs_go_between_shared_frames() {
    for deflate in [None, Some("")] {
        let mut fanout = Fanout::new();
        let (near, far) = tokio::io::duplex(100);
        let ws = WebSocketStream::from_upgraded(near, "", Role::Server, negotiated(deflate), config());
        tokio::spawn(fanout.audience().join(ws.split().1, ReceiverOptions::default().budget(16 << 20)));
        let mut peer = Raw::new(far, other(Role::Server));
        // Large ones, whose header and payload are two pieces, and small ones in one.
        let sizes = [100_000, 10, 2000, 70_000, 0, 5000];
        for size in sizes {
            fanout.publish(pattern(size)).await;
        }
        let (mut messages, mut pongs, mut message) = (Vec::new(), 0, Vec::new());
        while messages.len() < sizes.len() || pongs < 3 {
            if messages.len() + pongs < 3 && pongs < 3 {
                peer.send(PING, &[pongs as u8]).await;
            }
            let frame = peer.frame().await.unwrap();
            if frame.opcode == PONG {
                pongs += 1;
                continue;
            }
            message.extend_from_slice(&frame.payload);
            if frame.fin {
                messages.push(std::mem::take(&mut message));
            }
        }
        assert!(messages == sizes.map(pattern), "{deflate:?}");
    }
}
