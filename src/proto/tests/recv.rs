//! The framing rules of RFC 6455 for what comes in, section by section, for both roles.

use super::{
    BINARY, Bench, CLOSE, CONT, FIN, PING, PONG, TEXT, close_body, frame, info,
    model::{Heard, receive},
    other,
};
use crate::{
    close::CloseCode,
    error::{ConnectionError, ProtocolError},
    message::MessageKind,
    role::Role,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Frames as the peer of `role` sends them.
fn from_peer(role: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(other(role), *first, payload)).collect()
}

/// The peer is told the fault with this close code, and `closed` reports it.
fn assert_fault(bytes: impl Fn(Role) -> Vec<u8>, rule: ProtocolError, code: u16) {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear(&bytes(role));
        assert!(
            matches!(bench.ending(), Err(ConnectionError::Protocol(found)) if found == rule),
            "{:?}",
            bench.ending()
        );
        assert_eq!(bench.last_said(), (CLOSE, close_body(code, &rule.to_string())), "{role:?}");
        assert_eq!(bench.said().len(), 1, "nothing else is said");
        assert_eq!(bench.ending().unwrap_err().close_code(), CloseCode::ABNORMAL, "the peer has sent no Close frame");
        bench.run_out();
    }
}

/// These frames are heard without a fault.
fn heard(role: Role, frames: &[(u8, &[u8])]) -> Vec<Heard> {
    let (log, error) = receive(role, None, [&from_peer(role, frames)[..]]);
    assert!(error.is_none(), "{error:?}");
    log
}

fn data(kind: MessageKind, first: bool, last: bool, data: &[u8]) -> Heard {
    Heard::Data { kind, first, last, data: data.to_vec() }
}

#[test]
fn s5_1_a_client_masks_and_a_server_does_not() {
    for (role, rule) in [(Role::Server, ProtocolError::Unmasked), (Role::Client, ProtocolError::Masked)] {
        for first in [FIN | TEXT, FIN | BINARY, PING, PONG, CLOSE] {
            // As `role` itself would send it, which is wrong from its peer.
            let (log, error) = receive(role, None, [&frame(role, first, b"")[..]]);
            assert!(matches!(error, Some(ConnectionError::Protocol(found)) if found == rule), "{role:?} {first:x}");
            assert!(log.is_empty());
        }
        let mut bench = Bench::new(role);
        bench.hear(&frame(role, FIN | TEXT, b"hi"));
        assert_eq!(bench.last_said(), (CLOSE, close_body(1002, &rule.to_string())));
    }
}

#[test]
fn s5_2_reserved_bits_fail_the_connection() {
    for bits in 1..8 {
        for first in [FIN | TEXT, FIN | BINARY, TEXT, PING, PONG, CLOSE] {
            assert_fault(|role| frame(other(role), first | bits << 4, b""), ProtocolError::ReservedBits, 1002);
        }
    }
}

#[test]
fn s5_2_reserved_opcodes_fail_the_connection() {
    for opcode in (3..8).chain(11..16) {
        let rule = ProtocolError::ReservedOpcode(opcode);
        assert_fault(|role| frame(other(role), FIN | opcode, b"x"), rule, 1002);
    }
}

#[test]
fn s5_2_lengths_are_in_their_shortest_form() {
    for len in [0u64, 1, 125] {
        let header = |role| length_header(role, 126, &(len as u16).to_be_bytes());
        assert_fault(header, ProtocolError::OverlongLength, 1002);
    }
    for len in [0u64, 125, 126, 0xFFFF] {
        assert_fault(|role| length_header(role, 127, &len.to_be_bytes()), ProtocolError::OverlongLength, 1002);
    }
}

#[test]
fn s5_2_a_length_has_63_bits() {
    for len in [1 << 63, u64::MAX] {
        let header = |role| length_header(role, 127, &u64::to_be_bytes(len));
        assert_fault(header, ProtocolError::LengthTooLarge, 1002);
    }
}

