//! The sending half of RFC 6455: from messages to frames that wait for the transport.
//!
//! The application fills an [`Outbox`], the driver empties it. What it holds is already in the form it will be sent in,
//! except for large payloads, which stay the application's own `Bytes` until [`Stage`](super::stage::Stage) cuts
//! frames from them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    deflation::PLAIN_MAX,
    part::{Part, SharedFrame},
    spare,
};
use crate::{
    compression::Codec,
    message::{Message, MessageKind},
    role::Role,
    wire::{
        copy::append,
        header::{self, FrameHeader, MAX_HEADER, OpCode},
        mask::Mask,
    },
};

/// Payloads up to this size are copied next to their header: cheaper than an entry of their own in a vectored write.
pub(super) const COPY_MAX: usize = 4 * 1024;

/// Frames that many connections share are referred to from this size on; smaller ones are copied together.
const SHARED_MIN: usize = 1024;

/// Small frames are collected in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// Room that a piece gets when it takes another frame.
const GROWTH: usize = 8 * 1024;

/// Where mask keys come from: unpredictable ones in production (RFC 6455, 10.3), counted ones in tests.
pub(crate) type MaskKeys<'a> = &'a mut dyn FnMut() -> u32;

/// Something that waits to be sent.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Whole frames as they go on the wire; plain ones where [`Deflation`](super::deflation::Deflation) takes them.
    Frames(BytesMut),
    /// Payload that is cut into frames when it is its turn.
    Large(Large),
    /// The header of a frame of declared length; its payload follows as `Body`.
    Header { header: Bytes, len: u64 },
    /// Payload of that frame; `mask` is what it still needs.
    Body { payload: Bytes, mask: Option<Mask> },
    /// A frame as it goes on the wire of a server, which other connections send too.
    Shared(SharedFrame),
    /// What has been compressed of the open message is to be readable.
    Flush,
}

/// A payload sent by reference.
#[derive(Debug)]
pub(crate) struct Large {
    /// Of the first frame; the others are continuations.
    pub(crate) opcode: OpCode,
    /// The message ends with this payload.
    pub(crate) fin: bool,
    pub(crate) payload: Bytes,
}

impl Piece {
    /// Bytes that wait in it.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Frames(frames) => frames.len(),
            Self::Large(large) => large.payload.len(),
            Self::Header { header, .. } => header.len(),
            Self::Body { payload, .. } => payload.len(),
            Self::Shared(frame) => frame.len(),
            // Not nothing: there is something to wait for.
            Self::Flush => 1,
        }
    }
}

/// A message that has been started and not finished.
#[derive(Debug)]
struct OpenMessage {
    /// Of the next frame.
    opcode: OpCode,
    /// Where the header of the last frame stands in the last piece, as long as FIN can still be set there.
    last_header: Option<usize>,
    /// The message is one frame of declared length.
    single: Option<SingleFrame>,
    compressed: bool,
    /// Something was written since the last flush, which has to be asked for where it is compressed.
    unflushed: bool,
}

#[derive(Debug)]
struct SingleFrame {
    remaining: u64,
    mask: Option<Mask>,
}

/// Frames that were accepted and that the driver has not fetched.
#[derive(Debug)]
pub(crate) struct Outbox {
    role: Role,
    max_frame_payload: usize,
    /// Messages are compressed: those sent whole, from this size on.
    compress_from: Option<usize>,
    /// How far back the peer can look, if it inflates what this end sends.
    window_bits: Option<u8>,
    pieces: VecDeque<Piece>,
    len: usize,
    open: Option<OpenMessage>,
    messages: u64,
    frames: u64,
}

impl Outbox {
    pub(crate) fn new(role: Role, max_frame_payload: usize) -> Self {
        Self {
            role,
            max_frame_payload,
            compress_from: None,
            window_bits: None,
            pieces: VecDeque::new(),
            len: 0,
            open: None,
            messages: 0,
            frames: 0,
        }
    }

    /// Compression has been agreed on.
    pub(crate) fn enable_compression(&mut self, codec: &Codec) {
        self.compress_from = codec.compress_from;
        self.window_bits = codec.compress_from.map(|_| codec.window_bits);
    }

    /// The longest frame that messages are cut into, with its header.
    pub(crate) fn max_frame(&self) -> usize {
        let header = header::header_len(self.max_frame_payload as u64, self.role == Role::Client);
        self.max_frame_payload.saturating_add(header)
    }

    /// A message in one frame goes past this.
    pub(crate) fn count_elsewhere(&mut self) {
        self.messages += 1;
        self.frames += 1;
    }

    /// Bytes that wait here.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A message has been begun and not ended.
    pub(crate) fn is_in_message(&self) -> bool {
        self.open.is_some()
    }

