//! What the application queues is what is on the wire: in order, whole, with control frames between frames only.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    BINARY, Bench, CLOSE, CONT, FIN, PING, PONG, TEXT, close_body,
    model::{Frame, frames},
};
use crate::{close::CloseCode, message::MessageKind, role::Role};

/// What an application, a peer and a transport may do to a sender.
#[derive(Clone, Debug)]
enum Op {
    Message(MessageKind, usize),
    /// The number is the declared length, if there is one.
    Begin(MessageKind, Option<usize>),
    /// By copy or by reference.
    Chunk(usize, bool),
    Finish,
    Ping,
    /// The peer pings: a pong is due.
    Pinged(usize),
    /// The transport takes so many bytes more.
    Room(usize),
    /// A round of the driver.
    Turn,
}

/// Sizes around those where something changes: empty, the headers' forms, copying, the largest frame, the stage.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..10usize,
        4 => 120..130usize,
        4 => 0..2000usize,
        2 => 4094..4100usize,
        1 => 60_000..70_000usize,
        1 => 250_000..300_000usize,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let kind = || prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    prop_oneof![
        4 => (kind(), size()).prop_map(|(kind, len)| Op::Message(kind, len)),
        4 => (kind(), prop::option::weighted(0.4, size())).prop_map(|(kind, len)| Op::Begin(kind, len)),
        8 => (size(), any::<bool>()).prop_map(|(len, copied)| Op::Chunk(len, copied)),
        4 => Just(Op::Finish),
        3 => Just(Op::Ping),
        3 => (0..126usize).prop_map(Op::Pinged),
        6 => prop_oneof![3 => 1..20usize, 2 => 100..70_000usize, 1 => Just(500_000)].prop_map(Op::Room),
        8 => Just(Op::Turn),
    ]
}

/// The application beside the endpoint: what it has sent, and what was asked for when.
struct Sender {
    bench: Bench,
    max_frame: usize,
    /// Counts payload bytes, so that no two places look the same.
    next: u8,
    accepted: Vec<(MessageKind, Vec<u8>)>,
    /// The message being written, and what a declared length still misses.
    open: Option<(MessageKind, Vec<u8>, Option<usize>)>,
    /// Control frames in the order they were asked for, each with the bytes written until then.
    control: Vec<(u8, Vec<u8>, usize)>,
    /// Bytes the transport may still take.
    room: usize,
}

impl Sender {
    fn new(role: Role, max_frame: usize) -> Self {
        let mut bench = Bench::with(role, &super::config().max_frame_payload(max_frame));
        bench.outgoing.capacity = 0;
        Self { bench, max_frame, next: 0, accepted: Vec::new(), open: None, control: Vec::new(), room: 0 }
    }

    /// ASCII, so that it may be text.
    fn payload(&mut self, len: usize) -> Bytes {
        let start = usize::from(self.next);
        self.next = ((start + len) % 127) as u8;
        (start..start + len).map(|i| (i % 127) as u8).collect()
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Message(kind, len) if self.open.is_none() => {
                let payload = self.payload(len);
                self.accepted.push((kind, payload.to_vec()));
                assert!(self.bench.end.send(kind, payload));
            }
            Op::Begin(kind, length) if self.open.is_none() => {
                self.open = Some((kind, Vec::new(), length));
                self.bench.end.begin(kind, length.map(|len| len as u64));
            }
            Op::Chunk(len, copied) => self.chunk(len, copied),
            Op::Finish => self.finish(),
            Op::Ping => {
                let number = self.bench.end.ping(self.bench.now);
                self.control.push((PING, number.to_be_bytes().to_vec(), self.bench.outgoing.log.len()));
            }
            Op::Pinged(len) => {
                let payload = self.payload(len);
                self.control.push((PONG, payload.to_vec(), self.bench.outgoing.log.len()));
                // Reading alone: nothing is written in between.
                let bytes = super::frame(super::other(self.bench.end.role), PING, &payload);
                self.bench.incoming.push(&bytes);
                while self.bench.end.read(self.bench.now, &mut self.bench.incoming) {}
                assert!(self.bench.incoming.bytes.is_empty());
            }
            Op::Room(room) => {
                self.room = room;
                self.turn();
            }
            Op::Turn => self.turn(),
            Op::Message(..) | Op::Begin(..) => {}
        }
    }

    fn chunk(&mut self, len: usize, copied: bool) {
        let Some((_, _, missing)) = &self.open else { return };
        let mut len = len.min(missing.unwrap_or(usize::MAX));
        if copied {
            len = len.min(self.max_frame);
        }
        if len == 0 {
            return; // no application's chunk is empty when it gets here
        }
        let payload = self.payload(len);
        let Some((_, data, missing)) = &mut self.open else { unreachable!("looked at above") };
        data.extend(&payload);
        *missing = missing.map(|missing| missing - len);
        if copied {
            self.bench.end.outbox.chunk_copied(&payload, &mut *self.bench.end.keys);
        } else {
            self.bench.end.chunk(payload);
        }
    }

    /// A declared length is filled up first.
    fn finish(&mut self) {
        if let Some((_, _, Some(missing))) = self.open {
            self.chunk(missing, false);
        }
        if let Some((kind, data, _)) = self.open.take() {
            self.accepted.push((kind, data));
            self.bench.end.finish();
        }
    }

    /// One round of the driver, with the room there is.
    fn turn(&mut self) {
        let before = self.bench.outgoing.log.len();
        self.bench.outgoing.bytes.clear();
        self.bench.outgoing.capacity = self.room;
        self.bench.end.turn(self.bench.now, &mut self.bench.incoming, &mut self.bench.outgoing);
        self.room -= self.bench.outgoing.log.len() - before;
    }

    /// Sends all there is, and a Close frame: the frames on the wire.
    fn end(&mut self) -> Vec<Frame> {
        self.finish();
        self.bench.end.close(1000, "end");
        self.bench.outgoing.capacity = usize::MAX;
        self.bench.settle();
        frames(self.bench.end.role, &self.bench.outgoing.log)
    }
}

