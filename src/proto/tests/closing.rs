//! The rules of closing where we begin, or both, in virtual time: against a scripted peer, and between two endpoints.

use std::time::Duration;

use super::{BINARY, Bench, CLOSE, FIN, PING, PONG, Pair, TEXT, close_body, info};
use crate::{
    close::CloseCode,
    error::ConnectionError,
    message::MessageKind::{Binary, Text},
    role::Role,
};

pub(super) const ROLES: [Role; 2] = [Role::Client, Role::Server];
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The default close timeout.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

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
        assert_eq!(bench.firsts(), [TEXT, CLOSE], "no FIN");
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
        assert_eq!(bench.firsts(), [FIN | TEXT, CLOSE]);
    }
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
        assert!(bench.is_lost());
    }
}
