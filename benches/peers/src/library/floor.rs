//! `floor`: the least that a WebSocket can do, by hand. Batches, vectored sends, copying and masking in one pass,
//! unmasking in place, one read buffer used again and again, text checked; no control frames, no task, no queue.

use std::{io::IoSlice, ops::Range};

use anyhow::Result;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Connection, Kind, Purpose, Role, ended,
    framing::{Head, Incoming, LEAD, Mask, Utf8, start, write_all_vectored},
};
use crate::tally::Tally;

/// What one call reads, and what is gathered before it is written.
const BUFFER: usize = 256 * 1024;

/// Room for the heads of a batch: it should leave in one piece.
const HEADS: usize = 1024;

/// Payloads from this size on are not copied to where their heads are.
const BY_REFERENCE: usize = 4096;

pub struct Floor {
    tcp: TcpStream,
    role: Role,
    /// What buffers grow to.
    capacity: usize,
    input: Vec<u8>,
    /// The part of the input that has not been decoded.
    unread: Range<usize>,
    /// The frame whose payload is being read.
    frame: Option<Incoming>,
    /// The message being read, if it is text.
    text: Option<Utf8>,
    output: Vec<u8>,
    /// How much of the output is to be written.
    gathered: usize,
    large: Vec<(Head, Bytes)>,
}

impl Connection for Floor {
    type Message = (Kind, Bytes);
    type Far = Self;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let capacity = if purpose == Purpose::Idle { BY_REFERENCE } else { BUFFER };
        Ok(Self {
            tcp,
            role,
            capacity,
            input: Vec::new(),
            unread: 0..0,
            frame: None,
            text: None,
            output: Vec::new(),
            gathered: 0,
            large: Vec::new(),
        })
    }

    fn message(kind: Kind, payload: Bytes) -> Self::Message {
        (kind, payload)
    }

    async fn feed(&mut self, (kind, payload): &Self::Message) -> Result<()> {
        if self.role == Role::Server && payload.len() >= BY_REFERENCE {
            self.large.push((Head::new(Some(*kind), true, payload.len() as u64, None), payload.clone()));
            return Ok(());
        }
        self.gather(*kind, payload).await
    }

    async fn flush(&mut self) -> Result<()> {
        if self.gathered > 0 {
            self.tcp.write_all(&self.output[..self.gathered]).await?;
            self.gathered = 0;
        }
        if !self.large.is_empty() {
            let frames = self.large.iter();
            let mut slices: Vec<_> =
                frames.flat_map(|(head, payload)| [IoSlice::new(head.bytes()), IoSlice::new(payload)]).collect();
            write_all_vectored(&mut self.tcp, &mut slices).await?;
            drop(slices);
            self.large.clear();
        }
        Ok(())
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        self.feed(&(Kind::Binary, payload.into())).await?;
        self.flush().await
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        self.read().await?;
        self.decode(tally)
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        let payload = self.read_frame().await?;
        Ok(Bytes::copy_from_slice(&self.input[payload]))
    }

    async fn echo(&mut self) -> Result<()> {
        let payload = self.read_frame().await?;
        let head = Head::new(Some(Kind::Binary), true, payload.len() as u64, None);
        let mut slices = [IoSlice::new(head.bytes()), IoSlice::new(&self.input[payload])];
        Ok(write_all_vectored(&mut self.tcp, &mut slices).await?)
    }
}

impl Floor {
    /// Copies a frame to the output, masked on a client.
    async fn gather(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut mask = (self.role == Role::Client).then(|| Mask(rand::random()));
        let head = Head::new(Some(kind), true, payload.len() as u64, mask.map(|Mask(key)| key));
        self.output.resize(self.capacity + HEADS, 0);
        if self.output.len() - self.gathered < head.bytes().len() {
            self.flush().await?;
        }
        self.output[self.gathered..][..head.bytes().len()].copy_from_slice(head.bytes());
        self.gathered += head.bytes().len();
        let mut payload = payload;
        while !payload.is_empty() {
            if self.gathered == self.output.len() {
                self.flush().await?;
            }
            let room = &mut self.output[self.gathered..];
            let (now, later) = payload.split_at(payload.len().min(room.len()));
            match &mut mask {
                Some(mask) => mask.copy(now, &mut room[..now.len()]),
                None => room[..now.len()].copy_from_slice(now),
            }
            self.gathered += now.len();
            payload = later;
        }
        Ok(())
    }

    /// Reads behind what has not been decoded, which moves to the front.
    async fn read(&mut self) -> Result<()> {
        // An idle connection has none to spare.
        let lead = if self.capacity == BUFFER { LEAD } else { 0 };
        self.input.resize(lead + self.capacity + HEADS, 0);
        let start = start(&self.input).min(lead);
        self.input.copy_within(self.unread.clone(), start);
        self.unread = start..start + self.unread.len();
        match self.tcp.read(&mut self.input[self.unread.end..]).await? {
            0 => Err(ended()),
            len => {
                self.unread.end += len;
                Ok(())
            }
        }
    }

    /// Everything that has been read.
    fn decode(&mut self, tally: &mut Tally) -> Result<()> {
        while !self.unread.is_empty() {
            let frame = match &mut self.frame {
                Some(frame) => frame,
                None => {
                    let Some((frame, len)) = Incoming::parse(&self.input[self.unread.clone()], self.role)? else {
                        return Ok(());
                    };
                    self.unread.start += len;
                    if let Some(kind) = frame.kind {
                        self.text = (kind == Kind::Text).then(Utf8::default);
                    }
                    self.frame.insert(frame)
                }
            };
            let len = self.unread.len().min(usize::try_from(frame.rest).unwrap_or(usize::MAX));
            let piece = &mut self.input[self.unread.start..][..len];
            if self.role == Role::Server {
                frame.mask.apply(piece);
            }
            if let Some(text) = &mut self.text {
                text.check(piece)?;
            }
            tally.piece(piece);
            self.unread.start += len;
            frame.rest -= len as u64;
            if frame.rest == 0 {
                if frame.last {
                    if let Some(text) = &mut self.text {
                        text.end()?;
                    }
                    tally.end_of_message();
                }
                self.frame = None;
            }
        }
        Ok(())
    }

    /// A whole frame, unmasked, which fits into the buffer; says where its payload is.
    async fn read_frame(&mut self) -> Result<Range<usize>> {
        loop {
            if let Some((mut frame, len)) = Incoming::parse(&self.input[self.unread.clone()], self.role)? {
                let payload = self.unread.start + len..self.unread.start + len + frame.rest as usize;
                if payload.end <= self.unread.end {
                    if self.role == Role::Server {
                        frame.mask.apply(&mut self.input[payload.clone()]);
                    }
                    self.unread.start = payload.end;
                    return Ok(payload);
                }
            }
            self.read().await?;
        }
    }
}
