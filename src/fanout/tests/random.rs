//! Any order of publishing and taking, with every way to lag.

use proptest::prelude::*;

use super::*;
use crate::{close::CloseCode, proto::part::PART_MAX};

#[derive(Clone, Debug)]
enum Step {
    Publish { size: usize, key: bool },
    Begin { key: bool },
    Chunk,
    Finish,
    Cut,
    Take { receiver: usize, room: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3000usize, any::<bool>()).prop_map(|(size, key)| Step::Publish { size, key }),
        1 => Just(Step::Publish { size: 2 * PART_MAX + 5, key: false }),
        1 => any::<bool>().prop_map(|key| Step::Begin { key }),
        4 => Just(Step::Chunk),
        2 => Just(Step::Finish),
        1 => Just(Step::Cut),
        6 => (0..5usize, 1..4000usize).prop_map(|(receiver, room)| Step::Take { receiver, room }),
    ]
}

proptest! {
    /// Whatever happens: nothing is torn, nothing comes twice or out of order, and every message was given or is counted
    /// as missed.
    #[test]
    fn every_message_is_given_whole_or_missed(steps in prop::collection::vec(step(), 1..120)) {
        let code = CloseCode::try_from(4000).unwrap();
        let policies = [Lag::Wait, Lag::DropOldest, Lag::DropNewest, Lag::SkipToKey, Lag::Disconnect(code)];
        let mut source = Source::new();
        let ids = policies.map(|lag| source.join(lag, 5000, Start::Now));
        let mut peers = policies.map(|_| Peer::default());
        let mut over = [false; 5];
        let (mut number, mut open, mut cuts) = (0u8, false, 0u64);
        for step in steps {
            match step {
                Step::Publish { .. } | Step::Begin { .. } if open => {}
                Step::Publish { size, key } => {
                    number += 1;
                    source.publish_sized(number, size.max(1), key);
                }
                Step::Begin { key } => {
                    number += 1;
                    open = true;
                    source.begin(key);
                }
                Step::Chunk if open => source.chunk(number),
                Step::Finish if open => {
                    source.chunk(number);
                    source.finish();
                    open = false;
                }
                Step::Cut if open => {
                    source.log.cut().wake();
                    cuts += 1;
                    open = false;
                }
                Step::Chunk | Step::Finish | Step::Cut => {}
                Step::Take { receiver, room } => {
                    let taken = peers[receiver].take(&mut source, ids[receiver], room);
                    over[receiver] |= matches!(taken, Taken::Over(_));
                }
            }
        }
        if open {
            source.chunk(number);
            source.finish();
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            while match peer.take(&mut source, ids[at], EVERYTHING) {
                Taken::Parts => true,
                Taken::Over(_) => { over[at] = true; false }
                _ => false,
            } {}
            prop_assert!(peer.whole.is_sorted_by(|a, b| a < b), "{:?}: {:?}", policies[at], peer.whole);
            let stats = source.stats(ids[at]);
            prop_assert_eq!(stats.sent_messages, peer.whole.len() as u64);
            if !over[at] {
                let seen = stats.sent_messages + stats.dropped_messages;
                prop_assert!(seen <= u64::from(number) && seen >= u64::from(number) - cuts, "{:?}", policies[at]);
                prop_assert!(peer.open.is_none());
                prop_assert_eq!(stats.lag_bytes, 0);
            }
        }
        if !over[0] {
            prop_assert_eq!(source.missed(ids[0]).0.saturating_sub(cuts), 0, "nobody who is waited for misses anything");
        }
    }
}
