//! Ends that are not agreed upon: the transport goes, a fault is found, somebody aborts, a peer floods.

use std::{io, time::Duration};

use super::{BINARY, Bench, CLOSE, FIN, PING, PONG, TEXT, close_body, frame, info, other};
use crate::{
    close::CloseCode,
    error::{ConnectionError, ProtocolError},
    message::MessageKind::{Binary, Text},
    role::Role,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_end_of_the_transport_at_any_byte_is_1006_until_the_close_frame_is_whole() {
    for role in ROLES {
        let peer = other(role);
        let bytes = [
            frame(peer, FIN | TEXT, b"whole"),
            frame(peer, BINARY, b"cut"),
            frame(peer, PING, b""),
            frame(peer, FIN, &[7; 200]),
            frame(peer, CLOSE, &close_body(1000, "end")),
        ]
        .concat();
        for closing in [false, true] {
            for end in 0..=bytes.len() {
                let mut bench = Bench::new(role);
                if closing {
                    bench.end.close(1000, "");
                }
                bench.hear(&bytes[..end]).hear_end();
                assert_eq!(bench.run_out(), Duration::ZERO);
                if end == bytes.len() {
                    assert_eq!(bench.ending().unwrap(), info(1000, "end", true));
                } else {
                    assert!(matches!(bench.ending(), Err(ConnectionError::Lost)), "after {end} bytes");
                    assert_eq!(bench.ending().unwrap_err().close_code(), CloseCode::ABNORMAL);
                }
                let whole = bench.end.seen.iter().filter(|(.., whole)| *whole).count();
                let full =
                    [7, 7 + 5, 7 + 5 + 2, 7 + 5 + 2 + 204].map(|len| len + if peer == Role::Client { 4 } else { 0 });
                let masks = if peer == Role::Client { 4 } else { 0 };
                let expected = usize::from(end >= full[0]) + usize::from(end >= full[3] + 3 * masks);
                assert_eq!(whole, expected, "nothing that was cut looks whole");
            }
        }
    }
}

#[test]
fn a_read_error_ends_unclean_with_it_and_never_undoes_a_clean_end() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(FIN | TEXT, b"a");
        bench.end.connection.read_failed(io::ErrorKind::ConnectionReset.into());
        assert!(
            matches!(bench.ending(), Err(ConnectionError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset)
        );
        assert!(bench.end.connection.is_done());
    }
    let mut bench = Bench::new(Role::Client);
    bench.hear_close(1000, "");
    bench.end.connection.read_failed(io::ErrorKind::ConnectionReset.into());
    assert_eq!(bench.run_out(), Duration::ZERO);
    assert!(bench.ending().is_ok(), "both Close frames went their way");
}

#[test]
fn a_write_error_lets_the_peers_close_frame_be_found() {
    for role in ROLES {
        for closing in [false, true] {
            let mut bench = Bench::new(role);
            bench.outgoing.broken = true;
            bench.end.send(Text, "never sent");
            if closing {
                bench.end.close(1000, "");
            }
            bench.settle();
            assert!(bench.end.ending().is_none(), "a better explanation may come");
            assert!(!bench.end.is_writable());
            bench.hear_frame(FIN | TEXT, b"last words").hear_frame(PING, b"").hear_close(1013, "busy");
            assert_eq!(bench.run_out(), Duration::ZERO);
            assert_eq!(bench.end.seen.len(), 1);
            assert!(matches!(bench.ending(), Err(ConnectionError::Unsent(end)) if end == info(1013, "busy", false)));
            assert!(bench.said().is_empty());
        }
    }
}

