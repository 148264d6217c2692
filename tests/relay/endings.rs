//! One side ends: what the other is told, and what the result says.

use tokio::time::Instant;
use wsstream::{CloseCode, ConnectionError, Control, RelaySide, Relayed, relay};

use crate::{
    ROLES, between, raw_side,
    support::{BINARY, CLOSE, CONTINUATION, Raw, TEXT, WIDE, frame, pattern, settle, within},
};

async fn finished(relayed: tokio::task::JoinHandle<Relayed>) -> Relayed {
    within(relayed).await.unwrap()
}

/// Answers the Close frame it expects, and ends the transport.
async fn answer_close(peer: &mut Raw) -> Option<(u16, String)> {
    let close = peer.expect_close().await;
    let body = close.as_ref().map(|(code, reason)| crate::support::close_body(*code, reason)).unwrap_or_default();
    peer.send(CLOSE, &body).await;
    close
}

#[tokio::test(start_paused = true)]
async fn close_codes_pass_each_way() {
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999];
    for roles in ROLES {
        for (at, code) in codes.into_iter().enumerate() {
            let (left, relayed, right) = between(roles, WIDE);
            let forth = at % 2 == 0;
            let (mut from, mut to) = if forth { (left, right) } else { (right, left) };
            from.send_close(code, "that is why").await;
            assert_eq!(from.expect_close().await, Some((code, "that is why".into())));
            drop(from);
            assert_eq!(answer_close(&mut to).await, Some((code, "that is why".into())));
            drop(to);
            let relayed = finished(relayed).await;
            assert_eq!(relayed.ended_by, if forth { RelaySide::First } else { RelaySide::Second });
            for end in [relayed.first, relayed.second] {
                let info = end.unwrap();
                assert_eq!(
                    (u16::from(info.close_code), info.reason.as_str(), info.was_clean),
                    (code, "that is why", true)
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_without_a_body_stays_without_one() {
    for roles in ROLES {
        let (mut left, relayed, mut right) = between(roles, WIDE);
        left.send(CLOSE, b"").await;
        assert_eq!(left.expect_close().await, None);
        assert_eq!(answer_close(&mut right).await, None);
        drop((left, right));
        assert_eq!(finished(relayed).await.first.unwrap().close_code, CloseCode::NO_STATUS);
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_side_is_told_without_waiting_for_the_transport() {
    // A server that does not end the transport is waited for by the client; that is no business of the other side.
    let (mut left, _relayed, mut right) = between((wsstream::Role::Client, wsstream::Role::Server), WIDE);
    let begin = Instant::now();
    left.send_close(1000, "").await;
    right.expect_close().await.unwrap();
    assert_eq!(begin.elapsed(), std::time::Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn codes_that_may_not_be_sent_are_a_fault_and_the_other_side_hears_1014() {
    for code in [999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let (mut left, relayed, mut right) = between(ROLES[0], WIDE);
        left.send_close(code, "").await;
        assert_eq!(left.expect_close().await.unwrap().0, 1002);
        assert_eq!(answer_close(&mut right).await.unwrap().0, 1014);
        drop((left, right));
        let relayed = finished(relayed).await;
        assert!(matches!(relayed.first, Err(ConnectionError::Protocol(_))), "{:?}", relayed.first);
    }
}

/// What goes wrong with the source, in the middle of a message or between two, and what the other side is told.
const FAULTS: [(&str, u16); 4] = [("lost", 1014), ("protocol", 1014), ("closed", 4002), ("aborted", 1011)];

async fn go_wrong(fault: &str, mut peer: Raw, control: &Control) -> Option<Raw> {
    match fault {
        "lost" => return None,
        "protocol" => peer.write(&frame(peer.role, true, 7, b"")).await,
        "closed" => peer.send_close(4002, "no more").await,
        _ => control.abort(),
    }
    Some(peer)
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_cut_in_the_middle_of_a_message_never_looks_finished() {
    for roles in ROLES {
        for (fault, code) in FAULTS {
            for in_frame in [false, true] {
                let ((first, mut left), (second, mut right)) = (raw_side(roles.0, WIDE), raw_side(roles.1, WIDE));
                let control = first.control();
                let relayed = tokio::spawn(relay(first, second));
                left.send(TEXT, b"whole").await;
                assert_eq!(right.message().await, (TEXT, b"whole".to_vec()));
                let begun = frame(left.role, false, BINARY, &pattern(1000));
                // A fault that is a frame cannot come in the middle of one.
                let part = if in_frame && ["lost", "aborted"].contains(&fault) { 500 } else { begun.len() };
                left.write(&begun[..part]).await;
                let chunk = right.frame().await.unwrap();
                assert!(!chunk.fin && chunk.opcode == BINARY);
                let left = go_wrong(fault, left, &control).await;
                let close = answer_close(&mut right).await.unwrap();
                assert_eq!(close.0, code, "{fault}: nothing came between the chunk and the Close frame");
                drop((left, right));
                let relayed = finished(relayed).await;
                assert_eq!((relayed.ended_by, relayed.forth.messages), (RelaySide::First, 1));
                assert_eq!(relayed.forth.bytes, 5 + chunk.payload.len() as u64);
                match (fault, relayed.first) {
                    ("lost", Err(ConnectionError::Lost))
                    | ("protocol", Err(ConnectionError::Protocol(_)))
                    | ("closed", Err(ConnectionError::MessageCut(_)))
                    | ("aborted", Err(ConnectionError::Aborted)) => {}
                    (fault, end) => panic!("{fault}: {end:?}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_between_messages_closes_the_other_side() {
    for roles in ROLES {
        for (fault, code) in FAULTS {
            let ((first, mut left), (second, mut right)) = (raw_side(roles.0, WIDE), raw_side(roles.1, WIDE));
            let control = first.control();
            let relayed = tokio::spawn(relay(first, second));
            left.send(TEXT, b"whole").await;
            settle().await;
            let left = go_wrong(fault, left, &control).await;
            assert_eq!(right.message().await, (TEXT, b"whole".to_vec()));
            assert_eq!(answer_close(&mut right).await.unwrap().0, code, "{fault}");
            drop((left, right));
            assert_eq!(finished(relayed).await.ended_by, RelaySide::First);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_on_its_way_to_a_side_that_ends_is_given_up() {
    for roles in ROLES {
        for (fault, code) in FAULTS {
            let ((first, mut left), (second, mut right)) = (raw_side(roles.0, WIDE), raw_side(roles.1, WIDE));
            let control = second.control();
            let relayed = tokio::spawn(relay(first, second));
            left.send_part(false, BINARY, &pattern(1000)).await;
            right.frame().await.unwrap();
            let right = go_wrong(fault, right, &control).await;
            assert_eq!(left.expect_close().await.unwrap().0, code, "{fault}");
            // What it goes on sending holds nobody up.
            left.send_part(true, CONTINUATION, &pattern(1000)).await;
            left.send_close(code, "").await;
            drop((left, right));
            let relayed = finished(relayed).await;
            assert_eq!((relayed.ended_by, relayed.forth.messages), (RelaySide::Second, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_side_sent_before_it_closed_arrives_though_it_takes_nothing_any_more() {
    for roles in ROLES {
        let (mut left, relayed, mut right) = between(roles, 1000);
        // Both directions are in the middle of a message, and both pipes are full.
        let large = pattern(300_000);
        left.send_part(false, BINARY, b"begun").await;
        let (mut left_read, mut left_write) = tokio::io::split(left.io);
        let _keeps_sending = tokio::spawn(async move {
            let part = frame(left.role, false, CONTINUATION, &pattern(100_000));
            for _ in 0..30 {
                if tokio::io::AsyncWriteExt::write_all(&mut left_write, &part).await.is_err() {
                    break;
                }
            }
            left_write
        });
        let sending = tokio::spawn({
            let large = large.clone();
            async move {
                for _ in 0..3 {
                    right.send(BINARY, &large).await;
                }
                right.send_close(4001, "enough").await;
                right
            }
        });
        let mut received = Vec::new();
        within(async {
            let mut buffer = vec![0; 64 * 1024];
            while received.len() < 900_000 {
                match tokio::io::AsyncReadExt::read(&mut left_read, &mut buffer).await.unwrap() {
                    0 => break,
                    len => received.extend_from_slice(&buffer[..len]),
                }
            }
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut left_read, &mut received).await;
        })
        .await;
        let sender = crate::support::other(left.role);
        for _ in 0..3 {
            let (mut payload, mut fin) = (Vec::new(), false);
            while !fin {
                let part = crate::support::parse(sender, &mut received).expect("the message is whole");
                fin = part.fin;
                payload.extend_from_slice(&part.payload);
            }
            assert!(payload == large);
        }
        let close = crate::support::parse(sender, &mut received).unwrap();
        assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &4001u16.to_be_bytes()[..]));
        drop(within(sending).await.unwrap());
        let relayed = finished(relayed).await;
        assert_eq!((relayed.ended_by, relayed.back.messages), (RelaySide::Second, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_closes_both_sides() {
    for roles in ROLES {
        for in_message in [false, true] {
            let (mut left, relayed, mut right) = between(roles, WIDE);
            left.send_part(!in_message, BINARY, b"some").await;
            right.frame().await.unwrap();
            relayed.abort();
            assert_eq!(right.expect_close().await.unwrap().0, if in_message { 1011 } else { 1001 });
            assert_eq!(left.expect_close().await.unwrap().0, 1001);
        }
    }
}
