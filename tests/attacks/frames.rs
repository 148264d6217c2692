//! Frames that lie, frames without end.

use tokio::io::AsyncWriteExt;
use wsstream::{Config, ConnectionError, ProtocolError, ReadError, Role};

use crate::{
    allocator::Meter,
    peer::{
        CONNECTION, ENDLESS, INBOUND, KIB, MIB, QUEUES, READ_BUFFER, alone, attacked, block, close_code, each_role,
        flood, flood_until_stuck, frame, header, rest,
    },
};

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const FIRST_OF_BINARY: u8 = 0x02;
const FIRST_OF_TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;

#[test]
fn a_lying_length_costs_nothing() {
    each_role(|role| async move {
        for len in [1 << 20, 1 << 40, 1 << 62, i64::MAX as u64] {
            let (ws, mut peer) = attacked(role, Config::default());
            let (mut readable, _writable) = ws.split();
            let meter = Meter::start();
            peer.write_all(&header(role, BINARY, len)).await.unwrap();
            // It begins before there is any payload; what comes of it is delivered, byte by byte.
            let mut message = readable.next_message().await.unwrap().unwrap();
            peer.write_all(b"x").await.unwrap();
            assert_eq!(message.chunk().await.unwrap().unwrap().len(), 1);
            drop(peer);
            assert!(matches!(message.chunk().await, Err(ReadError::Connection(ConnectionError::Lost))));
            // The read buffer that any byte costs.
            meter.assert_below(READ_BUFFER + CONNECTION, "a lying length");
        }
    });
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_payload() {
    each_role(|role| async move {
        let (ws, mut peer) = attacked(role, Config::default().max_message_size(1 << 20));
        peer.write_all(&header(role, BINARY, 1 << 62)).await.unwrap();
        assert_eq!(close_code(&rest(&mut peer).await), 1009);
        let error = ws.closed().await.unwrap_err();
        assert!(matches!(error, ConnectionError::MessageTooLarge { limit: 0x10_0000, .. }), "{error}");
    });
}

#[test]
fn fragments_that_add_up_beyond_any_number_are_refused() {
    each_role(|role| async move {
        let (ws, mut peer) = attacked(role, Config::default().max_message_size(i64::MAX as u64));
        let (mut readable, _writable) = ws.split();
        peer.write_all(&frame(role, FIRST_OF_BINARY, b"x")).await.unwrap();
        peer.write_all(&header(role, CONTINUATION, i64::MAX as u64)).await.unwrap();
        let mut message = readable.next_message().await.unwrap().unwrap();
        assert_eq!(message.chunk().await.unwrap().unwrap(), "x");
        let error = message.chunk().await.unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::MessageTooLarge { .. })), "{error}");
        assert_eq!(close_code(&rest(&mut peer).await), 1009);
    });
}

#[test]
fn a_length_beyond_63_bits_is_refused() {
    each_role(|role| async move {
        let (ws, mut peer) = attacked(role, Config::default());
        peer.write_all(&header(role, BINARY, 1 << 63)).await.unwrap();
        assert_eq!(close_code(&rest(&mut peer).await), 1002);
        let error = ws.closed().await.unwrap_err();
        assert!(matches!(error, ConnectionError::Protocol(ProtocolError::LengthTooLarge)), "{error}");
    });
}

#[test]
fn endless_one_byte_fragments_while_nobody_reads() {
    for (first, payload) in [(FIRST_OF_BINARY, &b"\xff"[..]), (FIRST_OF_TEXT, b"a")] {
        each_role(|role| async move {
            let block = block(&frame(role, CONTINUATION, payload));
            let (ws, mut peer) = attacked(role, Config::default());
            let meter = Meter::start();
            peer.write_all(&frame(role, first, b"")).await.unwrap();
            let taken = flood_until_stuck(&mut peer, &block).await;
            meter.assert_below(INBOUND + CONNECTION, "1-byte fragments, nobody reads");
            assert!(taken < MIB, "{taken} bytes were taken that nobody read");
            assert!(ws.stats().received.buffered <= 2 * READ_BUFFER, "{:?}", ws.stats());
        });
    }
}

#[test]
fn endless_one_byte_fragments_with_a_reader() {
    each_role(|role| async move {
        let one = frame(role, CONTINUATION, b"x");
        let block = block(&one);
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, FIRST_OF_BINARY, b"")).await.unwrap();
            let blocks = flood(&mut peer, &block, ENDLESS / 2).await;
            peer.write_all(&frame(role, 0x80, b"")).await.unwrap();
            blocks * (block.len() / one.len())
        };
        let read = async {
            let mut message = ws.next_message().await.unwrap().unwrap();
            let mut bytes = 0;
            while let Some(chunk) = message.chunk().await.unwrap() {
                bytes += chunk.len();
            }
            bytes
        };
        let (sent, read) = tokio::join!(attack, read);
        assert_eq!(sent, read);
        meter.assert_below(INBOUND + QUEUES + CONNECTION, "1-byte fragments, a reader");
    });
}

#[test]
fn endless_empty_fragments() {
    each_role(|role| async move {
        let block = block(&frame(role, CONTINUATION, b""));
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        peer.write_all(&frame(role, FIRST_OF_BINARY, b"")).await.unwrap();
        // Nobody reads, nor is there anything to read: they vanish as they come.
        flood(&mut peer, &block, ENDLESS).await;
        peer.write_all(&frame(role, 0x80, b"end")).await.unwrap();
        let message = ws.next_message().await.unwrap().unwrap();
        assert_eq!(message.collect(3).await.unwrap().into_bytes(), "end");
        // The end of the message is a view of one buffer while the next read is tried with another.
        meter.assert_below(2 * READ_BUFFER + CONNECTION, "empty fragments");
    });
}

