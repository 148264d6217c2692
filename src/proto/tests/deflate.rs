//! Compressed messages: what is heard whatever the cuts, what is said, and what is a fault (RFC 7692).

use bytes::BytesMut;
use proptest::prelude::*;

use super::{
    BINARY, Bench, CLOSE, CONT, FIN, PING, PONG, RSV1, TEXT, config, frame,
    model::{Frame, Heard, fault_code, receive_by},
    other,
};
use crate::{
    compression::Compression,
    config::Config,
    error::{ConnectionError, ProtocolError},
    message::MessageKind,
    proto::recv::{Received, Receiver},
    role::Role,
    wire::deflate::{Deflater, End, with_scratch},
};

/// "Hello" (RFC 7692, 7.2.3.1).
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn compressing(compression: Compression) -> Config {
    config().compression(compression.min_size(0))
}

fn receiver(role: Role, limit: Option<u64>) -> Receiver {
    let mut receiver = Receiver::new(role, limit);
    receiver.enable_compression(true);
    receiver
}

/// Compresses the next message of a connection.
fn compress(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    with_scratch(|scratch| {
        deflater.deflate(message, End::Message, scratch);
        scratch.filled().to_vec()
    })
}

fn deflater() -> Deflater {
    Deflater::new(6, 15, true)
}

/// What a client hears when its server sends this, in pieces of this size.
fn hear(bytes: &[u8], piece: usize) -> (Vec<Heard>, Option<ConnectionError>) {
    receive_by(receiver(Role::Client, None), bytes.chunks(piece))
}

fn whole(kind: MessageKind, data: &[u8]) -> Heard {
    Heard::Data { kind, first: true, last: true, data: data.to_vec() }
}

fn server(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Role::Server, first, payload)
}

#[test]
fn compressed_and_uncompressed_messages_and_control_frames_in_any_pieces() {
    let text = "κόσμε, κόσμε, κόσμε \u{1F50C}".as_bytes();
    let mut deflater = deflater();
    let first = compress(&mut deflater, text);
    let second = compress(&mut deflater, text);
    assert!(second.len() < first.len(), "it refers to the first");
    let empty = compress(&mut deflater, b"");
    let third = compress(&mut deflater, text);
    let bytes = [
        server(RSV1 | TEXT, &first[..3]),
        server(PING, b"ping"),
        server(CONT, b""),
        server(CONT, &first[3..10]),
        server(FIN | CONT, &first[10..]),
        server(FIN | BINARY, &first), // not compressed, and not remembered
        server(FIN | RSV1 | BINARY, &second),
        server(FIN | RSV1 | TEXT, &empty),
        server(FIN | RSV1 | TEXT, b""), // a message to which nothing was added
        server(RSV1 | BINARY, b""),
        server(CONT, &third),
        server(FIN | CONT, b""),
    ]
    .concat();
    let expected = [
        Heard::Ping(b"ping".to_vec()),
        whole(MessageKind::Text, text),
        whole(MessageKind::Binary, &first),
        whole(MessageKind::Binary, text),
        whole(MessageKind::Text, b""),
        whole(MessageKind::Text, b""),
        whole(MessageKind::Binary, text),
    ];
    for piece in 1..=bytes.len() {
        let (mut heard, error) = hear(&bytes, piece);
        assert!(error.is_none(), "{error:?}");
        // The ping comes somewhere within the first message.
        let ping = heard.iter().position(|it| matches!(it, Heard::Ping(_))).unwrap();
        let ping = heard.remove(ping);
        let mut joined = vec![ping];
        for it in heard {
            super::model::note(&mut joined, it);
        }
        assert_eq!(joined, expected, "pieces of {piece}");
    }
}

#[test]
fn masked_payload_is_unmasked_once_wherever_inflating_stops() {
    let message: Vec<u8> = (0..300_000u32).map(|i| ((i / 7).wrapping_mul(i) % 251) as u8).collect();
    let payload = compress(&mut deflater(), &message);
    let bytes = frame(Role::Client, FIN | RSV1 | BINARY, &payload);
    for piece in [1, 1000, usize::MAX] {
        let (heard, error) = receive_by(receiver(Role::Server, None), bytes.chunks(piece));
        assert!(error.is_none() && heard == [whole(MessageKind::Binary, &message)], "{piece}");
    }
}

