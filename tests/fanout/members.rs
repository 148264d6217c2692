//! Receivers that stall, die, leave and join late.

use tokio::io::duplex;
use wsstream::{
    CloseCode, ConnectionError, Message, MessageKind, Role, WebSocketStream,
    fanout::{Fanout, Lag, ReceiverEnd, ReceiverOptions, Start},
};

use crate::{
    config, negotiated, pair,
    support::{BOTH, Raw, WIDE, next, other, settle, within},
};

fn numbered(number: u32) -> Message {
    let mut payload = vec![number as u8; 1000];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    Message::binary(payload)
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.as_bytes()[..4].try_into().unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_slows_nobody_and_knows_what_it_missed() {
    for role in BOTH {
        for lag in [Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey] {
            let mut fanout = Fanout::new();
            let options = ReceiverOptions::default().budget(100_000).lag(lag);
            let (near, mut stalled) = pair(role, None, 1000);
            let receiver = fanout.audience().join(near.split().1, options.clone());
            let handle = receiver.handle();
            let receiver = tokio::spawn(receiver);
            let (near, mut quick) = pair(role, None, WIDE);
            tokio::spawn(fanout.audience().join(near.split().1, options));

            let begin = tokio::time::Instant::now();
            let mut newest = 0;
            for at in 0..2000 {
                newest = at;
                if at % 50 == 0 {
                    within(fanout.publish_key(numbered(at))).await;
                } else {
                    within(fanout.publish(numbered(at))).await;
                }
                assert_eq!(number(&within(next(&mut quick)).await.unwrap().unwrap()), at);
            }
            assert_eq!(begin.elapsed(), std::time::Duration::ZERO);
            let stats = handle.stats().unwrap();
            assert!(stats.dropped_messages > 1000 && stats.lag_bytes <= 102_000, "{stats:?}");
            fanout.close(CloseCode::NORMAL, "").unwrap();
            let mut seen = Vec::new();
            while let Some(message) = within(next(&mut stalled)).await {
                seen.push(number(&message.unwrap()));
            }
            let stats = within(receiver).await.unwrap().stats;
            assert_eq!((stats.sent_messages, stats.sent_messages + stats.dropped_messages), (seen.len() as u64, 2000));
            assert!(seen.is_sorted_by(|a, b| a < b));
            // The one gap that there is: behind what the connection had accepted, or at the end.
            let gaps: Vec<_> = seen.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
            match lag {
                Lag::DropOldest => assert!(gaps.len() == 1 && seen.last() == Some(&newest)),
                Lag::DropNewest => assert!(gaps.is_empty() && seen[0] == 0),
                _ => assert!(gaps.len() == 1 && gaps[0][1] % 50 == 0 && seen.last() == Some(&newest)),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_waited_for_slows_the_source() {
    let mut fanout = Fanout::new();
    let (near, mut slow) = pair(Role::Server, None, 1000);
    tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default().budget(50_000)));
    let publishing = tokio::spawn(async move {
        for at in 0..2000 {
            fanout.publish(numbered(at)).await;
        }
    });
    settle().await;
    assert!(!publishing.is_finished());
    for at in 0..2000 {
        assert_eq!(number(&within(next(&mut slow)).await.unwrap().unwrap()), at);
    }
    within(publishing).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_disconnected_is_told_why() {
    disconnected(CloseCode::try_from(4008).unwrap(), CloseCode::try_from(4008).unwrap()).await;
    disconnected(CloseCode::ABNORMAL, CloseCode::POLICY_VIOLATION).await;
}

async fn disconnected(policy: CloseCode, code: CloseCode) {
    let mut fanout = Fanout::new();
    let (near, mut slow) = pair(Role::Server, None, 1000);
    let options = ReceiverOptions::default().budget(50_000).lag(Lag::Disconnect(policy));
    let receiver = tokio::spawn(fanout.audience().join(near.split().1, options));
    for at in 0..1000 {
        within(fanout.publish(numbered(at))).await;
        settle().await;
    }
    let mut seen = 0;
    while let Some(message) = within(next(&mut slow)).await {
        assert_eq!(number(&message.unwrap()), seen, "whole, and in order");
        seen += 1;
    }
    assert_eq!(within(slow.closed()).await.unwrap().close_code, code);
    let received = within(receiver).await.unwrap();
    assert!(matches!(received.end, ReceiverEnd::Lagged(end) if end == code), "{:?}", received.end);
    assert_eq!(fanout.stats().receivers, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_never_looks_finished() {
    for (role, lags) in BOTH.into_iter().flat_map(|role| [(role, false), (role, true)]) {
        let mut fanout = Fanout::new();
        let (near, mut far) = pair(role, None, 1000);
        let options = ReceiverOptions::default().budget(100_000).lag(Lag::DropOldest);
        let receiver = tokio::spawn(fanout.audience().join(near.split().1, options));
        let mut message = fanout.start_message(MessageKind::Binary).await;
        within(message.write(vec![1; 10_000])).await.unwrap();
        settle().await;
        if lags {
            // More than the connection and the budget take.
            for _ in 0..100 {
                within(message.write(vec![1; 10_000])).await.unwrap();
                settle().await;
            }
            message.finish().await.unwrap();
        } else {
            drop(message);
        }
        let mut reader = within(far.next_message()).await.unwrap().unwrap();
        let error = loop {
            match within(reader.chunk()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it looks finished"),
                Err(error) => break error,
            }
        };
        let code = if lags { 1013 } else { 1011 };
        let wsstream::ReadError::Connection(ConnectionError::MessageCut(info)) = error else { panic!("{error:?}") };
        assert_eq!(u16::from(info.close_code), code);
        let end = within(receiver).await.unwrap().end;
        assert_eq!(matches!(end, ReceiverEnd::Lagged(_)), lags, "{end:?}");
        assert_eq!(matches!(end, ReceiverEnd::Unfinished), !lags, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_is_none_any_more_and_holds_up_nobody() {
    for role in BOTH {
        let mut fanout = Fanout::new();
        let (near, far) = duplex(1000);
        let dying = WebSocketStream::from_upgraded(near, "", role, negotiated(None), config());
        // It is waited for until it dies, which it does in the middle of a message.
        let receiver = tokio::spawn(fanout.audience().join(dying.split().1, ReceiverOptions::default().budget(10_000)));
        let (near, mut quick) = pair(role, None, WIDE);
        tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default()));
        let publishing = tokio::spawn(async move {
            for at in 0..1000 {
                fanout.publish(numbered(at)).await;
            }
        });
        settle().await;
        assert!(!publishing.is_finished());
        drop(far);
        for at in 0..1000 {
            assert_eq!(number(&within(next(&mut quick)).await.unwrap().unwrap()), at);
        }
        within(publishing).await.unwrap();
        let end = within(receiver).await.unwrap().end;
        assert!(matches!(end, ReceiverEnd::Connection(Err(_))), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_peer_closes_has_left() {
    for role in BOTH {
        let fanout = Fanout::new();
        let (near, far) = duplex(WIDE);
        let ws = WebSocketStream::from_upgraded(near, "", role, negotiated(None), config());
        let receiver = tokio::spawn(fanout.audience().join(ws.split().1, ReceiverOptions::default()));
        let mut peer = Raw::new(far, other(role));
        peer.send_close(4001, "bye").await;
        assert_eq!(peer.expect_close().await, Some((4001, "bye".into())));
        drop(peer);
        let received = within(receiver).await.unwrap();
        assert!(matches!(received.end, ReceiverEnd::Connection(Ok(info)) if info.reason == "bye"));
        assert_eq!(fanout.stats().receivers, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_keeps_its_connection() {
    for role in BOTH {
        let mut fanout = Fanout::new();
        let (near, mut far) = pair(role, Some(""), 1000);
        let receiver = fanout.audience().join(near.split().1, ReceiverOptions::default());
        let handle = receiver.handle();
        let receiver = tokio::spawn(receiver);
        let large = Message::binary(crate::support::pattern(500_000));
        within(fanout.publish(large.clone())).await;
        within(fanout.publish("never seen")).await;
        settle().await;
        handle.leave();
        assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), large, "a message is given to its end");
        let mut received = within(receiver).await.unwrap();
        assert!(matches!(received.end, ReceiverEnd::Left) && handle.stats().is_none());
        assert_eq!(received.stats.sent_messages, 1);
        within(received.writable.send("of its own")).await.unwrap();
        assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), Message::text("of its own"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_late_begins_at_the_last_key() {
    let mut fanout = Fanout::new();
    for at in 0..10 {
        if at == 6 {
            fanout.publish_key(numbered(at)).await;
        } else {
            fanout.publish(numbered(at)).await;
        }
    }
    let (near, mut late) = pair(Role::Server, None, WIDE);
    tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default().start(Start::Key)));
    let (near, mut later) = pair(Role::Server, None, WIDE);
    tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default()));
    fanout.publish(numbered(10)).await;
    for expected in 6..=10 {
        assert_eq!(number(&within(next(&mut late)).await.unwrap().unwrap()), expected);
    }
    assert_eq!(number(&within(next(&mut later)).await.unwrap().unwrap()), 10);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_dropped_leaves_the_connections_open() {
    let mut fanout = Fanout::new();
    let (near, mut far) = pair(Role::Server, None, WIDE);
    let receiver = tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default()));
    fanout.publish("last words").await;
    drop(fanout);
    let mut received = within(receiver).await.unwrap();
    assert!(matches!(received.end, ReceiverEnd::Source));
    within(received.writable.send("and more")).await.unwrap();
    for expected in ["last words", "and more"] {
        assert_eq!(within(next(&mut far)).await.unwrap().unwrap(), Message::text(expected));
    }
}

#[test]
fn the_source_may_be_in_a_runtime_that_runs_only_while_it_publishes() {
    use tokio::runtime::Builder;
    let receivers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let source = Builder::new_current_thread().build().unwrap();
    for lag in [Lag::Wait, Lag::DropOldest] {
        let mut fanout = Fanout::new();
        let mut far = receivers.block_on(async {
            let (near, far) = pair(Role::Server, None, WIDE);
            tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default().budget(1).lag(lag)));
            far
        });
        // It waits again before each of them.
        for at in 0..20 {
            source.block_on(fanout.publish(numbered(at)));
            assert_eq!(number(&receivers.block_on(within(next(&mut far))).unwrap().unwrap()), at);
        }
        fanout.close(CloseCode::NORMAL, "").unwrap();
        assert!(receivers.block_on(within(next(&mut far))).is_none());
    }
}
