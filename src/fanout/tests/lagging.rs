//! What the ways to lag leave to a receiver, of whole messages and of those in chunks.

use super::*;
use crate::{close::CloseCode, fanout::cursor::Over, proto::part::PART_MAX};

#[test]
fn wait_slows_the_source_and_nobody_misses_anything() {
    let mut source = Source::new();
    let (slow, quick) =
        (source.join(Lag::Wait, 3000, Start::Now), source.join(Lag::Disconnect(CloseCode::NORMAL), 9000, Start::Now));
    let (mut slow_peer, mut quick_peer) = (Peer::default(), Peer::default());
    for number in 1..=3 {
        assert!(source.poll_room().is_ready(), "{number}");
        source.publish(number);
    }
    assert!(source.poll_room().is_pending());
    assert_eq!(quick_peer.take_all(&mut source, quick), [1, 2, 3]);
    assert!(source.poll_room().is_pending());
    assert_eq!(slow_peer.take(&mut source, slow, 1), Taken::Parts);
    assert_eq!((source.wakes.count(), source.poll_room()), (0, Poll::Pending), "not half of it is free");
    assert_eq!(slow_peer.take(&mut source, slow, 1), Taken::Parts);
    assert_eq!((source.wakes.count(), source.poll_room()), (1, Poll::Ready(())));
    source.publish(4);
    assert_eq!(slow_peer.take_all(&mut source, slow), [1, 2, 3, 4]);
    assert_eq!(source.missed(slow), (0, 0));
}

#[test]
fn a_receiver_that_is_waited_for_may_leave() {
    let mut source = Source::new();
    let slow = source.join(Lag::Wait, 1000, Start::Now);
    source.publish(1);
    assert!(source.poll_room().is_pending());
    source.log.leave(slow).wake();
    assert_eq!((source.wakes.count(), source.poll_room()), (1, Poll::Ready(())));
    assert_eq!(source.log.totals(), (0, 1, 0), "nothing is kept");
}

#[test]
fn drop_oldest_leaves_what_is_new() {
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=10 {
        assert!(source.poll_room().is_ready());
        source.publish(number);
    }
    assert_eq!(source.missed(id), (7, 7 * SIZE as u64));
    assert_eq!(peer.take_all(&mut source, id), [8, 9, 10]);
    source.publish(11);
    assert_eq!(peer.take_all(&mut source, id), [11]);
    assert_eq!(source.stats(id).sent_messages, 4);
}

#[test]
fn drop_oldest_does_not_touch_the_message_that_is_being_given() {
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    source.publish_sized(1, 3 * PART_MAX, false);
    assert_eq!(peer.take(&mut source, id, 1), Taken::Parts);
    for number in 2..=6 {
        source.publish(number);
    }
    // Two parts of the first are more than the budget, so there is room for none but the newest.
    assert_eq!(peer.take_all(&mut source, id), [1, 6]);
    assert_eq!(source.missed(id), (4, 4 * SIZE as u64));
}

#[test]
fn drop_newest_leaves_what_came_first() {
    let mut source = Source::new();
    let id = source.join(Lag::DropNewest, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=10 {
        source.publish(number);
    }
    assert_eq!(peer.take(&mut source, id, 1), Taken::Parts);
    source.publish(11); // there is room again
    source.publish(12); // and now there is not
    assert_eq!(peer.take_all(&mut source, id), [1, 2, 3, 11]);
    assert_eq!(source.missed(id), (8, 8 * SIZE as u64));
    source.publish(13);
    assert_eq!(peer.take_all(&mut source, id), [13]);
}

#[test]
fn skip_to_key_waits_for_the_next_key() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 3000, Start::Now);
    let mut peer = Peer::default();
    source.key(1);
    source.publish(2);
    source.publish(3);
    source.publish(4); // one too many: all of it is of no use without what is missing
    assert_eq!(source.missed(id), (4, 4 * SIZE as u64));
    source.publish(5);
    source.key(6);
    source.publish(7);
    assert_eq!(peer.take_all(&mut source, id), [6, 7]);
    assert_eq!(source.missed(id), (5, 5 * SIZE as u64));
}

#[test]
fn skip_to_key_goes_on_with_a_key_that_is_there() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 5000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=6 {
        source.publish_sized(number, SIZE, [1, 4].contains(&number));
    }
    assert_eq!(peer.take_all(&mut source, id), [4, 5, 6]);
    assert_eq!(source.missed(id), (3, 3 * SIZE as u64));
}

#[test]
fn skip_to_key_drops_everything_before_a_key_that_comes_when_it_lags() {
    let mut source = Source::new();
    let id = source.join(Lag::SkipToKey, 3000, Start::Now);
    let mut peer = Peer::default();
    for number in 1..=4 {
        source.publish_sized(number, SIZE, [1, 4].contains(&number));
    }
    assert_eq!(peer.take_all(&mut source, id), [4]);
}

