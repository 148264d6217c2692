//! The receiving half of RFC 6455: from bytes to chunks and control frames.

use bytes::{Buf, Bytes, BytesMut};

use super::inflation::{Inflated, Inflation};
use crate::{
    close::{CloseCode, CloseFrame},
    error::{ConnectionError, ProtocolError},
    message::MessageKind,
    role::Role,
    wire::{
        copy::copied,
        header::{FrameHeader, HeaderDecoder, OpCode, header_len},
        mask::Mask,
        utf8::Utf8Validator,
    },
};

/// A piece of a message. Frames leave no trace in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) kind: MessageKind,
    /// The first chunk of its message.
    pub(crate) first: bool,
    /// The last chunk of its message.
    pub(crate) last: bool,
    /// Not frozen, so that neighbours in one buffer can be put together without a copy.
    pub(crate) data: BytesMut,
}

/// What has been found in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A chunk, which has been delivered.
    Chunk,
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseFrame),
}

/// What is expected of the bytes to come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    /// Payload that the frame which is arriving still misses.
    pub(crate) missing: u64,
    /// What is to come of the header behind that, or, between messages, behind the first frame of the next, if it goes on.
    pub(crate) header: usize,
    /// Payload that the message still misses; 0 if it will not be delivered as it comes.
    pub(crate) message: u64,
    /// A frame and its header.
    pub(crate) frame: u64,
    /// Bytes of the next header that have come.
    pub(crate) held: usize,
    /// Payload of the last message that has come whole.
    pub(crate) last_message: u64,
    /// Nothing of a message has come, but for the bytes `held`.
    pub(crate) is_between: bool,
}

impl Ahead {
    /// Bytes up to where payload begins that belongs right behind what has come.
    pub(crate) fn to_next_payload(self) -> usize {
        usize::try_from(self.missing).unwrap_or(usize::MAX).saturating_add(self.header)
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    role: Role,
    max_message_size: Option<u64>,
    header: HeaderDecoder,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The message that has begun and not ended.
    message: Option<MessageState>,
    /// Compression has been agreed on.
    inflation: Option<Box<Inflation>>,
    /// Payload of a control frame that has arrived in part.
    control: BytesMut,
    /// Found behind bytes that had to be delivered first.
    deferred: Option<ConnectionError>,
    frames: u64,
    control_frames: u64,
    /// See [`last_frame`](Self::last_frame).
    last_frame: u64,
    /// Payload of the last message that is complete.
    last_message: u64,
}

#[derive(Debug)]
pub(super) struct Frame {
    opcode: OpCode,
    pub(super) fin: bool,
    pub(super) mask: Option<Mask>,
    pub(super) remaining: u64,
}

#[derive(Debug)]
pub(super) struct MessageState {
    pub(super) kind: MessageKind,
    compressed: bool,
    /// Nothing of it has been delivered.
    first: bool,
    /// Bytes announced by frames; of a compressed message, those inflated.
    pub(super) size: u64,
    pub(super) text: Utf8Validator,
}

impl Receiver {
    pub(crate) fn new(role: Role, max_message_size: Option<u64>) -> Self {
        Self {
            role,
            max_message_size,
            header: HeaderDecoder::default(),
            frame: None,
            message: None,
            inflation: None,
            control: BytesMut::new(),
            deferred: None,
            frames: 0,
            control_frames: 0,
            last_frame: 0,
            last_message: 0,
        }
    }

    /// Compression has been agreed on; with `takeover`, messages refer to those before them.
    pub(crate) fn enable_compression(&mut self, takeover: bool) {
        self.inflation = Some(Box::new(Inflation::new(takeover)));
    }

    /// No message is wanted any more. Compressed ones need not be inflated then.
    pub(crate) fn discard(&mut self) {
        if let Some(inflation) = &mut self.inflation {
            inflation.discard();
        }
    }

    /// There is more to decode, even from no input: what has been taken inflates to more than a chunk.
    pub(crate) fn has_more(&self) -> bool {
        self.inflation.as_ref().is_some_and(|inflation| inflation.is_full() || self.deferred.is_some())
    }

    /// A message has begun and its end has not come.
    pub(crate) fn in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Payload of the frame that the last message began with: the last one of a message may be short. 0 if it was compressed:
    /// what comes of that lies elsewhere, so that there is nothing to be gained by reading it by itself.
    pub(crate) fn last_frame(&self) -> u64 {
        self.last_frame
    }

    /// What to expect of the bytes to come, if they are like those that came. What it costs to be wrong is a copy.
    pub(crate) fn ahead(&self) -> Ahead {
        let header_len = |payload| header_len(payload, self.role == Role::Server);
        let (missing, is_last) = self.frame.as_ref().map_or((0, false), |frame| (frame.remaining, frame.fin));
        let message = match &self.message {
            Some(message) if message.compressed => 0,
            Some(message) if !is_last => missing + self.last_message.saturating_sub(message.size),
            _ => missing,
        };
        let held = self.header.held();
        let is_between = self.frame.is_none() && self.message.is_none();
        // Payload in front of the next header, and behind it.
        let before = self.message.as_ref().map_or(self.last_frame, |message| message.size);
        let behind = self.last_message.saturating_sub(before).min(self.last_frame);
        let header = match behind {
            _ if is_last => 0,
            0 if is_between => 0,
            _ if is_between => header_len(behind),
            0 => header_len(self.last_frame).saturating_sub(held).max(1), // it is longer than the last one
            _ => header_len(behind).saturating_sub(held).max(1),
        };
        Ahead {
            missing,
            header,
            message,
            frame: self.last_frame + header_len(self.last_frame) as u64,
            held,
            last_message: self.last_message,
            is_between,
        }
    }

