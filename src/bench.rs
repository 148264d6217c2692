//! Internals for `benches/micro`, behind the feature `__bench`. Not part of the API.

use std::{
    collections::VecDeque,
    io::IoSlice,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};

use crate::{
    config::Config,
    driver::{
        inbound::{CHUNK_COST, Queued, Sum, Taken},
        shared::{self, Shared},
    },
    message::MessageKind,
    negotiated::Negotiated,
    proto::{
        recv::{Chunk, Received, Receiver},
        send::Outbox,
        stage::Stage,
    },
    role::Role,
    stats::DirectionStats,
    wire::{
        copy::append,
        header::{FrameHeader, OpCode},
        mask::Mask,
        utf8::Utf8Validator,
    },
};

/// A mask key as the driver draws it.
pub fn mask_key() -> u32 {
    shared::mask_key()
}

/// Appends the header of a binary message in one frame.
pub fn encode_header(mask: Option<u32>, len: u64, out: &mut BytesMut) {
    FrameHeader { fin: true, opcode: OpCode::Binary, mask, len }.encode(out);
}

/// The length of the payload, and of the header at the front of `bytes`.
pub fn decode_header(bytes: &[u8], masked: bool) -> Option<(u64, usize)> {
    FrameHeader::parse(bytes, masked, false).expect("a header").map(|(header, size)| (header.len, size))
}

/// Masks the payload of one frame in place.
pub fn mask(key: u32, data: &mut [u8]) {
    Mask::new(key).apply(data);
}

/// Appends the payload of one frame, masked.
pub fn copy_and_mask(key: u32, data: &[u8], out: &mut BytesMut) {
    Mask::new(key).copy(data, out);
}

/// Appends a payload that is not masked.
pub fn copy(data: &[u8], out: &mut BytesMut) {
    append(data, out);
}

/// Whether this is text, or its beginning.
pub fn check_utf8(text: &[u8]) -> bool {
    Utf8Validator::default().accept(text).is_ok()
}

/// The receiving state machine.
#[derive(Debug)]
pub struct Decoder(Receiver);

impl Decoder {
    /// A server's expects masked frames.
    pub fn new(role: Role) -> Self {
        Self(Receiver::new(role, None))
    }

    /// The next chunk in `input`, control frames left out; `None` when all of it has been taken.
    #[inline]
    pub fn chunk(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let mut found = None;
        let mut deliver = |chunk: Chunk| found = Some(chunk.data.freeze());
        loop {
            match self.0.decode(input, false, &mut deliver).expect("frames of a peer that keeps to the rules")? {
                Received::Chunk => return found,
                Received::Ping(_) | Received::Pong(_) | Received::Close(_) => {}
            }
        }
    }
}

/// The sending state machine, from the application's call to what the transport is given.
#[derive(Debug)]
pub struct Sender {
    outbox: Outbox,
    stage: Stage,
}

impl Sender {
    /// A client's masks.
    pub fn new(role: Role) -> Self {
        let largest = Config::default().max_frame_payload;
        Self { outbox: Outbox::new(role, largest), stage: Stage::new(role, largest) }
    }

    /// Accepts a message.
    pub fn message(&mut self, kind: MessageKind, payload: Bytes) {
        self.outbox.message(kind, payload, &mut shared::mask_key);
    }

    /// Queues a ping.
    pub fn ping(&mut self, payload: &[u8]) {
        self.stage.push_control(OpCode::Ping, payload, &mut shared::mask_key);
    }

    /// Gives all that was accepted to a transport that takes everything it is offered; the bytes it took.
    pub fn write(&mut self, mut transport: impl FnMut(&[IoSlice<'_>])) -> usize {
        let mut written = 0;
        loop {
            self.stage.fetch(&mut self.outbox);
            self.stage.fill(&mut shared::mask_key);
            let mut slices = [IoSlice::new(&[]); 64];
            let used = self.stage.slices(&mut slices, usize::MAX);
            if used == 0 {
                return written;
            }
            transport(&slices[..used]);
            let len = slices[..used].iter().map(|slice| slice.len()).sum();
            self.stage.advance(len);
            written += len;
        }
    }
}

/// The queue between driver and reader, with both of them.
#[derive(Debug)]
pub struct Queue {
    shared: Arc<Shared>,
    batch: VecDeque<Queued>,
    local: VecDeque<Queued>,
}

impl Default for Queue {
    fn default() -> Self {
        let shared = Shared::new(Role::Server, Negotiated::default(), Config::default());
        Self { shared: Arc::new(shared), batch: VecDeque::new(), local: VecDeque::new() }
    }
}

impl Queue {
    /// Hands over a batch of small messages, from the decoder's hands to the reader's; the bytes that arrived there.
    pub fn hand_over(&mut self, messages: impl Iterator<Item = BytesMut>) -> usize {
        let mut sum = Sum::default();
        for data in messages {
            let cost = data.len() + CHUNK_COST;
            let chunk = Chunk { kind: MessageKind::Binary, first: true, last: true, data };
            let queued = Queued { chunk, cost };
            sum.add(&queued);
            self.batch.push_back(queued);
        }
        let woken = self.shared.inbound().push(&mut self.batch, sum, DirectionStats::default());
        assert!(woken.is_none(), "the reader does not wait");
        let taken = self.shared.inbound().take(&mut self.local, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(taken, Taken::Chunks));
        let (mut bytes, mut consumed) = (0, 0);
        while let Some(queued) = self.local.pop_front() {
            consumed += queued.cost;
            bytes += queued.chunk.data.len();
        }
        self.shared.inbound().credit(consumed);
        bytes
    }
}
