//! The life of a connection after its handshake: open, closing, done (RFC 6455, section 7).

use std::{
    io::IoSlice,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{
    keepalive::{Due, Keepalive},
    pings::Pings,
    recv::{Chunk, Received, Receiver},
    send::{MaskKeys, Outbox},
    stage::Stage,
};
use crate::{
    close::{CloseFrame, CloseInfo},
    config::Config,
    error::{ConnectionError, Outcome},
    role::Role,
    stats::DirectionStats,
    wire::header::OpCode,
};

/// How long the transport's own end is waited for after both Close frames, or after a failure.
const LINGER: Duration = Duration::from_secs(2);

/// How long the answer to a Close frame waits for a reader that is keeping up, so that what it answers to the last
/// messages still goes out before it.
const REPLY_GRACE: Duration = Duration::from_millis(100);

/// What [`Connection::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Chunk(Chunk),
    /// Ping number, round trip.
    Pong(u64, Duration),
    /// The peer's Close frame. Nothing follows it.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// We want to close: our Close frame goes out behind all data, then the peer's is awaited.
    Closing,
    /// The peer's Close frame came; ours waits for the reader to catch up.
    Grace,
    /// The peer's Close frame came; ours goes out.
    Replying,
    /// We found a fault; our Close frame, if there is one, goes out.
    Failing,
    /// The transport takes no more. What it still has to give is read, perhaps a Close frame.
    WriteBroken,
    /// All is said; the transport is to be shut down.
    ShuttingDown,
    /// All is said; the peer ends the transport, or time does.
    Lingering,
    Done,
}

#[derive(Debug)]
pub(crate) struct Connection {
    role: Role,
    close_timeout: Duration,
    receiver: Receiver,
    stage: Stage,
    pings: Pings,
    keepalive: Keepalive,
    phase: Phase,
    /// Our Close frame, until it is staged.
    close: Option<CloseFrame>,
    /// Our Close frame has been staged.
    close_staged: bool,
    peer_close: Option<CloseFrame>,
    /// Why the end is not clean.
    failure: Option<ConnectionError>,
    /// Of all phases but `Open`, whose clock is the keepalive's.
    deadline: Option<Instant>,
    /// Nobody takes what comes in; then its coming is not progress.
    discarding: bool,
    eof: bool,
    bytes_received: u64,
    bytes_sent: u64,
    /// Since when the transport takes no more.
    blocked: Option<Instant>,
    write_pauses: u64,
    write_paused: Duration,
}

impl Connection {
    pub(crate) fn new(role: Role, config: &Config, now: Instant) -> Self {
        Self {
            role,
            close_timeout: config.close_timeout,
            receiver: Receiver::new(role, config.max_message_size),
            stage: Stage::new(role, config.max_frame_payload),
            pings: Pings::default(),
            keepalive: Keepalive::new(config, now),
            phase: Phase::Open,
            close: None,
            close_staged: false,
            peer_close: None,
            failure: None,
            deadline: None,
            discarding: false,
            eof: false,
            bytes_received: 0,
            bytes_sent: 0,
            blocked: None,
            write_pauses: 0,
            write_paused: Duration::ZERO,
        }
    }

    // ---- what the application did ----

    /// Takes what the application has queued.
    pub(crate) fn fetch(&mut self, outbox: &mut Outbox, now: Instant) {
        if outbox.len() > 0 {
            self.keepalive.used(now);
        }
        match self.phase {
            Phase::Open | Phase::Closing | Phase::Grace | Phase::Replying => self.stage.fetch(outbox),
            _ => outbox.clear(),
        }
    }

