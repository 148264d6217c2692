//! Whatever the halves of both ends do, in whatever order.

use proptest::prelude::*;

use super::halves;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives_and_nobody_waits_for_what_is_there(ops in prop::collection::vec(any::<u8>(), 0..200)) {
        halves(&ops);
    }
}