    /// Messages whose end has been accepted.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Data frames encoded here; those of large payloads are counted by the stage.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// A whole message.
    pub(crate) fn message(&mut self, kind: MessageKind, payload: Bytes, keys: MaskKeys<'_>) {
        self.messages += 1;
        let compressed = self.compress_from.is_some_and(|least| payload.len() >= least);
        self.shared(opcode(kind, compressed), true, payload, keys);
    }

    /// Compressed parts made with such a window can be sent here.
    pub(crate) fn takes_compressed(&self, window_bits: u8) -> bool {
        self.role == Role::Server && self.window_bits.is_some_and(|bits| bits >= window_bits)
    }

    /// A part of a message that other connections send too. All parts of a message follow each other.
    pub(crate) fn part(&mut self, part: &Part, keys: MaskKeys<'_>) {
        if self.role == Role::Client {
            return self.part_masked(part, keys);
        }
        self.messages += u64::from(part.last);
        self.frames += 1;
        let frame = part.frame(self.window_bits);
        self.len += frame.len();
        if frame.len() < SHARED_MIN && self.compress_from.is_none() {
            self.tail(frame.len()).extend_from_slice(&frame.head);
        } else {
            self.pieces.push_back(Piece::Shared(frame.clone()));
        }
    }

    /// A client's frames are its own: each has a mask that nobody else may know.
    fn part_masked(&mut self, part: &Part, keys: MaskKeys<'_>) {
        if part.first && part.last {
            return self.message(part.kind, part.payload.clone(), keys);
        }
        if part.first {
            self.begin(part.kind, None, true, keys);
        }
        if !part.payload.is_empty() {
            self.chunk(part.payload.clone(), keys);
        }
        if part.last {
            self.finish(keys);
        }
    }

    /// Begins a message, as one frame if its length is declared; such a one is not compressed.
    pub(crate) fn begin(&mut self, kind: MessageKind, length: Option<u64>, compress: bool, keys: MaskKeys<'_>) {
        let compressed = compress && length.is_none() && self.compress_from.is_some();
        let opcode = opcode(kind, compressed);
        let single = length.map(|len| {
            self.frames += 1;
            let mask = self.key(keys);
            let mut header = BytesMut::with_capacity(MAX_HEADER);
            self.len += push_frame(&mut header, FrameHeader { fin: true, opcode, mask, len }, &[]);
            self.pieces.push_back(Piece::Header { header: header.freeze(), len });
            SingleFrame { remaining: len, mask: mask.map(Mask::new) }
        });
        self.open = Some(OpenMessage { opcode, last_header: None, single, compressed, unflushed: false });
    }

    /// Adds a chunk to the open message, as a copy. At most `max_frame_payload` bytes.
    pub(crate) fn chunk_copied(&mut self, data: &[u8], keys: MaskKeys<'_>) {
        if self.is_single() {
            let mut payload = BytesMut::with_capacity(data.len());
            match self.advance_single(data.len()) {
                Some(mut mask) => mask.copy(data, &mut payload),
                None => append(data, &mut payload),
            }
            self.push_body(payload.freeze(), None);
        } else if self.compress_from.is_some() && data.len() > PLAIN_MAX {
            for part in data.chunks(PLAIN_MAX) {
                self.chunk_copied(part, keys);
            }
        } else {
            let opcode = self.next_opcode();
            self.copied(opcode, false, data, keys);
        }
    }

    /// Adds a chunk to the open message, without a copy where it is large.
    pub(crate) fn chunk(&mut self, data: Bytes, keys: MaskKeys<'_>) {
        if data.len() <= COPY_MAX.min(self.max_frame_payload) {
            self.chunk_copied(&data, keys);
        } else if self.is_single() {
            let mask = self.advance_single(data.len());
            self.push_body(data, mask);
        } else {
            let opcode = self.next_opcode();
            self.shared(opcode, false, data, keys);
        }
    }

    /// Makes what has been written of the open message readable to the peer, without waiting for more of it.
    pub(crate) fn flush(&mut self) {
        if let Some(open) = &mut self.open
            && std::mem::take(&mut open.unflushed)
        {
            open.last_header = None;
            self.len += Piece::Flush.len();
            self.pieces.push_back(Piece::Flush);
        }
    }

    /// Ends the open message. A message of declared length must be complete.
    pub(crate) fn finish(&mut self, keys: MaskKeys<'_>) {
        let Some(open) = self.open.take() else { return };
        self.messages += 1;
        if open.single.is_some() {
            return;
        }
        // Where the last frame has not been fetched yet, it becomes the final one; otherwise an empty one follows.
        match (open.last_header, self.pieces.back_mut()) {
            (Some(at), Some(Piece::Frames(frames))) => header::set_fin(&mut frames[at..]),
            (_, Some(Piece::Large(large))) if open.opcode == OpCode::Continuation && !large.fin => large.fin = true,
            _ => self.copied(open.opcode, true, &[], keys),
        }
    }

