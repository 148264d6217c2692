//! A sink that stalls stops the source's socket.

use tokio::io::AsyncWriteExt;
use wsstream::Role;

use crate::{
    ROLES, between,
    support::{BINARY, CONTINUATION, frame, header, other, parse, pattern, settle, within},
};

const KIB: usize = 1024;

/// What the relay may hold: of the source the read mark, a read buffer and a chunk; of the sink the write mark and the
/// chunk that overshoots it; and what is in the two pipes.
const HELD: usize = (3 * 256 + 2 * 256 + 2 * 16) * KIB;

#[tokio::test(start_paused = true)]
async fn a_stalled_sink_stops_the_sources_socket_until_it_reads() {
    for roles in ROLES {
        for single_frame in [false, true] {
            let (left, _relayed, mut right) = between(roles, 16 * KIB);
            let payload = pattern(4 << 20);
            let wire = if single_frame {
                [header(left.role, true, BINARY, payload.len() as u64), payload.clone()].concat()
            } else {
                let parts = payload.chunks(1000).enumerate();
                parts
                    .flat_map(|(at, part)| {
                        frame(left.role, true, if at > 1 << 30 { CONTINUATION } else { BINARY }, part)
                    })
                    .collect()
            };
            let (_keep, mut write) = tokio::io::split(left.io);
            let (sent, seen) = tokio::sync::watch::channel(0);
            let total = wire.len();
            let sending = tokio::spawn(async move {
                for part in wire.chunks(KIB) {
                    write.write_all(part).await.unwrap();
                    sent.send_modify(|sent| *sent += part.len());
                }
                write
            });
            // As far as it goes: nothing is read at the other end.
            let mut last = usize::MAX;
            while last != *seen.borrow() {
                last = *seen.borrow();
                settle().await;
            }
            assert!(last > 256 * KIB && last <= HELD, "{last} of {total} bytes were taken from the source");
            // And then everything comes.
            let mut received = Vec::new();
            within(async {
                while received.len() < payload.len() {
                    received.extend_from_slice(&right.frame().await.unwrap().payload);
                }
            })
            .await;
            assert!(received == payload);
            within(sending).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_direction_leaves_the_other_one_alone() {
    let (left, _relayed, mut right) = between((Role::Server, Role::Client), 16 * KIB);
    let role = left.role;
    let (mut read, mut write) = tokio::io::split(left.io);
    // Towards the left nothing is read; towards the right everything flows.
    let flooding = tokio::spawn(async move {
        let wire = frame(role, true, BINARY, &pattern(100_000));
        for _ in 0..20 {
            write.write_all(&wire).await.unwrap();
        }
        write
    });
    let answer = frame(right.role, true, BINARY, &pattern(10));
    for _ in 0..20 {
        let (_, payload) = right.message().await;
        assert_eq!(payload.len(), 100_000);
        right.write(&answer).await;
    }
    within(flooding).await.unwrap();
    let mut received = Vec::new();
    within(async {
        while received.len() < 20 * 12 {
            tokio::io::AsyncReadExt::read_buf(&mut read, &mut received).await.unwrap();
        }
    })
    .await;
    for _ in 0..20 {
        assert_eq!(parse(other(role), &mut received).unwrap().payload, pattern(10));
    }
}
