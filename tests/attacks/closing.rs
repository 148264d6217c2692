//! Peers that close badly, or not at all.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, interval, timeout},
};
use wsstream::{CloseCode, CloseError, Config, ConnectionError, Message, Role, WriteError};

use crate::{
    allocator::Meter,
    peer::{
        CONNECTION, INBOUND, MIB, PIPE, READ_BUFFER, alone, attacked, block, close_code, each_role,
        flood_until_hung_up, frame, parse, rest,
    },
};

const CLOSE_1000: &[u8] = &[0x03, 0xe8];

#[test]
fn close_flood() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x88, CLOSE_1000));
        let (ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let started = Instant::now();
        flood_until_hung_up(&mut peer, &block).await;
        let said = rest(&mut peer).await;
        assert_eq!(parse(&said), [(0x88, CLOSE_1000.to_vec())], "one Close frame is answered with one");
        let info = ws.closed().await.unwrap();
        assert!(info.was_clean && info.close_code == CloseCode::NORMAL, "{info:?}");
        meter.assert_below(READ_BUFFER + CONNECTION, "Close frames");
        // A client waits 2 s for the server to end the transport.
        assert!(started.elapsed() <= Duration::from_millis(2100), "{:?}", started.elapsed());
    });
}

#[test]
fn data_after_close() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x82, &[1; 1000]));
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let started = Instant::now();
        peer.write_all(&frame(role, 0x82, b"before")).await.unwrap();
        peer.write_all(&frame(role, 0x88, CLOSE_1000)).await.unwrap();
        flood_until_hung_up(&mut peer, &block).await;
        let info = ws.closed().await.unwrap();
        assert!(info.was_clean, "{info:?}");
        assert!(started.elapsed() <= Duration::from_millis(2200), "{:?}", started.elapsed());
        let message = ws.next_message().await.unwrap().unwrap().collect(10).await.unwrap();
        assert_eq!(message.into_bytes(), "before");
        assert!(ws.next_message().await.unwrap().is_none(), "what follows a Close frame is not data");
        meter.assert_below(INBOUND + CONNECTION, "data after Close");
    });
}