#[test]
fn no_chunk_is_larger_than_64_kib_and_input_waits_that_is_not_needed_for_it() {
    let message = vec![b'x'; 100 << 20];
    let payload = compress(&mut deflater(), &message);
    let mut input = BytesMut::from(&server(FIN | RSV1 | TEXT, &payload)[..]);
    let mut receiver = receiver(Role::Client, None);
    let mut total = 0;
    loop {
        let mut delivered = None;
        let received = receiver.decode(&mut input, false, &mut |chunk| delivered = Some(chunk)).unwrap();
        assert_eq!(received, Some(Received::Chunk));
        let chunk = delivered.expect("a chunk");
        assert!(chunk.data.len() <= 64 * 1024);
        total += chunk.data.len();
        if chunk.last {
            break;
        }
        let waits = input.len() as f64 / payload.len() as f64;
        let missing = 1.0 - total as f64 / message.len() as f64;
        assert!((waits - missing).abs() < 0.01, "{waits} waits, {missing} is missing");
        assert!(!input.is_empty() || receiver.has_more());
    }
    assert_eq!(total, message.len());
    assert!(input.is_empty() && !receiver.has_more());
}

#[test]
fn compressed_frames_are_not_expected_to_be_worth_reading_one_by_one() {
    // They were, though nothing of them stays where it was read: three times as many reads.
    let mut receiver = receiver(Role::Client, None);
    for (first, expected) in [(FIN | RSV1 | BINARY, 0..20), (FIN | BINARY, 20_000..20_020), (FIN | RSV1 | TEXT, 0..20)]
    {
        let payload = if first & RSV1 == 0 { vec![7; 20_000] } else { compress(&mut deflater(), &[b'x'; 20_000]) };
        let mut input = BytesMut::from(&server(first, &payload)[..]);
        while receiver.decode(&mut input, false, &mut |_| {}).unwrap().is_some() {}
        assert!(expected.contains(&receiver.ahead().frame), "{:?}", receiver.ahead());
    }
}

#[test]
fn output_that_needs_no_more_input_does_not_wait_for_any() {
    // Two MiB in so few bytes that they are taken long before all of it has been given.
    let payload = compress(&mut deflater(), &[0; 2 << 20]);
    let mut bench = Bench::with(Role::Client, &compressing(Compression::default()));
    bench.hear(&server(FIN | RSV1 | BINARY, &payload));
    assert!(bench.end.seen.len() == 1 && bench.end.seen[0].1.len() == 2 << 20 && bench.end.seen[0].2);
}

#[test]
fn rsv1_has_a_meaning_on_the_first_frame_of_a_message_only() {
    let fault = |bytes: &[u8]| hear(bytes, usize::MAX).1.map(|error| format!("{error:?}"));
    let misplaced = Some(format!("{:?}", ConnectionError::from(ProtocolError::MisplacedCompression)));
    assert_eq!(fault(&[server(RSV1 | TEXT, HELLO), server(FIN | RSV1 | CONT, b"")].concat()), misplaced);
    assert_eq!(fault(&[server(TEXT, b"a"), server(FIN | RSV1 | CONT, b"b")].concat()), misplaced);
    for control in [CLOSE, PING, PONG] {
        assert_eq!(fault(&server(RSV1 | control, b"")), misplaced);
    }
    // Where nothing was agreed on, it has none.
    let (_, error) = receive_by(Receiver::new(Role::Client, None), [&server(FIN | RSV1 | TEXT, HELLO)[..]]);
    assert!(matches!(error, Some(ConnectionError::Protocol(ProtocolError::ReservedBits))));
}

#[test]
fn what_does_not_inflate_is_told_with_1007() {
    for (what, payload, error) in [
        ("garbage", &[0xff; 10][..], ProtocolError::CorruptDeflate),
        ("a cut", &HELLO[..5], ProtocolError::TruncatedDeflate),
        ("an end on the wire", &[HELLO, &[0, 0, 0xff, 0xff]].concat(), ProtocolError::TruncatedDeflate),
    ] {
        let mut bench = Bench::with(Role::Client, &compressing(Compression::default()));
        bench.hear(&server(FIN | RSV1 | TEXT, payload)).hear_end().run_out();
        let (first, close) = bench.last_said();
        assert_eq!((first, &close[..2]), (CLOSE, &1007u16.to_be_bytes()[..]), "{what}");
        assert!(matches!(bench.ending(), Err(ConnectionError::Protocol(found)) if found == error), "{what}");
        assert!(bench.end.seen.iter().all(|(.., whole)| !whole), "{what}");
    }
}

#[test]
fn inflated_text_is_checked_at_its_first_bad_byte() {
    for (text, good) in [
        (&b"ok\xff tail"[..], &b"ok"[..]),
        (b"\xff", b""),
        (b"cut off \xe2\x82", b"cut off "),
        (b"ok\xe2\x28\xa1", b"ok"),
    ] {
        let payload = compress(&mut deflater(), text);
        let bytes = server(FIN | RSV1 | TEXT, &payload);
        for piece in 1..=bytes.len() {
            let (heard, error) = hear(&bytes, piece);
            assert_eq!(fault_code(&error.expect("a fault")), 1007);
            let Heard::Data { data, last: false, .. } = &heard[0] else { panic!("{heard:?}") };
            assert_eq!(data, good, "pieces of {piece}");
        }
    }
}

