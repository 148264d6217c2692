//! Every recorded exchange, cut at every byte, gives the same events.

use super::{
    BINARY, CLOSE, CONT, FIN, PING, PONG, TEXT, close_body, frame,
    model::{by_the_book, fault_code, receive},
    other,
};
use crate::role::Role;

type Exchange<'a> = (&'a str, Vec<(u8, &'a [u8])>);

const LONG: [u8; 300] = [b'l'; 300];

/// Names, and frames by first byte and payload.
fn exchanges() -> Vec<Exchange<'static>> {
    vec![
        ("text", vec![(FIN | TEXT, b"hello"), (FIN | TEXT, "grüße €\u{10348}".as_bytes())]),
        ("binary", vec![(FIN | BINARY, &[0, 255, 1]), (FIN | BINARY, &LONG)]),
        ("empty", vec![(FIN | TEXT, b""), (FIN | BINARY, b""), (FIN | TEXT, b"")]),
        ("fragments", vec![(BINARY, b"a"), (CONT, b"bc"), (FIN, b"d"), (TEXT, b"e"), (FIN, b"f")]),
        ("empty fragments", vec![(TEXT, b""), (CONT, b""), (CONT, b"x"), (CONT, b""), (FIN, b"")]),
        ("only empty fragments", vec![(BINARY, b""), (CONT, b""), (FIN, b"")]),
        ("control between", vec![(PING, b""), (FIN | TEXT, b"a"), (PONG, b"p"), (FIN | BINARY, b""), (PING, b"q")]),
        (
            "control inside",
            vec![(TEXT, b"a"), (PING, b"12345678"), (CONT, b""), (PONG, b""), (CONT, b"b"), (PING, b"x"), (FIN, b"c")],
        ),
        ("control at once", vec![(BINARY, b""), (PING, b"x"), (FIN, b"")]),
        (
            "characters over fragments",
            vec![(TEXT, b"\xE2"), (CONT, b"\x82"), (CONT, b"\xAC\xF0\x90"), (FIN, b"\x8D\x88")],
        ),
        (
            "characters around control",
            vec![(TEXT, b"a\xE2"), (PING, b"\xFF"), (CONT, b"\x82"), (PONG, b""), (FIN, b"\xACb")],
        ),
        (
            "a character in empty fragments",
            vec![(TEXT, b"\xC3"), (CONT, b""), (CONT, b""), (CONT, b"\x9F"), (FIN, b"")],
        ),
        ("bad first", vec![(FIN | TEXT, b"\xFFabc")]),
        ("bad in the middle", vec![(FIN | TEXT, b"good"), (FIN | TEXT, b"ab\xC0cd")]),
        ("bad last", vec![(FIN | TEXT, b"abc\xF5"), (FIN | TEXT, b"x")]),
        ("bad in the middle of a character", vec![(FIN | TEXT, b"ab\xE2\x28\xA1cd")]),
        ("a surrogate", vec![(FIN | TEXT, "€\u{20AC}".as_bytes()), (FIN | TEXT, b"a\xED\xA0\x80")]),
        ("bad in the next fragment", vec![(TEXT, b"ab\xF0\x90"), (CONT, b"\x8D"), (FIN, b"xyz")]),
        ("text that ends in a character", vec![(FIN | TEXT, b"abc\xE2\x82")]),
        ("text that ends in a character, over fragments", vec![(TEXT, b"abc\xE2"), (CONT, b"\x82"), (FIN, b"")]),
        ("text of half a character", vec![(FIN | TEXT, b"\xE2\x82")]),
        ("close", vec![(FIN | TEXT, b"a"), (CLOSE, b"\x03\xE8"), (FIN | TEXT, b"late")]),
        ("close with a reason", vec![(CLOSE, b"\x0F\xA0gr\xC3\xBC\xC3\x9Fe")]),
        ("close without a body", vec![(CLOSE, b""), (PING, b"late")]),
        ("close in a message", vec![(BINARY, b"abc"), (CLOSE, b"\x03\xE9bye")]),
        ("close with one byte", vec![(CLOSE, b"\x03")]),
        ("close with a bad code", vec![(CLOSE, b"\x03\xED")]),
        ("close with a bad reason", vec![(CLOSE, b"\x03\xE8ab\xFF")]),
        ("reserved bit", vec![(FIN | TEXT, b"a"), (FIN | TEXT | 0x40, b"b")]),
        ("reserved opcode", vec![(BINARY, b"a"), (0x8B, b"")]),
        ("fragmented ping", vec![(0x09, b"a"), (FIN, b"b")]),
        ("long ping", vec![(PING, &LONG)]),
        ("stray continuation", vec![(FIN | TEXT, b"a"), (FIN, b"b")]),
        ("interleaved", vec![(TEXT, b"a"), (PING, b""), (FIN | TEXT, b"b")]),
        ("over the limit", vec![(FIN | BINARY, &LONG), (BINARY, &LONG), (CONT, &LONG), (FIN, b"x")]),
    ]
}

