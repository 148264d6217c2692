//! Bombs: little on the wire, much when it is inflated. And what compression leaves behind.

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use wsstream::{Compression, Config, ConnectionError, Negotiated, ReadError, Role, WebSocketStream};

use crate::{
    allocator::Meter,
    peer::{
        CONNECTION, INBOUND, KIB, MIB, PIPE, READ_BUFFER, alone, block, close_code, each_role, flood_until_stuck,
        frame, header, rest,
    },
    pipe::{Pipe, pipe},
};

/// What a connection keeps to inflate with, and the thread to inflate into.
const INFLATER: usize = 47 * KIB;
const SCRATCH: usize = 64 * KIB;

/// What a connection keeps to compress with.
const DEFLATER: usize = 372 * KIB;

/// 10 GiB, less where nothing is optimised.
const BOMB: u64 = if cfg!(debug_assertions) { 1 << 30 } else { 10 << 30 };

const BEGIN: u8 = 0x42; // binary, compressed, more to come
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

fn attacked(role: Role, config: Config, params: &str) -> (WebSocketStream, Pipe) {
    let (ours, peer) = pipe(PIPE);
    let negotiated = Negotiated::default().with_extensions(&format!("permessage-deflate{params}")).unwrap();
    (WebSocketStream::from_upgraded(ours, Bytes::new(), role, negotiated, config), peer)
}

/// A block that inflates to 1 MiB of zeros, in some 1030 bytes, and ends at a byte: it may follow itself.
fn mebibyte() -> Vec<u8> {
    use miniz_oxide::{
        DataFormat, MZFlush,
        deflate::{core::CompressorOxide, stream::deflate},
    };
    let mut compressor = CompressorOxide::default();
    compressor.set_format_and_level(DataFormat::Raw, 9);
    let mut out = vec![0; 100_000];
    let result = deflate(&mut compressor, &vec![0; MIB], &mut out, MZFlush::Sync);
    out.truncate(result.bytes_written);
    out
}

/// Frames that inflate to 16 MiB.
fn fuse(role: Role) -> Vec<u8> {
    frame(role, MORE, &mebibyte().repeat(16))
}

#[test]
fn a_bomb_while_nobody_reads() {
    each_role(|role| async move {
        let fuse = fuse(role);
        let (ws, mut peer) = attacked(role, Config::default(), "");
        let meter = Meter::start();
        peer.write_all(&frame(role, BEGIN, b"")).await.unwrap();
        let taken = flood_until_stuck(&mut peer, &fuse).await;
        meter.assert_below(INBOUND + INFLATER + SCRATCH + CONNECTION, "a bomb, nobody reads");
        assert!(taken <= PIPE + READ_BUFFER, "{taken} bytes were taken that nobody read");
        drop(ws);
    });
}

#[test]
fn a_bomb_with_a_reader_is_only_more_chunks() {
    each_role(|role| async move {
        let fuse = fuse(role);
        let (mut ws, mut peer) = attacked(role, Config::default(), "");
        let meter = Meter::start();
        let send = async {
            peer.write_all(&frame(role, BEGIN, b"")).await.unwrap();
            for _ in 0..BOMB / (16 * MIB as u64) {
                peer.write_all(&fuse).await.unwrap();
            }
            // An empty block that is not compressed, without its tail.
            peer.write_all(&frame(role, LAST, &[0x00])).await.unwrap();
        };
        let read = async {
            let mut message = ws.next_message().await.unwrap().unwrap();
            let mut bytes = 0;
            while let Some(chunk) = message.chunk().await.unwrap() {
                bytes += chunk.len() as u64;
            }
            bytes
        };
        let ((), bytes) = tokio::join!(send, read);
        assert_eq!(bytes, BOMB);
        meter.assert_below(INBOUND + INFLATER + SCRATCH + CONNECTION, "a bomb, a reader");
        let stats = ws.stats().received;
        assert!(stats.bytes < BOMB / 900, "{} bytes came for {BOMB}", stats.bytes);
    });
}