    /// Begins closing: the frame follows everything accepted so far. The first call counts.
    pub(crate) fn close(&mut self, frame: CloseFrame, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.close = Some(frame);
                self.enter(Phase::Closing, now);
            }
            Phase::Grace => {
                self.close = Some(frame);
                self.enter(Phase::Replying, now);
            }
            _ => {}
        }
    }

    /// Ends at once, without a word.
    pub(crate) fn abort(&mut self) {
        if !self.is_over() {
            self.failure.get_or_insert(ConnectionError::Aborted);
        }
        self.phase = Phase::Done;
    }

    /// Fails the connection (7.1.7): the peer is told where that makes sense, what waited to be sent is dropped.
    pub(crate) fn fail(&mut self, error: ConnectionError, now: Instant, keys: MaskKeys<'_>) {
        // A message that the peer will not read any more need not be finished.
        let moot = self.peer_close.is_some() && matches!(error, ConnectionError::UnfinishedMessage);
        if self.is_over() || moot {
            return;
        }
        let frame = error.close_frame();
        let cut = if self.phase == Phase::WriteBroken { None } else { self.stage.cut() };
        // Our own Close frame is the last thing staged: if anything was cut, so was it, unless it had begun to be written.
        self.close_staged &= cut == Some(0);
        self.failure.get_or_insert(error);
        match frame {
            Some(frame) if cut.is_some() => {
                self.enter(Phase::Failing, now);
                if !std::mem::replace(&mut self.close_staged, true) {
                    self.stage.push_close(&frame, keys);
                } else if self.stage.is_empty() {
                    self.all_said(now);
                }
            }
            _ => self.phase = Phase::Done,
        }
    }

    /// Queues a ping; its number.
    pub(crate) fn ping(&mut self, now: Instant, keys: MaskKeys<'_>) -> u64 {
        let number = self.pings.begin(now);
        if self.may_send_control() {
            self.stage.push_control(OpCode::Ping, &number.to_be_bytes(), keys);
        }
        number
    }

    /// Nobody wants what comes in any more.
    pub(crate) fn discard(&mut self, now: Instant) {
        self.discarding = true;
        self.reader_caught_up(now);
    }

    /// The reader has taken all there was: nothing more can be expected to be sent in answer to it.
    pub(crate) fn reader_caught_up(&mut self, now: Instant) {
        if self.phase == Phase::Grace {
            self.enter(Phase::Replying, now);
        }
    }

    // ---- writing ----

    /// Prepares what goes out next: when all that was accepted is out, the Close frame, if it is due.
    /// `all_fetched`: the outbox is empty, and stays so if the application may not write any more.
    pub(crate) fn fill(&mut self, all_fetched: bool, keys: MaskKeys<'_>) {
        self.stage.fill(keys);
        let due = matches!(self.phase, Phase::Closing | Phase::Replying);
        if due && !self.close_staged && all_fetched && self.stage.is_idle() {
            self.stage_close(keys);
        }
    }

    fn stage_close(&mut self, keys: MaskKeys<'_>) {
        if self.stage.is_mid_frame() {
            // A frame of declared length was left incomplete: no Close frame can follow it.
            let error = if self.peer_close.is_some() { self.unsent() } else { ConnectionError::UnfinishedMessage };
            self.lost(error);
        } else if let Some(frame) = self.close.take() {
            self.stage.push_close(&frame, keys);
            self.close_staged = true;
        }
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.stage.slices(slices)
    }

    /// Bytes fetched and not yet written; control frames do not count.
    pub(crate) fn unwritten(&self) -> usize {
        self.stage.data_len()
    }

    /// Nothing is ready to be written.
    pub(crate) fn is_write_idle(&self) -> bool {
        self.stage.is_idle()
    }

    /// The transport has taken `len` bytes, and they are flushed if these were the last.
    pub(crate) fn wrote(&mut self, len: usize, now: Instant) {
        self.stage.advance(len);
        self.bytes_sent += len as u64;
        if let Some(since) = self.blocked.take() {
            self.write_paused += now.saturating_duration_since(since);
            self.keepalive.heard(now);
        }
        self.progress(now);
        if self.close_staged && self.stage.is_empty() {
            match self.phase {
                Phase::Replying | Phase::Failing => self.all_said(now),
                _ => {}
            }
        }
    }

    /// The transport takes no more for now.
    pub(crate) fn blocked(&mut self, now: Instant) {
        if self.blocked.is_none() {
            self.blocked = Some(now);
            self.write_pauses += 1;
        }
    }

    /// The peer has closed and the transport is [`blocked`](Self::blocked): what it did not take is not sent any more.
    pub(crate) fn give_up_unsent(&mut self, outbox: &mut Outbox, now: Instant, keys: MaskKeys<'_>) {
        let waiting = outbox.len();
        outbox.clear();
        match self.stage.cut() {
            Some(0) if waiting == 0 => {}
            Some(_) => {
                self.failure.get_or_insert(self.unsent());
            }
            None => return self.lost(self.unsent()),
        }
        self.stage_close(keys);
        self.progress(now);
    }

    /// The transport is to be shut down for writing.
    pub(crate) fn wants_shutdown(&self) -> bool {
        self.phase == Phase::ShuttingDown
    }

    /// It has been, or cannot be.
    pub(crate) fn shut_down(&mut self) {
        if self.phase == Phase::ShuttingDown {
            // A failed connection is drained for a while, lest a reset destroy our Close frame on its way.
            let drain = self.failure.is_some() || self.peer_close.is_none();
            self.phase = if drain && !self.eof { Phase::Lingering } else { Phase::Done };
        }
    }

    /// The transport takes nothing any more. `all_fetched` as in [`fill`](Self::fill).
    pub(crate) fn write_failed(&mut self, error: std::io::Error, all_fetched: bool, now: Instant) {
        let nothing_lost = match self.close_staged {
            true => self.stage.is_last_item(),
            false => all_fetched && self.unwritten() == 0,
        };
        self.stage.clear();
        match self.phase {
            // The peer has closed and is gone: whether our answer reached it makes no difference any more.
            Phase::Replying | Phase::Grace if nothing_lost => self.phase = Phase::Done,
            Phase::Replying | Phase::Grace => self.lost(self.unsent()),
            Phase::Open | Phase::Closing => {
                self.failure = Some(error.into());
                self.enter(Phase::WriteBroken, now);
            }
            Phase::WriteBroken | Phase::Done => {}
            Phase::Failing | Phase::ShuttingDown | Phase::Lingering => self.phase = Phase::Done,
        }
    }

    // ---- reading ----

    /// The transport should be read.
    pub(crate) fn wants_read(&self) -> bool {
        !self.eof
            && !self.stage.is_control_full()
            && (self.is_delivering() || matches!(self.phase, Phase::Lingering | Phase::Failing))
    }

    /// What is read goes to the application, so reading must keep its pace.
    pub(crate) fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing | Phase::WriteBroken)
    }

    /// Bytes have arrived.
    pub(crate) fn arrived(&mut self, len: usize, now: Instant) {
        self.bytes_received += len as u64;
        self.keepalive.heard(now);
    }

    /// The next event in `input`, `None` when more is needed. A fault fails the connection.
    #[inline]
    pub(crate) fn receive(&mut self, input: &mut BytesMut, now: Instant, keys: MaskKeys<'_>) -> Option<Event> {
        loop {
            if !self.is_delivering() {
                input.clear();
                return None;
            }
            match self.receiver.decode(input) {
                Ok(Some(Received::Chunk(chunk))) => {
                    self.keepalive.used(now);
                    // Only what somebody takes: neither pings nor unwanted data may keep a closing connection alive.
                    if !self.discarding && self.failure.is_none() {
                        self.progress(now);
                    }
                    return Some(Event::Chunk(chunk));
                }
                Ok(None) => return None,
                Ok(Some(received)) => {
                    if let Some(event) = self.control(received, now, keys) {
                        return Some(event);
                    }
                    if self.stage.is_control_full() {
                        return None;
                    }
                }
                Err(error) => {
                    self.fail(error, now, keys);
                    input.clear();
                    return None;
                }
            }
        }
    }

    #[cold]
    fn control(&mut self, received: Received, now: Instant, keys: MaskKeys<'_>) -> Option<Event> {
        match received {
            Received::Ping(payload) => {
                if self.may_send_control() {
                    self.stage.push_control(OpCode::Pong, &payload, keys);
                }
                None
            }
            Received::Pong(payload) => {
                self.pings.answered(&payload, now).map(|(number, trip)| Event::Pong(number, trip))
            }
            Received::Close(frame) => {
                self.peer_closed(frame, now);
                Some(Event::Close)
            }
            Received::Chunk(chunk) => Some(Event::Chunk(chunk)),
        }
    }

    fn peer_closed(&mut self, frame: CloseFrame, now: Instant) {
        self.peer_close = Some(frame.clone());
        if self.receiver.in_message() {
            let info = CloseInfo::new(self.peer_close.as_ref(), false);
            self.failure.get_or_insert(ConnectionError::MessageCut(info));
        }
        match self.phase {
            Phase::WriteBroken => {
                self.failure = Some(self.unsent());
                self.phase = Phase::Done;
            }
            Phase::Closing if self.close_staged && self.stage.is_empty() => self.all_said(now),
            _ => {
                self.close.get_or_insert(frame);
                self.enter(Phase::Replying, now);
            }
        }
    }

    /// The reader has been keeping up and is about to see the last messages: the answer to the Close frame waits for
    /// what it may say to them. Called right after [`Event::Close`].
    pub(crate) fn wait_for_reader(&mut self, now: Instant) {
        let is_echo = self.close == self.peer_close;
        if self.phase == Phase::Replying && is_echo && self.failure.is_none() {
            self.phase = Phase::Grace;
            self.deadline = Some(now + REPLY_GRACE);
        }
    }

    /// The peer has ended the transport.
    pub(crate) fn eof(&mut self) {
        self.eof = true;
        match self.phase {
            Phase::Open | Phase::Closing | Phase::WriteBroken => self.lost(ConnectionError::Lost),
            Phase::Lingering => self.phase = Phase::Done,
            Phase::Grace | Phase::Replying | Phase::Failing | Phase::ShuttingDown | Phase::Done => {}
        }
    }

    pub(crate) fn read_failed(&mut self, error: std::io::Error) {
        self.eof = true;
        match self.phase {
            Phase::Open | Phase::Closing | Phase::WriteBroken => self.lost(error.into()),
            _ => self.phase = Phase::Done,
        }
    }

    fn lost(&mut self, error: ConnectionError) {
        self.failure.get_or_insert(error);
        self.phase = Phase::Done;
    }

    // ---- time and the end ----

    /// Whether our own reader lags, so that the transport is left unread.
    pub(crate) fn set_paused(&mut self, paused: bool, now: Instant) {
        self.keepalive.set_paused(paused, now);
    }

    /// When [`timed_out`](Self::timed_out) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Open { self.keepalive.deadline() } else { self.deadline }
    }

    fn keep_alive(&mut self, now: Instant, keys: MaskKeys<'_>) {
        match self.keepalive.due(now) {
            Due::Nothing => {}
            // One that could not be written yet says as much as two.
            Due::Ping | Due::Heartbeat if self.stage.has_control() => {}
            Due::Ping => {
                self.ping(now, keys);
            }
            Due::Heartbeat => self.stage.push_control(OpCode::Pong, &[], keys),
            Due::Dead(timeout) => self.lost(ConnectionError::KeepaliveTimeout(timeout)),
            Due::Idle(timeout) => self.fail(ConnectionError::IdleTimeout(timeout), now, keys),
        }
    }

    pub(crate) fn timed_out(&mut self, now: Instant, keys: MaskKeys<'_>) {
        if self.phase == Phase::Open {
            return self.keep_alive(now, keys);
        }
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Open | Phase::Done => {}
            Phase::Grace => self.enter(Phase::Replying, now),
            Phase::Closing | Phase::Replying => {
                let error = match self.peer_close {
                    Some(_) => self.unsent(),
                    None => ConnectionError::CloseTimeout(self.close_timeout),
                };
                self.lost(error);
            }
            Phase::Failing | Phase::WriteBroken | Phase::ShuttingDown | Phase::Lingering => self.phase = Phase::Done,
        }
    }

    /// What every handle is to report once it has delivered what came before: as soon as that is certain.
    pub(crate) fn ending(&self) -> Option<Outcome> {
        if let Some(failure) = &self.failure {
            // While a broken transport is still read, what it brings may be a better explanation.
            return (self.phase != Phase::WriteBroken).then(|| Err(failure.clone()));
        }
        self.is_over().then(|| Ok(CloseInfo::new(self.peer_close.as_ref(), true)))
    }

    /// The transport may be dropped.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The peer has closed, and waits for our Close frame.
    pub(crate) fn must_reply(&self) -> bool {
        self.phase == Phase::Replying && !self.close_staged
    }

    // ---- statistics ----

    pub(crate) fn received(&self) -> DirectionStats {
        let (frames, control_frames) = self.receiver.frames();
        DirectionStats { bytes: self.bytes_received, frames, control_frames, ..DirectionStats::default() }
    }

    /// All but what the outbox knows itself.
    pub(crate) fn sent(&self) -> DirectionStats {
        let (frames, control_frames) = self.stage.frames();
        let (pauses, paused) = (self.write_pauses, self.write_paused);
        DirectionStats { bytes: self.bytes_sent, frames, control_frames, pauses, paused, ..DirectionStats::default() }
    }

    /// Since when the transport takes no more.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.pings.round_trip()
    }

    /// The application may still write.
    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Grace)
    }

    /// The transport takes no more: what was accepted and not written is lost.
    pub(crate) fn is_write_broken(&self) -> bool {
        self.phase == Phase::WriteBroken
    }

    /// Pings and pongs: not behind our Close frame, nor to a transport that takes nothing.
    fn may_send_control(&self) -> bool {
        !self.close_staged && !matches!(self.phase, Phase::WriteBroken | Phase::Done)
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Failing | Phase::ShuttingDown | Phase::Lingering | Phase::Done)
    }

    fn unsent(&self) -> ConnectionError {
        ConnectionError::Unsent(CloseInfo::new(self.peer_close.as_ref(), false))
    }

    /// Both Close frames went their way, or a failure has been told: who ends the transport (7.1.1)?
    fn all_said(&mut self, now: Instant) {
        self.phase = match (self.role, &self.failure) {
            (Role::Client, None) if !self.eof => Phase::Lingering,
            _ => Phase::ShuttingDown,
        };
        self.deadline = Some(now + LINGER);
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.deadline = now.checked_add(self.close_timeout);
    }

    /// A byte went through: closing is given more time.
    fn progress(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closing | Phase::Replying | Phase::Failing | Phase::WriteBroken) {
            self.deadline = now.checked_add(self.close_timeout);
        }
    }
}
