//! Compressed messages on their way in (RFC 7692, 7.2.2): from payload to text or bytes, a chunk at a time.

use bytes::{Buf, BytesMut};

use super::recv::{Frame, MessageState};
use crate::{
    error::ConnectionError,
    message::MessageKind,
    wire::{
        copy::copied,
        deflate::{Inflater, with_scratch},
    },
};

/// The largest chunk that is inflated at a time: what a queue that is full is exceeded by, at most.
const CHUNK: usize = 64 * 1024;

/// Of a connection that has agreed on compression.
#[derive(Debug)]
pub(super) struct Inflation {
    inflater: Inflater,
    /// Bytes at the front of the input that have been unmasked and not yet taken.
    unmasked: usize,
    /// Nobody wants messages any more, now or later.
    discards: bool,
}

/// What has been made of some input.
#[derive(Debug, Default)]
pub(super) struct Inflated {
    /// Of text, whole characters.
    pub(super) data: BytesMut,
    /// What follows it is not text.
    pub(super) bad: bool,
    /// The message is complete.
    pub(super) done: bool,
}

impl Inflation {
    pub(super) fn new(takeover: bool) -> Self {
        Self { inflater: Inflater::new(takeover), unmasked: 0, discards: false }
    }

    /// There is more to give without more input.
    pub(super) fn is_full(&self) -> bool {
        self.inflater.is_full() && !self.discards
    }

    /// Inflates no more: as no message will be wanted, nothing that it may refer to is.
    pub(super) fn discard(&mut self) {
        self.discards = true;
    }

    /// Takes payload of `frame` from the front of `input`, as much as makes a chunk.
    pub(super) fn inflate(
        &mut self,
        frame: &mut Frame,
        message: &mut MessageState,
        limit: Option<u64>,
        input: &mut BytesMut,
    ) -> Result<Inflated, ConnectionError> {
        let available = input.len().min(usize::try_from(frame.remaining).unwrap_or(usize::MAX));
        let last = frame.fin && available as u64 == frame.remaining;
        if self.discards {
            input.advance(available);
            frame.remaining -= available as u64;
            return Ok(Inflated { done: last, ..Inflated::default() });
        }
        if let Some(mask) = &mut frame.mask {
            mask.apply(&mut input[self.unmasked..available]);
        }
        with_scratch(|scratch| {
            let room = scratch.room();
            // A byte more than is allowed shows that it is too much.
            let allowed = limit.map_or(CHUNK as u64, |limit| (limit - message.size).saturating_add(1));
            let begun = message.text.take_partial(room);
            let end = room.len().min(begun + CHUNK.min(usize::try_from(allowed).unwrap_or(CHUNK)));
            let step = self.inflater.inflate(&input[..available], &mut room[begun..end], last)?;
            input.advance(step.taken);
            frame.remaining -= step.taken as u64;
            self.unmasked = available - step.taken;
            message.size += step.given as u64;
            if let Some(limit) = limit
                && message.size > limit
            {
                return Err(ConnectionError::MessageTooLarge { limit, knob: "max_message_size" });
            }
            let output = &room[..begun + step.given];
            let (valid, bad) = match message.kind {
                MessageKind::Binary => (output.len(), false),
                MessageKind::Text => {
                    let checked = message.text.check(output);
                    (checked.valid, checked.bad || (step.done && message.text.is_partial()))
                }
            };
            Ok(Inflated { data: copied(&output[..valid]), bad, done: step.done && !bad })
        })
    }
}
