//! One readable and one writable; the other halves are somebody else's.

use wsstream::{CloseCode, Message, RelaySide, Role, relay_one_way};

use crate::{
    side,
    support::{WIDE, next, within},
};

#[tokio::test(start_paused = true)]
async fn messages_go_one_way_and_the_other_halves_go_on() {
    let ((first, mut left), (second, mut right)) = (side(Role::Server, false, WIDE), side(Role::Client, true, WIDE));
    let ((source, mut to_left), (mut from_right, sink)) = (first.split(), second.split());
    let relayed = tokio::spawn(relay_one_way(source, sink));
    within(left.send("there")).await.unwrap();
    assert_eq!(within(next(&mut right)).await.unwrap().unwrap(), Message::text("there"));
    within(to_left.send("and back")).await.unwrap();
    assert_eq!(within(next(&mut left)).await.unwrap().unwrap(), Message::text("and back"));
    within(right.send("unasked")).await.unwrap();
    assert_eq!(within(next(&mut from_right)).await.unwrap().unwrap(), Message::text("unasked"));

    let close = tokio::spawn(async move { left.close(CloseCode::NORMAL, "done").await });
    assert!(within(next(&mut right)).await.is_none());
    assert_eq!(within(right.closed()).await.unwrap().reason, "done");
    let relayed = within(relayed).await.unwrap();
    assert_eq!((relayed.ended_by, relayed.forth.messages, relayed.back.messages), (RelaySide::First, 1, 0));
    within(close).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_closes_while_the_source_is_silent_closes_the_source() {
    for role in crate::support::BOTH {
        for drops in [false, true] {
            let ((first, mut left), (second, mut right)) = (side(role, false, WIDE), side(role, false, WIDE));
            let ((source, _to_left), (from_right, sink)) = (first.split(), second.split());
            drop(from_right);
            let relayed = tokio::spawn(relay_one_way(source, sink));
            let code = if drops {
                right.abort();
                1014
            } else {
                within(right.close(CloseCode::try_from(4003).unwrap(), "full")).await.unwrap();
                4003
            };
            assert!(within(next(&mut left)).await.is_none());
            assert_eq!(u16::from(within(left.closed()).await.unwrap().close_code), code);
            assert_eq!(within(relayed).await.unwrap().ended_by, RelaySide::Second);
        }
    }
}
