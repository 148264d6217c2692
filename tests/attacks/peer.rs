//! Scripted peers, and what bounds the memory they can make us hold.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{interval, timeout},
};
use wsstream::{Config, Negotiated, Role, WebSocketStream};

use crate::pipe::{Pipe, pipe};

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// The driver's IO buffer.
pub(crate) const READ_BUFFER: usize = 256 * KIB;

/// The documented bound for what was received and not taken, with the default high-water mark: the mark, one read
/// buffer, one chunk.
pub(crate) const INBOUND: usize = 256 * KIB + READ_BUFFER + READ_BUFFER;

/// The places of tiny chunks, which an idle connection keeps: a chunk counts for at least 128 bytes, so that 2048 fill the
/// mark; 48 bytes for each, in the driver's batch, the queue, and the reader's hands.
pub(crate) const QUEUES: usize = 3 * 2048 * 48;

/// Pongs that wait.
pub(crate) const PONGS: usize = 16 * KIB;

/// The connection itself: task, shared state, timers, and those of the runtime and of the scripted peer.
pub(crate) const CONNECTION: usize = 16 * KIB;

/// What each direction of the transport of these tests holds; allocated before anything is measured.
pub(crate) const PIPE: usize = 256 * KIB;

/// "Endless": many times any bound. Less where nothing is optimised, for the sake of time.
pub(crate) const ENDLESS: usize = if cfg!(debug_assertions) { 16 * MIB } else { 64 * MIB };

/// Runs a test alone, in virtual time, on a thread and a runtime of its own: nothing of another one is measured. A test
/// that spins is ended by the wall clock, generously.
pub(crate) fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    run(true, test);
}

/// The same by the wall clock, for sockets.
pub(crate) fn alone_in_real_time<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    run(false, test);
}

/// Runs a test [`alone`] with a server as the victim, then with a client.
pub(crate) fn each_role<F: Future<Output = ()>>(test: impl Fn(Role) -> F + Sync) {
    for role in [Role::Server, Role::Client] {
        alone(|| test(role));
    }
}

fn run<F: Future<Output = ()>>(paused: bool, test: impl FnOnce() -> F + Send) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (finished, watched) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or_default().to_owned();
    let watchdog = thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} spins or hangs");
            std::process::abort();
        }
    });
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(24 * 3600), test()).await.expect("it hangs") });
    };
    let result = thread::scope(|scope| scope.spawn(run).join());
    drop(finished);
    watchdog.join().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A connection of ours, and the other end of its transport.
pub(crate) fn attacked(role: Role, config: Config) -> (WebSocketStream, Pipe) {
    let (ours, peer) = pipe(PIPE);
    (WebSocketStream::from_upgraded(ours, Bytes::new(), role, Negotiated::default(), config), peer)
}

/// A frame as the peer of `victim` sends it: masked if it is a client.
pub(crate) fn frame(victim: Role, first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(victim, first_byte, payload.len() as u64);
    match victim {
        Role::Server => frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key)),
        Role::Client => frame.extend_from_slice(payload),
    }
    frame
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The header of such a frame, whatever follows it.
pub(crate) fn header(victim: Role, first_byte: u8, len: u64) -> Vec<u8> {
    let mask_bit = if victim == Role::Server { 0x80 } else { 0 };
    let mut header = vec![first_byte];
    match len {
        0..126 => header.push(mask_bit | len as u8),
        126..0x1_0000 => {
            header.push(mask_bit | 126);
            header.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend_from_slice(&len.to_be_bytes());
        }
    }
    if victim == Role::Server {
        header.extend_from_slice(&KEY);
    }
    header
}

/// About a pipe's worth of the same frame.
pub(crate) fn block(frame: &[u8]) -> Vec<u8> {
    frame.repeat((PIPE / 2 / frame.len()).max(1))
}

/// Writes the block again and again until nobody has read for a minute; how many bytes were taken.
pub(crate) async fn flood_until_stuck(peer: &mut Pipe, block: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(60), peer.write(&block[taken % block.len()..])).await {
        taken += written.expect("the victim hung up");
        assert!(taken < 100 * ENDLESS, "nothing bounds what is taken");
    }
    taken
}

/// Writes the block again and again, `bytes` in all, rounded up to whole blocks; how many blocks.
pub(crate) async fn flood(peer: &mut Pipe, block: &[u8], bytes: usize) -> usize {
    let blocks = bytes.div_ceil(block.len());
    for _ in 0..blocks {
        peer.write_all(block).await.expect("the victim hung up");
    }
    blocks
}

/// Writes the block again and again until the victim hangs up, in virtual time: were something always to be done, that
/// would stand still.
pub(crate) async fn flood_until_hung_up(peer: &mut Pipe, block: &[u8]) -> usize {
    let mut tick = interval(Duration::from_millis(10));
    let mut taken = 0;
    while let Ok(1..) = peer.write(block).await {
        taken += block.len();
        tick.tick().await;
    }
    taken
}

/// Everything that the victim still says, until it ends the transport.
pub(crate) async fn rest(peer: &mut Pipe) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A victim that hangs up while it is being flooded is an error here, as it is with TCP.
    let _ = peer.read_to_end(&mut bytes).await;
    bytes
}

/// The frames in there, unmasked: first byte and payload.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, tail @ ..] = bytes {
        let (len, tail) = match second & 0x7f {
            126 => (u16::from_be_bytes([tail[0], tail[1]]) as usize, &tail[2..]),
            127 => (u64::from_be_bytes(tail[..8].try_into().unwrap()) as usize, &tail[8..]),
            len => (len as usize, tail),
        };
        let (key, tail) = if second & 0x80 != 0 { tail.split_at(4) } else { (&[0][..], tail) };
        let payload = tail[..len].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        frames.push((*first, payload));
        bytes = &tail[len..];
    }
    frames
}

/// The close code of the Close frame that ends these bytes.
#[track_caller]
pub(crate) fn close_code(bytes: &[u8]) -> u16 {
    match parse(bytes).last() {
        Some((0x88, body)) => u16::from_be_bytes([body[0], body[1]]),
        other => panic!("no Close frame but {other:?}"),
    }
}
