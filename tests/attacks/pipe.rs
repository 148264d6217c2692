//! A transport that holds a fixed amount of memory, so that what is measured is the library's.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
struct Flow {
    bytes: VecDeque<u8>,
    room: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<Flow>>;

/// One end; the other end sees the end of the stream, or a broken pipe, when this one is dropped.
pub(crate) struct Pipe {
    read: Shared,
    write: Shared,
}

/// Both ends. All the memory that they will ever use is allocated here.
pub(crate) fn pipe(room: usize) -> (Pipe, Pipe) {
    let flow = || {
        let bytes = VecDeque::with_capacity(room);
        Arc::new(Mutex::new(Flow { bytes, room, closed: false, reader: None, writer: None }))
    };
    let (one, other) = (flow(), flow());
    (Pipe { read: one.clone(), write: other.clone() }, Pipe { read: other, write: one })
}

fn lock(flow: &Shared) -> MutexGuard<'_, Flow> {
    flow.lock().unwrap()
}

impl Flow {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut flow = lock(&self.read);
        if flow.bytes.is_empty() && !flow.closed {
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (front, back) = flow.bytes.as_slices();
        let front = &front[..front.len().min(buf.remaining())];
        buf.put_slice(front);
        let back = &back[..back.len().min(buf.remaining())];
        buf.put_slice(back);
        let len = front.len() + back.len();
        flow.bytes.drain(..len);
        flow.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut flow = lock(&self.write);
        if flow.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len = data.len().min(flow.room - flow.bytes.len());
        if len == 0 && !data.is_empty() {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        flow.bytes.extend(&data[..len]);
        flow.wake();
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut flow = lock(&self.write);
        flow.closed = true;
        flow.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for flow in [&self.read, &self.write] {
            let mut flow = lock(flow);
            flow.closed = true;
            flow.wake();
        }
    }
}
