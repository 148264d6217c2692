//! Deadlines: of an open connection the keepalive's, of a closing one its own.

use std::time::Instant;

use super::{Connection, Phase};
use crate::{
    error::ConnectionError,
    proto::{keepalive::Due, send::MaskKeys},
    wire::header::OpCode,
};

impl Connection {
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

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.deadline = now.checked_add(self.close_timeout);
    }

    /// A byte went through: closing is given more time.
    pub(super) fn progress(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closing | Phase::Replying | Phase::Failing | Phase::WriteBroken) {
            self.deadline = now.checked_add(self.close_timeout);
        }
    }
}
