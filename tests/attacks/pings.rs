//! Control frames without end.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};
use wsstream::{Config, ConnectionError};

use crate::{
    allocator::Meter,
    peer::{
        CONNECTION, ENDLESS, INBOUND, MIB, PIPE, PONGS, READ_BUFFER, attacked, block, each_role, flood,
        flood_until_hung_up, flood_until_stuck, frame, parse,
    },
};

#[test]
fn ping_flood_by_a_peer_that_never_reads() {
    for payload in [&b""[..], &[7; 125]] {
        each_role(|role| async move {
            // For ever: what ends it is shown below.
            let config = Config::default().keepalive_timeout(None);
            let block = block(&frame(role, 0x89, payload));
            let (ws, mut peer) = attacked(role, config.clone());
            let meter = Meter::start();
            let taken = flood_until_stuck(&mut peer, &block).await;
            // One read buffer that is decoded no further, and pongs.
            meter.assert_below(READ_BUFFER + 4 * PONGS + CONNECTION, "pings, never reads");
            // A server's pong is a third of the ping: three pipes of pings fill the pipe with pongs.
            assert!(taken < 6 * PIPE, "{taken} bytes of pings were taken");
            drop(ws);
        });
    }
}

#[test]
fn pings_one_by_one_by_a_peer_that_never_reads() {
    each_role(|role| async move {
        let ping = frame(role, 0x89, b"");
        let (ws, mut peer) = attacked(role, Config::default().keepalive_timeout(None));
        let meter = Meter::start();
        let mut taken = 0;
        // Each is read, and answered, before the next is sent; until the pipe is full of pongs, and then some.
        let mut before = ws.stats().received.control_frames;
        loop {
            let sent = timeout(Duration::from_secs(60), peer.write_all(&ping)).await;
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            let after = ws.stats().received.control_frames;
            if sent.is_err() || after == before {
                break;
            }
            before = after;
            taken += 1;
            assert!(taken < 4 * PIPE, "nothing bounds the pongs that wait");
        }
        meter.assert_below(READ_BUFFER + 4 * PONGS + CONNECTION, "pings one by one, never reads");
    });
}

#[test]
fn a_peer_that_never_reads_and_is_not_read_any_more_is_dead_after_the_keepalive_timeout() {
    each_role(|role| async move {
        let (ws, mut peer) = attacked(role, Config::default());
        let block = block(&frame(role, 0x89, b"are you there?"));
        let started = Instant::now();
        flood_until_hung_up(&mut peer, &block).await;
        let error = ws.closed().await.unwrap_err();
        assert!(matches!(error, ConnectionError::KeepaliveTimeout(_)), "{error}");
        assert_eq!(started.elapsed().as_secs(), 60);
    });
}

#[test]
fn every_ping_of_a_flood_is_answered_once_and_in_order_when_the_peer_reads() {
    each_role(|role| async move {
        let (_ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let count: u32 = 100_000;
        let (mut read, mut write) = tokio::io::split(&mut peer);
        let attack = async {
            for number in 0..count {
                write.write_all(&frame(role, 0x89, &number.to_be_bytes())).await.unwrap();
            }
        };
        let pongs = async {
            let len = parse_len(role) * count as usize;
            let mut pongs = vec![0; len];
            read.read_exact(&mut pongs).await.unwrap();
            pongs
        };
        let ((), pongs) = tokio::join!(attack, pongs);
        meter.assert_below(READ_BUFFER + 4 * PONGS + CONNECTION + pongs.len(), "pings, reads");
        for (number, (first_byte, payload)) in parse(&pongs).into_iter().enumerate() {
            assert_eq!((first_byte, payload), (0x8a, (number as u32).to_be_bytes().to_vec()));
        }
    });
}

/// Bytes of a pong with four bytes of payload, as `role` sends it.
fn parse_len(role: wsstream::Role) -> usize {
    if role == wsstream::Role::Client { 10 } else { 6 }
}

#[test]
fn pong_flood() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x8a, &0u64.to_be_bytes()));
        let (ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        flood(&mut peer, &block, ENDLESS).await;
        meter.assert_below(READ_BUFFER + CONNECTION, "pongs that nobody asked for");
        assert_eq!(ws.stats().received.buffered, 0);
    });
}

#[test]
fn a_crumb_of_data_in_every_buffer_of_pongs_while_nobody_reads() {
    each_role(|role| async move {
        // A read buffer lives as long as any part of it waits in the queue.
        let pongs = frame(role, 0x8a, &[0; 125]).repeat(PIPE * 3 / 4 / 131);
        let first = frame(role, 0x02, b"x");
        let crumb = [frame(role, 0x00, b"x"), pongs].concat();
        let (ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        peer.write_all(&first).await.unwrap();
        let mut taken = 0;
        // One write is one read, as both ends take turns.
        while let Ok(sent) = timeout(Duration::from_secs(60), peer.write_all(&crumb)).await {
            sent.unwrap();
            taken += crumb.len();
            assert!(taken < 100 * MIB, "nothing bounds what is taken");
            tokio::task::yield_now().await;
        }
        meter.assert_below(INBOUND + CONNECTION, "a crumb in every buffer");
        drop(ws);
    });
}
