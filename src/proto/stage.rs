//! What goes out next: frames ready for the transport, in the order they will leave.
//!
//! Data is fetched from the [`Outbox`](super::send::Outbox) in batches; control frames are put in front of it, at the
//! next frame boundary (RFC 6455, 5.4).

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Bytes, BytesMut};

use super::{
    deflation::{BUDGET, Deflation},
    send::{COPY_MAX, Large, MaskKeys, Outbox, Piece, push_frame},
    spare,
};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::Codec,
    role::Role,
    wire::{
        header::{FrameHeader, MAX_HEADER, OpCode},
        mask::Mask,
    },
};

/// Bytes to have ready for one vectored write where they are references to what the application sent.
const STAGE_MAX: usize = 1024 * 1024;

/// The same where they are copies, masked. Each write costs 5 us beside the bytes where it ends with a small segment; this is two
/// of them for a turn.
const MASKED_MAX: usize = 512 * 1024;

/// Payload masked in one piece, whose memory is then used again (see [`spare`]), however long the frame is.
const MASKED_PART: usize = 64 * 1024;

/// Headers that memory is taken for at a time.
const HEADERS: usize = 16;

/// Control frames that may wait, in bytes; above it reading pauses, so that pings cannot pile up pongs.
const CONTROL_MAX: usize = 16 * 1024;

#[derive(Debug)]
enum Item {
    /// Begins at a frame boundary: whole frames, or ends with a header whose payload follows as `Body`.
    Frames(Bytes),
    /// Payload of the frame begun before it.
    Body(Bytes),
    /// Pings and pongs.
    Control(Bytes),
}

impl Item {
    fn data(&self) -> &Bytes {
        match self {
            Self::Frames(data) | Self::Body(data) | Self::Control(data) => data,
        }
    }

