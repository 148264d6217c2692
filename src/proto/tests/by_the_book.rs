//! Random bytes, mostly frames, against the model.

use proptest::prelude::*;

use super::{
    BINARY, CLOSE, FIN, TEXT, frame,
    model::{Heard, by_the_book, fault_code, receive},
    other,
};
use crate::{message::MessageKind, role::Role};

/// Payloads that are often text, sometimes nearly.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-zß€\u{10348}]{0,12}".prop_map(String::into_bytes),
        2 => ("[ß€\u{10348}]{1,4}", 1..4usize).prop_map(|(text, cut)| text.as_bytes()[cut.min(text.len())..].to_vec()),
        2 => ("[ß€\u{10348}]{1,4}", 1..4usize).prop_map(|(text, cut)| text.as_bytes()[..text.len().saturating_sub(cut)].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..140),
        1 => (1000..1016u16, "[a-zß]{0,5}").prop_map(|(code, reason)| super::close_body(code, &reason)),
        1 => proptest::collection::vec(any::<u8>(), 65_534..65_538),
    ]
}

/// Bytes that are mostly frames: mostly good ones, in an order that is often wrong.
fn wire() -> impl Strategy<Value = (Role, Vec<u8>)> {
    let opcode = prop_oneof![4 => Just(0u8), 4 => 1..3u8, 3 => 9..11u8, 1 => Just(8u8), 1 => 0..16u8];
    let first = (opcode, prop::bool::weighted(0.7), prop_oneof![30 => Just(0u8), 1 => 0..8u8])
        .prop_map(|(opcode, fin, reserved)| opcode | if fin || opcode > 7 { FIN } else { 0 } | reserved << 4);
    let role = prop_oneof![Just(Role::Client), Just(Role::Server)];
    let frames = proptest::collection::vec((first, payload(), prop::bool::weighted(0.02)), 0..12);
    // One byte is hit, perhaps.
    let hit = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (role, frames, hit, prop::option::weighted(0.3, any::<prop::sample::Index>())).prop_map(
        |(role, frames, hit, end)| {
            let mut bytes = Vec::new();
            for (first, payload, wrong_mask) in frames {
                let sender = if wrong_mask { role } else { other(role) };
                bytes.extend(frame(sender, first, &payload));
            }
            if let (Some((at, with)), false) = (hit, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            if let Some(end) = end {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            (role, bytes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_as_by_the_book_in_any_pieces(
        (role, bytes) in wire(),
        limit in prop::option::weighted(0.2, 0..200u64),
        size in prop_oneof![Just(1usize), 2..50usize, Just(100_000)],
    ) {
        let (log, error) = receive(role, limit, bytes.chunks(size));
        let (expected, fault) = by_the_book(role, limit, &bytes);
        prop_assert_eq!(log, expected);
        prop_assert_eq!(error.as_ref().map(fault_code), fault);
    }

    #[test]
    fn pure_noise_is_taken_as_by_the_book(bytes in proptest::collection::vec(any::<u8>(), 0..40), server in any::<bool>()) {
        let role = if server { Role::Server } else { Role::Client };
        let (log, error) = receive(role, None, [&bytes[..]]);
        prop_assert_eq!((log, error.as_ref().map(fault_code)), by_the_book(role, None, &bytes));
    }
}

#[test]
fn the_model_reads_the_examples_of_rfc_6455_5_7() {
    let hello = |first, last, data: &[u8]| Heard::Data { kind: MessageKind::Text, first, last, data: data.to_vec() };
    let single = [0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F];
    assert_eq!(by_the_book(Role::Client, None, &single), (vec![hello(true, true, b"Hello")], None));
    let masked = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    assert_eq!(by_the_book(Role::Server, None, &masked), (vec![hello(true, true, b"Hello")], None));
    let ping_inside = [&[0x01, 0x03, 0x48, 0x65, 0x6C][..], &[0x89, 0x00], &[0x80, 0x02, 0x6C, 0x6F]].concat();
    let log = vec![hello(true, false, b"Hel"), Heard::Ping(Vec::new()), hello(false, true, b"lo")];
    assert_eq!(by_the_book(Role::Client, None, &ping_inside), (log, None));
    assert_eq!((TEXT, BINARY, CLOSE), (1, 2, 0x88));
}
