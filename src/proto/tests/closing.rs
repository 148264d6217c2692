//! The rules of closing, in virtual time: against a scripted peer, and between two endpoints.

use std::time::Duration;

use super::{BINARY, Bench, CLOSE, CONT, FIN, PING, PONG, Pair, TEXT, close_body, info, other};
use crate::{
    close::CloseCode,
    error::ConnectionError,
    message::MessageKind::{Binary, Text},
    role::Role,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const SECOND: Duration = Duration::from_secs(1);
/// The default close timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

fn firsts(bench: &Bench) -> Vec<u8> {
    bench.said().iter().map(|frame| frame.first).collect()
}

fn is_lost(bench: &Bench) -> bool {
    matches!(bench.ending(), Err(ConnectionError::Lost))
}

// ---- we close ----

#[test]
fn everything_accepted_goes_before_the_close_frame() {
    for role in ROLES {
        for capacity in [1, 10, 1000] {
            let mut bench = Bench::with(role, &super::config().max_frame_payload(125));
            bench.outgoing.capacity = capacity;
            bench.end.send(Text, "first");
            bench.end.send(Binary, vec![1; 1000]);
            bench.end.begin(Binary, Some(3));
            bench.end.chunk(&b"abc"[..]);
            bench.end.finish();
            bench.end.close(3000, "done");
            bench.settle();
            while bench.outgoing.bytes.len() == capacity {
                bench.take(capacity);
            }
            let said = bench.said();
            let payload: usize = said.iter().filter(|frame| !frame.is_control()).map(|frame| frame.payload.len()).sum();
            assert_eq!(payload, 5 + 1000 + 3);
            assert_eq!(bench.last_said(), (CLOSE, close_body(3000, "done")));
            assert!(bench.end.ending().is_none(), "the peer has yet to answer");
            bench.hear_close(3000, "done").run_out();
            assert_eq!(bench.ending().unwrap(), info(3000, "done", true));
        }
    }
}

#[test]
fn what_comes_in_while_we_close_is_delivered() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.close(1000, "");
        bench.settle().hear_frame(FIN | TEXT, b"still").hear_frame(BINARY, b"he").wait(9 * SECOND);
        bench.hear_frame(FIN, b"re").hear_close(1000, "");
        bench.run_out();
        assert_eq!(bench.end.seen, [(Text, b"still".to_vec(), true), (Binary, b"here".to_vec(), true)]);
        assert!(bench.ending().is_ok());
    }
}

#[test]
fn closing_without_progress_times_out() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.close(1000, "");
        assert_eq!(bench.run_out(), TIMEOUT);
        assert!(matches!(bench.ending(), Err(ConnectionError::CloseTimeout(time)) if time == TIMEOUT));
        assert_eq!(bench.ending().unwrap_err().close_code(), CloseCode::ABNORMAL);
    }
}

#[test]
fn closing_times_out_when_the_transport_takes_nothing() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 3;
        bench.end.send(Text, "hello");
        bench.end.close(1000, "");
        assert_eq!(bench.run_out(), TIMEOUT);
        assert!(matches!(bench.ending(), Err(ConnectionError::CloseTimeout(_))));
    }
}

#[test]
fn every_byte_that_is_sent_or_comes_in_gives_closing_more_time() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 1;
        bench.end.send(Text, "hello");
        bench.end.close(1000, "");
        bench.settle();
        while bench.end.connection.unwritten() > 0 {
            bench.wait(TIMEOUT - SECOND).take(1);
            assert!(bench.end.ending().is_none());
        }
        assert_eq!(bench.last_said().0, CLOSE);
        for _ in 0..3 {
            bench.wait(TIMEOUT - SECOND).hear_frame(FIN | BINARY, b"x");
        }
        assert!(bench.end.ending().is_none());
        assert_eq!(bench.run_out(), TIMEOUT);
    }
}

#[test]
fn what_nobody_reads_gives_closing_no_more_time() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.connection.discard(bench.now);
        bench.end.close(1000, "");
        let start = bench.settle().now;
        for _ in 0..9 {
            bench.wait(SECOND).hear_frame(FIN | BINARY, b"x");
        }
        bench.run_out();
        assert_eq!(bench.now - start, TIMEOUT);
        assert!(matches!(bench.ending(), Err(ConnectionError::CloseTimeout(_))));
    }
}

#[test]
fn a_peer_that_is_not_read_from_does_not_keep_closing_from_its_end() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.lags = true;
        bench.end.close(1000, "");
        bench.settle().hear_frame(FIN | TEXT, b"unread").hear_close(1000, "");
        assert_eq!(bench.run_out(), TIMEOUT);
    }
}

#[test]
fn a_close_timeout_without_end_is_no_deadline() {
    for role in ROLES {
        let mut bench = Bench::with(role, &super::config().close_timeout(Duration::MAX));
        bench.end.close(1000, "");
        bench.settle();
        assert_eq!(bench.end.deadline(), None);
        bench.hear_close(1000, "").run_out();
        assert!(bench.ending().is_ok());
    }
}

#[test]
fn a_close_in_the_middle_of_our_own_message_cuts_it() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.end.begin(Text, None);
        bench.end.chunk(&b"half"[..]);
        bench.end.close(1000, "");
        bench.settle();
        assert_eq!(firsts(&bench), [TEXT, CLOSE], "no FIN");
    }
}