    fn data_mut(&mut self) -> &mut Bytes {
        match self {
            Self::Frames(data) | Self::Body(data) | Self::Control(data) => data,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    role: Role,
    max_frame_payload: usize,
    /// Messages are compressed.
    deflation: Option<Box<Deflation>>,
    /// Fetched, not yet encoded.
    pieces: VecDeque<Piece>,
    pieces_len: usize,
    /// Encoded, in the order of the wire.
    items: VecDeque<Item>,
    items_len: usize,
    /// Bytes of the first item that the transport has taken.
    written: usize,
    /// Payload that the last staged frame, one of declared length, still misses.
    missing: u64,
    /// Control frames that wait for a frame boundary.
    control: BytesMut,
    frames: u64,
    control_frames: u64,
    /// Bytes of the control frames among the items.
    control_staged: usize,
    /// Room for the headers of large frames, which do not stand in front of their payload.
    headers: BytesMut,
}

impl Stage {
    pub(crate) fn new(role: Role, max_frame_payload: usize) -> Self {
        Self {
            role,
            max_frame_payload,
            deflation: None,
            pieces: VecDeque::new(),
            pieces_len: 0,
            items: VecDeque::new(),
            items_len: 0,
            written: 0,
            missing: 0,
            control: BytesMut::new(),
            frames: 0,
            control_frames: 0,
            control_staged: 0,
            headers: BytesMut::new(),
        }
    }

    /// Compression has been agreed on.
    pub(crate) fn enable_compression(&mut self, codec: &Codec) {
        if codec.compress_from.is_some() {
            self.deflation = Some(Box::new(Deflation::new(codec, self.role, self.max_frame_payload)));
        }
    }

    /// Compressing takes its time, so that other things should get their turn now and then.
    pub(crate) fn is_compressing(&self) -> bool {
        self.deflation.is_some()
    }

    /// Something has been fetched and not encoded: the stage is full, or compressing goes on in another round.
    pub(crate) fn has_unstaged(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Data frames of large payloads, and control frames, prepared so far.
    pub(crate) fn frames(&self) -> (u64, u64) {
        (self.frames, self.control_frames)
    }

    /// A control frame waits to be written.
    pub(crate) fn has_control(&self) -> bool {
        self.control_len() > 0
    }

    /// Bytes that wait here, without control frames. Those may wait for a frame that the application has to complete,
    /// so nothing that the application waits for may depend on them.
    pub(crate) fn data_len(&self) -> usize {
        self.pieces_len + self.items_len + self.control.len() - self.control_len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces_len + self.items_len + self.control.len() == 0
    }

    /// Too many control frames wait: nothing more should be read.
    pub(crate) fn is_control_full(&self) -> bool {
        self.control_len() >= CONTROL_MAX
    }

    /// Bytes of control frames that wait, wherever they stand.
    fn control_len(&self) -> usize {
        let written = if let Some(Item::Control(_)) = self.items.front() { self.written } else { 0 };
        self.control.len() + self.control_staged - written
    }

    /// The last frame staged is one of declared length, and part of its payload has not been written by the application.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.missing > 0 && self.pieces.is_empty()
    }

    /// Queues a ping or pong; it overtakes data at the next frame boundary.
    pub(crate) fn push_control(&mut self, opcode: OpCode, payload: &[u8], keys: MaskKeys<'_>) {
        self.control_frames += 1;
        let mask = (self.role == Role::Client).then(keys);
        push_frame(&mut self.control, FrameHeader { fin: true, opcode, mask, len: payload.len() as u64 }, payload);
    }

    /// Appends the Close frame; everything fetched before it goes first.
    pub(crate) fn push_close(&mut self, frame: &CloseFrame, keys: MaskKeys<'_>) {
        let mut payload = Vec::with_capacity(2 + frame.reason.len());
        if frame.code != CloseCode::NO_STATUS {
            payload.extend_from_slice(&u16::from(frame.code).to_be_bytes());
            payload.extend_from_slice(frame.reason.as_bytes());
        }
        self.place_control();
        self.control_frames += 1;
        let mask = (self.role == Role::Client).then(keys);
        let header = FrameHeader { fin: true, opcode: OpCode::Close, mask, len: payload.len() as u64 };
        let mut out = BytesMut::with_capacity(MAX_HEADER + payload.len());
        self.items_len += push_frame(&mut out, header, &payload);
        self.items.push_back(Item::Frames(out.freeze()));
    }

    /// Takes what the application has queued, if the last batch is through.
    pub(crate) fn fetch(&mut self, outbox: &mut Outbox) {
        if self.pieces.is_empty() {
            self.pieces_len += outbox.fetch(&mut self.pieces);
        }
    }

    /// Something has been fetched or queued and is not ready to be written.
    pub(crate) fn has_more(&self) -> bool {
        !self.pieces.is_empty() || !self.control.is_empty()
    }

    /// Bytes to have ready for one write.
    fn max(&self) -> usize {
        match self.role {
            Role::Client => MASKED_MAX,
            Role::Server => STAGE_MAX,
        }
    }

    /// Encodes what has been fetched, as much as makes one write.
    pub(crate) fn fill(&mut self, keys: MaskKeys<'_>) {
        self.place_control();
        let mut budget = BUDGET;
        while self.items_len < self.max()
            && budget > 0
            && let Some(piece) = self.pieces.pop_front()
        {
            let len = piece.len();
            if self.deflation.as_ref().is_some_and(|deflation| deflation.takes(&piece)) {
                self.deflate(piece, &mut budget, keys);
                continue;
            }
            match piece {
                Piece::Frames(frames) => {
                    self.push_frames(frames.freeze());
                    self.pieces_len -= len;
                }
                Piece::Header { header, len: missing } => {
                    self.push_frames(header);
                    self.pieces_len -= len;
                    self.missing = missing;
                }
                Piece::Body { payload, mask } => self.push_body(payload, mask),
                Piece::Large(large) => self.push_header(large, keys),
                Piece::Shared(frame) => {
                    self.pieces_len -= len;
                    if frame.is_compressed
                        && let Some(deflation) = &mut self.deflation
                    {
                        deflation.forget();
                    }
                    self.push_frames(frame.head);
                    if !frame.body.is_empty() {
                        self.items_len += frame.body.len();
                        self.items.push_back(Item::Body(frame.body));
                    }
                }
                Piece::Flush => self.pieces_len -= len,
            }
        }
        // What has just been staged may have completed the frame they wait for.
        self.place_control();
    }

    fn deflate(&mut self, piece: Piece, budget: &mut usize, keys: MaskKeys<'_>) {
        let Some(deflation) = &mut self.deflation else { return };
        self.pieces_len -= piece.len();
        let encoded = deflation.encode(piece, budget, keys);
        if let Some(rest) = encoded.rest {
            self.pieces_len += rest.len();
            self.pieces.push_front(rest);
        }
        self.frames += encoded.frames;
        if !encoded.bytes.is_empty() {
            self.push_frames(encoded.bytes.freeze());
        }
    }

    /// What the transport should be given, `most` bytes; the number of slices used.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], most: usize) -> usize {
        let (mut skip, mut left, mut used) = (self.written, most, 0);
        for (slice, item) in slices.iter_mut().zip(&self.items) {
            let data = &item.data()[std::mem::take(&mut skip)..];
            let data = &data[..data.len().min(left)];
            left -= data.len();
            *slice = IoSlice::new(data);
            used += 1;
            if left == 0 {
                break;
            }
        }
        used
    }

    /// The same, if all that is ready is one item.
    pub(crate) fn only_slice(&self, most: usize) -> Option<&[u8]> {
        let item = self.items.front().filter(|_| self.items.len() == 1)?;
        let data = &item.data()[self.written..];
        Some(&data[..data.len().min(most)])
    }

    /// Nothing is ready to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.items.is_empty()
    }

