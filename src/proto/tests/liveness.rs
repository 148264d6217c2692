//! Whatever the two ends and the network do: once closing has begun it ends, and nobody is told a lie about it.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{CONT, Endpoint, FIN, Pair, TEXT, model::frames};
use crate::{error::ConnectionError, message::MessageKind};

/// What may happen to a pair of endpoints. The flag says which end does it: the client's if it is set.
#[derive(Clone, Debug)]
enum Op {
    Send(bool, usize),
    Begin(bool, Option<u64>),
    Chunk(bool, usize),
    Finish(bool),
    Ping(bool),
    Close(bool),
    LeaveUnfinished(bool),
    Abort(bool),
    Lag(bool, bool),
    Discard(bool),
    CaughtUp(bool),
    WaitForReader(bool),
    /// This end's transport takes no more.
    Break(bool),
    /// Bytes that this end has not sent come out of its transport.
    Garbage(bool, Vec<u8>),
    Turns(usize),
    /// Only one of them gets its turn.
    Turn(bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![4 => 0..20usize, 2 => 100..300usize, 1 => 4000..10_000usize];
    prop_oneof![
        8 => (any::<bool>(), len()).prop_map(|(end, len)| Op::Send(end, len)),
        3 => (any::<bool>(), prop::option::weighted(0.4, 0..300u64)).prop_map(|(end, len)| Op::Begin(end, len)),
        6 => (any::<bool>(), len()).prop_map(|(end, len)| Op::Chunk(end, len)),
        4 => any::<bool>().prop_map(Op::Finish),
        4 => any::<bool>().prop_map(Op::Ping),
        2 => any::<bool>().prop_map(Op::Close),
        1 => any::<bool>().prop_map(Op::LeaveUnfinished),
        1 => any::<bool>().prop_map(Op::Abort),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(end, lags)| Op::Lag(end, lags)),
        1 => any::<bool>().prop_map(Op::Discard),
        1 => any::<bool>().prop_map(Op::CaughtUp),
        2 => any::<bool>().prop_map(Op::WaitForReader),
        1 => any::<bool>().prop_map(Op::Break),
        1 => (any::<bool>(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(end, bytes)| Op::Garbage(end, bytes)),
        8 => (1..20usize).prop_map(Op::Turns),
        8 => any::<bool>().prop_map(Op::Turn),
        3 => (0..12_000u64).prop_map(Op::Wait),
    ]
}

/// An application at one end, which keeps to the API: it sees what is accepted.
#[derive(Default)]
struct Application {
    accepted: Vec<Vec<u8>>,
    /// The message that is open, and what is missing of a declared length.
    open: Option<(Vec<u8>, Option<u64>)>,
}

impl Application {
    fn run(&mut self, op: &Op, end: &mut Endpoint, now: Instant) {
        // Whoever may not write any more is refused, and what was open stays open.
        let writable = end.is_writable();
        match (op, &mut self.open) {
            (Op::Send(_, len), None) if writable => {
                self.accepted.push(vec![b's'; *len]);
                end.send(MessageKind::Text, vec![b's'; *len]);
            }
            (Op::Begin(_, length), None) if writable => {
                self.open = Some((Vec::new(), *length));
                end.begin(MessageKind::Text, *length);
            }
            (Op::Chunk(_, len), Some((data, missing))) if writable => {
                let len = (*len).min(missing.map_or(usize::MAX, |missing| missing as usize));
                if len > 0 {
                    data.extend(vec![b'c'; len]);
                    *missing = missing.map(|missing| missing - len as u64);
                    end.chunk(vec![b'c'; len]);
                }
            }
            (Op::Finish(_), Some((data, None | Some(0)))) if writable => {
                self.accepted.push(std::mem::take(data));
                self.open = None;
                end.finish();
            }
            (Op::Ping(_), _) if writable => _ = end.ping(now),
            (Op::Close(_), _) => end.close(1000, ""),
            (Op::LeaveUnfinished(_), Some(_)) if writable => end.leave_unfinished(),
            (Op::Abort(_), _) => end.connection.abort(),
            (Op::Lag(_, lags), _) => end.lags = *lags,
            (Op::Discard(_), _) => {
                end.lags = false;
                end.connection.discard(now);
            }
            (Op::CaughtUp(_), _) => end.connection.reader_caught_up(now),
            (Op::WaitForReader(_), _) => end.waits_for_reader = true,
            _ => {}
        }
    }