/// A binary frame with its length in a form of our choice.
fn length_header(role: Role, form: u8, len: &[u8]) -> Vec<u8> {
    let masked = if role == Role::Server { 0x80 } else { 0 };
    let key: &[u8] = if role == Role::Server { &[0; 4] } else { &[] };
    [&[FIN | BINARY, masked | form], len, key].concat()
}

#[test]
fn s5_2_the_largest_frame_is_taken_as_it_comes_and_nothing_is_kept_for_the_rest() {
    for role in ROLES {
        let mut bytes = length_header(role, 127, &(i64::MAX as u64).to_be_bytes());
        bytes.extend([7; 1000]);
        let (log, error) = receive(role, None, [&bytes[..]]);
        assert_eq!(log, [data(MessageKind::Binary, true, false, &[7; 1000])]);
        assert!(error.is_none());
    }
}

#[test]
fn s5_2_fragments_of_2_to_the_63_in_all_do_not_wrap_around_the_limit() {
    // The first is empty, the second complete, the third announces the most there is.
    for role in ROLES {
        let mut bytes = from_peer(role, &[(BINARY, b""), (CONT, &[1; 10])]);
        let mut huge = length_header(role, 127, &(i64::MAX as u64).to_be_bytes());
        huge[0] = CONT;
        bytes.extend(huge);
        let (log, error) = receive(role, Some(i64::MAX as u64), [&bytes[..]]);
        assert_eq!(log, [data(MessageKind::Binary, true, false, &[1; 10])]);
        assert!(matches!(error, Some(ConnectionError::MessageTooLarge { .. })));
        assert!(receive(role, Some(u64::MAX), [&bytes[..]]).1.is_none());
    }
}

#[test]
fn s5_4_fragments_make_one_message() {
    for role in ROLES {
        let log = heard(role, &[(TEXT, b"a"), (CONT, b""), (CONT, b"bc"), (FIN, b""), (FIN | BINARY, b"d")]);
        let expected = [data(MessageKind::Text, true, true, b"abc"), data(MessageKind::Binary, true, true, b"d")];
        assert_eq!(log, expected);
    }
}

#[test]
fn s5_4_control_frames_may_come_inside_a_message() {
    for role in ROLES {
        let frames: [(u8, &[u8]); 5] = [(BINARY, b"a"), (PING, b"p"), (CONT, b"b"), (PONG, b"q"), (FIN, b"")];
        let expected = [
            data(MessageKind::Binary, true, false, b"a"),
            Heard::Ping(b"p".to_vec()),
            data(MessageKind::Binary, false, false, b"b"),
            Heard::Pong(b"q".to_vec()),
            data(MessageKind::Binary, false, true, b""),
        ];
        assert_eq!(heard(role, &frames), expected);
    }
}

#[test]
fn s5_4_messages_are_not_interleaved() {
    for (a, b) in [(TEXT, TEXT), (TEXT, BINARY), (BINARY, FIN | TEXT), (BINARY, FIN | BINARY)] {
        let rule = ProtocolError::InterleavedMessage;
        assert_fault(|role| from_peer(role, &[(a, b"a"), (b, b"b")]), rule, 1002);
    }
}

#[test]
fn s5_4_a_continuation_needs_a_message() {
    let rule = ProtocolError::UnexpectedContinuation;
    for first in [CONT, FIN | CONT] {
        assert_fault(|role| from_peer(role, &[(first, b"a")]), rule, 1002);
        assert_fault(|role| from_peer(role, &[(TEXT, b"a"), (FIN, b"b"), (first, b"")]), rule, 1002);
        assert_fault(|role| from_peer(role, &[(FIN | BINARY, b""), (first, b"")]), rule, 1002);
    }
}

#[test]
fn s5_5_control_frames_are_whole() {
    for first in [PING, PONG, CLOSE] {
        let rule = ProtocolError::FragmentedControl;
        assert_fault(|role| from_peer(role, &[(first & !FIN, b"")]), rule, 1002);
    }
}