/// The data frames put together; they must be in order.
fn messages(frames: &[Frame]) -> Vec<(MessageKind, Vec<u8>)> {
    let mut messages: Vec<(MessageKind, Vec<u8>)> = Vec::new();
    let mut open = false;
    for frame in frames.iter().filter(|frame| !frame.is_control()) {
        let kind = match (frame.first & 0x0F, open) {
            (TEXT, false) => Some(MessageKind::Text),
            (BINARY, false) => Some(MessageKind::Binary),
            (CONT, true) => None,
            other => panic!("frame {other:?}"),
        };
        messages.extend(kind.map(|kind| (kind, Vec::new())));
        messages.last_mut().unwrap().1.extend(&frame.payload);
        open = frame.first & FIN == 0;
    }
    assert!(!open, "the last message ends");
    messages
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_wire_has_what_was_accepted_and_control_frames_at_the_next_boundary(
        client in any::<bool>(),
        max_frame in prop_oneof![Just(125usize), Just(126), Just(1000), Just(5000), Just(64 * 1024)],
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut sender = Sender::new(role, max_frame);
        for op in &ops {
            sender.run(op);
        }
        let mut frames = sender.end();

        prop_assert!(frames.iter().all(|frame| frame.complete && frame.first & 0x70 == 0));
        let close = frames.pop().expect("a Close frame");
        prop_assert_eq!((close.first, close.payload), (CLOSE, close_body(1000, "end")));
        prop_assert_eq!(messages(&frames), std::mem::take(&mut sender.accepted));
        prop_assert_eq!(sender.bench.end.connection.unwritten(), 0);

        let control: Vec<_> = frames.iter().enumerate().filter(|(_, frame)| frame.is_control()).collect();
        prop_assert_eq!(control.len(), sender.control.len(), "one pong each, no ping lost");
        for ((index, frame), (first, payload, asked_at)) in control.into_iter().zip(&sender.control) {
            prop_assert_eq!((frame.first, &frame.payload), (*first, payload), "in the order they were asked for");
            // Nothing but the frame that was on the wire then, and other control frames, may be in front of it.
            let overtaking = frames[..index].iter().find(|before| !before.is_control() && before.at >= *asked_at);
            prop_assert_eq!(overtaking, None, "asked for at {}, frame at {}", asked_at, frame.at);
        }
    }
}

