//! What happens when the peer closes, and which end then ends the transport, in virtual time.

use std::time::Duration;

use super::{
    Bench, CLOSE, CONT, FIN, PING, TEXT, close_body,
    closing::{ROLES, SECOND, TIMEOUT},
    info, other,
};
use crate::{
    close::CloseCode,
    error::ConnectionError,
    message::MessageKind::{Binary, Text},
    role::Role,
};
#[test]
fn the_peers_close_is_answered_with_its_code_at_once() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(FIN | TEXT, b"last").hear_close(4321, "bye");
        assert_eq!(bench.last_said(), (CLOSE, close_body(4321, "bye")));
        assert_eq!(bench.end.seen.len(), 1);
        bench.run_out();
        assert_eq!(bench.ending().unwrap(), info(4321, "bye", true));
    }
}

#[test]
fn a_close_without_a_code_is_1005_and_clean_and_answered_in_kind() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(CLOSE, b"");
        assert_eq!(bench.last_said(), (CLOSE, Vec::new()));
        bench.run_out();
        let end = bench.ending().unwrap();
        assert_eq!((end.close_code, end.was_clean), (CloseCode::NO_STATUS, true));
    }
}

#[test]
fn what_was_accepted_goes_before_the_answer_as_long_as_the_transport_takes_it() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.send(Text, "one");
        bench.end.send(Binary, vec![2; 1_000_000]);
        bench.hear_close(1000, "");
        bench.run_out();
        let payload: usize =
            bench.said().iter().filter(|frame| !frame.is_control()).map(|frame| frame.payload.len()).sum();
        assert_eq!(payload, 1_000_003);
        assert_eq!(bench.last_said(), (CLOSE, close_body(1000, "")));
        assert_eq!(bench.ending().unwrap(), info(1000, "", true));
    }
}

#[test]
fn a_blocked_transport_cuts_what_was_accepted_at_the_frame_boundary_and_the_end_is_unclean() {
    for role in ROLES {
        for written in 0..60 {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = written;
            for text in ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"] {
                bench.end.send(Text, text);
            }
            bench.settle().hear_close(4000, "enough");
            let lost = matches!(bench.end.ending(), Some(Err(ConnectionError::Unsent(_))));
            assert!(!bench.end.send(Text, "more"), "nothing more is accepted");
            bench.outgoing.capacity = usize::MAX;
            bench.run_out();
            let said = bench.said();
            assert!(said.iter().all(|frame| frame.complete));
            assert_eq!(bench.last_said(), (CLOSE, close_body(4000, "enough")));
            let frame_len = super::frame(role, FIN | TEXT, &[0; 10]).len();
            let messages = said.len() - 1;
            assert_eq!(messages, written.div_ceil(frame_len).min(3), "the frame that had begun is completed, no other");
            assert_eq!(lost, messages < 3);
            match bench.ending() {
                Ok(end) => assert_eq!((messages, end), (3, info(4000, "enough", true))),
                Err(ConnectionError::Unsent(end)) => assert_eq!(end, info(4000, "enough", false)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_pong_that_is_cut_does_not_make_the_end_unclean() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 1;
        bench.end.send(Text, "hello");
        bench.settle().hear_frame(PING, b"p").hear_close(1000, "");
        bench.outgoing.capacity = usize::MAX;
        bench.run_out();
        assert_eq!(bench.last_said().0, CLOSE);
        assert_eq!(bench.ending().unwrap(), info(1000, "", true));
    }
}

#[test]
fn an_incomplete_frame_of_declared_length_ends_unclean_with_the_peers_code() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.begin(Binary, Some(10));
        bench.end.chunk(&b"half"[..]);
        bench.settle().hear_close(4000, "enough").run_out();
        assert!(matches!(bench.ending(), Err(ConnectionError::Unsent(end)) if end == info(4000, "enough", false)));
        assert!(!bench.said()[0].complete && bench.said().len() == 1);
    }
}