    /// Memory kept for bytes that have been taken.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.control.capacity()
    }

    /// Data frames and control frames begun.
    pub(crate) fn frames(&self) -> (u64, u64) {
        (self.frames, self.control_frames)
    }

    /// The next thing in `input`; `None` when all of it has been taken. Chunks are parts of `input`, or, if `copies`,
    /// have memory of their own. They go to `deliver`, which can put them where they belong without moving them twice.
    ///
    /// After a Close frame or an error there is nothing more to decode.
    #[inline]
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
        copies: bool,
        deliver: &mut impl FnMut(Chunk),
    ) -> Result<Option<Received>, ConnectionError> {
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.header.decode(input, self.role == Role::Server, self.inflation.is_some())? {
                    Some(header) => self.begin(header)?,
                    None => return Ok(None),
                },
            };
            let received = if frame.opcode.is_control() {
                self.control(frame, input)?
            } else {
                self.data(frame, input, copies, deliver)?
            };
            match received {
                Some(received) => return Ok(Some(received)),
                None if self.frame.is_some() && input.is_empty() && !self.has_more() => return Ok(None),
                None => {}
            }
        }
    }

    /// Checks a header against what came before it (5.4).
    #[inline(always)]
    fn begin(&mut self, header: FrameHeader) -> Result<Frame, ConnectionError> {
        let kind = match header.opcode {
            OpCode::Text | OpCode::CompressedText => Some(MessageKind::Text),
            OpCode::Binary | OpCode::CompressedBinary => Some(MessageKind::Binary),
            OpCode::Continuation => None,
            OpCode::Close | OpCode::Ping | OpCode::Pong => {
                self.control_frames += 1;
                return Ok(Frame::from(header));
            }
        };
        self.frames += 1;
        let message = match (kind, &mut self.message) {
            (Some(kind), message @ None) => {
                let compressed = header.opcode.is_compressed();
                self.last_frame = if compressed { 0 } else { header.len };
                message.insert(MessageState { kind, compressed, first: true, size: 0, text: Utf8Validator::default() })
            }
            (None, Some(message)) => message,
            (Some(_), Some(_)) => return Err(ProtocolError::InterleavedMessage.into()),
            (None, None) => return Err(ProtocolError::UnexpectedContinuation.into()),
        };
        if message.compressed {
            return Ok(Frame::from(header));
        }
        message.size = message.size.saturating_add(header.len);
        match self.max_message_size {
            Some(limit) if message.size > limit => {
                Err(ConnectionError::MessageTooLarge { limit, knob: "max_message_size" })
            }
            _ => Ok(Frame::from(header)),
        }
    }

    /// Takes payload of a data frame. `None`: there was nothing to deliver.
    #[inline]
    fn data(
        &mut self,
        mut frame: Frame,
        input: &mut BytesMut,
        copies: bool,
        deliver: &mut impl FnMut(Chunk),
    ) -> Result<Option<Received>, ConnectionError> {
        let Some(message) = &mut self.message else { return Ok(None) };
        if message.compressed {
            return self.compressed_data(frame, input, deliver);
        }
        let data = match message.kind {
            MessageKind::Binary => frame.take(input, copies),
            MessageKind::Text => match take_text(&mut frame, &mut message.text, input, copies) {
                (data, false) => data,
                (data, true) if data.is_empty() && !message.first => return Err(ProtocolError::InvalidText.into()),
                (data, true) => {
                    // The bad bytes stay in `input`: whoever drives this sees that there is more to decode.
                    self.deferred = Some(ProtocolError::InvalidText.into());
                    let first = std::mem::take(&mut message.first);
                    let kind = MessageKind::Text;
                    deliver(Chunk { kind, first, last: false, data });
                    return Ok(Some(Received::Chunk));
                }
            },
        };

        let last = frame.fin && frame.remaining == 0;
        let (kind, first) = (message.kind, std::mem::take(&mut message.first));
        if frame.remaining > 0 {
            self.frame = Some(frame);
        } else if last {
            self.last_message = message.size;
            self.message = None;
        }
        // The first chunk may be empty: it tells the kind before there is payload. So may the last.
        if data.is_empty() && !first && !last {
            return Ok(None);
        }
        deliver(Chunk { kind, first, last, data });
        Ok(Some(Received::Chunk))
    }

    /// As [`data`](Self::data), of a compressed message.
    fn compressed_data(
        &mut self,
        mut frame: Frame,
        input: &mut BytesMut,
        deliver: &mut impl FnMut(Chunk),
    ) -> Result<Option<Received>, ConnectionError> {
        let (Some(message), Some(inflation)) = (&mut self.message, &mut self.inflation) else { return Ok(None) };
        let Inflated { data, bad, done } = inflation.inflate(&mut frame, message, self.max_message_size, input)?;
        let (kind, first) = (message.kind, std::mem::take(&mut message.first));
        if bad {
            if data.is_empty() && !first {
                return Err(ProtocolError::InvalidText.into());
            }
            self.deferred = Some(ProtocolError::InvalidText.into());
        } else if frame.remaining > 0 || inflation.is_full() {
            self.frame = Some(frame);
        } else if done {
            self.message = None;
        }
        if data.is_empty() && !first && !done {
            return Ok(None);
        }
        deliver(Chunk { kind, first, last: done, data });
        Ok(Some(Received::Chunk))
    }

    fn control(&mut self, mut frame: Frame, input: &mut BytesMut) -> Result<Option<Received>, ConnectionError> {
        let payload = frame.take(input, false);
        if frame.remaining > 0 {
            self.control.extend_from_slice(&payload);
            self.frame = Some(frame);
            return Ok(None);
        }
        // A copy in any case: a few bytes must not keep a whole read buffer alive.
        self.control.extend_from_slice(&payload);
        let payload = std::mem::take(&mut self.control).freeze();
        Ok(Some(match frame.opcode {
            OpCode::Ping => Received::Ping(payload),
            OpCode::Pong => Received::Pong(payload),
            _ => Received::Close(parse_close(&payload)?),
        }))
    }
}

