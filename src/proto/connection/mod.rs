//! The life of a connection after its handshake: open, closing, done (RFC 6455, section 7).

mod reading;
mod time;
mod writing;

use std::time::{Duration, Instant};

use super::{
    keepalive::Keepalive,
    pings::Pings,
    recv::Receiver,
    send::{MaskKeys, Outbox},
    stage::Stage,
};
use crate::{
    close::{CloseFrame, CloseInfo},
    compression::Codec,
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
    /// A chunk has been delivered.
    Chunk,
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
    /// Something has been written and not flushed.
    unflushed: bool,
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
            unflushed: false,
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

    /// Compression has been agreed on.
    pub(crate) fn enable_compression(&mut self, codec: &Codec) {
        self.receiver.enable_compression(codec.receive_takeover);
        self.stage.enable_compression(codec);
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
                } else if self.is_close_sent() {
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
        self.receiver.discard();
        self.reader_caught_up(now);
    }

    /// The reader has taken all there was: nothing more can be expected to be sent in answer to it.
    pub(crate) fn reader_caught_up(&mut self, now: Instant) {
        if self.phase == Phase::Grace {
            self.enter(Phase::Replying, now);
        }
    }

    // ---- the end ----

    /// What every handle is to report once it has delivered what came before: as soon as that is certain.
    pub(crate) fn ending(&self) -> Option<Outcome> {
        if let Some(failure) = &self.failure {
            // While a broken transport is still read, what it brings may be a better explanation.
            return (self.phase != Phase::WriteBroken).then(|| Err(failure.clone()));
        }
        self.is_over().then(|| Ok(CloseInfo::new(self.peer_close.as_ref(), true)))
    }

    /// Neither end has begun to close, and nothing is wrong.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// A time is being taken that somebody will see: of a ping, or of a transport that takes no more.
    pub(crate) fn is_measuring(&self) -> bool {
        self.blocked.is_some() || self.pings.are_awaited()
    }

    /// The transport may be dropped.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn lost(&mut self, error: ConnectionError) {
        self.failure.get_or_insert(error);
        self.phase = Phase::Done;
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
}
