//! What a connection costs in memory, counted by the allocator: the sums of the crate's documentation must hold.
//!
//! A single test, since the allocator counts for the whole process.

#![allow(unsafe_code)] // a global allocator cannot be written without

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use support::{BINARY, BOTH, PING, Raw, frame, header, other, pair, settle, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use wsstream::{Config, Message, MessageKind, Negotiated, Role, WebSocketStream};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    let now = NOW.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        count(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;

/// What the documentation promises for what has been received and not taken, at the default mark.
const RECEIVED: usize = (256 + 256 + 256) * KIB;

/// For the connection itself and its task.
const SLACK: usize = 16 * KIB;

fn now() -> usize {
    NOW.load(Relaxed)
}

/// Begins a new measurement; bytes in use at its beginning.
fn begin() -> usize {
    PEAK.store(now(), Relaxed);
    now()
}

fn peak_since(begin: usize) -> usize {
    PEAK.load(Relaxed).saturating_sub(begin)
}

/// The thread's spare read buffer, which was there before and is lent to the connection.
const SPARE: usize = 256 * KIB;

/// An endless peer that is always faster: it repeats its script, and allocates nothing.
struct Endless {
    head: Vec<u8>,
    script: Vec<u8>,
    at: usize,
    /// Bytes that a read brings at most.
    step: usize,
}

impl Endless {
    fn new(head: &[u8], script: &[u8], step: usize) -> Self {
        // Copying a few bytes at a time would take most of the test's time.
        let script = script.repeat(64 * KIB / script.len() + 1);
        Self { head: head.to_vec(), script, at: 0, step }
    }
}

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut left = this.step.min(buf.remaining());
        while left > 0 {
            let from = match this.at.checked_sub(this.head.len()) {
                None => &this.head[this.at..],
                Some(at) => &this.script[at % this.script.len()..],
            };
            let len = from.len().min(left);
            buf.put_slice(&from[..len]);
            this.at += len;
            left -= len;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn connect<T>(transport: T, role: Role) -> WebSocketStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    WebSocketStream::from_upgraded(transport, "", role, Negotiated::default(), Config::default())
}

#[test]
fn memory_is_bounded_as_documented() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        warm_up().await;
        for role in BOTH {
            nobody_reads(role).await;
            a_slow_reader(role).await;
            an_announcement_costs_nothing(role).await;
            an_idle_connection_holds_no_buffer(role).await;
            a_large_message_is_not_copied(role).await;
            pongs_that_cannot_be_written(role).await;
        }
    });
}

/// What is made once per thread, the spare read buffer for example, is not the cost of a connection.
async fn warm_up() {
    let (mut ws, mut peer) = pair(Role::Server);
    peer.send(BINARY, b"x").await;
    within(support::next(&mut ws)).await.unwrap().unwrap();
    drop(ws);
    peer.expect_close().await;
}

fn scripts(sender: Role) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let message = |len: usize| frame(sender, true, BINARY, &vec![7; len]);
    let pings: Vec<u8> = (0..50).flat_map(|_| frame(sender, true, PING, &[1; 125])).collect();
    vec![
        ("0 B", vec![], message(0)),
        ("1 B", vec![], message(1)),
        ("125 B", vec![], message(125)),
        ("64 KiB", vec![], message(64 * KIB)),
        ("1 MiB", vec![], message(KIB * KIB)),
        ("one endless frame", header(sender, true, BINARY, 1 << 62), vec![7; 64 * KIB]),
        ("1 B between pings", vec![], [message(1), pings].concat()),
        ("fragments of 0 B", frame(sender, false, BINARY, b""), frame(sender, false, 0, b"")),
        ("fragments of 1 B", frame(sender, false, BINARY, b""), frame(sender, false, 0, b"x")),
    ]
}

/// Reads that fill the buffer, that fill so little of it that their chunks are copied, and packets.
const STEPS: [usize; 5] = [usize::MAX, 128 * KIB, 64 * KIB + 1, 16 * KIB, 1460];

async fn nobody_reads(role: Role) {
    for (what, head, script) in scripts(other(role)) {
        for step in STEPS {
            let transport = Endless::new(&head, &script, step);
            warm_up().await;
            let before = begin();
            let mut ws = connect(transport, role);
            let paused = async {
                // Nothing is to be kept of empty fragments, so that nothing ever pauses.
                while ws.stats().received.pauses == 0
                    && (what != "fragments of 0 B" || ws.stats().received.bytes < 1 << 20)
                {
                    tokio::task::yield_now().await;
                }
            };
            within(paused).await;
            let stats = ws.stats();
            assert!(stats.received.buffered_max <= RECEIVED, "{role:?}, {what}, {step} B a read: {stats:?}");
            let peak = SPARE + peak_since(before);
            assert!(peak <= RECEIVED + SLACK, "{role:?}, {what}, {step} B a read: {} KiB", peak / KIB);
            // A drop would wait for the Close frame of a peer that sends for ever.
            ws.abort();
            within(ws.closed()).await.unwrap_err();
        }
    }
}