fn on_the_wire(role: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(other(role), *first, payload)).collect()
}

#[test]
fn every_recorded_exchange_cut_at_every_byte_gives_the_same_events() {
    for role in [Role::Client, Role::Server] {
        for (name, frames) in exchanges() {
            let bytes = on_the_wire(role, &frames);
            let limit = (name == "over the limit").then_some(500);
            let (log, error) = receive(role, limit, [&bytes[..]]);
            let expected = (log, error.as_ref().map(ToString::to_string));
            let same = |pieces: Vec<&[u8]>, cut: &dyn std::fmt::Debug| {
                let (log, error) = receive(role, limit, pieces);
                assert_eq!((log, error.map(|error| error.to_string())), expected, "{name}, {role:?}, cut {cut:?}");
            };
            for a in 0..=bytes.len() {
                same(vec![&bytes[..a], &bytes[a..]], &a);
            }
            for size in 1..8 {
                same(bytes.chunks(size).collect(), &size);
            }
            if bytes.len() < 40 {
                for a in 0..=bytes.len() {
                    for b in a..=bytes.len() {
                        same(vec![&bytes[..a], &bytes[a..b], &bytes[b..]], &(a, b));
                    }
                }
            }
        }
    }
}

#[test]
fn every_recorded_exchange_is_heard_by_the_book_and_so_is_every_beginning_of_it() {
    for role in [Role::Client, Role::Server] {
        for (name, frames) in exchanges() {
            let bytes = on_the_wire(role, &frames);
            for end in 0..=bytes.len() {
                let (log, error) = receive(role, None, [&bytes[..end]]);
                let heard = (log, error.as_ref().map(fault_code));
                assert_eq!(heard, by_the_book(role, None, &bytes[..end]), "{name}, {role:?}, up to {end}");
            }
        }
    }
}

#[test]
fn a_connection_says_the_same_whatever_the_cut() {
    for role in [Role::Client, Role::Server] {
        for (name, frames) in exchanges() {
            let bytes = on_the_wire(role, &frames);
            let run = |cut: usize| {
                let mut bench = super::Bench::new(role);
                bench.hear(&bytes[..cut]).hear(&bytes[cut..]).hear_end();
                bench.run_out();
                // A fault found in the same turn drops a pong that had not gone out yet.
                let said = bench.said().into_iter().filter(|frame| frame.first != PONG);
                let said: Vec<_> = said.map(|frame| (frame.first, frame.payload)).collect();
                (bench.end.seen.clone(), said, format!("{:?}", bench.ending()))
            };
            let whole = run(0);
            for cut in 1..=bytes.len() {
                assert_eq!(run(cut), whole, "{name}, {role:?}, cut at {cut}");
            }
        }
    }
    assert_eq!(close_body(1001, "bye"), b"\x03\xE9bye");
}
