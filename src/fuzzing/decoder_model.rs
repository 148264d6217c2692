//! The decoder against a naive one.

use super::input::{Input, role};
use crate::{
    error::ConnectionError,
    proto::tests::{
        Bench, Seen, config,
        model::{Heard, by_the_book, fault_code, receive},
    },
};

/// A flag byte, a size limit, two sizes of pieces, and bytes as they come from a peer.
///
/// The decoder hears what the model hears in whatever pieces, and finds the same fault; so does a whole connection,
/// which delivers the same messages, says what is wrong in its Close frame, and ends.
pub fn decoder_model(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let role = role(flags & 1 != 0);
    let limit = u64::from(input.byte());
    let limit = (flags & 2 != 0).then_some(limit * limit);
    let pieces = input.pieces().cut(input.0);

    let (expected, fault) = by_the_book(role, limit, input.0);
    let (heard, error) = receive(role, limit, pieces.iter().copied());
    assert_eq!(heard, expected);
    assert_eq!(error.as_ref().map(fault_code), fault);

    let config = limit.into_iter().fold(config(), |config, limit| config.max_message_size(limit));
    let mut bench = Bench::with(role, &config);
    for piece in pieces {
        bench.hear(piece);
    }
    bench.hear_end().run_out();
    assert_eq!(bench.end.seen, messages(&heard));
    let closed = heard.iter().any(|heard| matches!(heard, Heard::Close(..)));
    match (bench.ending(), error) {
        (Ok(info), None) => assert!(info.was_clean && closed),
        (Err(found), Some(error)) => {
            assert_eq!(found.to_string(), error.to_string());
            let (first, payload) = bench.last_said();
            assert_eq!((first, &payload[..2]), (0x88, &fault_code(&error).to_be_bytes()[..]), "the fault is told");
        }
        (Err(ConnectionError::MessageCut(_)), None) => assert!(closed && bench.end.seen.iter().any(|it| !it.2)),
        (Err(ConnectionError::Lost), None) => assert!(!closed),
        other => panic!("{other:?}"),
    }
}

/// What an application sees of this.
fn messages(heard: &[Heard]) -> Vec<Seen> {
    let mut messages: Vec<Seen> = Vec::new();
    for heard in heard {
        let Heard::Data { kind, first, last, data } = heard else { continue };
        if *first {
            messages.push((*kind, Vec::new(), false));
        }
        let (_, all, whole) = messages.last_mut().expect("a first chunk comes first");
        all.extend(data);
        *whole = *last;
    }
    messages
}