/// The bound holds while data flows, too.
async fn a_slow_reader(role: Role) {
    for (what, head, script) in scripts(other(role)) {
        if what == "fragments of 0 B" {
            continue; // there is nothing to read
        }
        let transport = Endless::new(&head, &script, 60_000);
        warm_up().await;
        let before = begin();
        let ws = connect(transport, role);
        let (mut readable, mut writable) = ws.split();
        let mut chunks = 0;
        while chunks < 1000 {
            let mut message = within(readable.next_message()).await.unwrap().unwrap();
            while chunks < 1000
                && let Some(chunk) = within(message.chunk()).await.unwrap()
            {
                drop(chunk);
                chunks += 1;
                tokio::task::yield_now().await;
            }
            chunks += 1;
        }
        // What the reader has taken over in one go waits on its side, and counts there.
        let peak = SPARE + peak_since(before);
        assert!(peak <= RECEIVED + SLACK, "{role:?}, {what}: {} KiB", peak / KIB);
        writable.abort();
        within(readable.closed()).await.unwrap_err();
    }
}

async fn an_announcement_costs_nothing(role: Role) {
    let (idle, mut peer) = pair(role);
    peer.write(&header(other(role), true, BINARY, 5)[..1]).await;
    settle().await;
    let (lied_to, mut liar) = pair(role);
    let before = begin();
    liar.write(&header(other(role), true, BINARY, 1 << 62)).await;
    settle().await;
    let cost = now().saturating_sub(before);
    assert!(cost <= 2 * KIB, "an announced frame costs {cost} B");
    liar.write(&[7; 100]).await;
    settle().await;
    let cost = now().saturating_sub(before);
    assert!(cost <= 4 * KIB, "100 B that came cost {cost} B");
    drop((idle, lied_to));
}

async fn an_idle_connection_holds_no_buffer(role: Role) {
    let (near, far) = tokio::io::duplex(100);
    let before = begin();
    let mut ws = connect(near, role);
    let mut peer = Raw::new(far, other(role));
    for _ in 0..10 {
        peer.send(BINARY, &[1; 10]).await;
        within(support::next(&mut ws)).await.unwrap().unwrap();
        within(ws.send(vec![2; 10])).await.unwrap();
        peer.message().await;
    }
    settle().await;
    let cost = now().saturating_sub(before);
    assert!(cost <= 8 * KIB, "an idle connection costs {cost} B");
}

/// 6.5: large `Bytes` overshoot the mark and are not copied, masked or not.
async fn a_large_message_is_not_copied(role: Role) {
    const LARGE: usize = 16 * KIB * KIB;
    let payload = Bytes::from(vec![3; LARGE]);
    let (near, mut far) = tokio::io::duplex(64 * KIB);
    let mut buffer = vec![0; 64 * KIB];
    let before = begin();
    let mut ws = connect(near, role);
    within(ws.send(Message::binary(payload.clone()))).await.unwrap();
    assert!(ws.buffered_amount() >= LARGE);
    // The transport takes it bit by bit.
    let mut came = 0;
    while came < LARGE {
        came += within(far.read(&mut buffer)).await.unwrap();
    }
    let mut message = within(ws.start_message(MessageKind::Binary)).await.unwrap();
    within(message.write(payload.clone())).await.unwrap();
    while came < 2 * LARGE {
        came += within(far.read(&mut buffer)).await.unwrap();
    }
    message.finish().await.unwrap();
    let peak = peak_since(before);
    // The pipe, and, masked, what is staged for a vectored write: at most 512 KiB and one frame.
    let staged = if role == Role::Client { 512 + 64 } else { 0 };
    assert!(peak <= (64 + staged) * KIB + SLACK, "{role:?}: {} KiB for {} KiB", peak / KIB, LARGE / KIB);
}

/// 5.4: pongs wait in 16 KiB, then reading pauses.
async fn pongs_that_cannot_be_written(role: Role) {
    let (near, far) = tokio::io::duplex(1000);
    let before = begin();
    let ws = connect(near, role);
    let sender = other(role);
    let flood = tokio::spawn(async move {
        let mut peer = Raw::new(far, sender);
        for _ in 0..10_000 {
            peer.write(&frame(sender, true, PING, &[0; 125])).await;
        }
    });
    settle().await;
    assert!(!flood.is_finished());
    let peak = peak_since(before);
    assert!(peak <= 256 * KIB + 4 * 16 * KIB + SLACK, "{role:?}: {} KiB", peak / KIB);
    flood.abort();
    drop(ws);
    settle().await;
}
