//! Messages without end, and whole messages that cost more than they weigh.

use std::time::Duration;
use tokio::io::AsyncWriteExt;
use wsstream::{CollectError, Config, ConnectionError, ReadError};

use crate::{
    allocator::Meter,
    peer::{
        CONNECTION, ENDLESS, INBOUND, MIB, PIPE, QUEUES, READ_BUFFER, attacked, block, close_code, each_role, flood,
        flood_until_hung_up, flood_until_stuck, frame, rest,
    },
};

#[test]
fn endless_tiny_messages_while_nobody_reads() {
    for payload in [&b""[..], b"x"] {
        each_role(|role| async move {
            let block = block(&frame(role, 0x82, payload));
            let (ws, mut peer) = attacked(role, Config::default());
            let meter = Meter::start();
            let taken = flood_until_stuck(&mut peer, &block).await;
            meter.assert_below(INBOUND + CONNECTION, "tiny messages, nobody reads");
            assert!(taken < MIB, "{taken} bytes were taken that nobody read");
            drop(ws);
        });
    }
}

#[test]
fn endless_tiny_messages_with_a_reader() {
    for payload in [&b""[..], b"x"] {
        each_role(|role| async move {
            let one = frame(role, 0x82, payload);
            let block = block(&one);
            let (mut ws, mut peer) = attacked(role, Config::default());
            let meter = Meter::start();
            let messages = (ENDLESS / 4).div_ceil(block.len()) * (block.len() / one.len());
            let read = async {
                for _ in 0..messages {
                    let message = futures::StreamExt::next(&mut ws).await.unwrap().unwrap();
                    assert_eq!(message.into_bytes(), payload);
                }
            };
            tokio::join!(flood(&mut peer, &block, ENDLESS / 4), read);
            meter.assert_below(INBOUND + QUEUES + CONNECTION, "tiny messages, a reader");
        });
    }
}

#[test]
fn endless_messages_when_the_reader_was_dropped() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x82, b"nobody wants this"));
        let (ws, mut peer) = attacked(role, Config::default());
        let (readable, writable) = ws.split();
        drop(readable);
        let meter = Meter::start();
        flood(&mut peer, &block, ENDLESS / 2).await;
        meter.assert_below(INBOUND + CONNECTION, "the reader was dropped");
        drop(writable);
    });
}

#[test]
fn after_a_flood_an_idle_connection_holds_little() {
    each_role(|role| async move {
        let one = frame(role, 0x82, b"x");
        let block = block(&one);
        let meter = Meter::start();
        let (mut ws, mut peer) = attacked(role, Config::default());
        let blocks = 16;
        let read = async {
            for _ in 0..blocks * (block.len() / one.len()) {
                futures::StreamExt::next(&mut ws).await.unwrap().unwrap();
            }
        };
        tokio::join!(flood(&mut peer, &block, blocks * block.len()), read);
        // A reader that waits: until then, the last queueful may keep its places, and for a second after it, in case it goes on.
        let waiting = tokio::time::timeout(Duration::from_secs(2), futures::StreamExt::next(&mut ws));
        assert!(waiting.await.is_err());
        // The queues give back their places; the thread keeps one read buffer for all its connections.
        let (pipes, bound) = (2 * PIPE, READ_BUFFER + CONNECTION);
        assert!(meter.live() - pipes <= bound, "{} bytes are held, {bound} are allowed", meter.live() - pipes);
        drop((ws, peer));
    });
}

/// What a whole message of `limit` bytes may cost while it is collected: its parts and then the whole, side by side.
fn whole(limit: usize) -> usize {
    2 * limit + INBOUND + MIB
}

#[test]
fn a_whole_message_of_one_byte_fragments_costs_what_it_weighs() {
    each_role(|role| async move {
        let limit = if cfg!(debug_assertions) { MIB } else { 8 * MIB };
        let one = frame(role, 0x00, b"x");
        let block = block(&one);
        let (mut ws, mut peer) = attacked(role, Config::default().max_whole_message_size(limit));
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, 0x02, b"")).await.unwrap();
            flood_until_hung_up(&mut peer, &block).await;
            close_code(&rest(&mut peer).await)
        };
        let (code, error) = tokio::join!(attack, futures::StreamExt::next(&mut ws));
        assert_eq!(code, 1009);
        let error = error.unwrap().unwrap_err();
        let too_large = matches!(error, ReadError::Connection(ConnectionError::MessageTooLarge { .. }));
        assert!(too_large, "{error}");
        meter.assert_below(whole(limit), "a whole message of 1-byte fragments");
    });
}

#[test]
fn a_whole_message_of_crumbs_among_pongs_costs_what_it_weighs() {
    each_role(|role| async move {
        let pongs = frame(role, 0x8a, &[0; 125]).repeat(PIPE * 3 / 4 / 131);
        let crumb = [frame(role, 0x00, b"x"), pongs].concat();
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, 0x02, b"x")).await.unwrap();
            for _ in 0..200 {
                peer.write_all(&crumb).await.unwrap();
            }
            peer.write_all(&frame(role, 0x80, b"")).await.unwrap();
        };
        let collect = async { ws.next_message().await.unwrap().unwrap().collect(1000).await };
        let ((), message) = tokio::join!(attack, collect);
        assert_eq!(message.unwrap().len(), 201);
        meter.assert_below(whole(1000), "crumbs among pongs, collected");
    });
}

#[test]
fn collecting_stops_at_its_limit() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x00, &[1; 1000]));
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, 0x02, b"")).await.unwrap();
            flood_until_stuck(&mut peer, &block).await
        };
        let collect = async {
            let error = ws.next_message().await.unwrap().unwrap().collect(MIB).await.unwrap_err();
            assert!(matches!(error, CollectError::TooLarge { limit: MIB }), "{error}");
        };
        let (taken, ()) = tokio::join!(attack, collect);
        assert!(taken < 3 * MIB, "{taken} bytes were taken");
        meter.assert_below(whole(MIB), "collecting without end");
    });
}
