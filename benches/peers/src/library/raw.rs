//! Raw TCP, without frames: the limit that every library is compared with.

use std::io::IoSlice;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Connection, Kind, Purpose, Role, ended,
    framing::{LEAD, start, write_all_vectored},
};
use crate::tally::Tally;

/// How much one call reads or writes.
const BLOCK: usize = 256 * 1024;

pub struct Raw {
    tcp: TcpStream,
    buffer: Vec<u8>,
    /// Where in the buffer reading begins.
    start: usize,
    message_len: usize,
    large: Vec<Bytes>,
    /// Many small messages side by side, and how many bytes of that to send.
    small: (Bytes, usize),
}

pub enum Message {
    Large(Bytes),
    /// The message many times over: without frames, a batch of them is a stretch of memory.
    Small {
        block: Bytes,
        len: usize,
    },
}

impl Connection for Raw {
    type Message = Message;
    type Far = Self;
    const FRAMED: bool = false;
    const SENDS_PIECES: bool = true;

    async fn open(tcp: TcpStream, _role: Role, purpose: Purpose, message_len: usize) -> Result<Self> {
        let (len, lead) = if purpose == Purpose::Idle { (4096, 0) } else { (BLOCK, LEAD) };
        let mut buffer = vec![0; len + lead];
        let start = start(&buffer).min(lead);
        buffer.truncate(start + len);
        Ok(Self { tcp, buffer, start, message_len, large: Vec::new(), small: (Bytes::new(), 0) })
    }

    fn message(_kind: Kind, payload: Bytes) -> Message {
        match payload.len() {
            4096.. => Message::Large(payload),
            len => Message::Small { block: payload.repeat(BLOCK.div_ceil(len)).into(), len },
        }
    }

    async fn feed(&mut self, message: &Message) -> Result<()> {
        match message {
            Message::Large(payload) => self.large.push(payload.clone()),
            Message::Small { block, len } => {
                if self.small.1 == 0 {
                    self.small.0 = block.clone();
                }
                self.small.1 += len;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let large = std::mem::take(&mut self.large);
        if let [payload] = &large[..] {
            for block in payload.chunks(BLOCK) {
                self.tcp.write_all(block).await?;
            }
        } else if !large.is_empty() {
            let mut slices: Vec<_> = large.iter().map(|payload| IoSlice::new(payload)).collect();
            write_all_vectored(&mut self.tcp, &mut slices).await?;
        }
        let (block, mut len) = std::mem::take(&mut self.small);
        while len > 0 {
            let now = len.min(block.len());
            self.tcp.write_all(&block[..now]).await?;
            len -= now;
        }
        Ok(())
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        self.large.push(payload.into());
        self.flush().await
    }

    async fn send_endless(&mut self, piece: Bytes) -> Result<()> {
        loop {
            self.tcp.write_all(&piece).await?;
        }
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        let buffer = &mut self.buffer[self.start..];
        match self.tcp.read(buffer).await? {
            0 => Err(ended()),
            len => {
                tally.piece(&buffer[..len]);
                Ok(())
            }
        }
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        let mut payload = BytesMut::with_capacity(self.message_len);
        while payload.len() < self.message_len {
            let room = self.message_len - payload.len();
            if (&mut self.tcp).take(room as u64).read_buf(&mut payload).await? == 0 {
                return Err(ended());
            }
        }
        Ok(payload.freeze())
    }

    async fn echo(&mut self) -> Result<()> {
        let buffer = &mut self.buffer[self.start..];
        let len = self.tcp.read(buffer).await?;
        if len == 0 {
            return Err(ended());
        }
        Ok(self.tcp.write_all(&buffer[..len]).await?)
    }
}
