//! Frames on their way from the writer to the driver, and everything else the application asks of the driver.

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::channel::oneshot;
use tokio::runtime::Handle;

use super::{now, read_buffer::READ_BUFFER};
use crate::{
    close::CloseFrame,
    compression::Codec,
    config::Config,
    error::ConnectionError,
    proto::{connection::Connection, send::Outbox},
    role::Role,
    stats::{DirectionStats, ReadyState},
};

/// Bytes that a writer which never has to wait writes itself before others get their turn: 768 KiB, or rather three reads. To
/// the byte, within a frame if need be: if turns ended with messages, each would begin with a page of the kernel's memory when
/// the reader has caught up, and a Zen 3 copies some of the frames behind that at a third of its speed
/// (`docs/performance-zen3.md`).
const TURN: usize = 3 * READ_BUFFER;

/// Longer frames, up to a MiB and its header, are a turn each: a reader that wants such messages whole gets them in one read, and
/// few headers move what follows on in the kernel's page.
const WHOLE_FRAME: usize = 1024 * 1024 + 14;

/// The same on several threads. Giving way wakes another thread there, which takes over one of the ends, and with it the way of
/// each byte from one core to the other.
const LONG_TURN: usize = 8 * 1024 * 1024;

/// On several threads so much at once is a turn as well: a large message is worth it, as both ends copy it side by side.
const AT_ONCE: usize = 4 * READ_BUFFER;

/// What the application wants, until the driver has seen it.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) close: Option<CloseFrame>,
    pub(crate) abort: bool,
    pub(crate) fail: Option<ConnectionError>,
    /// Nobody reads any more.
    pub(crate) discard: bool,
    /// The reader has taken everything.
    pub(crate) caught_up: bool,
    pub(crate) pings: Vec<oneshot::Sender<Duration>>,
}

/// Whether writes are taken.
#[derive(Clone, Debug)]
pub(crate) enum WriteState {
    Open,
    /// Closing, or closed cleanly.
    Closed,
    /// The transport takes no more, and what waited is lost; how it ends is not known yet.
    Broken,
    Failed(ConnectionError),
}

#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) outbox: Outbox,
    pub(crate) state: WriteState,
    pub(super) requests: Option<Box<Requests>>,
    high_water_mark: usize,
    /// Bytes the driver has fetched and not yet written.
    in_flight: usize,
    writer: Option<Waker>,
    /// The writer has been woken to write, or is to come back to it, and nobody has written since.
    is_called: bool,
    /// The mark has been reached, and not half of it is free again.
    is_full: bool,
    /// Bytes that the writer has written itself since it gave way or waited.
    turn: usize,
    /// When that is enough.
    max_turn: usize,
    /// When it is because there was no pause in it.
    max_at_once: usize,
    /// The driver is gone, and the transport with it.
    pub(crate) closed: bool,
    /// The driver has nothing to write: the next frame must wake it.
    driver_idle: bool,
    /// What the driver counts.
    stats: DirectionStats,
    blocked: Option<Instant>,
    round_trip: Option<Duration>,
    buffered_max: usize,
}

impl Outbound {
    pub(crate) fn new(role: Role, config: &Config, codec: Option<Codec>) -> Self {
        let mut outbox = Outbox::new(role, config.max_frame_payload);
        let (max_turn, max_at_once) = max_turn(outbox.max_frame());
        if let Some(codec) = codec {
            outbox.enable_compression(&codec);
        }
        Self {
            outbox,
            state: WriteState::Open,
            requests: None,
            high_water_mark: config.write_high_water_mark,
            in_flight: 0,
            writer: None,
            is_called: false,
            is_full: false,
            turn: 0,
            max_turn,
            max_at_once,
            closed: false,
            driver_idle: true,
            stats: DirectionStats::default(),
            blocked: None,
            round_trip: None,
            buffered_max: 0,
        }
    }

    /// Bytes accepted and not yet written.
    pub(crate) fn buffered(&self) -> usize {
        self.outbox.len() + self.in_flight
    }

    pub(crate) fn high_water_mark(&self) -> usize {
        self.high_water_mark
    }

    pub(crate) fn stats(&self) -> DirectionStats {
        let blocked = self.blocked.map_or(Duration::ZERO, |since| now() - since);
        DirectionStats {
            messages: self.outbox.messages(),
            frames: self.stats.frames + self.outbox.frames(),
            buffered: self.buffered(),
            buffered_max: self.buffered_max,
            paused: self.stats.paused + blocked,
            ..self.stats
        }
    }