    /// One item is left, or none: the Close frame, if that has been pushed.
    pub(crate) fn is_last_item(&self) -> bool {
        self.items.len() <= 1
    }

    /// The transport has taken `len` bytes.
    pub(crate) fn advance(&mut self, len: usize) {
        self.items_len -= len;
        self.written += len;
        while let Some(item) = self.items.front()
            && self.written >= item.data().len()
        {
            let len = item.data().len();
            self.written -= len;
            match self.items.pop_front() {
                Some(Item::Control(_)) => self.control_staged -= len,
                Some(Item::Frames(frames)) => spare::keep(frames),
                // On a server they are the application's.
                Some(Item::Body(payload)) if self.role == Role::Client => spare::keep(payload),
                _ => {}
            }
        }
    }

    /// Drops everything behind the frame that is on the wire: data, and control frames too. How much data that was, in
    /// bytes, or `None` if that frame cannot be completed.
    pub(crate) fn cut(&mut self) -> Option<usize> {
        let before = self.data_len();
        let boundary = self.next_boundary().or_else(|| {
            self.complete_frame();
            self.next_boundary()
        });
        self.pieces = VecDeque::new();
        self.pieces_len = 0;
        self.control = BytesMut::new();
        let (index, offset) = boundary?;
        if offset > 0 {
            self.items[index].data_mut().truncate(offset);
            self.items.truncate(index + 1);
        } else {
            self.items.truncate(index);
        }
        self.missing = 0;
        let len = |item: &Item| item.data().len();
        self.items_len = self.items.iter().map(len).sum::<usize>() - self.written;
        self.control_staged = self.items.iter().filter(|item| matches!(item, Item::Control(_))).map(len).sum();
        Some(before - self.data_len())
    }

    /// Stages the rest of the last frame, if it is all here, and unless the frame is longer than those that are cut from messages:
    /// on a client it is copied.
    fn complete_frame(&mut self) {
        let is_body = |piece: &&Piece| matches!(piece, Piece::Body { .. });
        let here: usize = self.pieces.iter().take_while(is_body).map(Piece::len).sum();
        if here as u64 != self.missing || here > self.max_frame_payload {
            return;
        }
        while self.missing > 0
            && let Some(Piece::Body { payload, mask }) = self.pieces.pop_front()
        {
            self.push_body(payload, mask);
        }
    }

    /// Drops everything; the transport takes no more.
    pub(crate) fn clear(&mut self) {
        let Self { frames, control_frames, .. } = *self;
        let deflation = self.deflation.take();
        *self = Self { frames, control_frames, deflation, ..Self::new(self.role, self.max_frame_payload) };
    }

    /// Puts waiting control frames at the next frame boundary, if it is known yet, behind those that stand there.
    #[inline]
    fn place_control(&mut self) {
        if !self.control.is_empty() {
            self.place_waiting();
        }
    }