#[test]
fn a_bomb_of_a_whole_message_costs_its_limit() {
    each_role(|role| async move {
        let (fuse, limit) = (fuse(role), 4 * MIB);
        let (mut ws, mut peer) = attacked(role, Config::default().max_whole_message_size(limit), "");
        let meter = Meter::start();
        let attack = async {
            peer.write_all(&frame(role, BEGIN, b"")).await.unwrap();
            peer.write_all(&fuse).await.unwrap();
            close_code(&rest(&mut peer).await)
        };
        let (code, error) = tokio::join!(attack, ws.next());
        let error = error.unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::MessageTooLarge { .. })), "{error}");
        assert_eq!(code, 1009);
        // Its parts and then the whole, side by side.
        meter.assert_below(2 * limit + INBOUND + INFLATER + SCRATCH + CONNECTION, "a bomb of a whole message");
    });
}

#[test]
fn a_bomb_that_nobody_will_read_is_not_inflated() {
    each_role(|role| async move {
        let fuse = fuse(role);
        let (ws, mut peer) = attacked(role, Config::default(), "");
        let (readable, writable) = ws.split();
        drop(readable);
        let meter = Meter::start();
        peer.write_all(&frame(role, BEGIN, b"")).await.unwrap();
        // A GiB, which would take half a minute where nothing is optimised.
        for _ in 0..64 {
            peer.write_all(&fuse).await.unwrap();
        }
        meter.assert_below(INBOUND + CONNECTION, "a bomb that nobody will read");
        drop(writable);
    });
}

#[test]
fn a_length_that_is_a_lie_costs_nothing_where_it_is_compressed_either() {
    each_role(|role| async move {
        let (ws, mut peer) = attacked(role, Config::default(), "");
        let meter = Meter::start();
        peer.write_all(&header(role, BEGIN | 0x80, 1 << 62)).await.unwrap();
        peer.write_all(&[0; 100]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        meter.assert_below(READ_BUFFER + INFLATER + SCRATCH + CONNECTION, "a lying length");
        drop(ws);
    });
}

#[test]
fn endless_tiny_compressed_messages_while_nobody_reads() {
    // "a", as a message of its own.
    let one = &[0x4a, 0x04, 0x00];
    for params in ["", "; server_no_context_takeover; client_no_context_takeover"] {
        each_role(|role| async move {
            let block = block(&frame(role, BEGIN | 0x80, one));
            let (ws, mut peer) = attacked(role, Config::default(), params);
            let meter = Meter::start();
            let taken = flood_until_stuck(&mut peer, &block).await;
            meter.assert_below(INBOUND + INFLATER + SCRATCH + CONNECTION, "tiny compressed messages");
            assert!(taken < MIB, "{taken} bytes were taken that nobody read");
            drop(ws);
        });
    }
}

/// What a connection keeps, after messages went both ways, is what the settings say.
#[test]
fn what_a_connection_keeps_between_messages() {
    let config = || Config::default().compression(Compression::default());
    for (what, config, params, kept) in [
        ("takeover", config(), "", DEFLATER + INFLATER),
        ("no takeover", config(), "; server_no_context_takeover; client_no_context_takeover", 0),
        ("12 bits", config(), "; server_max_window_bits=12; client_max_window_bits=12", 162 * KIB + INFLATER),
        ("9 bits", config(), "; server_max_window_bits=9; client_max_window_bits=9", 138 * KIB + INFLATER),
    ] {
        alone(|| async move {
            let connect = || {
                let (near, far) = pipe(PIPE);
                let negotiated = Negotiated::default().with_extensions(&format!("permessage-deflate{params}")).unwrap();
                let client = WebSocketStream::from_upgraded(near, "", Role::Client, negotiated.clone(), config.clone());
                (client, WebSocketStream::from_upgraded(far, "", Role::Server, negotiated, config.clone()))
            };
            let talk = async |(mut client, mut server): (WebSocketStream, WebSocketStream)| {
                let text = "some text that goes back and forth ".repeat(100);
                for _ in 0..10 {
                    client.send(text.as_str()).await.unwrap();
                    let echo = server.next().await.unwrap().unwrap();
                    server.send(echo).await.unwrap();
                    assert_eq!(client.next().await.unwrap().unwrap().as_text(), Some(&text[..]));
                }
                (client, server)
            };
            // What the thread keeps for all connections is there already.
            let before = talk(connect()).await;
            let meter = Meter::start();
            let after = talk(connect()).await;
            let held = (meter.live() - 2 * PIPE) / 2;
            eprintln!("{what}: {} KiB", held / KIB);
            assert!((kept.saturating_sub(2 * KIB)..kept + CONNECTION).contains(&held), "{what}: {held} bytes are held");
            drop((before, after));
        });
    }
}