    pub(crate) fn ready_state(&self) -> ReadyState {
        match self.state {
            _ if self.closed => ReadyState::Closed,
            WriteState::Open => ReadyState::Open,
            WriteState::Closed | WriteState::Broken | WriteState::Failed(_) => ReadyState::Closing,
        }
    }

    /// The smoothed time between ping and pong.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What is to be asked of the driver, once it is woken.
    pub(crate) fn request(&mut self) -> &mut Requests {
        self.requests.get_or_insert_default()
    }

    // ---- the writer's side ----

    /// Takes no more, and asks for a Close frame behind what has been taken.
    pub(crate) fn close(&mut self, frame: CloseFrame) {
        if matches!(self.state, WriteState::Open) {
            self.state = WriteState::Closed;
            self.request().close = Some(frame);
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
    }

    /// Waits for room. Who has to wait, because the mark is reached, waits until half of it is free.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let buffered = self.buffered();
        self.is_full = buffered >= self.high_water_mark || (self.is_full && buffered > self.high_water_mark / 2);
        if self.is_full { self.wait(cx) } else { Poll::Ready(()) }
    }

    /// Waits until everything accepted has been written.
    pub(crate) fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.buffered() > 0 { self.wait(cx) } else { Poll::Ready(()) }
    }

    /// Bytes that the writer may write itself before others come first.
    pub(crate) fn left_of_turn(&self) -> usize {
        self.max_at_once.min(self.max_turn - self.turn)
    }

    /// The writer has written `len` bytes itself. If its turn `is_over`, others come first, and then it comes back to what may
    /// be left.
    pub(crate) fn has_written(&mut self, len: usize, is_over: bool) {
        self.turn += len;
        if is_over {
            self.turn = 0;
            self.writer = None;
            self.is_called = self.buffered() > 0;
        }
    }

    /// Until there is progress; the end of writing wakes too.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.writer {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The writer, if it waits; it is to be woken, so that it writes.
    pub(super) fn stop_waiting(&mut self) -> Option<Waker> {
        let writer = self.writer.take();
        if writer.is_some() {
            self.is_called = true;
            self.turn = 0;
        }
        writer
    }

    /// There are whole messages to write, and a writer that does not wait for others to do it. The end of a message is worth
    /// waiting for: it then goes into the frame before it.
    pub(crate) fn can_be_written(&self) -> bool {
        self.outbox.len() > 0 && !self.outbox.is_in_message() && self.writer.is_none()
    }

    /// After something was put into the outbox: whether the driver must be woken for it.
    pub(crate) fn must_wake_driver(&mut self) -> bool {
        self.buffered_max = self.buffered_max.max(self.buffered());
        // A writer that was to write and did something else leaves it to the driver.
        let is_left = std::mem::take(&mut self.is_called);
        is_left || (self.outbox.len() > 0 && std::mem::take(&mut self.driver_idle))
    }

    // ---- the driver's side ----

    /// Notes what the driver still holds and what it has counted. A writer that waits is woken at half the mark, or
    /// when nothing more is taken.
    pub(crate) fn report(&mut self, connection: &Connection) -> Option<Waker> {
        self.in_flight = connection.unwritten();
        self.stats = connection.sent();
        self.blocked = connection.blocked_since();
        self.driver_idle = self.buffered() == 0;
        self.is_called = false;
        let is_over = !matches!(self.state, WriteState::Open);
        if is_over || self.buffered() <= self.high_water_mark / 2 { self.writer.take() } else { None }
    }

    /// A message has been accepted, and written as far as the transport took it, past the outbox.
    pub(super) fn sent_at_once(&mut self, connection: &Connection) {
        self.outbox.count_elsewhere();
        self.stats = connection.sent();
    }

    pub(super) fn set_round_trip(&mut self, smoothed: Option<Duration>) {
        self.round_trip = smoothed;
    }

    /// Writing has ended: everything was written, or will never be.
    pub(crate) fn end(&mut self, state: WriteState) -> Option<Waker> {
        self.state = state;
        self.outbox.clear();
        self.in_flight = 0;
        // Nobody will answer those that came too late.
        self.requests = None;
        self.writer.take()
    }
}

/// How much a turn is, and how much of it may be written at once, where frames have up to `max_frame` bytes.
fn max_turn(max_frame: usize) -> (usize, usize) {
    let threads = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
    if threads > 1 {
        return (LONG_TURN, AT_ONCE);
    }
    let turn = if max_frame <= WHOLE_FRAME { TURN.max(max_frame) } else { TURN };
    (turn, turn)
}
