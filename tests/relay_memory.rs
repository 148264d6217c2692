//! What a relay holds of a message of 256 MiB in one frame, counted by the allocator: next to nothing.
//!
//! A single test, since the allocator counts for the whole process.

#![allow(unsafe_code)] // a global allocator cannot be written without

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use support::{BINARY, header, other, settle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstream::{Config, Negotiated, Role, WebSocketStream, relay};

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

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KIB: usize = 1024;

const MESSAGE: u64 = 256 << 20;

/// The receiving side: mark, read buffer, chunk. The sending side: mark, overshooting chunk, masked frames. Itself.
const HELD: usize = (3 * 256 + 256 + 256 + 320 + 64) * KIB;

/// Brings a message of one frame, then nothing.
struct Source {
    head: Vec<u8>,
    left: u64,
    read: Arc<AtomicU64>,
}

impl AsyncRead for Source {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.head.is_empty() {
            buf.put_slice(&std::mem::take(&mut this.head));
            return Poll::Ready(Ok(()));
        }
        let len = (buf.remaining() as u64).min(this.left);
        if len == 0 {
            return Poll::Pending;
        }
        buf.initialize_unfilled_to(len as usize);
        buf.advance(len as usize);
        this.left -= len;
        this.read.fetch_add(len, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Source {
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

/// Takes a number of bytes, then nothing.
struct Sink {
    takes: u64,
    written: Arc<AtomicU64>,
}

impl AsyncRead for Sink {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.takes - self.written.load(Relaxed);
        if left == 0 {
            return Poll::Pending;
        }
        let len = left.min(buf.len() as u64);
        self.written.fetch_add(len, Relaxed);
        Poll::Ready(Ok(len as usize))
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
fn a_message_of_256_mib_in_one_frame_is_never_held() {
    for (source_role, sink_role) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
        for takes in [u64::MAX, 1 << 20] {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (read, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
                let head = header(other(source_role), true, BINARY, MESSAGE);
                let source = Source { head, left: MESSAGE, read: read.clone() };
                let sink = Sink { takes, written: written.clone() };
                let begin = NOW.load(Relaxed);
                PEAK.store(begin, Relaxed);
                let relayed = tokio::spawn(relay(connect(source, source_role), connect(sink, sink_role)));
                let mut last = u64::MAX;
                while last != read.load(Relaxed) + written.load(Relaxed) {
                    last = read.load(Relaxed) + written.load(Relaxed);
                    settle().await;
                }
                let peak = PEAK.load(Relaxed) - begin;
                assert!(peak < HELD, "{} KiB held, {takes} taken, {sink_role:?}", peak / KIB);
                if takes == u64::MAX {
                    assert_eq!(read.load(Relaxed), MESSAGE);
                    assert!(written.load(Relaxed) > MESSAGE);
                } else {
                    let ahead = read.load(Relaxed) - takes;
                    assert!(ahead < HELD as u64, "the source is not read any more: {ahead} bytes");
                }
                relayed.abort();
            });
        }
    }
}
