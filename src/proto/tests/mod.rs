//! The core without a runtime: endpoints joined by pipes of bounded capacity, in virtual time.
//!
//! The harness and the models also serve the fuzz targets (`src/fuzzing/`).

// What only the tests of one file use is unused in a build for fuzzing.
#![cfg_attr(not(test), allow(dead_code))]

pub(crate) mod applications;
pub(crate) mod bench;
pub(crate) mod model;

#[cfg(test)]
mod answering;
#[cfg(test)]
mod by_the_book;
#[cfg(test)]
mod closing;
#[cfg(test)]
mod cuts;
#[cfg(test)]
mod deflate;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod liveness;
#[cfg(test)]
mod recv;
#[cfg(test)]
mod sending;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

pub(crate) use self::bench::{Bench, Pair};
use super::{
    connection::{Connection, Event},
    send::Outbox,
};
use crate::{
    close::{CloseCode, CloseFrame, CloseInfo},
    compression::{Codec, DeflateParams},
    config::Config,
    error::ConnectionError,
    message::MessageKind,
    role::Role,
};

const CONT: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Nothing takes longer than this in virtual time; what does has no deadline.
const FOREVER: Duration = Duration::from_secs(3600);

/// Mask keys that are counted: a test that fails does so every time.
fn counted_keys() -> impl FnMut() -> u32 {
    let mut count = 0u32;
    move || {
        count += 1;
        count.wrapping_mul(0x9E37_79B9)
    }
}

/// The defaults, without the keepalive: time goes by in silence.
pub(crate) fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None)
}

pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// A frame as `sender` has to send it, made without the code under test. `first` is the whole first byte.
fn frame(sender: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = sender == Role::Client;
    let bit = if masked { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(bit | len as u8),
        len @ 126..=0xFFFF => {
            out.push(bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let key = if masked { [0xA1, 0x02, 0x73, 0x44] } else { [0; 4] };
    if masked {
        out.extend(key);
    }
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// The payload of a Close frame.
fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// One direction of a transport.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that may be on their way; a full pipe is a transport that would block.
    capacity: usize,
    /// Everything that ever went in.
    log: Vec<u8>,
    /// The writing end was shut down or dropped.
    ended: bool,
    /// Writing fails.
    broken: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity, log: Vec::new(), ended: false, broken: false }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    fn push(&mut self, data: &[u8]) -> usize {
        let len = data.len().min(self.room());
        self.bytes.extend(&data[..len]);
        self.log.extend(&data[..len]);
        len
    }

    fn pop(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.bytes.len());
        self.bytes.drain(..len).collect()
    }
}

/// A message as an application sees it: kind, payload, and whether its end came.
pub(crate) type Seen = (MessageKind, Vec<u8>, bool);

/// One end of a connection with its application and its driver, which follows the driving contract.
pub(crate) struct Endpoint {
    connection: Connection,
    outbox: Outbox,
    codec: Option<Codec>,
    keys: Box<dyn FnMut() -> u32>,
    role: Role,
    input: BytesMut,
    pub(crate) read_size: usize,
    /// Messages as they arrived.
    pub(crate) seen: Vec<Seen>,
    /// `Event::Close` came so often.
    closes_seen: usize,
    /// Pongs to own pings.
    pongs: Vec<u64>,
    /// The application does not read.
    lags: bool,
    /// It will not read any more, and so there is nothing to see of what would have to be inflated.
    is_blind: bool,
    /// The answer to a Close frame waits for the reader.
    waits_for_reader: bool,
    /// The application has closed for writing.
    closed: bool,
    close: Option<CloseFrame>,
    fail: Option<ConnectionError>,
}

impl Endpoint {
    /// With compression, if the configuration has it: both ends are taken to agree on it without limits.
    fn new(role: Role, config: &Config, now: Instant) -> Self {
        let mut connection = Connection::new(role, config, now);
        let mut outbox = Outbox::new(role, config.max_frame_payload);
        let codec = config.compression.map(|compression| compression.codec(role, &DeflateParams::default()));
        if let Some(codec) = &codec {
            connection.enable_compression(codec);
            outbox.enable_compression(codec);
        }
        Self {
            connection,
            outbox,
            codec,
            keys: Box::new(counted_keys()),
            role,
            input: BytesMut::new(),
            read_size: 1000,
            seen: Vec::new(),
            closes_seen: 0,
            pongs: Vec::new(),
            lags: false,
            is_blind: false,
            waits_for_reader: false,
            closed: false,
            close: None,
            fail: None,
        }
    }

    /// Whether the application's data is still accepted.
    fn is_writable(&self) -> bool {
        !self.closed && self.connection.is_writable()
    }

    fn send(&mut self, kind: MessageKind, payload: impl Into<Bytes>) -> bool {
        let writable = self.is_writable();
        if writable {
            self.outbox.message(kind, payload.into(), &mut *self.keys);
        }
        writable
    }

    fn begin(&mut self, kind: MessageKind, length: Option<u64>) {
        assert!(self.is_writable());
        self.outbox.begin(kind, length, true, &mut *self.keys);
    }

    fn chunk(&mut self, data: impl Into<Bytes>) {
        self.outbox.chunk(data.into(), &mut *self.keys);
    }

    fn finish(&mut self) {
        self.outbox.finish(&mut *self.keys);
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.request_close(CloseFrame::new(CloseCode::try_from(code).unwrap(), reason).unwrap());
    }

    fn request_close(&mut self, frame: CloseFrame) {
        if !std::mem::replace(&mut self.closed, true) {
            self.close = Some(frame);
        }
    }

    /// An unfinished message writer is dropped.
    fn leave_unfinished(&mut self) {
        self.closed = true;
        self.fail = Some(ConnectionError::UnfinishedMessage);
    }

    fn ping(&mut self, now: Instant) -> u64 {
        self.connection.ping(now, &mut *self.keys)
    }

    fn ending(&self) -> Option<Result<CloseInfo, ConnectionError>> {
        self.connection.ending()
    }

    /// One round of the driving contract; whether it made progress.
    fn turn(&mut self, now: Instant, incoming: &mut Pipe, outgoing: &mut Pipe) -> bool {
        if self.connection.is_done() {
            // The transport has been dropped.
            incoming.broken = true;
            return !std::mem::replace(&mut outgoing.ended, true);
        }
        let wrote = self.write(now, outgoing);
        let read = self.read(now, incoming);
        wrote || read || self.connection.is_done()
    }

    fn write(&mut self, now: Instant, outgoing: &mut Pipe) -> bool {
        self.connection.fetch(&mut self.outbox, now);
        let all_fetched = self.outbox.len() == 0;
        if let Some(frame) = self.close.take() {
            self.connection.close(frame, now);
        }
        if let Some(error) = self.fail.take() {
            self.connection.fail(error, now, &mut *self.keys);
        }
        let waiting = self.connection.unwritten();
        self.connection.fill(all_fetched, &mut *self.keys);
        if self.connection.is_write_idle() {
            if waiting > 0 {
                return true;
            }
            if self.connection.needs_flush() {
                self.connection.flushed(now);
                return true;
            }
            let shutdown = self.connection.wants_shutdown();
            if shutdown {
                outgoing.ended = true;
                self.connection.shut_down();
            }
            return shutdown;
        }
        if outgoing.broken {
            self.connection.write_failed(io::ErrorKind::BrokenPipe.into(), all_fetched, now);
            return true;
        }
        let mut slices = [IoSlice::new(&[]); 4];
        let used = self.connection.slices(&mut slices, usize::MAX);
        // No more than the pipe holds, lest a narrow one takes hours.
        let most = outgoing.room().max(1);
        let mut bytes = Vec::new();
        for slice in &slices[..used] {
            bytes.extend_from_slice(&slice[..slice.len().min(most - bytes.len())]);
        }
        assert!(!bytes.is_empty(), "a transport that is given nothing answers 0, which means it is broken");
        match outgoing.push(&bytes) {
            0 => {
                self.connection.blocked(now);
                let gives_up = self.connection.must_reply();
                if gives_up {
                    self.connection.give_up_unsent(&mut self.outbox, now, &mut *self.keys);
                }
                gives_up
            }
            len => {
                self.connection.wrote(len, now);
                true
            }
        }
    }

    fn read(&mut self, now: Instant, incoming: &mut Pipe) -> bool {
        let paused = self.lags && self.connection.is_delivering();
        self.connection.set_paused(paused, now);
        if !self.connection.wants_read() || paused {
            return false;
        }
        if self.input.is_empty() && !self.connection.has_more() {
            let bytes = incoming.pop(self.read_size);
            match (bytes.is_empty(), incoming.ended) {
                (true, true) => self.connection.eof(),
                (true, false) => return false,
                (false, _) => self.connection.arrived(bytes.len(), now),
            }
            self.input.extend_from_slice(&bytes);
        }
        loop {
            let mut delivered = None;
            let deliver = |chunk| delivered = Some(chunk);
            let event = self.connection.receive(&mut self.input, false, now, &mut *self.keys, deliver);
            match event {
                None => break,
                Some(Event::Chunk) if self.is_blind => {}
                Some(Event::Chunk) => {
                    let chunk = delivered.expect("a chunk has been delivered");
                    if chunk.first {
                        self.seen.push((chunk.kind, Vec::new(), false));
                    }
                    let (kind, data, whole) = self.seen.last_mut().expect("a first chunk comes first");
                    assert!(*kind == chunk.kind && !*whole);
                    if *kind == MessageKind::Text {
                        std::str::from_utf8(&chunk.data).expect("a chunk of text is text");
                    }
                    data.extend_from_slice(&chunk.data);
                    *whole = chunk.last;
                }
                Some(Event::Pong(number, _)) => self.pongs.push(number),
                Some(Event::Close) => {
                    self.closes_seen += 1;
                    if self.waits_for_reader {
                        self.connection.wait_for_reader(now);
                    }
                }
            }
        }
        true
    }

    fn timed_out(&mut self, now: Instant) {
        self.connection.timed_out(now, &mut *self.keys);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.connection.is_done() { None } else { self.connection.deadline() }
    }
}

fn info(code: u16, reason: &str, was_clean: bool) -> CloseInfo {
    let peer = CloseFrame { code: CloseCode::try_from(code).unwrap(), reason: reason.to_owned() };
    CloseInfo::new(Some(&peer), was_clean)
}
