//! Both ends, cut in every way, against each other and against another implementation.

use proptest::prelude::*;

use super::{deflater::TAIL, inflater::Step, *};
use crate::error::ProtocolError;

/// Inflates a message that comes in pieces of these sizes, with room for this much at a time.
fn inflate(inflater: &mut Inflater, message: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut whole = Vec::new();
    let mut output = vec![0xAA; room];
    let mut rest = message;
    loop {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        let mut input = now;
        loop {
            let step = inflater.inflate(input, &mut output, later.is_empty())?;
            input = &input[step.taken..];
            whole.extend(&output[..step.given]);
            if step.done {
                assert!(input.is_empty() && later.is_empty() && !inflater.is_full());
                return Ok(whole);
            }
            if input.is_empty() && !inflater.is_full() {
                break;
            }
            assert!(step.given == room || inflater.is_full(), "output is left");
        }
        assert!(!later.is_empty(), "the end was told");
        rest = later;
    }
}

/// Compresses a message in pieces, each followed by a flush or not.
fn deflate(deflater: &mut Deflater, message: &[u8], piece: usize, flush: bool) -> Vec<u8> {
    with_scratch(|scratch| {
        let end = if flush { End::Flush } else { End::None };
        for piece in message.chunks(piece.max(1)) {
            deflater.deflate(piece, end, scratch);
        }
        deflater.deflate(&[], End::Message, scratch);
        scratch.filled().to_vec()
    })
}

/// One message as another implementation compresses it.
fn others_message(message: &[u8], level: u8) -> Vec<u8> {
    use miniz_oxide::{
        DataFormat, MZFlush,
        deflate::{core::CompressorOxide, stream::deflate},
    };
    let mut compressor = CompressorOxide::default();
    compressor.set_format_and_level(DataFormat::Raw, level);
    let mut out = vec![0; message.len() * 2 + 1000];
    let result = deflate(&mut compressor, message, &mut out, MZFlush::Sync);
    out.truncate(result.bytes_written);
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - 4);
    out
}

/// One message as another implementation inflates it.
fn others_inflate(message: &[u8]) -> Vec<u8> {
    // A final block after the tail, lest the end be missed.
    let whole = [message, &TAIL, &[0x03, 0x00]].concat();
    miniz_oxide::inflate::decompress_to_vec(&whole).unwrap()
}

