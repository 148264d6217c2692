//! A transport on which the n-th operation does not go as usual.

use std::{
    future::Future,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// What happens at the n-th operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The transport is gone: this operation and all that follow fail, in both directions.
    Reset,
    /// This direction is gone, the other one is not: half a failure.
    Broken,
    /// Reads end, writes take nothing, from here on.
    Nothing,
    /// This direction never gets on again.
    Stuck,
    /// One byte is read or written.
    OneByte,
    /// It takes a moment.
    Late,
}

pub(crate) const FATAL: [Fault; 4] = [Fault::Reset, Fault::Broken, Fault::Nothing, Fault::Stuck];
pub(crate) const BENIGN: [Fault; 2] = [Fault::OneByte, Fault::Late];

/// Shorter than all times that the library waits.
const MOMENT: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Flush,
    Shutdown,
}

/// What went through it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) operations: usize,
    pub(crate) read: Vec<u8>,
    pub(crate) written: Vec<u8>,
    /// Bytes written and not flushed.
    pub(crate) unflushed: usize,
    pub(crate) was_dropped: bool,
    /// What the n-th operation was.
    at: Option<Operation>,
}

impl Record {
    /// The fault has happened.
    pub(crate) fn has_struck(&self) -> bool {
        self.at.is_some()
    }
}

pub(crate) type Recorded = Arc<Mutex<Record>>;

pub(crate) struct Faulty<T> {
    inner: T,
    fault: Fault,
    n: usize,
    record: Recorded,
    /// What is over for ever, in this direction.
    over: [bool; 2],
    late: [Option<Pin<Box<Sleep>>>; 2],
    /// Whoever waits for ever: a transport keeps wakers, too.
    waiting: [Option<Waker>; 2],
}

enum Course {
    Usual,
    OneByte,
    Zero,
}

impl<T> Faulty<T> {
    pub(crate) fn new(inner: T, fault: Fault, n: usize) -> (Self, Recorded) {
        let record = Recorded::default();
        let faulty = Self {
            inner,
            fault,
            n,
            record: record.clone(),
            over: [false; 2],
            late: [None, None],
            waiting: [None, None],
        };
        (faulty, record)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn course(&mut self, operation: Operation, cx: &mut Context<'_>) -> Poll<io::Result<Course>> {
        let direction = usize::from(operation != Operation::Read);
        if let Some(sleep) = &mut self.late[direction] {
            ready!(sleep.as_mut().poll(cx));
            self.late[direction] = None;
            return Poll::Ready(Ok(Course::Usual));
        }
        let mut record = self.record();
        let strikes = record.operations == self.n;
        record.operations += 1;
        if strikes {
            record.at = Some(operation);
        }
        drop(record);
        if strikes {
            match self.fault {
                Fault::Reset => self.over = [true; 2],
                Fault::OneByte => return Poll::Ready(Ok(Course::OneByte)),
                Fault::Late => {
                    self.late[direction] = Some(Box::pin(tokio::time::sleep(MOMENT)));
                    let _ = self.late[direction].as_mut().unwrap().as_mut().poll(cx);
                    return Poll::Pending;
                }
                Fault::Broken | Fault::Nothing | Fault::Stuck => self.over[direction] = true,
            }
        }
        if !self.over[direction] {
            return Poll::Ready(Ok(Course::Usual));
        }
        match self.fault {
            Fault::Reset => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Fault::Broken => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            Fault::Stuck => {
                self.waiting[direction] = Some(cx.waker().clone());
                Poll::Pending
            }
            // A flush has nothing to take; it goes on as usual.
            _ => Poll::Ready(Ok(Course::Zero)),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Faulty<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match ready!(self.course(Operation::Read, cx))? {
            Course::Usual => ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?,
            Course::Zero => {}
            Course::OneByte => {
                let mut byte = [0];
                let mut one = ReadBuf::new(&mut byte);
                ready!(Pin::new(&mut self.inner).poll_read(cx, &mut one))?;
                buf.put_slice(one.filled());
            }
        }
        self.record().read.extend_from_slice(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Faulty<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let data: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let most = match ready!(self.course(Operation::Write, cx))? {
            Course::Usual => data.len(),
            Course::OneByte => data.len().min(1),
            Course::Zero => return Poll::Ready(Ok(0)),
        };
        let len = ready!(Pin::new(&mut self.inner).poll_write(cx, &data[..most]))?;
        let mut record = self.record();
        record.written.extend_from_slice(&data[..len]);
        record.unflushed += len;
        drop(record);
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.course(Operation::Flush, cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.record().unflushed = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.course(Operation::Shutdown, cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T> Drop for Faulty<T> {
    fn drop(&mut self) {
        self.record().was_dropped = true;
    }
}