fn small(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn firsts(frames: &[Frame]) -> Vec<u8> {
    frames.iter().map(|frame| frame.first).collect()
}

#[test]
fn a_pong_overtakes_in_the_middle_of_a_staged_batch_of_small_frames() {
    for role in [Role::Client, Role::Server] {
        for written in 1..40 {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = written;
            for text in ["aaaa", "bbbb", "cccc", "dddd", "eeee"] {
                bench.end.send(MessageKind::Text, small(text));
            }
            bench.settle();
            bench.hear_frame(PING, b"p");
            let at = bench.outgoing.log.len();
            bench.outgoing.capacity = usize::MAX;
            bench.settle();
            let frames = bench.said();
            let pong = frames.iter().position(|frame| frame.first == PONG).expect("a pong");
            assert_eq!(frames[..pong].iter().filter(|frame| frame.at >= at).count(), 0, "{role:?}, {written} written");
            assert_eq!(messages(&frames).len(), 5);
        }
    }
}

#[test]
fn a_pong_goes_between_the_fragments_of_a_large_message() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::with(role, &super::config().max_frame_payload(1000));
        bench.outgoing.capacity = 1500;
        bench.end.send(MessageKind::Binary, vec![7; 10_000]);
        bench.settle().hear_frame(PING, b"p");
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        let frames = bench.said();
        assert_eq!(firsts(&frames)[..4], [BINARY, CONT, PONG, CONT]);
        assert_eq!(messages(&frames), [(MessageKind::Binary, vec![7; 10_000])]);
    }
}

#[test]
fn a_pong_waits_for_the_end_of_a_frame_of_declared_length_and_no_longer() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::new(role);
        bench.end.begin(MessageKind::Binary, Some(10));
        bench.end.chunk(small("01234"));
        bench.settle().hear_frame(PING, b"p");
        assert_eq!(bench.said().len(), 1, "the frame has begun");
        // Its end and the next message come in one batch.
        bench.end.chunk(small("56789"));
        bench.end.finish();
        bench.end.send(MessageKind::Text, small("next"));
        bench.settle();
        assert_eq!(firsts(&bench.said()), [FIN | BINARY, PONG, FIN | TEXT]);
    }
}

#[test]
fn a_waiting_pong_is_not_data_that_the_application_has_to_wait_for() {
    // Otherwise a writer that waits for the buffer to drain, and a pong that waits for the writer, wait for ever.
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::new(role);
        bench.end.begin(MessageKind::Binary, Some(10));
        bench.end.chunk(small("01234"));
        bench.settle();
        for _ in 0..10 {
            bench.hear_frame(PING, &[0; 125]);
        }
        assert_eq!(bench.end.connection.unwritten(), 0);
    }
}

#[test]
fn unwritten_counts_data_while_control_frames_are_in_front_and_partly_written() {
    for role in [Role::Client, Role::Server] {
        for written in 0..200 {
            let mut bench = Bench::new(role);
            bench.outgoing.capacity = 0;
            bench.end.send(MessageKind::Binary, vec![1; 20]);
            let data = bench.end.outbox.len();
            bench.settle().hear_frame(PING, &[0; 125]);
            assert_eq!(bench.end.connection.unwritten(), data);
            bench.outgoing.capacity = written;
            bench.settle();
            let control = super::frame(role, PONG, &[0; 125]).len();
            let expected = data.saturating_sub(bench.outgoing.log.len().saturating_sub(control));
            assert_eq!(bench.end.connection.unwritten(), expected, "{written} written");
        }
    }
}

#[test]
fn finishing_sets_fin_where_it_still_can_and_never_on_another_message() {
    type Step = fn(&mut Bench);
    let small_chunk: Step = |bench| bench.end.chunk(small("abc"));
    let large_chunk: Step = |bench| bench.end.chunk(vec![1; 5000]);
    let drive: Step = |bench| _ = bench.settle();
    let block: Step = |bench| bench.outgoing.capacity = bench.outgoing.bytes.len();
    let steps = [small_chunk, large_chunk, drive, block];
    // Every order of up to four of these between the beginning and the end of a message.
    for role in [Role::Client, Role::Server] {
        for order in 0..4usize.pow(4) {
            let mut bench = Bench::with(role, &super::config().max_frame_payload(2000));
            bench.end.send(MessageKind::Text, small("before"));
            bench.end.send(MessageKind::Binary, vec![2; 5000]);
            bench.end.begin(MessageKind::Binary, None);
            let mut expected = Vec::new();
            for digit in 0..4 {
                let step = order / 4usize.pow(digit) % 4;
                steps[step](&mut bench);
                match step {
                    0 => expected.extend(b"abc"),
                    1 => expected.extend([1; 5000]),
                    _ => {}
                }
            }
            bench.end.finish();
            bench.end.send(MessageKind::Text, small("after"));
            bench.outgoing.capacity = usize::MAX;
            bench.settle();
            let messages = messages(&bench.said());
            let lens: Vec<_> = messages.iter().map(|(_, data)| data.len()).collect();
            assert_eq!(lens, [6, 5000, expected.len(), 5], "{role:?}, order {order}");
            assert!(messages[2].1 == expected);
            assert_eq!(bench.end.outbox.messages(), 4);
        }
    }
}