#[test]
fn disconnect_is_told_at_once_with_its_close_code() {
    let code = CloseCode::try_from(4008).unwrap();
    let mut source = Source::new();
    let id = source.join(Lag::Disconnect(code), 3000, Start::Now);
    let mut peer = Peer::default();
    assert_eq!(source.log.wait_for_end(id), None);
    for number in 1..=3 {
        source.publish(number);
    }
    assert_eq!(source.calls(id), 0);
    source.publish(4);
    assert_eq!(source.calls(id), 1);
    assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Over(Over::Lagged(code)));
    assert_eq!(source.log.totals().2, 0, "nothing is kept for it");
}

#[test]
fn a_message_in_chunks_is_dropped_whole_while_nothing_of_it_was_given() {
    for (lag, expected) in
        [(Lag::DropOldest, &[3u8][..]), (Lag::DropNewest, &[1, 3]), (Lag::SkipToKey, &[]), (Lag::Wait, &[1, 2, 3])]
    {
        let mut source = Source::new();
        let id = source.join(lag, 3000, Start::Now);
        source.publish(1);
        source.begin(false);
        for _ in 0..6 {
            source.chunk(2);
        }
        source.finish();
        let mut peer = Peer::default();
        assert_eq!(
            peer.take(&mut source, id, 1),
            if expected.first() == Some(&1) { Taken::Parts } else { Taken::Nothing }
        );
        source.publish(3);
        assert_eq!(peer.take_all(&mut source, id), expected, "{lag:?}");
        let dropped = source.stats(id).dropped_messages;
        assert_eq!(dropped, 3 - expected.len() as u64, "{lag:?}");
    }
}

#[test]
fn a_message_in_chunks_that_was_begun_is_never_torn() {
    for lag in [Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey] {
        let mut source = Source::new();
        let id = source.join(lag, 3000, Start::Now);
        let mut peer = Peer::default();
        source.begin(true);
        source.chunk(1);
        assert_eq!(peer.take(&mut source, id, EVERYTHING), Taken::Parts);
        for _ in 0..3 {
            source.chunk(1);
            assert!(peer.open.is_some());
        }
        source.chunk(1);
        let taken = peer.take(&mut source, id, EVERYTHING);
        assert_eq!(taken, Taken::Over(Over::Lagged(CloseCode::TRY_AGAIN_LATER)), "{lag:?}");
    }
    // Its end alone is no reason to lose it.
    let mut source = Source::new();
    let id = source.join(Lag::DropOldest, 3000, Start::Now);
    let mut peer = Peer::default();
    source.begin(false);
    source.chunk(1);
    peer.take(&mut source, id, EVERYTHING);
    for _ in 0..3 {
        source.chunk(1);
    }
    source.finish();
    assert_eq!(peer.take_all(&mut source, id), [1]);
}

#[test]
fn a_message_left_unfinished_ends_those_that_have_part_of_it_and_only_those() {
    let mut source = Source::new();
    let [has_part, has_none, left_out] = [(); 3].map(|()| source.join(Lag::DropNewest, 1500, Start::Now));
    let mut peers = [Peer::default(), Peer::default(), Peer::default()];
    source.publish(1);
    for (peer, id) in peers.iter_mut().zip([has_part, has_none]) {
        assert_eq!(peer.take_all(&mut source, id), [1]);
    }
    source.publish(2); // which fills the third
    for (peer, id) in peers.iter_mut().zip([has_part, has_none]) {
        assert_eq!(peer.take_all(&mut source, id), [2]);
    }
    source.begin(false);
    source.chunk(3);
    assert_eq!(peers[0].take(&mut source, has_part, EVERYTHING), Taken::Parts);
    source.log.cut().wake();
    source.publish(4);
    assert_eq!(peers[0].take(&mut source, has_part, EVERYTHING), Taken::Over(Over::Unfinished));
    assert_eq!(peers[1].take_all(&mut source, has_none), [4]);
    assert_eq!(peers[2].take_all(&mut source, left_out), [1, 2]);
}

#[test]
fn a_message_that_was_leaked_is_cut_by_the_next() {
    let mut source = Source::new();
    let (has_part, has_none) = (source.join(Lag::Wait, 9000, Start::Now), source.join(Lag::Wait, 9000, Start::Now));
    let mut peer = Peer::default();
    source.begin(false);
    source.chunk(1);
    assert_eq!(peer.take(&mut source, has_part, EVERYTHING), Taken::Parts);
    source.publish(2);
    assert_eq!(peer.take(&mut source, has_part, EVERYTHING), Taken::Over(Over::Unfinished));
    assert_eq!(Peer::default().take_all(&mut source, has_none), [2]);
}
