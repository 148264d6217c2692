//! Compressed messages: any bytes, in pieces and at once; and what our own end makes of any message.

use super::input::{Input, Sizes};
use crate::{
    error::ProtocolError,
    wire::deflate::{Deflater, End, Inflater, with_scratch},
};

/// Room for what is inflated at once.
const ROOM: usize = 1 << 16;

/// What a byte can inflate to, at most: 258 bytes for two bits.
const RATIO: usize = 1032;

/// A flag byte, two sizes of pieces, a size of rooms, and messages: a byte for the length of each.
///
/// Whatever the pieces and the room for output, the same comes out, up to the same fault. What is compressed here, with
/// whatever settings and flushes, inflates to what it was.
pub fn inflate(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let takeover = flags & 1 != 0;
    let pieces = input.pieces();
    let room = match input.byte() {
        0 => ROOM,
        room => room.into(),
    };
    let mut deflater = Deflater::new((flags >> 2) % 10, 9 + (flags >> 5), takeover);
    let (mut at_once, mut in_pieces) = (Inflater::new(takeover), Inflater::new(takeover));
    while !input.is_empty() {
        let len = input.byte();
        let message = input.take(if len == 255 { usize::MAX } else { len.into() });
        let compressed = (flags & 2 != 0).then(|| compress(&mut deflater, message, pieces));
        let wire = compressed.as_deref().unwrap_or(message);
        let (expected, outcome) = run(&mut at_once, wire, Sizes::WHOLE, ROOM);
        assert!(expected.len() <= (wire.len() + 4) * RATIO);
        assert_eq!(run(&mut in_pieces, wire, pieces, room), (expected.clone(), outcome));
        if compressed.is_some() {
            assert!(outcome.is_ok() && expected == message);
        }
        if outcome.is_err() {
            return;
        }
    }
}

fn run(inflater: &mut Inflater, message: &[u8], pieces: Sizes, room: usize) -> (Vec<u8>, Result<(), ProtocolError>) {
    let mut output = vec![0; room];
    let mut inflated = Vec::new();
    let mut pieces = pieces.cut(message);
    // The end may come with no bytes.
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    for (at, piece) in pieces.iter().enumerate() {
        let last = at == pieces.len() - 1;
        let mut rest = *piece;
        loop {
            let step = match inflater.inflate(rest, &mut output, last) {
                Ok(step) => step,
                Err(fault) => return (inflated, Err(fault)),
            };
            inflated.extend(&output[..step.given]);
            rest = &rest[step.taken..];
            if rest.is_empty() && !inflater.is_full() {
                assert_eq!(step.done, last);
                break;
            }
            assert!(!step.done && step.given > 0, "it goes on");
        }
    }
    (inflated, Ok(()))
}

fn compress(deflater: &mut Deflater, message: &[u8], pieces: Sizes) -> Vec<u8> {
    with_scratch(|scratch| {
        for (at, piece) in pieces.cut(message).into_iter().enumerate() {
            deflater.deflate(piece, if at % 3 == 2 { End::Flush } else { End::None }, scratch);
        }
        deflater.deflate(&[], End::Message, scratch);
        scratch.filled().to_vec()
    })
}
