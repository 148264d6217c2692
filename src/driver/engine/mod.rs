//! What moves bytes between the transport, the [`Connection`] and the queues: one round at a time, on behalf of the
//! driver or of a half.

mod reading;
mod writing;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::channel::oneshot;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    in_place::Half,
    inbound::{self, Queued},
    now,
    outbound::WriteState,
    read_buffer::ReadBuffer,
    shared::{Shared, mask_key},
};
use crate::{
    error::{ConnectionError, Outcome},
    proto::connection::Connection,
};

const ROUNDS: usize = 32;

/// The same where each of them may take milliseconds.
const COMPRESSING_ROUNDS: usize = 2;

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    read: ReadBuffer,
    /// Decoded, not yet queued.
    batch: VecDeque<Queued>,
    /// Bytes decoded since the last chunk.
    since_chunk: usize,
    /// How much the reader may be given; more by now, if it has consumed something.
    room: usize,
    /// Everything accepted has been fetched.
    all_fetched: bool,
    /// The handles know how it ended.
    told: bool,
    pings: VecDeque<(u64, oneshot::Sender<Duration>)>,
    /// Who has the turn, if not the driver: it need not be woken.
    half: Option<Half>,
    /// Bytes that may still be written before it ends.
    left: usize,
    /// It has been given a chunk.
    delivered: bool,
    /// When the turn began.
    now: Instant,
}

impl Engine {
    pub(super) fn new(leftover: BytesMut, shared: Arc<Shared>) -> Self {
        let now = now();
        let mut connection = Connection::new(shared.role, &shared.config, now);
        connection.arrived(leftover.len(), now);
        if let Some(codec) = shared.codec() {
            connection.enable_compression(&codec);
        }
        Self {
            connection,
            shared,
            read: ReadBuffer::holding(leftover),
            batch: VecDeque::new(),
            since_chunk: 0,
            room: 0,
            all_fetched: true,
            told: false,
            pings: VecDeque::new(),
            half: None,
            left: usize::MAX,
            delivered: false,
            now,
        }
    }

    /// Somebody's turn begins. The clock is read once a turn, which lasts a few rounds; for a half's turn the time of the
    /// driver's last look will do, unless something is being measured.
    pub(super) fn begin(&mut self, half: Option<Half>) {
        if half.is_none() || !self.shared.turn.is_watched() || self.connection.is_measuring() {
            self.now = now();
        }
        self.half = half;
        self.left = usize::MAX;
        self.delivered = false;
    }

    /// This turn ends when `most` bytes have been written.
    pub(super) fn write_at_most(&mut self, most: usize) {
        self.left = most;
    }

    /// Bytes that may still be written in this turn.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// A round of writing and, if asked for, reading. `Ready`: there is more to do.
    pub(super) fn round<T>(&mut self, transport: &mut T, cx: &mut Context<'_>, reads: bool) -> Poll<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let written = self.write(transport, cx);
        let read = if reads { self.read(transport, cx) } else { Poll::Pending };
        self.tell();
        if written.is_ready() { written } else { read }
    }

    /// Nothing moves for now: other connections may have the read buffer. One that has been idle for a while gives back
    /// what else it holds.
    pub(super) fn rest(&mut self) {
        self.read.release();
        if self.half.is_none() && !self.shared.turn.is_watched() {
            inbound::give_back(&mut self.batch);
            self.shared.inbound().rest();
        }
    }

    /// The last read took all there was.
    pub(super) fn has_emptied_transport(&self) -> bool {
        self.is_decoded() && self.read.was_short()
    }

    /// Nothing more can be had without a read.
    fn is_decoded(&self) -> bool {
        self.read.is_decoded() && !self.connection.has_more()
    }

    /// The half whose turn it is has what it waits for.
    pub(super) fn has_delivered(&self) -> bool {
        self.delivered && self.half == Some(Half::Reader)
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Nothing was left in the outbox when it was last looked at.
    pub(super) fn has_fetched_all(&self) -> bool {
        self.all_fetched
    }

    /// Rounds of reading and writing before other tasks of the thread get their turn.
    pub(super) fn rounds(&self) -> usize {
        if self.is_compressing() { COMPRESSING_ROUNDS } else { ROUNDS }
    }

    /// Each round may take milliseconds.
    pub(super) fn is_compressing(&self) -> bool {
        self.connection.is_compressing()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.connection.deadline()
    }

    pub(super) fn timed_out(&mut self) {
        self.now = now();
        self.connection.timed_out(self.now, &mut mask_key);
        self.tell();
    }

    /// The outcome, once the transport may be dropped.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.connection.ending().filter(|_| self.connection.is_done())
    }

    /// The transport is gone.
    pub(super) fn shut(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            end(&self.shared, Err(ConnectionError::RuntimeShutDown));
        }
        self.read.release();
        self.read = ReadBuffer::default();
        self.pings.clear();
        self.shared.outbound().closed = true;
    }

    // ---- what the handles are told ----

    /// Tells the handles how it ended, once that is certain.
    fn tell(&mut self) {
        if !self.connection.is_open()
            && !self.told
            && let Some(ending) = self.connection.ending()
        {
            self.told = true;
            end(&self.shared, ending);
            self.pings.clear();
        }
    }

    /// Wakes a half, unless it is its turn: it will look by itself.
    fn wake(&self, waker: Option<Waker>, half: Half) {
        if let Some(waker) = waker
            && self.half != Some(half)
        {
            waker.wake();
        }
    }
}

/// Leaves the outcome where both halves find it.
pub(super) fn end(shared: &Shared, outcome: Outcome) {
    let state = match &outcome {
        Ok(_) => WriteState::Closed,
        Err(error) => WriteState::Failed(error.clone()),
    };
    let reader = shared.inbound().end(outcome);
    let writer = shared.outbound().end(state);
    for waker in [reader, writer].into_iter().flatten() {
        waker.wake();
    }
}