#[test]
fn s5_5_control_frames_carry_125_bytes() {
    for first in [PING, PONG, CLOSE] {
        for len in [126, 65_536] {
            assert_fault(|role| from_peer(role, &[(first, &vec![0; len])]), ProtocolError::ControlTooLong, 1002);
        }
    }
    let longest = close_body(1000, &"r".repeat(123));
    for role in ROLES {
        let log = heard(role, &[(PING, &[1; 125]), (PONG, &[2; 125]), (CLOSE, &longest)]);
        let expected = [Heard::Ping(vec![1; 125]), Heard::Pong(vec![2; 125]), Heard::Close(1000, "r".repeat(123))];
        assert_eq!(log, expected);
    }
}

#[test]
fn s5_5_1_a_close_body_has_a_code_or_nothing() {
    for role in ROLES {
        assert_eq!(heard(role, &[(CLOSE, b"")]), [Heard::Close(1005, String::new())]);
    }
    assert_fault(|role| from_peer(role, &[(CLOSE, &[3])]), ProtocolError::CloseBodyTooShort, 1002);
}

#[test]
fn s5_5_1_a_close_reason_is_utf_8() {
    for reason in [&b"\xFF"[..], b"ok \xC3", b"\xED\xA0\x80", b"\xE2\x82\xACo\x80"] {
        let body = [&close_body(1000, "")[..], reason].concat();
        assert_fault(|role| from_peer(role, &[(CLOSE, &body)]), ProtocolError::InvalidCloseReason, 1007);
    }
    for role in ROLES {
        let log = heard(role, &[(CLOSE, &close_body(1000, "€ \u{10348}"))]);
        assert_eq!(log, [Heard::Close(1000, "€ \u{10348}".to_owned())]);
    }
}

#[test]
fn s5_5_2_a_ping_is_answered_with_its_payload() {
    for role in ROLES {
        for payload in [&b""[..], b"hello", &[0xFF; 125]] {
            let mut bench = Bench::new(role);
            bench.hear_frame(PING, payload);
            assert_eq!(bench.last_said(), (PONG, payload.to_vec()));
        }
    }
}

#[test]
fn s5_5_3_a_pong_that_nobody_asked_for_is_nothing() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(PONG, b"").hear_frame(PONG, &7u64.to_be_bytes()).hear_frame(PONG, b"hello");
        assert!(bench.end.pongs.is_empty());
        assert!(bench.said().is_empty());
        assert!(bench.end.ending().is_none());
    }
}

#[test]
fn s7_4_every_close_code_is_taken_or_refused_by_its_class() {
    for code in 0..=u16::MAX {
        let role = ROLES[usize::from(code % 2)];
        let (log, error) = receive(role, None, [&from_peer(role, &[(CLOSE, &close_body(code, "why"))])[..]]);
        let good = match code {
            // Defined, or added by IANA; not those that stand for the lack of a Close frame or of a code.
            1000..=1003 | 1007..=1014 => true,
            // Of libraries, and private.
            3000..=4999 => true,
            _ => false,
        };
        if good {
            assert_eq!(log, [Heard::Close(code, "why".to_owned())]);
            assert!(error.is_none());
        } else {
            assert!(log.is_empty());
            let rule = ProtocolError::InvalidCloseCode(code);
            assert!(matches!(error, Some(ConnectionError::Protocol(found)) if found == rule), "{code}: {error:?}");
        }
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let rule = ProtocolError::InvalidCloseCode(code);
        assert_fault(|role| from_peer(role, &[(CLOSE, &close_body(code, "why"))]), rule, 1002);
    }
}

#[test]
fn s8_1_text_fails_at_its_first_bad_byte() {
    let rule = ProtocolError::InvalidText;
    // The frame goes on for long; the fault is found all the same.
    let unfinished = |role| {
        let mut bytes = frame(other(role), FIN | TEXT, &[b"ok\xFF", &[b'x'; 1000][..]].concat());
        bytes.truncate(bytes.len() - 1000);
        bytes
    };
    assert_fault(unfinished, rule, 1007);
    assert_fault(|role| from_peer(role, &[(TEXT, b"\xE2\x82"), (PING, b""), (CONT, b"\x28")])[..].to_vec(), rule, 1007);
}