#[test]
fn a_write_error_without_an_explanation_is_the_error() {
    for role in ROLES {
        for ends in [false, true] {
            let mut bench = Bench::new(role);
            bench.outgoing.broken = true;
            bench.end.send(Text, "never sent");
            bench.settle();
            if ends {
                bench.hear_end();
            }
            // A peer that goes on sending does not keep a broken connection up.
            for _ in 0..20 {
                bench.hear_frame(FIN | BINARY, b"x").wait(SECOND);
            }
            assert!(bench.end.connection.is_done());
            assert!(
                matches!(bench.ending(), Err(ConnectionError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe)
            );
        }
    }
}

#[test]
fn a_write_error_while_the_close_frame_is_answered_is_clean_if_nothing_accepted_is_lost() {
    for role in ROLES {
        for data in [false, true] {
            let mut bench = Bench::new(role);
            bench.outgoing.broken = true;
            if data {
                bench.incoming.push(&frame(other(role), CLOSE, &close_body(1000, "")));
                bench.end.read(bench.now, &mut bench.incoming);
                bench.end.outbox.message(Text, "lost".into(), &mut *bench.end.keys);
            }
            bench.hear_close(1000, "").run_out();
            match bench.ending() {
                Ok(end) => assert_eq!((data, end), (false, info(1000, "", true))),
                Err(ConnectionError::Unsent(end)) => assert_eq!((data, end), (true, info(1000, "", false))),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_write_error_in_the_frame_before_the_answer_is_unclean() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 1;
        bench.end.send(Text, "lost");
        bench.settle().hear_close(1000, "");
        bench.outgoing.broken = true;
        bench.run_out();
        assert!(matches!(bench.ending(), Err(ConnectionError::Unsent(end)) if end == info(1000, "", false)));
    }
}

#[test]
fn abort_ends_at_once_without_a_word() {
    for role in ROLES {
        for closing in [false, true] {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = 0;
            bench.end.send(Text, "unsent");
            if closing {
                bench.end.close(1000, "");
            }
            bench.settle();
            bench.end.connection.abort();
            bench.outgoing.capacity = usize::MAX;
            assert_eq!(bench.run_out(), Duration::ZERO);
            assert!(matches!(bench.ending(), Err(ConnectionError::Aborted)));
            assert!(bench.said().is_empty());
        }
    }
    let mut bench = Bench::new(Role::Client);
    bench.hear_close(1000, "");
    bench.end.connection.abort();
    assert!(bench.end.connection.is_done() && bench.ending().is_ok(), "it was over");
}

#[test]
fn a_fault_cuts_what_waits_at_the_frame_boundary_and_is_told() {
    for role in ROLES {
        for written in 0..40 {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = written;
            for text in ["aaaaaaaaaa", "bbbbbbbbbb"] {
                bench.end.send(Text, text);
            }
            bench.settle().hear_frame(PING, b"p").hear(&[0x7F]);
            assert!(matches!(bench.ending(), Err(ConnectionError::Protocol(ProtocolError::ReservedBits))));
            bench.outgoing.capacity = usize::MAX;
            bench.settle();
            let said = bench.said();
            assert!(said.iter().all(|frame| frame.complete), "{written} written");
            assert_eq!(bench.last_said().1[..2], close_body(1002, "")[..]);
            let len = frame(role, FIN | TEXT, &[0; 10]).len();
            assert!(said.iter().filter(|frame| frame.first == FIN | TEXT).all(|frame| frame.at < written.max(1)));
            assert!(said.len() <= 1 + written.div_ceil(len) + 1);
            bench.run_out();
        }
    }
}

#[test]
fn a_failed_connection_is_drained_until_the_peers_end_or_for_2_seconds() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear(&[0x7F]);
        assert!(bench.outgoing.ended, "no more is said");
        bench.hear(&[0; 5000]);
        assert!(bench.incoming.bytes.is_empty(), "read and thrown away");
        assert!(!bench.end.connection.is_done());
        bench.hear_end();
        assert!(bench.end.connection.is_done());
        assert_eq!(Bench::new(role).hear(&[0x7F]).run_out(), 2 * SECOND);
    }
}

#[test]
fn a_fault_that_the_transport_does_not_take_ends_with_the_close_timeout() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 0;
        bench.hear(&[0x7F]);
        for _ in 0..5 {
            bench.hear(&[0; 10]).wait(SECOND);
        }
        assert_eq!(bench.run_out(), 5 * SECOND, "what is thrown away is no progress");
    }
}