#[test]
fn masks_all_zero_are_masks() {
    alone(|| async {
        let (mut ws, mut peer) = attacked(Role::Server, Config::default());
        let block = [&[BINARY, 0xfe, 0x10, 0, 0, 0, 0, 0][..], &[0xaa; 0x1000]].concat();
        let meter = Meter::start();
        let read = async {
            let mut messages = 0;
            while messages < ENDLESS / 0x1000 {
                let message = ws.next_message().await.unwrap().unwrap().collect(0x1000).await.unwrap();
                assert!(message.into_bytes() == [0xaa; 0x1000][..]);
                messages += 1;
            }
        };
        tokio::join!(flood(&mut peer, &block, ENDLESS / 0x1000 * block.len()), read);
        meter.assert_below(INBOUND + CONNECTION, "masks all zero");
    });
}

/// Four ways to go wrong, and the byte at which it is certain.
const BAD_TEXT: [(&[u8], usize); 4] =
    [(b"a\xff", 1), (b"\xe2\x82\x28", 2), (b"\xed\xa0\x80", 1), (b"\xf4\x90\x80\x80", 1)];

#[test]
fn utf8_split_everywhere() {
    each_role(|role| async move {
        let good = "aé€\u{10ffff}z".as_bytes();
        for cut in 0..=good.len() {
            for second in cut..=good.len() {
                let (mut ws, mut peer) = attacked(role, Config::default());
                for (first_byte, payload) in
                    [(FIRST_OF_TEXT, &good[..cut]), (CONTINUATION, &good[cut..second]), (0x80, &good[second..])]
                {
                    peer.write_all(&frame(role, first_byte, payload)).await.unwrap();
                    peer.write_all(&frame(role, 0x8a, b"a pong in between")).await.unwrap();
                }
                let mut message = ws.next_message().await.unwrap().unwrap();
                let mut text = Vec::new();
                while let Some(chunk) = message.chunk().await.unwrap() {
                    assert!(std::str::from_utf8(&chunk).is_ok(), "a chunk ends in the middle of a character");
                    text.extend_from_slice(&chunk);
                }
                assert_eq!(text, good, "cut at {cut} and {second}");
            }
        }
        for (bad, at) in BAD_TEXT {
            let (ws, mut peer) = attacked(role, Config::default());
            for (index, byte) in bad[..=at].iter().enumerate() {
                let first_byte = if index == 0 { FIRST_OF_TEXT } else { CONTINUATION };
                peer.write_all(&frame(role, first_byte, &[*byte])).await.unwrap();
            }
            // The rest of it is not waited for.
            assert_eq!(close_code(&rest(&mut peer).await), 1007, "{bad:x?}");
            let error = ws.closed().await.unwrap_err();
            assert!(matches!(error, ConnectionError::Protocol(ProtocolError::InvalidText)), "{bad:x?}: {error}");
        }
    });
}

#[test]
fn endless_text_of_split_characters() {
    alone(|| async {
        let role = Role::Server;
        let block = block(&"€".bytes().flat_map(|byte| frame(role, CONTINUATION, &[byte])).collect::<Vec<_>>());
        let (mut ws, mut peer) = attacked(role, Config::default());
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, FIRST_OF_TEXT, b"")).await.unwrap();
            let blocks = flood(&mut peer, &block, ENDLESS / 2).await;
            peer.write_all(&frame(role, 0x80, b"")).await.unwrap();
            blocks * (block.len() / 7)
        };
        let read = async {
            let mut message = ws.next_message().await.unwrap().unwrap();
            let mut bytes = 0;
            while let Some(chunk) = message.chunk().await.unwrap() {
                assert_eq!(chunk, "€");
                bytes += chunk.len();
            }
            bytes
        };
        let (sent, read) = tokio::join!(attack, read);
        assert_eq!(sent, read);
        meter.assert_below(INBOUND + QUEUES + CONNECTION, "split characters");
    });
}

/// 1 GiB; less where neither the check nor the pipe is optimised.
const LONG_TEXT: usize = if cfg!(debug_assertions) { 128 * MIB } else { 1024 * MIB };

#[test]
fn text_of_a_gibibyte_with_the_bad_byte_last() {
    alone(|| async {
        let (mut ws, mut peer) = attacked(Role::Client, Config::default());
        let block = "0123456789abcde\n".repeat(4 * KIB).into_bytes();
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&header(Role::Client, TEXT, LONG_TEXT as u64 + 1)).await.unwrap();
            flood(&mut peer, &block, LONG_TEXT).await;
            peer.write_all(b"\xff").await.unwrap();
            rest(&mut peer).await
        };
        let read = async {
            let mut message = ws.next_message().await.unwrap().unwrap();
            let mut bytes = 0;
            loop {
                match message.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => panic!("it looks finished"),
                    Err(error) => return (bytes, error),
                }
            }
        };
        let (said, (bytes, error)) = tokio::join!(attack, read);
        assert_eq!(bytes, LONG_TEXT, "everything before the bad byte is delivered");
        let invalid = matches!(error, ReadError::Connection(ConnectionError::Protocol(ProtocolError::InvalidText)));
        assert!(invalid, "{error}");
        assert_eq!(close_code(&said), 1007);
        meter.assert_below(INBOUND + CONNECTION, "a long text");
    });
}