#[test]
fn a_peer_that_closes_and_does_not_read_is_waited_for_no_longer_than_the_timeout() {
    for role in ROLES {
        for capacity in [0, 3] {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = capacity;
            bench.end.send(Text, "hello");
            bench.settle().hear_close(1000, "");
            assert_eq!(bench.run_out(), TIMEOUT);
            assert!(matches!(bench.ending(), Err(ConnectionError::Unsent(end)) if end == info(1000, "", false)));
        }
    }
}

#[test]
fn a_close_in_the_middle_of_a_message_leaves_it_cut() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(TEXT, b"half").hear_frame(CONT, b"").hear_close(1000, "").run_out();
        assert_eq!(bench.end.seen, [(Text, b"half".to_vec(), false)]);
        let ending = bench.ending();
        assert!(matches!(ending, Err(ConnectionError::MessageCut(end)) if end == info(1000, "", false)));
    }
}

#[test]
fn the_answer_may_wait_for_the_reader_and_takes_what_is_written_meanwhile_along() {
    for role in ROLES {
        for caught_up in [false, true] {
            let mut bench = Bench::new(role);
            bench.incoming.push(&super::frame(other(role), CLOSE, &close_body(1000, "")));
            // In the driver's order: the reader is waited for right after the event.
            bench.end.read(bench.now, &mut bench.incoming);
            bench.end.connection.wait_for_reader(bench.now);
            bench.settle();
            assert!(bench.said().is_empty());
            assert!(bench.end.send(Text, "answer"), "still writable");
            if caught_up {
                bench.end.connection.reader_caught_up(bench.now);
                bench.settle();
            } else {
                bench.wait(Duration::from_millis(100));
            }
            assert_eq!(bench.firsts(), [FIN | TEXT, CLOSE]);
            assert!(!bench.end.is_writable());
            bench.run_out();
            assert_eq!(bench.ending().unwrap(), info(1000, "", true));
        }
    }
}

// ---- who ends the transport ----

#[test]
fn the_server_ends_the_transport_first() {
    for peer_begins in [false, true] {
        let mut bench = Bench::new(Role::Server);
        if !peer_begins {
            bench.end.close(1000, "");
        }
        bench.settle().hear_close(1000, "");
        assert!(bench.outgoing.ended);
        assert_eq!(bench.run_out(), Duration::ZERO);
        assert!(bench.ending().is_ok());
    }
}

#[test]
fn a_client_waits_for_the_servers_end_and_2_seconds_at_most_and_is_clean_either_way() {
    for peer_begins in [false, true] {
        for ends in [false, true] {
            let mut bench = Bench::new(Role::Client);
            if !peer_begins {
                bench.end.close(1000, "");
            }
            bench.settle().hear_close(1000, "");
            assert!(!bench.outgoing.ended, "not first");
            assert!(bench.ending().is_ok(), "the ending is certain already");
            if ends {
                bench.hear_end();
            }
            assert_eq!(bench.run_out(), if ends { Duration::ZERO } else { 2 * SECOND });
            assert!(bench.ending().is_ok());
        }
    }
}

#[test]
fn a_client_whose_server_has_ended_the_transport_already_shuts_it_down_in_order() {
    // Shutting down also flushes what a transport holds back; dropping it would lose our Close frame.
    let mut bench = Bench::new(Role::Client);
    bench.incoming.push(&super::frame(Role::Server, CLOSE, &close_body(1000, "")));
    bench.incoming.ended = true;
    bench.outgoing.capacity = 0;
    bench.end.close(1000, "");
    bench.settle();
    bench.end.read(bench.now, &mut bench.incoming);
    bench.end.connection.eof();
    bench.outgoing.capacity = usize::MAX;
    bench.end.turn(bench.now, &mut bench.incoming, &mut bench.outgoing);
    assert_eq!(bench.last_said().0, CLOSE);
    assert!(bench.end.connection.needs_flush() && !bench.end.connection.wants_shutdown());
    bench.end.turn(bench.now, &mut bench.incoming, &mut bench.outgoing);
    assert!(!bench.end.connection.is_done() && bench.end.connection.wants_shutdown());
    assert_eq!(bench.run_out(), Duration::ZERO);
    assert!(bench.ending().is_ok());
}