#[test]
fn a_whole_message_over_the_readers_limit_is_told_with_1009() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.fail = Some(ConnectionError::MessageTooLarge { limit: 5, knob: "max_whole_message_size" });
        bench.settle();
        assert_eq!(bench.last_said(), (CLOSE, close_body(1009, "message of more than 5 bytes")));
    }
}

#[test]
fn a_flood_of_pings_is_answered_one_by_one_and_held_in_bounds() {
    for role in ROLES {
        for in_a_frame in [false, true] {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = 100;
            if in_a_frame {
                bench.end.begin(Binary, Some(10));
                bench.end.chunk(&b"01234"[..]);
            }
            let pings = 10_000;
            let flood: Vec<u8> = (0..pings)
                .flat_map(|i: u32| frame(other(role), PING, &[&i.to_be_bytes()[..], &[0; 60]].concat()))
                .collect();
            bench.hear(&flood);
            assert!(!bench.end.connection.wants_read(), "no more pings are read than pongs may wait");
            let read = flood.len() - bench.incoming.bytes.len();
            assert!(read < 32 * 1024, "{read} bytes were read");
            if in_a_frame {
                bench.end.chunk(&b"56789"[..]);
                bench.end.finish();
            }
            bench.settle();
            while !bench.outgoing.bytes.is_empty() {
                bench.take(1000);
            }
            let said = bench.said();
            let pongs: Vec<u32> = said
                .iter()
                .filter(|frame| frame.first == PONG)
                .map(|frame| u32::from_be_bytes(frame.payload[..4].try_into().unwrap()))
                .collect();
            assert!(pongs.into_iter().eq(0..pings), "one pong each, in order");
            assert!(bench.end.connection.wants_read());
        }
    }
}

#[test]
fn a_flood_of_pings_does_not_keep_our_close_frame_from_going_out_or_from_timing_out() {
    for role in ROLES {
        let mut bench = Bench::with(role, &super::config());
        bench.outgoing.capacity = 100;
        bench.hear(&frame(other(role), PING, &[0; 100]).repeat(1000));
        assert!(!bench.end.connection.wants_read());
        bench.end.close(1000, "");
        let start = bench.now;
        bench.run_out();
        assert_eq!(bench.now - start, 10 * SECOND);
        assert!(matches!(bench.ending(), Err(ConnectionError::CloseTimeout(_))));
    }
}

#[test]
fn pings_are_answered_while_data_is_blocked_and_while_we_close() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 10;
        bench.end.send(Binary, vec![1; 1000]);
        bench.end.close(1000, "");
        bench.settle().hear_frame(PING, b"now");
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        let firsts: Vec<_> = bench.said().iter().map(|frame| frame.first).collect();
        assert_eq!(firsts, [FIN | BINARY, PONG, CLOSE]);
    }
}

#[test]
fn a_ping_of_the_keepalive_is_not_repeated_while_the_last_one_waits() {
    for role in ROLES {
        let config = super::config().ping_interval(SECOND);
        let mut bench = Bench::with(role, &config);
        bench.outgoing.capacity = 0;
        bench.settle().wait(3600 * SECOND);
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        assert_eq!(bench.said().len(), 1);
    }
}

#[test]
fn a_pong_tells_the_round_trip_of_its_ping() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        let now = bench.now;
        let (a, b) = (bench.end.ping(now), bench.end.ping(now));
        bench.settle();
        assert_eq!(bench.said().iter().map(|frame| frame.first).collect::<Vec<_>>(), [PING, PING]);
        bench.hear_frame(PONG, &b.to_be_bytes()).hear_frame(PONG, &a.to_be_bytes());
        assert_eq!(bench.end.pongs, [b], "it answers the earlier one too");
    }
}