#[test]
fn data_without_end_after_a_fault() {
    each_role(|role| async move {
        let block = block(&frame(role, 0x82, &[1; 1000]));
        let (ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let started = Instant::now();
        peer.write_all(&frame(role, 0x83, b"")).await.unwrap();
        // A byte at a time, for ever: the victim drains its input for a while, not as long as some comes.
        let mut tick = interval(Duration::from_millis(100));
        while let Ok(1..) = peer.write(&block[..1]).await {
            tick.tick().await;
        }
        assert!(ws.closed().await.is_err());
        assert!(started.elapsed() <= Duration::from_millis(2200), "{:?}", started.elapsed());
        assert_eq!(close_code(&rest(&mut peer).await), 1002);
        meter.assert_below(READ_BUFFER + CONNECTION, "data after a fault");
    });
}

#[test]
fn a_peer_that_never_reads_while_we_close() {
    each_role(|role| async move {
        let (mut ws, peer) = attacked(role, Config::default());
        // One message, which overshoots; then there is no room.
        ws.send(Message::binary(vec![1; MIB])).await.unwrap();
        let sending = timeout(Duration::from_secs(5), ws.send("more")).await;
        assert!(sending.is_err(), "the peer does not read, so this waits");
        let started = Instant::now();
        let error = ws.close(CloseCode::NORMAL, "").await.unwrap_err();
        assert!(matches!(error, CloseError::Connection(ConnectionError::CloseTimeout(_))), "{error}");
        assert_eq!(started.elapsed().as_secs(), 10);
        drop(peer);
    });
}

#[test]
fn a_peer_that_never_reads_holds_no_more_than_the_mark_and_one_message() {
    each_role(|role| async move {
        let (mut ws, peer) = attacked(role, Config::default());
        let message = bytes::Bytes::from(vec![1; 1000]);
        let meter = Meter::start();
        let mut sent = 0;
        while let Ok(result) = timeout(Duration::from_secs(5), ws.send(Message::binary(message.clone()))).await {
            result.unwrap();
            sent += 1;
        }
        let sent = sent * message.len();
        assert!(sent < 2 * PIPE + 256 * 1024, "{sent} bytes were accepted");
        // The mark, in pieces that grow by doubling, and the read buffer that any read is tried with.
        meter.assert_below(2 * 256 * 1024 + READ_BUFFER + CONNECTION, "a peer that never reads");
        drop(peer);
    });
}

#[test]
fn a_peer_that_never_answers_close() {
    each_role(|role| async move {
        let (mut ws, mut peer) = attacked(role, Config::default());
        let started = Instant::now();
        let error = ws.close(CloseCode::NORMAL, "").await.unwrap_err();
        assert!(matches!(error, CloseError::Connection(ConnectionError::CloseTimeout(_))), "{error}");
        assert_eq!(started.elapsed().as_secs(), 10);
        assert_eq!(close_code(&rest(&mut peer).await), 1000);
    });
}

#[test]
fn a_peer_that_pings_instead_of_answering_close() {
    each_role(|role| async move {
        let (mut ws, mut peer) = attacked(role, Config::default());
        let attack = async {
            let mut tick = interval(Duration::from_secs(1));
            while let Ok(1..) = peer.write(&frame(role, 0x89, b"still here")).await {
                tick.tick().await;
            }
        };
        let started = Instant::now();
        let close = async {
            let error = ws.close(CloseCode::NORMAL, "").await.unwrap_err();
            assert!(matches!(error, CloseError::Connection(ConnectionError::CloseTimeout(_))), "{error}");
            assert_eq!(started.elapsed().as_secs(), 10);
        };
        tokio::join!(attack, close);
    });
}

#[test]
fn a_peer_that_sends_without_end_instead_of_answering_close() {
    each_role(|role| async move {
        // Nobody reads: the queue fills, and then nothing makes progress any more.
        let block = block(&frame(role, 0x82, &[1; 1000]));
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let started = Instant::now();
        let attack = async { while let Ok(1..) = peer.write(&block).await {} };
        let (error, ()) = tokio::join!(ws.close(CloseCode::NORMAL, ""), attack);
        let error = error.unwrap_err();
        assert!(matches!(error, CloseError::Connection(ConnectionError::CloseTimeout(_))), "{error}");
        assert_eq!(started.elapsed().as_secs(), 10);
        meter.assert_below(INBOUND + CONNECTION, "data instead of Close");

        // Everything was dropped: what comes is no progress, however long it comes.
        let (ws, mut peer) = attacked(role, Config::default());
        let closed = ws.closed();
        drop(ws);
        let started = Instant::now();
        let mut tick = interval(Duration::from_secs(1));
        while let Ok(1..) = peer.write(&block).await {
            tick.tick().await;
        }
        assert!(matches!(closed.await, Err(ConnectionError::CloseTimeout(_))));
        assert!((10..=11).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    });
}

#[test]
fn a_close_frame_behind_a_flood_of_pings_is_found_and_answered() {
    each_role(|role| async move {
        let ping = frame(role, 0x89, b"");
        let (ws, mut peer) = attacked(role, Config::default());
        let count = 200_000;
        let (mut read, mut write) = tokio::io::split(&mut peer);
        let attack = async {
            for _ in 0..count / 1000 {
                write.write_all(&ping.repeat(1000)).await.unwrap();
            }
            write.write_all(&frame(role, 0x88, CLOSE_1000)).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let answers = async {
            let mut bytes = Vec::new();
            read.read_to_end(&mut bytes).await.unwrap();
            parse(&bytes)
        };
        let ((), answers) = tokio::join!(attack, answers);
        assert_eq!(answers.len(), count + 1);
        assert_eq!(answers.last().unwrap().0, 0x88);
        assert!(ws.closed().await.unwrap().was_clean);
    });
}

#[test]
fn a_close_frame_while_nobody_reads_the_pongs_and_the_data_before_it() {
    each_role(|role| async move {
        let (mut ws, mut peer) = attacked(role, Config::default());
        ws.send(Message::binary(vec![1; 2 * MIB])).await.unwrap();
        peer.write_all(&frame(role, 0x89, b"ping").repeat(100)).await.unwrap();
        peer.write_all(&frame(role, 0x88, CLOSE_1000)).await.unwrap();
        let started = Instant::now();
        let error = ws.closed().await.unwrap_err();
        let ConnectionError::Unsent(info) = &error else { panic!("{error}") };
        assert!(!info.was_clean && info.close_code == CloseCode::NORMAL, "{info:?}");
        assert!(started.elapsed() <= Duration::from_secs(11), "{:?}", started.elapsed());
        assert!(matches!(ws.send("more").await, Err(WriteError::Connection(ConnectionError::Unsent(_)))));
    });
}

#[test]
fn a_server_that_never_ends_the_transport_after_both_close_frames() {
    alone(|| async {
        let (mut ws, mut peer) = attacked(Role::Client, Config::default());
        peer.write_all(&frame(Role::Client, 0x88, CLOSE_1000)).await.unwrap();
        let started = Instant::now();
        assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().was_clean);
        assert_eq!(started.elapsed().as_secs(), 2);
        assert_eq!(close_code(&rest(&mut peer).await), 1000);
    });
}