#[test]
fn a_finish_that_comes_late_is_an_empty_frame_and_one_that_does_not_costs_none() {
    let mut bench = Bench::new(Role::Server);
    bench.end.begin(MessageKind::Text, None);
    bench.end.chunk(small("a"));
    bench.end.finish();
    bench.settle();
    assert_eq!(firsts(&bench.said()), [FIN | TEXT]);
    bench.end.begin(MessageKind::Text, None);
    bench.end.chunk(small("a"));
    bench.settle();
    bench.end.finish();
    bench.settle();
    assert_eq!(firsts(&bench.said()), [FIN | TEXT, TEXT, FIN | CONT]);
    assert!(bench.said()[2].payload.is_empty());
    bench.end.begin(MessageKind::Binary, None);
    bench.end.finish();
    bench.settle();
    assert_eq!(firsts(&bench.said())[3..], [FIN | BINARY]);
}

#[test]
fn a_client_masks_a_large_frame_part_by_part() {
    // Otherwise there would be a second copy of all of it. So it was where `max_frame_payload` was large.
    for is_declared in [true, false] {
        let mut bench = Bench::with(Role::Client, &super::config().max_frame_payload(1 << 30));
        bench.outgoing.capacity = 0;
        bench.end.begin(MessageKind::Binary, is_declared.then_some(10_000_000));
        bench.end.chunk(vec![9; 10_000_000]);
        bench.end.finish();
        bench.settle();
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let used = bench.end.connection.slices(&mut slices, usize::MAX);
        let staged: usize = slices[..used].iter().map(|slice| slice.len()).sum();
        assert!(staged <= 576 * 1024, "{staged} bytes are masked, none is written");
        bench.outgoing.capacity = usize::MAX;
        bench.settle();
        assert_eq!(messages(&bench.said()), [(MessageKind::Binary, vec![9; 10_000_000])]);
        assert_eq!(bench.said().len(), 1, "one frame");
    }
}

#[test]
fn a_large_frame_that_is_being_written_is_completed_for_the_close_frame() {
    // Of 2 MiB the transport takes some, in the middle of what is staged, behind all of it, and nearly everything.
    for role in [Role::Client, Role::Server] {
        for taken in [5, 1_000, 600_000, 1_999_999] {
            for is_failed in [true, false] {
                let mut bench = Bench::with(role, &super::config().max_frame_payload(2_000_000));
                bench.outgoing.capacity = taken;
                bench.end.send(MessageKind::Binary, vec![7; 2_000_000]);
                bench.end.send(MessageKind::Binary, vec![8; 2_000_000]);
                bench.settle();
                match is_failed {
                    true => bench.hear_frame(FIN | TEXT, b"\xFF"),
                    false => bench.hear_close(1000, ""),
                };
                bench.outgoing.capacity = usize::MAX;
                bench.settle();
                let said = bench.said();
                assert_eq!(firsts(&said), [FIN | BINARY, CLOSE], "{role:?}, {taken} written, failed: {is_failed}");
                assert_eq!(said[0].payload, vec![7; 2_000_000]);
                assert_eq!(said[1].payload[..2], if is_failed { 1007u16 } else { 1000 }.to_be_bytes());
            }
        }
    }
}

#[test]
fn a_close_without_a_code_has_no_body() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::new(role);
        bench.end.request_close(crate::close::CloseFrame::new(CloseCode::NO_STATUS, "").unwrap());
        bench.settle();
        assert_eq!(bench.last_said(), (CLOSE, Vec::new()));
    }
}

#[test]
fn nothing_follows_a_close_frame() {
    for role in [Role::Client, Role::Server] {
        let mut bench = Bench::new(role);
        bench.end.send(MessageKind::Text, small("a"));
        bench.end.close(1000, "");
        assert!(!bench.end.send(MessageKind::Text, small("b")), "not accepted");
        bench.settle();
        bench.end.ping(bench.now);
        bench.hear_frame(PING, b"late").hear_frame(FIN | TEXT, b"still delivered");
        bench.hear_close(1000, "");
        bench.run_out();
        assert_eq!(firsts(&bench.said()), [FIN | TEXT, CLOSE]);
        assert_eq!(bench.end.seen.len(), 1);
        assert!(bench.ending().is_ok());
    }
}