/// Bytes that compress in part.
fn mixed(len: usize) -> Vec<u8> {
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
        seed >> 24
    };
    let mut bytes = Vec::new();
    while bytes.len() < len {
        match next() % 4 {
            0 => bytes.extend((0..next()).map(|_| next() as u8)),
            1 => bytes.extend(std::iter::repeat_n(next() as u8, next() as usize * 4)),
            _ => bytes.extend(format!("{{\"id\":{},\"name\":\"item {}\"}},", next(), next() % 8).bytes()),
        }
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that cannot be compressed.
fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Inflates a message with a window of just that size, so little at a time that what is not in the window is nowhere.
fn inflate_strictly(strict: &mut zlib_rs::Inflate, message: &[u8]) -> Vec<u8> {
    let (mut whole, mut room) = (Vec::new(), [0; 64]);
    let message = [message, &TAIL].concat();
    let mut input = &message[..];
    loop {
        let (taken, given) = (strict.total_in(), strict.total_out());
        strict.decompress(input, &mut room, zlib_rs::InflateFlush::NoFlush).unwrap();
        input = &input[(strict.total_in() - taken) as usize..];
        let given = (strict.total_out() - given) as usize;
        whole.extend(&room[..given]);
        if input.is_empty() && given == 0 {
            return whole;
        }
    }
}

#[test]
fn the_examples_of_rfc_7692() {
    for (what, message, text) in [
        ("one block", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &b"Hello"[..]),
        ("a block that is not compressed", &[0, 5, 0, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0], b"Hello"),
        ("BFINAL", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
        ("two blocks", &[0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
        ("an empty message", &[0x00], b""),
    ] {
        for piece in 1..=message.len() {
            for room in [1, 2, 5, 6] {
                let mut inflater = Inflater::new(false);
                assert_eq!(inflate(&mut inflater, message, piece, room).unwrap(), text, "{what} {piece} {room}");
                // And once more, as the next message.
                assert_eq!(inflate(&mut inflater, message, piece, room).unwrap(), text, "{what} {piece} {room}");
            }
        }
    }
    // Sharing the window: the second one refers to the first.
    let mut inflater = Inflater::new(true);
    for message in [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
        assert_eq!(inflate(&mut inflater, message, 1, 1).unwrap(), b"Hello");
    }
}

#[test]
fn what_comes_after_bfinal_is_a_stream_of_its_own() {
    let finished = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let open = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for message in [[&finished[..], &finished, &open].concat(), [&finished[..], &finished, &finished].concat()] {
        for piece in 1..=message.len() {
            for room in [1, 4, 5, 100] {
                let mut inflater = Inflater::new(true);
                assert_eq!(inflate(&mut inflater, &message, piece, room).unwrap(), b"HelloHelloHello");
                assert_eq!(inflate(&mut inflater, &open, piece, room).unwrap(), b"Hello");
            }
        }
    }
}

#[test]
fn a_message_that_breaks_off_is_never_taken_for_a_whole_one() {
    for level in [0, 1, 6, 9] {
        let message = mixed(3000);
        let whole = others_message(&message, level);
        for len in 1..whole.len() {
            for takeover in [false, true] {
                let result = inflate(&mut Inflater::new(takeover), &whole[..len], usize::MAX, 1 << 16);
                match result {
                    Err(error) => assert_eq!(error, ProtocolError::TruncatedDeflate, "{len} of {}", whole.len()),
                    // Behind a block that is not compressed, the first byte of the next is also that of the end.
                    Ok(text) => assert!(others_inflate(&whole[..len]) == text, "{len} of {}", whole.len()),
                }
            }
        }
    }
    // A whole stream, whose end is on the wire as well: the body of one block too many is announced.
    let with_tail = [&others_message(b"Hello", 6)[..], &TAIL].concat();
    assert_eq!(inflate(&mut Inflater::new(true), &with_tail, 1, 9), Err(ProtocolError::TruncatedDeflate));
}

#[test]
fn garbage_is_found_where_it_is() {
    for (garbage, what) in [
        (&[0x07][..], "a type of block that there is not"),
        (&[0x00, 0x05, 0x00, 0x00, 0x00], "a length that is not confirmed"),
        (&[0x02, 0x7f, 0xff, 0xff], "a distance from before the beginning"),
        (&[0xff; 40], "ones"),
    ] {
        let result = inflate(&mut Inflater::new(true), garbage, 1, 100);
        assert_eq!(result, Err(ProtocolError::CorruptDeflate), "{what}");
    }
}

#[test]
fn what_comes_before_a_fault_is_given_before_it() {
    let good = deflate(&mut Deflater::new(6, 15, true), &mixed(3000), 3000, true);
    let bad = [&good[..good.len() - 1], &[0x06]].concat(); // in place of the last block, a type that there is not
    for (message, fault) in [(&bad, ProtocolError::CorruptDeflate), (&good, ProtocolError::TruncatedDeflate)] {
        let message = &message[..message.len() - usize::from(fault == ProtocolError::TruncatedDeflate)];
        for room in [1, 100, 5000] {
            let mut inflater = Inflater::new(true);
            let mut output = vec![0; room];
            let (mut whole, mut input) = (Vec::<u8>::new(), message);
            let found = loop {
                match inflater.inflate(input, &mut output, true) {
                    Ok(step) => {
                        whole.extend(&output[..step.given]);
                        input = &input[step.taken..];
                        assert!(!step.done && inflater.is_full());
                    }
                    Err(fault) => break fault,
                }
            };
            assert!(whole == mixed(3000) && found == fault, "{fault:?} after {} bytes", whole.len());
        }
    }
}

#[test]
fn without_takeover_nothing_is_held_between_messages() {
    let (mut deflater, mut inflater) = (Deflater::new(6, 15, false), Inflater::new(false));
    assert!(deflater.stream_is_none() && inflater.stream_is_none());
    for message in [mixed(100_000), Vec::new(), mixed(10)] {
        let compressed = deflate(&mut deflater, &message, 1000, false);
        assert_eq!(inflate(&mut inflater, &compressed, 100, 1000).unwrap(), message);
        assert!(deflater.stream_is_none() && inflater.stream_is_none());
    }
}

#[test]
fn every_level_and_window_is_understood_by_the_other_implementation() {
    let message = mixed(200_000);
    for level in 0..=9 {
        for window_bits in 9..=15 {
            let mut deflater = Deflater::new(level, window_bits, false);
            for flush in [false, true] {
                let compressed = deflate(&mut deflater, &message, 10_000, flush);
                assert!(others_inflate(&compressed) == message, "level {level}, {window_bits} bits");
            }
        }
    }
}

#[test]
fn a_window_is_never_left_behind_by_the_sender() {
    // Repeats at every distance: none that is out of the window may be used.
    let message: Vec<u8> = (0..200_000u32).map(|i| (i % 1021 % 256) as u8 ^ (i / 40_000) as u8).collect();
    for window_bits in 9..15 {
        for level in 1..=9 {
            let compressed = deflate(&mut Deflater::new(level, window_bits, true), &message, 5000, false);
            let whole = inflate_strictly(&mut zlib_rs::Inflate::new(false, window_bits), &compressed);
            assert!(whole == message, "level {level}, {window_bits} bits");
        }
    }
}

#[test]
fn flushing_makes_everything_readable() {
    let (mut deflater, mut inflater) = (Deflater::new(6, 15, true), Inflater::new(true));
    let message = mixed(5000);
    let mut output = vec![0; 10_000];
    for part in message.chunks(700) {
        let compressed = with_scratch(|scratch| {
            deflater.deflate(part, End::None, scratch);
            deflater.deflate(&[], End::Flush, scratch);
            deflater.deflate(&[], End::Flush, scratch); // which adds nothing
            scratch.filled().to_vec()
        });
        let step = inflater.inflate(&compressed, &mut output, false).unwrap();
        assert!(output[..step.given] == *part && step.taken == compressed.len());
    }
    let end = deflate(&mut deflater, &[], 1, false);
    assert_eq!(end, [0x00]);
    let step = inflater.inflate(&end, &mut output, true).unwrap();
    assert_eq!(step, Step { taken: 1, given: 0, done: true });
}

#[test]
fn who_sends_nothing_but_noise_holds_no_state() {
    let mut deflater = Deflater::new(6, 15, true);
    for len in [1024, 65_535, 65_536, 200_000] {
        let message = deflate(&mut deflater, &noise(len, 4), len, true);
        assert_eq!(message.len(), len + 5 * len.div_ceil(65_535) + 1, "five bytes a block, and the end");
        assert!(inflate(&mut Inflater::new(false), &message, 5000, 5000).unwrap() == noise(len, 4));
    }
    assert!(deflater.stream_is_none());
}

#[test]
fn noise_is_stored_and_what_follows_it_compressed() {
    let (noise, text) = (noise(50_000, 1), mixed(50_000));
    for level in 0..=9 {
        let alone = deflate(&mut Deflater::new(level, 15, true), &text, 10_000, false).len();
        let mut deflater = Deflater::new(level, 15, true);
        let whole = [&noise[..], &text, &noise].concat();
        let (message, again) =
            (deflate(&mut deflater, &whole, 10_000, false), deflate(&mut deflater, &text, 10_000, false));
        assert!(others_inflate(&message) == whole);
        // Some bytes for each stored block, which are of up to 64 KiB, and for each change.
        assert!(message.len() <= 2 * noise.len() + alone + 150, "level {level}: {} bytes, {alone}", message.len());
        assert!(again.len() <= alone + 10, "level {level}: {} bytes, {alone}", again.len());
        let mut inflater = Inflater::new(true);
        assert!(inflate(&mut inflater, &message, 7000, 3000).unwrap() == whole);
        assert!(inflate(&mut inflater, &again, 7000, 3000).unwrap() == text);
    }
}

#[test]
fn a_window_has_what_was_stored() {
    let noise = noise(20_000, 2);
    let mut deflater = Deflater::new(6, 15, true);
    let (first, rest) = noise.split_at(19_500);
    deflate(&mut deflater, first, 19_500, false);
    deflate(&mut deflater, &mixed(100), 100, false);
    deflate(&mut deflater, rest, 500, false); // too little to be taken for noise
    let again = deflate(&mut deflater, rest, 500, false);
    assert!(again.len() < 20, "{} bytes", again.len());
}

#[test]
fn a_compressor_that_stored_compresses_for_the_next_connection() {
    let text = mixed(10_000);
    let expected = deflate(&mut Deflater::new(6, 15, true), &text, 10_000, false);
    let mut first = Deflater::new(6, 15, false);
    deflate(&mut first, &[&text[..], &noise(40_000, 3)].concat(), 10_000, false);
    assert!(first.stream_is_none());
    assert!(deflate(&mut Deflater::new(6, 15, false), &text, 10_000, false) == expected);
    assert!(deflate(&mut first, &text, 10_000, false) == expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn any_split_with_any_room_gives_the_same_as_one_shot(
        seeds in prop::collection::vec((0usize..6000, 0usize..3000, any::<bool>()), 1..5),
        level in 0u8..=9,
        window_bits in 9u8..=15,
        takeover in any::<bool>(),
        piece in 1usize..400,
        room in 1usize..5000,
    ) {
        let pool = mixed(12_000);
        let mut deflater = Deflater::new(level, window_bits, takeover);
        let (mut inflater, mut at_once) = (Inflater::new(takeover), Inflater::new(takeover));
        for (at, len, flush) in seeds {
            let message = &pool[at..at + len];
            let compressed = deflate(&mut deflater, message, piece, flush);
            prop_assert_eq!(&inflate(&mut inflater, &compressed, piece, room).unwrap()[..], message);
            prop_assert_eq!(&inflate(&mut at_once, &compressed, usize::MAX, 1 << 16).unwrap()[..], message);
            if !takeover {
                prop_assert_eq!(&others_inflate(&compressed)[..], message);
            }
        }
    }

    #[test]
    fn noise_and_text_in_any_order_stay_within_the_window(
        messages in prop::collection::vec(
            (prop::collection::vec((any::<bool>(), 0usize..50_000), 1..4), 500usize..70_000, any::<bool>()),
            1..4,
        ),
        level in 0u8..=9,
        window_bits in 9u8..=15,
        takeover in any::<bool>(),
    ) {
        let pool = mixed(50_000);
        let mut deflater = Deflater::new(level, window_bits, takeover);
        let mut inflater = Inflater::new(takeover);
        let mut strict = zlib_rs::Inflate::new(false, window_bits);
        for (parts, piece, flush) in messages {
            let message: Vec<u8> = parts
                .iter()
                .flat_map(|&(is_noise, len)| if is_noise { noise(len, len as u64 % 3) } else { pool[..len].to_vec() })
                .collect();
            let compressed = deflate(&mut deflater, &message, piece, flush);
            prop_assert!(inflate(&mut inflater, &compressed, 10_000, 8000).unwrap() == message);
            if takeover {
                prop_assert!(inflate_strictly(&mut strict, &compressed) == message);
            } else {
                prop_assert!(others_inflate(&compressed) == message);
            }
        }
    }

    #[test]
    fn another_implementation_is_understood(
        len in 0usize..5000,
        level in 0u8..=10,
        piece in 1usize..400,
        room in 1usize..5000,
    ) {
        let message = mixed(len);
        let compressed = others_message(&message, level);
        prop_assert_eq!(inflate(&mut Inflater::new(false), &compressed, piece, room).unwrap(), message);
    }
}
