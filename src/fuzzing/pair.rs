//! Two endpoints, and whatever happens to them.

use std::time::Duration;

use super::input::Input;
use crate::{
    compression::Compression,
    message::MessageKind,
    proto::tests::{
        Pair,
        applications::{Applications, Op},
        config,
    },
};

/// Operations of one input, so that one run takes milliseconds.
const MOST_OPS: usize = 200;

/// Pieces that all that is sent takes on its way, at most, for the same reason.
const MOST_PIECES: usize = 1000;

/// Some bytes of configuration, then operations: one byte each for what and for whom, and its parameters.
///
/// What must be true is told by [`Applications`].
pub fn pair(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let mut config = config().max_frame_payload(125 + usize::from(input.byte()) * 8);
    if flags & 1 != 0 {
        config = config.ping_interval(Duration::from_secs(2)).keepalive_timeout(Duration::from_secs(5));
    }
    if flags & 2 != 0 {
        config = config.idle_timeout(Duration::from_secs(7));
    }
    if flags & 4 != 0 {
        config = config.max_message_size(1000);
    }
    if flags & 8 != 0 {
        let forgets = flags & 16 != 0;
        let compression = Compression::default().send_takeover(!forgets).receive_takeover(!forgets);
        config = config.compression(compression.level(flags >> 5).min_size(usize::from(flags & 32)));
    }
    let capacity = input.size().max(1);
    let mut pair = Pair::new(&config, capacity);
    pair.client.read_size = input.size().max(1);
    pair.server.read_size = input.size().max(1);
    let slowest = capacity.min(pair.client.read_size).min(pair.server.read_size);

    let mut applications = Applications::new(pair);
    let mut sent = 0;
    for _ in 0..MOST_OPS {
        if input.is_empty() {
            break;
        }
        let mut op = op(&mut input);
        match &mut op {
            Op::Send(_, _, len) | Op::Chunk(_, len) => {
                *len = (*len).min(slowest * MOST_PIECES - sent);
                sent += *len;
            }
            Op::Capacity(_, bytes @ 1..) => *bytes = (*bytes).max(slowest),
            _ => {}
        }
        applications.run(&op);
    }
    applications.end();
}

fn kind(flag: bool) -> MessageKind {
    if flag { MessageKind::Binary } else { MessageKind::Text }
}

fn op(input: &mut Input<'_>) -> Op {
    let what = input.byte();
    let (end, flag) = (what & 1 != 0, what & 2 != 0);
    match what >> 2 {
        0..=5 => Op::Send(end, kind(flag), input.size()),
        6..=8 => Op::Begin(end, kind(flag), None),
        9..=11 => Op::Begin(end, kind(flag), Some(input.size() as u64)),
        12..=18 => Op::Chunk(end, input.size()),
        19..=22 => Op::Finish(end),
        23..=25 => Op::Ping(end),
        26 | 27 => Op::Close(end, 3000 + u16::from(input.byte())),
        28 => Op::LeaveUnfinished(end),
        29 => Op::Abort(end),
        30..=32 => Op::Lag(end, flag),
        33 => Op::Discard(end),
        34 | 35 => Op::CaughtUp(end),
        36 | 37 => Op::WaitForReader(end),
        38 => Op::Break(end),
        39..=42 => Op::Capacity(end, input.size()),
        43 => {
            let len = input.byte() % 32;
            Op::Garbage(end, input.take(len.into()).to_vec())
        }
        44..=49 => Op::Turns(1 + usize::from(input.byte() % 16)),
        50..=56 => Op::Turn(end),
        63 => Op::Flush(end),
        // Up to 13 s, with many short ones.
        57..=59 => Op::Wait(input.byte().into()),
        _ => Op::Wait(u64::from(input.byte()) * 51),
    }
}