#[test]
fn limits_count_inflated_bytes() {
    let message = [b'a'; 1000];
    let payload = compress(&mut deflater(), &message);
    let bytes = server(FIN | RSV1 | TEXT, &payload);
    for piece in [1, 3, usize::MAX] {
        let (heard, error) = receive_by(receiver(Role::Client, Some(1000)), bytes.chunks(piece));
        assert!(error.is_none() && heard == [whole(MessageKind::Text, &message)]);
        let (heard, error) = receive_by(receiver(Role::Client, Some(999)), bytes.chunks(piece));
        assert!(matches!(error, Some(ConnectionError::MessageTooLarge { limit: 999, .. })));
        assert!(heard.iter().all(|it| matches!(it, Heard::Data { last: false, .. })));
    }
    // Those announced do not count: what does not compress takes more on the wire than it is.
    let noise: Vec<u8> = (0..1000u32).map(|i| (i.wrapping_mul(2654435761) >> 23) as u8).collect();
    let bytes = server(FIN | RSV1 | BINARY, &compress(&mut Deflater::new(0, 15, true), &noise));
    assert!(bytes.len() > 1004);
    let (_, error) = receive_by(receiver(Role::Client, Some(1000)), [&bytes[..]]);
    assert!(error.is_none());
}

#[test]
fn what_nobody_wants_is_not_inflated() {
    let mut bench = Bench::with(Role::Client, &compressing(Compression::default()));
    let payload = compress(&mut deflater(), &[0; 1 << 20]);
    bench.hear(&server(RSV1 | BINARY, &payload[..100]));
    bench.end.connection.discard(bench.now);
    // Not even garbage is noticed, and control frames are.
    bench.hear(&server(CONT, &[0xff; 1000])).hear(&server(PING, b"")).hear(&server(FIN | CONT, &[0xff; 1000]));
    bench.hear(&server(FIN | RSV1 | TEXT, &[0xff; 1000])).hear(&server(FIN | TEXT, b"plain"));
    assert_eq!(bench.last_said().0, PONG);
    assert!(bench.end.seen.iter().all(|(.., whole)| *whole) && bench.end.seen.len() == 3);
    bench.hear_close(1000, "").run_out();
    assert!(bench.ending().is_ok());
}

/// The data frames that an endpoint has said.
fn said(bench: &Bench) -> Vec<Frame> {
    let mut frames = bench.said();
    frames.retain(|frame| !frame.is_control());
    frames
}

#[test]
fn what_is_said_has_rsv1_once_a_message_and_inflates_to_it() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::with(role, &compressing(Compression::default()).max_frame_payload(1000));
        let large: Vec<u8> = (0..500_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        bench.end.send(MessageKind::Text, "Hello");
        bench.end.send(MessageKind::Binary, large.clone());
        bench.settle();
        bench.end.send(MessageKind::Text, "");
        bench.settle();
        bench.end.begin(MessageKind::Binary, Some(3));
        bench.end.chunk(&b"abc"[..]);
        bench.end.finish();
        bench.settle();

        let frames = said(&bench);
        let firsts: Vec<u8> = frames.iter().map(|frame| frame.first).collect();
        assert_eq!(firsts[..2], [FIN | RSV1 | TEXT, RSV1 | BINARY]);
        assert_eq!(
            firsts[firsts.len() - 2..],
            [FIN | RSV1 | TEXT, FIN | BINARY],
            "a declared length is not compressed"
        );
        assert!(firsts[2..firsts.len() - 3].iter().all(|first| *first == CONT));
        assert!(frames.iter().all(|frame| frame.payload.len() <= 1000));
        assert_eq!(frames[frames.len() - 2].payload, [0x00]);
        assert_eq!(bench.end.connection.sent().frames + bench.end.outbox.frames(), frames.len() as u64);

        let mut peer = Bench::with(other(role), &compressing(Compression::default()));
        peer.hear(&bench.outgoing.log);
        let expected = [&b"Hello"[..], &large, b"", b"abc"];
        assert!(peer.end.seen.iter().zip(expected).all(|((_, data, whole), expected)| *whole && data == expected));
        assert_eq!(peer.end.seen.len(), 4);
    }
}