    /// Gives all that waits to the driver; `into` must be empty.
    pub(crate) fn fetch(&mut self, into: &mut VecDeque<Piece>) -> usize {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.pieces, into);
        if let Some(open) = &mut self.open {
            open.last_header = None;
        }
        std::mem::take(&mut self.len)
    }

    /// Drops what waits, and the open message.
    pub(crate) fn clear(&mut self) {
        self.pieces = VecDeque::new();
        self.len = 0;
        self.open = None;
    }

    fn is_single(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.single.is_some())
    }

    /// Counts payload of the frame of declared length; the mask for it.
    fn advance_single(&mut self, len: usize) -> Option<Mask> {
        let single = self.open.as_mut()?.single.as_mut()?;
        single.remaining -= len as u64;
        let mask = single.mask;
        if let Some(mask) = &mut single.mask {
            mask.skip(len);
        }
        mask
    }

    fn push_body(&mut self, payload: Bytes, mask: Option<Mask>) {
        self.len += payload.len();
        self.pieces.push_back(Piece::Body { payload, mask });
    }

    fn next_opcode(&mut self) -> OpCode {
        match &mut self.open {
            Some(open) => {
                open.unflushed = open.compressed;
                std::mem::replace(&mut open.opcode, OpCode::Continuation)
            }
            None => OpCode::Continuation,
        }
    }

    fn key(&self, keys: MaskKeys<'_>) -> Option<u32> {
        (self.role == Role::Client).then(keys)
    }

    /// Queues payload by reference, or as a copy where that is cheaper.
    fn shared(&mut self, opcode: OpCode, fin: bool, payload: Bytes, keys: MaskKeys<'_>) {
        if payload.len() <= COPY_MAX.min(self.max_frame_payload) {
            return self.copied(opcode, fin, &payload, keys);
        }
        self.len += payload.len();
        self.pieces.push_back(Piece::Large(Large { opcode, fin, payload }));
        if let Some(open) = &mut self.open {
            open.last_header = None;
        }
    }

    /// Queues one frame with a copy of its payload.
    fn copied(&mut self, opcode: OpCode, fin: bool, data: &[u8], keys: MaskKeys<'_>) {
        // Plain frames are masked and counted when they become others.
        let is_plain = self.compress_from.is_some();
        self.frames += u64::from(!is_plain);
        let mask = if is_plain { None } else { self.key(keys) };
        let header = FrameHeader { fin, opcode, mask, len: data.len() as u64 };
        // No more than it takes: a single frame then becomes `Bytes` without another allocation.
        let tail = self.tail(header::header_len(header.len, mask.is_some()) + data.len());
        let at = tail.len();
        self.len += push_frame(tail, header, data);
        if let Some(open) = &mut self.open {
            open.last_header = Some(at);
        }
    }

    /// The piece that the next small frame goes to.
    fn tail(&mut self, additional: usize) -> &mut BytesMut {
        let fits = match self.pieces.back() {
            Some(Piece::Frames(frames)) => frames.len() + additional <= PIECE,
            _ => false,
        };
        if !fits {
            // After a full piece the next one will be full as well.
            let capacity = if self.pieces.is_empty() { additional } else { additional.max(PIECE) };
            self.pieces.push_back(Piece::Frames(spare::take(capacity)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Frames(frames)) => {
                if fits && frames.capacity() - frames.len() < additional {
                    // Where two come, more will: growing from a few bytes would copy as much again.
                    frames.reserve(additional.max(GROWTH));
                }
                frames
            }
            _ => unreachable!("a piece of frames has just been pushed"),
        }
    }
}

/// Appends a frame; the bytes it takes.
pub(super) fn push_frame(out: &mut BytesMut, header: FrameHeader, payload: &[u8]) -> usize {
    let before = out.len();
    header.encode(out);
    match header.mask {
        Some(key) => Mask::new(key).copy(payload, out),
        None => append(payload, out),
    }
    out.len() - before
}

/// Appends a whole message, as one frame that is not compressed.
pub(super) fn push_message(role: Role, message: &Message, out: &mut BytesMut, keys: MaskKeys<'_>) {
    let payload = message.as_bytes();
    let mask = (role == Role::Client).then(keys);
    let header = FrameHeader { fin: true, opcode: opcode(message.kind(), false), mask, len: payload.len() as u64 };
    push_frame(out, header, payload);
}

fn opcode(kind: MessageKind, compressed: bool) -> OpCode {
    match (kind, compressed) {
        (MessageKind::Text, false) => OpCode::Text,
        (MessageKind::Binary, false) => OpCode::Binary,
        (MessageKind::Text, true) => OpCode::CompressedText,
        (MessageKind::Binary, true) => OpCode::CompressedBinary,
    }
}