impl From<FrameHeader> for Frame {
    fn from(header: FrameHeader) -> Self {
        Self { opcode: header.opcode, fin: header.fin, mask: header.mask.map(Mask::new), remaining: header.len }
    }
}

impl Frame {
    /// The payload that `input` begins with, unmasked.
    #[inline]
    fn take(&mut self, input: &mut BytesMut, copies: bool) -> BytesMut {
        if copies && self.mask.is_some() {
            return self.copy_unmasked(input);
        }
        let len = self.unmask(input);
        self.remaining -= len as u64;
        split(input, len, copies)
    }

    /// The same, copied and unmasked in one pass.
    #[inline(never)]
    fn copy_unmasked(&mut self, input: &mut BytesMut) -> BytesMut {
        let len = self.available(input);
        let mut data = BytesMut::with_capacity(len);
        if let Some(mask) = &mut self.mask {
            mask.copy(&input[..len], &mut data);
        }
        self.remaining -= len as u64;
        input.advance(len);
        data
    }

    /// How much of its payload `input` begins with.
    #[inline]
    fn available(&self, input: &BytesMut) -> usize {
        input.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX))
    }

    /// Unmasks this frame's payload at the front of `input`; its length.
    #[inline]
    fn unmask(&mut self, input: &mut BytesMut) -> usize {
        let len = self.available(input);
        if let Some(mask) = &mut self.mask {
            mask.apply(&mut input[..len]);
        }
        len
    }
}

/// Takes `len` bytes off the front.
#[inline(always)]
fn split(input: &mut BytesMut, len: usize, copies: bool) -> BytesMut {
    if len == 0 {
        BytesMut::new() // splitting would allocate
    } else if copies {
        let data = copied(&input[..len]);
        input.advance(len);
        data
    } else {
        input.split_to(len)
    }
}

/// Takes text up to the last whole character of what is there, and whether what follows it is wrong: bytes that are no
/// character, or the end of the message in the middle of one.
///
/// A character that input ends in the middle of waits in the validator; when its last byte comes, it is a chunk of its
/// own, so that the bulk of the text is never copied.
fn take_text(frame: &mut Frame, text: &mut Utf8Validator, input: &mut BytesMut, copies: bool) -> (BytesMut, bool) {
    if text.is_partial() {
        while frame.remaining > 0 && !input.is_empty() {
            let mut byte = [input.get_u8()];
            if let Some(mask) = &mut frame.mask {
                mask.apply(&mut byte);
            }
            frame.remaining -= 1;
            match text.complete(byte[0]) {
                Ok(Some((character, len))) => return (BytesMut::from(&character[..len]), false),
                Ok(None) => {}
                Err(_) => return (BytesMut::new(), true),
            }
        }
        return (BytesMut::new(), frame.fin && frame.remaining == 0);
    }
    let len = frame.unmask(input);
    let checked = text.check(&input[..len]);
    let data = split(input, checked.valid, copies);
    frame.remaining -= len as u64;
    let bad = checked.bad || (text.is_partial() && frame.fin && frame.remaining == 0);
    if !bad {
        input.advance(len - checked.valid);
    }
    (data, bad)
}

/// The body of a Close frame (5.5.1).
fn parse_close(payload: &[u8]) -> Result<CloseFrame, ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok(CloseFrame::empty()),
        [_] => return Err(ProtocolError::CloseBodyTooShort),
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
    };
    let code = CloseCode::try_from(code).map_err(|_| ProtocolError::InvalidCloseCode(code))?;
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidCloseReason)?;
    Ok(CloseFrame { code, reason: reason.to_owned() })
}