    fn place_waiting(&mut self) {
        // Those that come one by one are collected: an item costs much more than a pong, and so does finding its place.
        if let Some(waiting) = self.items.iter_mut().find(|item| matches!(item, Item::Control(_))) {
            let control = std::mem::take(&mut self.control);
            self.items_len += control.len();
            self.control_staged += control.len();
            let waiting = waiting.data_mut();
            let joined = std::mem::take(waiting).try_into_mut();
            let mut joined = joined.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            joined.extend_from_slice(&control);
            *waiting = joined.freeze();
            return;
        }
        let Some((mut index, offset)) = self.next_boundary() else { return };
        if offset > 0 {
            let rest = self.items[index].data_mut().split_off(offset);
            index += 1;
            self.items.insert(index, Item::Frames(rest));
        }
        let control = std::mem::take(&mut self.control).freeze();
        self.items_len += control.len();
        self.control_staged += control.len();
        self.items.insert(index, Item::Control(control));
    }

    /// The first place that is between two frames and not yet written: an item, and an offset in it.
    fn next_boundary(&self) -> Option<(usize, usize)> {
        let mut index = 0;
        if let Some(Item::Frames(frames) | Item::Control(frames)) = self.items.front() {
            if self.written == 0 {
                return Some((0, 0));
            }
            let mut at = 0;
            while at < self.written {
                at = at.saturating_add(frame_len(&frames[at..], self.role));
            }
            if at < frames.len() {
                return Some((0, at));
            }
            index = 1;
        }
        let next = self.items.range(index..).position(|item| !matches!(item, Item::Body(_)));
        match next {
            Some(distance) => Some((index + distance, 0)),
            None => (self.missing == 0).then_some((self.items.len(), 0)),
        }
    }

    /// A payload of `len` bytes makes one frame, and a copy of it is cheap.
    pub(crate) fn is_small(&self, len: usize) -> bool {
        self.deflation.is_none() && len <= COPY_MAX.min(self.max_frame_payload)
    }

    /// Whole frames, or all but the payload that follows.
    pub(crate) fn push_frames(&mut self, frames: Bytes) {
        self.items_len += frames.len();
        self.items.push_back(Item::Frames(frames));
    }

    /// Stages the header of the next frame of a large payload. The frame's part of that follows as `Body`.
    fn push_header(&mut self, mut large: Large, keys: MaskKeys<'_>) {
        let payload = large.payload.split_to(large.payload.len().min(self.max_frame_payload));
        let fin = large.fin && large.payload.is_empty();
        let opcode = std::mem::replace(&mut large.opcode, OpCode::Continuation);
        let mask = (self.role == Role::Client).then(keys);
        if self.headers.capacity() < MAX_HEADER {
            self.headers = BytesMut::with_capacity(HEADERS * MAX_HEADER);
        }
        push_frame(&mut self.headers, FrameHeader { fin, opcode, mask, len: payload.len() as u64 }, &[]);
        let header = self.headers.split().freeze();
        self.push_frames(header);
        self.frames += 1;
        self.missing = payload.len() as u64;
        if !large.payload.is_empty() {
            self.pieces.push_front(Piece::Large(large));
        }
        self.pieces.push_front(Piece::Body { payload, mask: mask.map(Mask::new) });
    }

    /// Stages payload of the frame that was begun last, as a reference or, masked, a part of it as a copy (RFC 6455, 5.3).
    fn push_body(&mut self, mut payload: Bytes, mask: Option<Mask>) {
        let body = match mask {
            None => payload,
            Some(mut mask) => {
                let part = payload.split_to(payload.len().min(MASKED_PART));
                let mut masked = spare::take(part.len());
                mask.copy(&part, &mut masked);
                if !payload.is_empty() {
                    self.pieces.push_front(Piece::Body { payload, mask: Some(mask) });
                }
                masked.freeze()
            }
        };
        self.pieces_len -= body.len();
        self.missing -= body.len() as u64;
        self.items_len += body.len();
        self.items.push_back(Item::Body(body));
    }
}

/// The bytes that our own frame at the front of `bytes` takes on the wire.
fn frame_len(bytes: &[u8], role: Role) -> usize {
    match FrameHeader::parse(bytes, role == Role::Client, true) {
        Ok(Some((header, size))) => size.saturating_add(usize::try_from(header.len).unwrap_or(usize::MAX)),
        // Not reached: a header is never split between items.
        _ => usize::MAX,
    }
}