#[test]
fn a_frame_of_declared_length_that_was_left_incomplete_is_never_filled_up() {
    for role in ROLES {
        for unfinished in [false, true] {
            let mut bench = Bench::new(role);
            bench.end.begin(Binary, Some(10));
            bench.end.chunk(&b"half"[..]);
            bench.settle();
            if unfinished {
                bench.end.leave_unfinished();
            } else {
                bench.end.close(1000, "");
            }
            assert_eq!(bench.run_out(), Duration::ZERO);
            assert!(matches!(bench.ending(), Err(ConnectionError::UnfinishedMessage)), "{:?}", bench.ending());
            let said = bench.said();
            assert!(said.len() == 1 && !said[0].complete, "no bytes of another frame look like its payload");
        }
    }
}

#[test]
fn an_unfinished_message_fails_the_connection_with_1011() {
    for role in ROLES {
        for sent in [false, true] {
            let mut bench = Bench::new(role);
            bench.end.begin(Text, None);
            bench.end.chunk(&b"half"[..]);
            if sent {
                bench.settle();
            }
            bench.end.leave_unfinished();
            bench.settle();
            assert_eq!(bench.last_said(), (CLOSE, close_body(1011, "a message was dropped unfinished")));
            assert_eq!(bench.said().len(), 1 + usize::from(sent));
            assert!(matches!(bench.ending(), Err(ConnectionError::UnfinishedMessage)));
            // It is drained for a while, so that no reset destroys the Close frame, and then dropped.
            assert_eq!(bench.run_out(), 2 * SECOND);
        }
    }
}

#[test]
fn a_declared_length_that_has_not_begun_to_be_sent_is_left_out_when_its_writer_is_dropped() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.outgoing.capacity = 3;
        bench.end.send(Text, "before");
        bench.settle();
        bench.end.begin(Binary, Some(10));
        bench.end.chunk(&b"half"[..]);
        bench.settle();
        bench.end.leave_unfinished();
        bench.settle();
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        assert_eq!(firsts(&bench), [FIN | TEXT, CLOSE]);
    }
}

// ---- the peer closes ----

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
            assert_eq!(firsts(&bench), [FIN | TEXT, CLOSE]);
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

// ---- both ----

#[test]
fn both_ends_agree_whoever_begins() {
    for capacity in [1, 7, 100_000] {
        for (client, server) in [(true, false), (false, true), (true, true)] {
            let mut pair = Pair::new(&super::config(), capacity);
            pair.client.send(Text, "up");
            pair.server.send(Text, "down");
            if client {
                pair.client.close(4001, "client");
            }
            if server {
                pair.server.close(4002, "server");
            }
            assert_eq!(pair.run_out(), Duration::ZERO);
            let (up, down) = (pair.server.ending().unwrap().unwrap(), pair.client.ending().unwrap().unwrap());
            let code = |began: bool, own: u16, others: u16| if began { own } else { others };
            assert_eq!(u16::from(up.close_code), code(client, 4001, 4002));
            assert_eq!(u16::from(down.close_code), code(server, 4002, 4001));
            assert!(up.was_clean && down.was_clean);
            assert_eq!(pair.server.seen, [(Text, b"up".to_vec(), true)]);
            assert_eq!(pair.client.seen, [(Text, b"down".to_vec(), true)]);
            assert_eq!((pair.client.closes_seen, pair.server.closes_seen), (1, 1));
        }
    }
}

#[test]
fn closes_that_cross_are_clean_even_while_ours_is_blocked() {
    for role in ROLES {
        let len = super::frame(role, CLOSE, &close_body(1000, "mine")).len();
        for written in 0..len {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = written;
            bench.end.close(1000, "mine");
            bench.settle().hear_close(1001, "yours");
            assert_eq!(bench.end.closes_seen, 1);
            // What follows a Close frame is nothing: neither data nor faults nor the end of the transport.
            bench.hear_frame(FIN | TEXT, b"late").hear(&[0x7F]).hear_end();
            bench.outgoing.capacity = usize::MAX;
            bench.run_out();
            assert!(bench.end.seen.is_empty());
            assert_eq!(bench.said().len(), 1);
            assert_eq!(bench.last_said(), (CLOSE, close_body(1000, "mine")));
            assert_eq!(bench.ending().unwrap(), info(1001, "yours", true), "{role:?}, {written} written");
        }
    }
}

#[test]
fn a_fault_found_while_our_close_frame_waits_is_told_instead_of_it() {
    for role in ROLES {
        for (written, code) in [(0, 1002), (1, 1000)] {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = written;
            bench.end.close(1000, "");
            bench.settle().hear(&[0x7F]);
            bench.outgoing.capacity = usize::MAX;
            bench.settle();
            assert_eq!(bench.said().len(), 1);
            assert_eq!(bench.last_said().1[..2], close_body(code, "")[..], "a frame that has begun is completed");
            assert!(matches!(bench.ending(), Err(ConnectionError::Protocol(_))));
        }
    }
}

#[test]
fn an_idle_connection_stays_open() {
    for role in ROLES {
        let mut bench = Bench::new(role);
        bench.hear_frame(FIN | TEXT, b"a").hear_frame(PING, b"b").wait(3600 * SECOND);
        assert!(bench.end.ending().is_none() && bench.end.deadline().is_none());
        assert_eq!(bench.last_said(), (PONG, b"b".to_vec()));
        assert!(bench.end.is_writable());
        bench.hear_end();
        assert!(is_lost(&bench));
    }
}
