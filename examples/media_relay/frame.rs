//! What a message of this program is: a header of 24 bytes, and a picture, or a piece of a file.
//!
//! ```text
//!  0        2        3       4          8          16         24
//!  | "MR"   | 1      | flags | stream   | number   | time     | payload …
//!             version  1: key  random     from 0     microseconds since 1970, of the publisher's clock
//! ```
//!
//! Numbers are big-endian. The relay looks at the flag only; the rest is for viewers, who find gaps by number and stream.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::Failure;

/// Bytes of a header.
pub(crate) const HEADER: usize = 24;

const MAGIC: [u8; 3] = [b'M', b'R', 1];
const KEY: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Needs nothing before it.
    pub(crate) is_key: bool,
    /// Which run of which publisher it belongs to.
    pub(crate) stream: u32,
    pub(crate) number: u64,
    pub(crate) micros: u64,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = if self.is_key { KEY } else { 0 };
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..].copy_from_slice(&self.micros.to_be_bytes());
        bytes
    }

    /// Of a message, or of its beginning.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Failure> {
        match message {
            [b'M', b'R', 1, flags, rest @ ..] if *flags <= KEY && rest.len() >= HEADER - 4 => Ok(Self {
                is_key: *flags == KEY,
                stream: number(&rest[..4]) as u32,
                number: number(&rest[4..12]),
                micros: number(&rest[12..20]),
            }),
            _ => Err(not_a_frame()),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn not_a_frame() -> Failure {
    Failure::protocol("a message is not a frame of media_relay")
}

/// Numbers the frames of one run.
#[derive(Debug)]
pub(crate) struct Numbering {
    stream: u32,
    next: u64,
}

impl Numbering {
    pub(crate) fn new() -> Self {
        Self { stream: rand::random(), next: 0 }
    }

    pub(crate) fn next(&mut self, is_key: bool) -> Header {
        let number = self.next;
        self.next += 1;
        Header { is_key, stream: self.stream, number, micros: now_micros() }
    }
}

/// The system's clock: two processes of one machine have the same.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
