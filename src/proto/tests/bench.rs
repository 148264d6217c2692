//! What puts endpoints to the test: a scripted peer, or another endpoint.

use std::time::{Duration, Instant};

use super::{
    CLOSE, Endpoint, FOREVER, Pipe, close_body, config, frame,
    model::{self, Frame},
    other,
};
use crate::{close::CloseInfo, config::Config, error::ConnectionError, role::Role};

/// An endpoint against a scripted peer: bytes in, bytes out.
pub(crate) struct Bench {
    pub(crate) end: Endpoint,
    pub(super) incoming: Pipe,
    pub(super) outgoing: Pipe,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(role: Role) -> Self {
        Self::with(role, &config())
    }

    pub(crate) fn with(role: Role, config: &Config) -> Self {
        let now = Instant::now();
        Self {
            end: Endpoint::new(role, config, now),
            incoming: Pipe::new(usize::MAX),
            outgoing: Pipe::new(usize::MAX),
            now,
        }
    }

    /// The peer sends bytes.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> &mut Self {
        self.incoming.push(bytes);
        self.settle()
    }

    /// The peer sends a frame as it should be.
    pub(super) fn hear_frame(&mut self, first: u8, payload: &[u8]) -> &mut Self {
        let bytes = frame(other(self.end.role), first, payload);
        self.hear(&bytes)
    }

    pub(super) fn hear_close(&mut self, code: u16, reason: &str) -> &mut Self {
        self.hear_frame(CLOSE, &close_body(code, reason))
    }

    /// The peer ends the transport.
    pub(crate) fn hear_end(&mut self) -> &mut Self {
        self.incoming.ended = true;
        self.settle()
    }

    /// Everything that can happen without time going on.
    pub(super) fn settle(&mut self) -> &mut Self {
        while self.end.turn(self.now, &mut self.incoming, &mut self.outgoing) {}
        self
    }

    /// The peer takes bytes from the transport.
    pub(super) fn take(&mut self, len: usize) -> &mut Self {
        self.outgoing.pop(len);
        self.settle()
    }

    /// Lets time go on.
    pub(super) fn wait(&mut self, time: Duration) -> &mut Self {
        let until = self.now + time;
        self.settle();
        while let Some(deadline) = self.end.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.end.timed_out(self.now);
            self.settle();
        }
        self.now = until;
        self
    }

    /// Lets time go on to the end of the connection: how long it took.
    pub(crate) fn run_out(&mut self) -> Duration {
        let start = self.now;
        self.settle();
        while !self.end.connection.is_done() {
            let deadline = self.end.deadline().expect("a phase without a deadline");
            self.now = self.now.max(deadline);
            assert!(self.now - start < FOREVER, "the deadlines never end");
            self.end.timed_out(self.now);
            self.settle();
        }
        self.now - start
    }

    /// The frames that the endpoint has sent; the last may be incomplete.
    pub(super) fn said(&self) -> Vec<Frame> {
        model::frames(self.end.role, &self.outgoing.log)
    }

    /// First bytes of the frames sent.
    pub(super) fn firsts(&self) -> Vec<u8> {
        self.said().iter().map(|frame| frame.first).collect()
    }

    /// First byte and payload of the last frame sent.
    pub(crate) fn last_said(&self) -> (u8, Vec<u8>) {
        let last = self.said().pop().expect("it said something");
        assert!(last.complete);
        (last.first, last.payload)
    }

    pub(crate) fn ending(&self) -> Result<CloseInfo, ConnectionError> {
        self.end.ending().expect("the ending is certain")
    }
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.ending(), Err(ConnectionError::Lost))
    }
}

/// Two endpoints, two pipes between them.
pub(crate) struct Pair {
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) now: Instant,
}

impl Pair {
    pub(crate) fn new(config: &Config, capacity: usize) -> Self {
        let now = Instant::now();
        Self {
            client: Endpoint::new(Role::Client, config, now),
            server: Endpoint::new(Role::Server, config, now),
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            now,
        }
    }

    pub(super) fn turn(&mut self) -> bool {
        let client = self.client.turn(self.now, &mut self.down, &mut self.up);
        let server = self.server.turn(self.now, &mut self.up, &mut self.down);
        client || server
    }

    pub(super) fn settle(&mut self) {
        while self.turn() {}
    }

    pub(super) fn is_done(&self) -> bool {
        self.client.connection.is_done() && self.server.connection.is_done()
    }

    /// Lets time go on to the next deadline, if there is one before `until`.
    pub(super) fn wait(&mut self, until: Instant) -> bool {
        let next = [&self.client, &self.server].into_iter().filter_map(Endpoint::deadline).min();
        let Some(deadline) = next.filter(|deadline| *deadline <= until) else { return false };
        self.now = self.now.max(deadline);
        for end in [&mut self.client, &mut self.server] {
            end.timed_out(self.now);
        }
        true
    }

    /// Lets time go on to the end of both: how long it took.
    pub(super) fn run_out(&mut self) -> Duration {
        let start = self.now;
        self.settle();
        while !self.is_done() {
            assert!(self.wait(start + FOREVER), "no deadline, or no end of them");
            self.settle();
        }
        self.now - start
    }
}