#[test]
fn small_messages_and_those_that_say_so_are_not_compressed() {
    let mut bench = Bench::with(Role::Server, &config().compression(Compression::default().min_size(6)));
    bench.end.send(MessageKind::Text, "Hello");
    bench.end.send(MessageKind::Text, "Hello!");
    for compress in [false, true] {
        bench.end.outbox.begin(MessageKind::Text, None, compress, &mut *bench.end.keys);
        bench.end.chunk(&b"Hello"[..]);
        bench.end.finish();
    }
    // One by reference.
    bench.end.outbox.begin(MessageKind::Binary, None, false, &mut *bench.end.keys);
    bench.end.chunk(vec![7; 100_000]);
    bench.end.chunk(&b"end"[..]);
    bench.end.finish();
    bench.settle();
    let firsts: Vec<u8> = said(&bench).iter().map(|frame| frame.first).collect();
    assert_eq!(firsts[..4], [FIN | TEXT, FIN | RSV1 | TEXT, FIN | TEXT, FIN | RSV1 | TEXT]);
    assert_eq!(firsts[4..], [BINARY, CONT, FIN | CONT]);
    assert_eq!(said(&bench)[2].payload, b"Hello");
}

#[test]
fn a_flush_makes_readable_what_is_held_back_without_it() {
    let mut bench = Bench::with(Role::Client, &compressing(Compression::default()));
    let mut peer = Bench::with(Role::Server, &compressing(Compression::default()));
    bench.end.begin(MessageKind::Text, None);
    bench.end.outbox.flush(); // of nothing
    for text in ["first", "second"] {
        bench.end.chunk(text);
        bench.settle();
        assert!(bench.outgoing.bytes.is_empty(), "so little is held back");
        bench.end.outbox.flush();
        assert!(bench.end.outbox.len() > 0, "there is something to wait for");
        bench.end.outbox.flush();
        bench.settle();
        let bytes = bench.outgoing.pop(usize::MAX);
        peer.hear(&bytes);
        assert!(peer.end.seen[0].1.ends_with(text.as_bytes()) && !peer.end.seen[0].2);
    }
    bench.end.finish();
    bench.settle();
    let bytes = bench.outgoing.pop(usize::MAX);
    peer.hear(&bytes);
    assert_eq!(peer.end.seen, [(MessageKind::Text, b"firstsecond".to_vec(), true)]);
}

#[test]
fn control_frames_overtake_what_is_to_be_compressed() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::with(role, &compressing(Compression::default()).max_frame_payload(2000));
        bench.outgoing.capacity = 0;
        let large: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        bench.end.send(MessageKind::Binary, large.clone());
        bench.settle();
        let ping = frame(other(role), PING, b"now");
        bench.hear(&ping);
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        let frames = bench.said();
        let pong = frames.iter().position(|frame| frame.first == PONG).expect("a pong");
        assert!(pong <= 1, "behind what is on its way already, at most: {pong}");
        let mut peer = Bench::with(other(role), &compressing(Compression::default()));
        peer.hear(&bench.outgoing.log);
        assert!(peer.end.seen[0].1 == large);
    }
}

#[test]
fn a_large_message_is_compressed_as_it_leaves() {
    let mut bench = Bench::with(Role::Server, &compressing(Compression::default()));
    bench.outgoing.capacity = 0;
    bench.end.send(MessageKind::Binary, vec![1; 64 << 20]);
    bench.settle();
    let staged = bench.end.connection.unwritten();
    // Some MiB of it are a few KiB, for which the deflater waits.
    assert!(staged > 56 << 20, "what the transport does not take is not compressed: {staged}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_ends_understand_each_other(
        ops in prop::collection::vec((0usize..4, 0usize..9000, any::<bool>(), any::<bool>()), 1..12),
        takeover in any::<bool>(),
        level in 0u8..=9,
        min_size in 0usize..300,
        client_sends in any::<bool>(),
        read_size in prop_oneof![Just(1usize), 2..100usize, Just(100_000)],
    ) {
        let compression = Compression::default().send_takeover(takeover).receive_takeover(true).level(level);
        let config = config().max_frame_payload(1000).compression(compression.min_size(min_size));
        let role = if client_sends { Role::Client } else { Role::Server };
        let (mut bench, mut peer) = (Bench::with(role, &config), Bench::with(other(role), &config));
        peer.end.read_size = read_size;
        let mut expected = Vec::new();
        for (chunks, len, compress, flush) in ops {
            let data: Vec<u8> = (0..len).map(|i| (i * i / 11 % 97) as u8).collect();
            expected.push((MessageKind::Binary, data.repeat(chunks.max(1)), true));
            if chunks == 0 {
                bench.end.send(MessageKind::Binary, data);
            } else {
                bench.end.outbox.begin(MessageKind::Binary, None, compress, &mut *bench.end.keys);
                for _ in 0..chunks {
                    bench.end.outbox.chunk_copied(&data, &mut *bench.end.keys);
                    if flush {
                        bench.end.outbox.flush();
                    }
                }
                bench.end.finish();
            }
            bench.settle();
        }
        peer.hear(&bench.outgoing.log);
        prop_assert_eq!(&peer.end.seen, &expected);
    }
}
