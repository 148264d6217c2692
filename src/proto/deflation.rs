//! Compressed messages on their way out (RFC 7692, 7.2.1): from what the application has written to frames.
//!
//! The outbox of a connection that has agreed on compression holds *plain* frames: neither compressed nor masked, and RSV1
//! says what is to be compressed. This turns them into the frames that go on the wire, when it is their turn, a bounded
//! amount at a time. One place compresses, in the order of the wire; whatever the application drops, what it compressed
//! last is what the peer will inflate last.

use bytes::{Buf, BytesMut};

use super::send::{Large, MaskKeys, Piece, push_frame};
use crate::{
    compression::Codec,
    role::Role,
    wire::{
        deflate::{Deflater, End, Scratch, with_scratch},
        header::{FrameHeader, OpCode},
    },
};

/// Payload that is compressed before reading and other tasks get their turn: a millisecond of work, at most levels.
pub(super) const BUDGET: usize = 64 * 1024;

/// The most that a plain frame holds.
pub(super) const PLAIN_MAX: usize = BUDGET;

/// Of a connection that has agreed on compression.
#[derive(Debug)]
pub(super) struct Deflation {
    deflater: Deflater,
    role: Role,
    max_frame_payload: usize,
    /// The message that is being compressed: what its next frame begins with.
    next: Option<OpCode>,
}

/// Frames as they go on the wire.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) bytes: BytesMut,
    pub(super) frames: u64,
    /// What is left of the piece that they were made from.
    pub(super) rest: Option<Piece>,
}

impl Deflation {
    pub(super) fn new(codec: &Codec, role: Role, max_frame_payload: usize) -> Self {
        let deflater = Deflater::new(codec.level, codec.window_bits, codec.send_takeover);
        Self { deflater, role, max_frame_payload, next: None }
    }

    /// Whether a piece is to be [`encode`](Self::encode)d; the others are ready, or none of its business.
    pub(super) fn takes(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Frames(_) | Piece::Flush => true,
            Piece::Large(large) => large.opcode.is_compressed() || self.next.is_some(),
            Piece::Header { .. } | Piece::Body { .. } | Piece::Shared(_) => false,
        }
    }

    /// A message has been sent that was compressed elsewhere: the peer's window has moved on.
    pub(super) fn forget(&mut self) {
        self.deflater.forget();
    }

    /// Makes frames from the front of a piece, until it has taken as much as the budget.
    pub(super) fn encode(&mut self, piece: Piece, budget: &mut usize, keys: MaskKeys<'_>) -> Encoded {
        // Most of what is compressed comes to less than a quarter; it grows where it does not.
        let bytes = BytesMut::with_capacity(piece.len().min(*budget) / 4);
        let mut encoded = Encoded { bytes, ..Encoded::default() };
        with_scratch(|scratch| match piece {
            Piece::Frames(mut frames) => {
                while *budget > 0
                    && let Ok(Some((header, size))) = FrameHeader::parse(&frames, false, true)
                {
                    let end = size + header.len as usize;
                    self.plain_frame(&header, &frames[size..end], scratch, keys, &mut encoded);
                    frames.advance(end);
                    *budget = budget.saturating_sub(end);
                }
                encoded.rest = (!frames.is_empty()).then_some(Piece::Frames(frames));
            }
            Piece::Large(Large { opcode, fin, mut payload }) => {
                let part = payload.split_to(payload.len().min(*budget));
                *budget -= part.len();
                let header = FrameHeader { fin: fin && payload.is_empty(), opcode, mask: None, len: part.len() as u64 };
                self.plain_frame(&header, &part, scratch, keys, &mut encoded);
                let rest = Large { opcode: OpCode::Continuation, fin, payload };
                encoded.rest = (!rest.payload.is_empty()).then_some(Piece::Large(rest));
            }
            Piece::Flush if self.next.is_some() => self.compress(&[], End::Flush, scratch, keys, &mut encoded),
            Piece::Flush => {}
            other => encoded.rest = Some(other),
        });
        encoded
    }

    fn plain_frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        scratch: &mut Scratch,
        keys: MaskKeys<'_>,
        encoded: &mut Encoded,
    ) {
        if header.opcode.is_compressed() {
            self.next = Some(header.opcode);
        }
        if self.next.is_some() {
            let end = if header.fin { End::Message } else { End::None };
            self.compress(payload, end, scratch, keys, encoded);
        } else {
            self.push(header.opcode, header.fin, payload, keys, encoded);
        }
    }

    /// Compresses payload of the open message; what comes of it so far, if anything, is sent in frames.
    fn compress(&mut self, payload: &[u8], end: End, scratch: &mut Scratch, keys: MaskKeys<'_>, encoded: &mut Encoded) {
        scratch.clear();
        self.deflater.deflate(payload, end, scratch);
        let mut parts = scratch.filled().chunks(self.max_frame_payload).peekable();
        while let Some(part) = parts.next() {
            let opcode = self.next.replace(OpCode::Continuation).unwrap_or(OpCode::Continuation);
            self.push(opcode, end == End::Message && parts.peek().is_none(), part, keys, encoded);
        }
        if end == End::Message {
            self.next = None;
        }
    }

    fn push(&self, opcode: OpCode, fin: bool, payload: &[u8], keys: MaskKeys<'_>, encoded: &mut Encoded) {
        let mask = (self.role == Role::Client).then(keys);
        push_frame(&mut encoded.bytes, FrameHeader { fin, opcode, mask, len: payload.len() as u64 }, payload);
        encoded.frames += 1;
    }
}
