//! Who receives, and checks what comes: numbers in order, whole frames, the bytes that were sent.

use std::{cell::RefCell, io::ErrorKind};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use tokio::net::TcpStream;
use wsstream_peers::library::{Kind, Role, framing::Incoming};

use super::source::NUMBER;

/// The longest head of a frame that is not masked.
const HEAD: usize = 10;

pub(super) struct Receiver {
    tcp: TcpStream,
    pattern: Bytes,
    /// A head and a number that have not come to their end.
    begun: Vec<u8>,
    /// Payload of the message that is still to come.
    rest: usize,
    /// The number behind the last that came.
    next: u64,
    messages: u64,
    lost: u64,
}

impl Receiver {
    pub(super) fn new(tcp: TcpStream, pattern: Bytes) -> Self {
        Self { tcp, pattern, begun: Vec::with_capacity(HEAD + NUMBER), rest: 0, next: 0, messages: 0, lost: 0 }
    }

    /// The message that has not come to its end.
    pub(super) fn due(&self) -> u64 {
        if self.rest > 0 { self.next - 1 } else { self.next }
    }

    /// Messages that have come, to the end.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Numbers that were left out.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Reads once.
    pub(super) async fn read(&mut self, buffer: &RefCell<Vec<u8>>) -> Result<()> {
        self.tcp.readable().await?;
        let mut buffer = buffer.borrow_mut();
        match self.tcp.try_read(&mut buffer) {
            Ok(0) => bail!("the relay has closed the connection"),
            Ok(len) => self.take(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some((&byte, behind)) = data.split_first() {
            if self.rest == 0 {
                self.begun.push(byte);
                self.begin()?;
                data = behind;
                continue;
            }
            let (piece, behind) = data.split_at(data.len().min(self.rest));
            let from = self.pattern.len() - self.rest;
            let to = from + piece.len() - 1;
            let is_sound = piece[0] == self.pattern[from] && piece[piece.len() - 1] == self.pattern[to];
            ensure!(is_sound, "message {} is not what was sent, at {from}", self.due());
            self.rest -= piece.len();
            self.messages += u64::from(self.rest == 0);
            data = behind;
        }
        Ok(())
    }

    /// Once head and number are there.
    fn begin(&mut self) -> Result<()> {
        let Some((frame, head)) = Incoming::parse(&self.begun, Role::Client)? else { return Ok(()) };
        let Some(number) = self.begun[head..].first_chunk() else { return Ok(()) };
        ensure!(frame.kind == Some(Kind::Binary) && frame.last, "not a message of one frame");
        ensure!(frame.rest == self.pattern.len() as u64, "a frame of {} bytes", frame.rest);
        let number = u64::from_be_bytes(*number);
        ensure!(number >= self.next, "message {number} after {}", self.next);
        self.lost += number - self.next;
        self.next = number + 1;
        self.rest = self.pattern.len() - NUMBER;
        self.begun.clear();
        Ok(())
    }
}