    /// What is on the wire is what was accepted, as far as it goes; all of it, and a Close frame, if the end was clean.
    fn check(&self, end: &Endpoint, log: &[u8]) -> Result<(), TestCaseError> {
        let ending = end.ending().expect("a connection that is done has ended");
        let mut sent = frames(end.role, log);
        let close = sent.iter().position(|frame| frame.first == super::CLOSE);
        if let Some(close) = close {
            prop_assert_eq!(close, sent.len() - 1, "nothing follows a Close frame");
        }
        sent.retain(|frame| !frame.is_control());
        let mut messages: Vec<(Vec<u8>, bool)> = Vec::new();
        for frame in &sent {
            match frame.first & 0x0F {
                TEXT => messages.push((Vec::new(), false)),
                opcode => prop_assert_eq!(opcode, CONT),
            }
            let (data, whole) = messages.last_mut().unwrap();
            prop_assert!(!*whole);
            data.extend(&frame.payload);
            *whole = frame.complete && frame.first & FIN != 0;
        }
        let whole: Vec<_> = messages.iter().filter(|(_, whole)| *whole).map(|(data, _)| data).collect();
        // A frame of declared length is whole when all of it was written, whether its writer said so or not.
        let completed = matches!(self.open, Some((_, Some(0))));
        prop_assert!(whole.len() <= self.accepted.len() + usize::from(completed));
        prop_assert!(whole.iter().zip(&self.accepted).all(|(sent, accepted)| *sent == accepted));
        if let Ok(info) = &ending {
            prop_assert!(info.was_clean);
            prop_assert!(whole.len() >= self.accepted.len(), "clean: nothing accepted was left unsent");
        }
        if let Err(ConnectionError::Unsent(info)) = &ending {
            prop_assert!(!info.was_clean);
        }
        Ok(())
    }
}

fn chosen(op: &Op) -> bool {
    match op {
        Op::Send(end, _) | Op::Begin(end, _) | Op::Chunk(end, _) | Op::Lag(end, _) | Op::Garbage(end, _) => *end,
        Op::Finish(end) | Op::Ping(end) | Op::Close(end) | Op::LeaveUnfinished(end) | Op::Abort(end) => *end,
        Op::Discard(end) | Op::CaughtUp(end) | Op::WaitForReader(end) | Op::Break(end) | Op::Turn(end) => *end,
        Op::Turns(_) | Op::Wait(_) => true,
    }
}

fn run(pair: &mut Pair, client: &mut Application, server: &mut Application, op: &Op) {
    let is_client = chosen(op);
    let (end, application, incoming, outgoing) = if is_client {
        (&mut pair.client, &mut *client, &mut pair.down, &mut pair.up)
    } else {
        (&mut pair.server, &mut *server, &mut pair.up, &mut pair.down)
    };
    match op {
        Op::Break(_) => outgoing.broken = true,
        // Only on the way to the other end: the log stays what this end has sent.
        Op::Garbage(_, bytes) => outgoing.bytes.extend(bytes),
        Op::Turn(_) => _ = end.turn(pair.now, incoming, outgoing),
        Op::Turns(turns) => _ = (0..*turns).all(|_| pair.turn()),
        Op::Wait(millis) => {
            let until = pair.now + Duration::from_millis(*millis);
            pair.settle();
            while pair.wait(until) {
                pair.settle();
            }
            pair.now = until;
        }
        op => application.run(op, end, pair.now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn closing_always_ends_in_bounded_time_and_a_clean_end_has_sent_everything(
        capacity in prop_oneof![Just(1usize), Just(50), Just(100_000)],
        read_size in prop_oneof![Just(1usize), Just(10), Just(10_000)],
        ops in proptest::collection::vec(op(), 0..40),
    ) {
        let mut pair = Pair::new(&super::config().max_frame_payload(1000), capacity);
        (pair.client.read_size, pair.server.read_size) = (read_size, read_size);
        let (mut client, mut server) = (Application::default(), Application::default());
        for op in &ops {
            run(&mut pair, &mut client, &mut server, op);
        }
        pair.client.close(1000, "");
        if pair.server.lags {
            // An open connection whose application does not read does not see its peer close; nothing has begun there.
            pair.server.close(1001, "");
        }
        let time = pair.run_out();
        prop_assert!(time <= Duration::from_secs(60), "{time:?}");
        client.check(&pair.client, &pair.up.log)?;
        server.check(&pair.server, &pair.down.log)?;
    }
}