#[test]
fn s8_1_what_text_there_was_before_the_bad_byte_is_delivered_and_never_looks_whole() {
    for bad in [&b"ok\xFF"[..], b"ok\xE2\x82", b"ok\xE2\x28more", b"ok\x80ok"] {
        for role in ROLES {
            let mut bench = Bench::new(role);
            bench.hear_frame(FIN | TEXT, bad);
            assert_eq!(bench.end.seen, [(MessageKind::Text, b"ok".to_vec(), false)], "{bad:x?}");
            assert_eq!(bench.last_said(), (CLOSE, close_body(1007, "text is not UTF-8")));
        }
    }
}

#[test]
fn s8_1_a_bad_byte_is_a_fault_before_anything_more_comes() {
    // A driver reads on only when all that it has read has been decoded.
    let mut bytes = bytes::BytesMut::from(&frame(Role::Server, FIN | TEXT, b"ok\xFF")[..]);
    let mut receiver = crate::proto::recv::Receiver::new(Role::Client, None);
    let mut good = Vec::new();
    assert!(receiver.decode(&mut bytes, false, &mut |chunk| good.extend_from_slice(&chunk.data)).unwrap().is_some());
    assert_eq!(good, b"ok");
    assert!(!bytes.is_empty(), "there is more to decode");
    assert!(receiver.decode(&mut bytes, false, &mut |_| panic!("nothing more is good")).is_err());
}

#[test]
fn s8_1_a_text_message_ends_with_a_whole_character() {
    for frames in
        [&[(FIN | TEXT, &b"\xC3"[..])][..], &[(TEXT, b"a\xE2"), (FIN, b"")], &[(TEXT, b"\xF0\x90"), (FIN, b"\x8D")]]
    {
        assert_fault(|role| from_peer(role, frames), ProtocolError::InvalidText, 1007);
    }
}

#[test]
fn s8_1_binary_may_be_anything() {
    for role in ROLES {
        assert_eq!(heard(role, &[(FIN | BINARY, b"\xFF\xC3")]), [data(MessageKind::Binary, true, true, b"\xFF\xC3")]);
    }
}

#[test]
fn s10_4_a_message_over_the_limit_fails_with_1009_before_its_payload() {
    for role in ROLES {
        let config = super::config().max_message_size(10);
        for frames in [&[(FIN | BINARY, &[0; 11][..])][..], &[(BINARY, &[0; 10][..]), (FIN, &[0; 1])]] {
            let mut bench = Bench::with(role, &config);
            bench.hear(&from_peer(role, &[(FIN | TEXT, b"0123456789")]));
            bench.hear(&from_peer(role, frames));
            let seen: usize = bench.end.seen.iter().map(|(_, data, _)| data.len()).sum();
            assert!(seen <= 20, "payload over the limit is not delivered");
            assert_eq!(bench.last_said(), (CLOSE, close_body(1009, "message of more than 10 bytes")));
            assert!(matches!(bench.ending(), Err(ConnectionError::MessageTooLarge { limit: 10, .. })));
        }
    }
}

#[test]
fn a_fault_after_good_messages_loses_none_of_them() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear(&from_peer(role, &[(FIN | BINARY, b"a"), (BINARY, b"b"), (FIN | BINARY, b"c"), (FIN, b"d")]));
        assert_eq!(
            bench.end.seen,
            [(MessageKind::Binary, b"a".to_vec(), true), (MessageKind::Binary, b"b".to_vec(), false)]
        );
    }
}

#[test]
fn nothing_is_heard_after_a_close_frame() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench
            .hear(&from_peer(role, &[(CLOSE, &close_body(1000, "")), (FIN | TEXT, b"late"), (PING, b""), (0x7F, b"")]));
        bench.run_out();
        assert!(bench.end.seen.is_empty());
        assert_eq!(bench.said().len(), 1, "only the answer to the Close frame");
        assert_eq!(bench.ending().unwrap(), info(1000, "", true));
    }
}
