//! Whatever the two ends and the network do: once closing has begun it ends, and nobody is told a lie about it.

use proptest::prelude::*;

use super::{
    Pair,
    applications::{Applications, Op},
};
use crate::{compression::Compression, message::MessageKind};

fn op() -> impl Strategy<Value = Op> {
    let kind = || prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let len = || prop_oneof![4 => 0..20usize, 2 => 100..300usize, 1 => 4000..10_000usize];
    prop_oneof![
        8 => (any::<bool>(), kind(), len()).prop_map(|(end, kind, len)| Op::Send(end, kind, len)),
        3 => (any::<bool>(), kind(), prop::option::weighted(0.4, 0..300u64))
            .prop_map(|(end, kind, len)| Op::Begin(end, kind, len)),
        6 => (any::<bool>(), len()).prop_map(|(end, len)| Op::Chunk(end, len)),
        4 => any::<bool>().prop_map(Op::Finish),
        2 => any::<bool>().prop_map(Op::Flush),
        4 => any::<bool>().prop_map(Op::Ping),
        2 => (any::<bool>(), 3000..3010u16).prop_map(|(end, code)| Op::Close(end, code)),
        1 => any::<bool>().prop_map(Op::LeaveUnfinished),
        1 => any::<bool>().prop_map(Op::Abort),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(end, lags)| Op::Lag(end, lags)),
        1 => any::<bool>().prop_map(Op::Discard),
        1 => any::<bool>().prop_map(Op::CaughtUp),
        2 => any::<bool>().prop_map(Op::WaitForReader),
        1 => any::<bool>().prop_map(Op::Break),
        2 => (any::<bool>(), prop_oneof![0..4usize, Just(100), Just(100_000)]).prop_map(|(end, bytes)| Op::Capacity(end, bytes)),
        1 => (any::<bool>(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(end, bytes)| Op::Garbage(end, bytes)),
        8 => (1..20usize).prop_map(Op::Turns),
        8 => any::<bool>().prop_map(Op::Turn),
        3 => (0..12_000u64).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn closing_always_ends_in_bounded_time_and_a_clean_end_has_sent_everything(
        capacity in prop_oneof![Just(1usize), Just(50), Just(100_000)],
        read_size in prop_oneof![Just(1usize), Just(10), Just(10_000)],
        compresses in any::<bool>(),
        ops in proptest::collection::vec(op(), 0..40),
    ) {
        let compression = compresses.then(|| Compression::default().min_size(0));
        let mut pair = Pair::new(&super::config().max_frame_payload(1000).compression(compression), capacity);
        (pair.client.read_size, pair.server.read_size) = (read_size, read_size);
        let mut applications = Applications::new(pair);
        for op in &ops {
            applications.run(op);
        }
        applications.end();
    }
}
