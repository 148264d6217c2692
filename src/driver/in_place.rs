//! The engine as it is shared by the driver and the halves.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{engine::Engine, outbound::Outbound, shared::Shared};
use crate::message::Message;

/// A half of the connection that waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// For a chunk.
    Reader,
    /// For room, or for everything to be written.
    Writer,
}

/// What a half can do instead of waiting.
pub(crate) trait InPlace: Send + Sync {
    /// Reads and writes for a reader that has registered its waker. `Ready`: it should look again.
    fn read(&self) -> Poll<()>;

    /// The same for a writer, until `most` bytes have been written; how many have. If all of them, it must come back.
    fn write(&self, most: usize) -> usize;

    /// Writes what has just been accepted, once, and does not touch whose turn it is. What the transport does not take is
    /// the driver's, unless somebody waits for it with [`write`](Self::write). Whether some of it still is where it was put.
    fn write_accepted(&self, outbound: MutexGuard<'_, Outbound>) -> bool;

    /// Accepts a message and writes it, past the outbox, in which nothing may be. `false`: it has to be put there, since
    /// it is large, or something else comes first.
    fn send(&self, message: &Message) -> bool;
}

impl fmt::Debug for dyn InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InPlace")
    }
}

/// The engine and its transport.
pub(super) struct Io<T> {
    pub(super) engine: Engine,
    /// Until the connection is done.
    transport: Option<T>,
    /// What the transport is polled with, whoever does it: it finds out who is to come.
    waker: Waker,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Io<T> {
    pub(super) fn new(transport: T, leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let waker = Waker::from(shared.clone());
        Self { engine: Engine::new(leftover, shared), transport: Some(transport), waker }
    }

    /// See [`Engine::round`].
    pub(super) fn round(&mut self, reads: bool) -> Poll<()> {
        let Some(transport) = &mut self.transport else { return Poll::Pending };
        self.engine.round(transport, &mut Context::from_waker(&self.waker), reads)
    }

    /// See [`Engine::send`].
    fn send(&mut self, message: &Message) -> Option<Poll<()>> {
        let transport = self.transport.as_mut()?;
        self.engine.send(transport, &mut Context::from_waker(&self.waker), message)
    }

    /// Drops the transport.
    pub(super) fn shut(&mut self) {
        self.transport = None;
        self.engine.shut();
    }
}

/// The driver and the halves run the engine one at a time.
pub(super) struct Place<T> {
    shared: Arc<Shared>,
    io: Mutex<Io<T>>,
    /// Turns take milliseconds: the driver must not hold up its thread until one ends.
    is_compressing: bool,
    /// The driver has come during such a turn, and is to be woken at its end.
    is_driver_due: AtomicBool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Place<T> {
    pub(super) fn new(transport: T, leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let io = Io::new(transport, leftover, shared.clone());
        let is_compressing = io.engine.is_compressing();
        Self { shared, io: Mutex::new(io), is_compressing, is_driver_due: AtomicBool::new(false) }
    }

    /// For the driver: waits for the end of a half's turn, a few rounds at most.
    pub(super) fn lock(&self) -> MutexGuard<'_, Io<T>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same where that may take long: `None`, and the driver is woken at the end of the turn.
    pub(super) fn lock_or_come_back(&self) -> Option<MutexGuard<'_, Io<T>>> {
        if !self.is_compressing {
            return Some(self.lock());
        }
        // Said before it is tried: a turn that ends unseen has ended before, so that there is nothing in the way.
        self.is_driver_due.swap(true, SeqCst);
        let io = match self.io.try_lock() {
            Ok(io) => io,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.is_driver_due.swap(false, SeqCst);
        Some(io)
    }

    /// The transport has panicked, in whoever polled it.
    pub(super) fn is_broken(&self) -> bool {
        self.io.is_poisoned()
    }

    /// What both halves do instead of waiting, and how many bytes that has written.
    fn step(&self, half: Half, most: usize) -> (Step, usize) {
        if self.shared.turn.has_ended() {
            return (Step::Waits, 0);
        }
        // Dropped last: the driver is to find the engine broken, not busy.
        let _guard = WakeOnPanic(&self.shared);
        let Ok(mut io) = self.io.try_lock() else {
            // Whoever has it may be past what this half waits for.
            self.shared.call_driver();
            return (Step::Waits, 0);
        };
        io.engine.begin(Some(half));
        io.engine.write_at_most(most);
        let step = self.take_turn(&mut io);
        let written = most - io.engine.left();
        io.engine.rest();
        self.end_turn(io, step);
        (step, written)
    }

    /// Until the half has what it wants or has written enough, or nothing moves.
    fn take_turn(&self, io: &mut Io<T>) -> Step {
        let turn = &self.shared.turn;
        for _ in 0..io.engine.rounds() {
            let progress = io.round(true);
            if !io.engine.is_open() {
                turn.end();
                return Step::Driver;
            }
            if progress.is_pending() {
                turn.half_waits();
                if !io.engine.has_delivered() {
                    return Step::Waits;
                }
                turn.has_read_all();
                return Step::Served;
            }
            // It is about to come back, like one that has been woken, and the transport tells when there is something to read.
            if io.engine.left() == 0 && turn.is_listening() {
                return if turn.half_is_woken() { Step::Driver } else { Step::Waits };
            }
            // A transport that has been emptied is asked once more, which costs nothing, so that it tells when there is
            // more; one that has not been needs somebody to come back to it.
            if io.engine.has_delivered() && !io.engine.has_emptied_transport() {
                turn.half_is_served();
                return Step::Driver;
            }
            if io.engine.left() == 0 {
                break;
            }
        }
        turn.give_to_driver();
        Step::Driver
    }

    fn end_turn(&self, io: MutexGuard<'_, Io<T>>, step: Step) {
        drop(io);
        let is_due = self.is_compressing && self.is_driver_due.swap(false, SeqCst);
        if is_due || step == Step::Driver {
            self.shared.wake_driver();
        }
    }
}

/// How a half's turn ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It has what it wants, and somebody is woken when there is more.
    Served,
    /// It will be woken.
    Waits,
    /// It should look again, and the driver at what is left.
    Driver,
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> InPlace for Place<T> {
    fn read(&self) -> Poll<()> {
        let (step, _) = self.step(Half::Reader, usize::MAX);
        if step == Step::Waits { Poll::Pending } else { Poll::Ready(()) }
    }

    fn write(&self, most: usize) -> usize {
        let (_, written) = self.step(Half::Writer, most);
        written
    }

    fn write_accepted(&self, outbound: MutexGuard<'_, Outbound>) -> bool {
        let _guard = WakeOnPanic(&self.shared);
        // Under both locks, in the wrong order: but nobody is waited for here.
        let io = if self.shared.turn.has_ended() { None } else { self.io.try_lock().ok() };
        let Some(mut io) = io else {
            drop(outbound);
            self.shared.wake_driver();
            return true;
        };
        io.engine.begin(Some(Half::Writer));
        io.engine.exchange_with(outbound);
        let is_left = io.round(false).is_ready() || !io.engine.is_open();
        let is_queued = !io.engine.has_fetched_all();
        self.end_turn(io, if is_left { Step::Driver } else { Step::Waits });
        is_queued
    }

    fn send(&self, message: &Message) -> bool {
        let _guard = WakeOnPanic(&self.shared);
        let Ok(mut io) = self.io.try_lock() else { return false };
        let Some(sent) = io.send(message) else { return false };
        let is_left = sent.is_ready() || !io.engine.is_open();
        self.end_turn(io, if is_left { Step::Driver } else { Step::Waits });
        true
    }
}

/// A transport that panics ends the connection, whoever polls it.
struct WakeOnPanic<'a>(&'a Shared);

impl Drop for WakeOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake_driver();
        }
    }
}
