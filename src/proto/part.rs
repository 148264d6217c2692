//! Messages encoded once for many connections: frames whose bytes are shared.
//!
//! A server's frames are the same on every connection, since they are not masked (RFC 6455, 5.1). Compressed ones are too,
//! if the message refers to none before it: any peer can inflate it whose window is as large as the one it was made
//! with, whether it keeps its window between messages (RFC 7692, 7.1.1) or not. A connection that keeps its own then has to
//! forget it: the peer's has moved on.

use bytes::{Bytes, BytesMut};

use super::send::push_frame;
use crate::{
    compression::{Codec, Compression, DeflateParams},
    error::InvalidUtf8,
    message::MessageKind,
    role::Role,
    wire::{
        deflate::{Deflater, End, with_scratch},
        header::{FrameHeader, MAX_HEADER, OpCode},
        utf8::Utf8Validator,
    },
};

/// Payload of one part, which is one frame.
pub(crate) const PART_MAX: usize = 64 * 1024;

/// Payloads up to this size stand next to their header: one entry in a vectored write instead of two.
const JOINED_MAX: usize = 4 * 1024;

/// With so many receivers all payloads do: copying one once costs less than writing two entries that often.
const JOINED_FROM: usize = 8;

/// A data frame as it goes on the wire of a server.
#[derive(Clone, Debug)]
pub(crate) struct SharedFrame {
    /// The header, and the payload if that is small or compressed.
    pub(crate) head: Bytes,
    /// The payload otherwise.
    pub(crate) body: Bytes,
    pub(crate) is_compressed: bool,
}

impl SharedFrame {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// A piece of a message, at most [`PART_MAX`] bytes.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: MessageKind,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) payload: Bytes,
    plain: SharedFrame,
    /// The window it was made with, and the frame. Of all parts of a message or of none.
    deflated: Option<(u8, SharedFrame)>,
}

impl Part {
    /// The frame for a connection that inflates with a window of so many bits, if it does.
    pub(crate) fn frame(&self, window_bits: Option<u8>) -> &SharedFrame {
        match (&self.deflated, window_bits) {
            (Some((made_with, frame)), Some(bits)) if bits >= *made_with => frame,
            _ => &self.plain,
        }
    }
}

/// The message that is being encoded.
#[derive(Debug)]
struct Open {
    kind: MessageKind,
    is_compressed: bool,
    has_begun: bool,
    /// The largest payload that stands next to its header.
    joined_max: usize,
    text: Utf8Validator,
    written: u64,
}

/// Makes parts of messages, one message after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    compression: Option<(Codec, Deflater)>,
    open: Option<Open>,
}

impl Encoder {
    pub(crate) fn new(compression: Option<&Compression>) -> Self {
        let compression = compression.map(|compression| {
            let codec = compression.codec(Role::Server, &DeflateParams::default());
            (codec, Deflater::new(codec.level, codec.window_bits, false))
        });
        Self { compression, open: None }
    }

    /// The window that compressed parts need.
    pub(crate) fn window_bits(&self) -> Option<u8> {
        self.compression.as_ref().map(|(codec, _)| codec.window_bits)
    }

    /// Begins a message for so many receivers. `len` is its length, if that is known; `compress`: somebody can make use of it.
    pub(crate) fn begin(&mut self, kind: MessageKind, len: Option<usize>, compress: bool, receivers: usize) {
        if self.open.as_ref().is_some_and(|open| open.is_compressed)
            && let Some((codec, deflater)) = &mut self.compression
        {
            // The last message was left unfinished: what its compressor holds belongs to nothing.
            *deflater = Deflater::new(codec.level, codec.window_bits, false);
        }
        let is_large = |codec: &Codec| codec.compress_from.is_some_and(|least| len.is_none_or(|len| len >= least));
        let is_compressed = compress && self.compression.as_ref().is_some_and(|(codec, _)| is_large(codec));
        let text = Utf8Validator::default();
        let joined_max = if receivers < JOINED_FROM { JOINED_MAX } else { PART_MAX };
        self.open = Some(Open { kind, is_compressed, has_begun: false, joined_max, text, written: 0 });
    }

    /// Checks the next bytes of a message that is to be text. Nothing has been taken if they are wrong.
    pub(crate) fn check(&mut self, data: &[u8], last: bool) -> Result<(), InvalidUtf8> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.kind == MessageKind::Text {
            let mut text = open.text;
            text.accept(data).map_err(|error| InvalidUtf8::at(open.written + error.valid_up_to as u64))?;
            if last && text.is_partial() {
                return Err(InvalidUtf8::at(open.written + data.len() as u64));
            }
            open.text = text;
        }
        open.written += data.len() as u64;
        Ok(())
    }

    /// The next part of the message: at most [`PART_MAX`] bytes from the front of `data`. `ends`: with all of `data`.
    pub(crate) fn part(&mut self, data: &mut Bytes, ends: bool) -> Part {
        let mut payload = data.split_to(data.len().min(PART_MAX));
        let last = ends && data.is_empty();
        let (kind, first, is_compressed, joined_max) = match &mut self.open {
            Some(open) => {
                (open.kind, !std::mem::replace(&mut open.has_begun, true), open.is_compressed, open.joined_max)
            }
            None => (MessageKind::Binary, true, false, JOINED_MAX),
        };
        let opcode = match (first, kind) {
            (false, _) => OpCode::Continuation,
            (true, MessageKind::Text) => OpCode::Text,
            (true, MessageKind::Binary) => OpCode::Binary,
        };
        let deflated = if is_compressed { self.deflate(&payload, opcode, last) } else { None };
        if last {
            self.open = None;
        }
        let header = FrameHeader { fin: last, opcode, mask: None, len: payload.len() as u64 };
        let plain = if payload.len() <= joined_max {
            let mut joined = BytesMut::with_capacity(MAX_HEADER + payload.len());
            let len = push_frame(&mut joined, header, &payload);
            let head = joined.freeze();
            // One copy is enough.
            payload = head.slice(len - payload.len()..);
            SharedFrame { head, body: Bytes::new(), is_compressed: false }
        } else {
            let mut head = BytesMut::with_capacity(MAX_HEADER);
            push_frame(&mut head, header, &[]);
            SharedFrame { head: head.freeze(), body: payload.clone(), is_compressed: false }
        };
        Part { kind, first, last, payload, plain, deflated }
    }

    /// Compressed, and flushed: each part is readable as it comes.
    fn deflate(&mut self, payload: &[u8], opcode: OpCode, last: bool) -> Option<(u8, SharedFrame)> {
        let (codec, deflater) = self.compression.as_mut()?;
        let opcode = match opcode {
            OpCode::Text => OpCode::CompressedText,
            OpCode::Binary => OpCode::CompressedBinary,
            other => other,
        };
        let mut head = BytesMut::new();
        with_scratch(|scratch| {
            deflater.deflate(payload, if last { End::Message } else { End::Flush }, scratch);
            let deflated = scratch.filled();
            head.reserve(MAX_HEADER + deflated.len());
            push_frame(&mut head, FrameHeader { fin: last, opcode, mask: None, len: deflated.len() as u64 }, deflated);
        });
        let frame = SharedFrame { head: head.freeze(), body: Bytes::new(), is_compressed: true };
        Some((codec.window_bits, frame))
    }
}
