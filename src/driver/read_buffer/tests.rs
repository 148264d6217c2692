//! What is read where, of messages of all lengths.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{
    driver::tests::header,
    proto::recv::{Chunk, Receiver},
    role::Role,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Messages of these sizes, in frames of at most `frame` bytes of payload.
fn wire(role: Role, messages: &[usize], frame: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, &size) in messages.iter().enumerate() {
        push_message(&mut out, role, number as u8, size, frame);
    }
    out
}

fn push_message(out: &mut Vec<u8>, role: Role, number: u8, size: usize, frame: usize) {
    let mut payload = vec![number; size];
    for index in 0..size.div_ceil(frame).max(1) {
        let end = frame.saturating_mul(index + 1);
        let part = &mut payload[frame.saturating_mul(index)..end.min(size)];
        let (fin, opcode) = (u8::from(end >= size) << 7, if index == 0 { 2 } else { 0 });
        let masked = u8::from(role == Role::Client) << 7;
        out.extend_from_slice(&header(fin | opcode, masked, part.len() as u64));
        if masked > 0 {
            let key = [1, 2, 3, 4];
            out.extend_from_slice(&key);
            part.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        out.extend_from_slice(part);
    }
}

#[derive(Debug, Default)]
struct Outcome {
    messages: Vec<BytesMut>,
    /// Bytes of each message that did not come to lie right behind those before them.
    copied: Vec<usize>,
}

/// Reads it all from a transport that has at most `burst` bytes at a time. `whole` says of each read whether messages
/// are wanted whole.
fn read(sender: Role, bytes: &[u8], burst: usize, whole: impl Fn(usize) -> bool) -> Outcome {
    let mut outcome = Outcome::default();
    read_each(sender, bytes, burst, whole, |message, copied| {
        outcome.messages.push(message);
        outcome.copied.push(copied);
    });
    outcome
}

/// The same for each message, and how much of it was copied.
fn read_each(
    sender: Role,
    bytes: &[u8],
    burst: usize,
    whole: impl Fn(usize) -> bool,
    done: impl FnMut(BytesMut, usize),
) {
    read_in_bursts(sender, bytes, &[burst], whole, done);
}

/// The same with bursts of these sizes by turns.
fn read_in_bursts(
    sender: Role,
    mut bytes: &[u8],
    bursts: &[usize],
    whole: impl Fn(usize) -> bool,
    mut done: impl FnMut(BytesMut, usize),
) {
    let mut bursts = bursts.iter().copied().cycle();
    let mut next_burst = || bursts.next().unwrap_or(usize::MAX);
    let role = if sender == Role::Client { Role::Server } else { Role::Client };
    let (mut receiver, mut read) = (Receiver::new(role, None), ReadBuffer::default());
    let (mut message, mut copied, mut reads) = (BytesMut::new(), 0, 0);
    let mut left = next_burst();
    while !bytes.is_empty() {
        let whole = whole(reads);
        let (buffer, asked) = read.prepare(receiver.last_frame(), || receiver.ahead(), whole);
        assert!(asked > 0 && buffer.capacity() >= asked);
        assert!(buffer.capacity() <= 2 * GATHER_MAX, "{} bytes for what has not come", buffer.capacity());
        let len = asked.min(left).min(bytes.len());
        buffer.extend_from_slice(&bytes[..len]);
        read.filled(len, reads % 2 == 0);
        bytes = &bytes[len..];
        left -= len;
        reads += 1;
        let mut chunks: Vec<Chunk> = Vec::new();
        let copies = read.copies();
        while receiver.decode(&mut read.input, copies, &mut |chunk| chunks.push(chunk)).unwrap().is_some() {}
        let place = |chunks: &[Chunk]| chunks.last().map(|last| last.data.as_ptr());
        let before = place(&chunks);
        read.end_read(chunks.iter_mut(), receiver.ahead(), whole);
        if let Some(last) = chunks.last()
            && place(&chunks) != before
        {
            copied += last.data.len();
        }
        if !receiver.in_message() {
            read.end_message();
        }
        for chunk in chunks {
            if message.is_empty() {
                message = chunk.data;
            } else if let Err(data) = message.try_unsplit(chunk.data) {
                copied += data.len();
                message.extend_from_slice(&data);
            }
            if chunk.last {
                done(std::mem::take(&mut message), std::mem::take(&mut copied));
            }
        }
        if left == 0 {
            read.release();
            left = next_burst();
        }
    }
    read.release();
}

const ALIKE: [(usize, usize); 12] = [
    (16 * KIB, usize::MAX),
    (64 * KIB, usize::MAX),
    (66_000, 64 * KIB),
    (100 * KIB, 64 * KIB),
    (200 * KIB, usize::MAX),
    (300_000, 64 * KIB),
    (MIB, 64 * KIB),
    (MIB - 10, 64 * KIB),
    (MIB + 1, 64 * KIB),
    (3 * MIB, 100 * KIB),
    (3 * MIB, usize::MAX),
    (4 * MIB, usize::MAX),
];

#[test]
fn messages_that_are_alike_are_read_without_a_copy_but_of_their_first_frame_if_all_are_kept() {
    for role in [Role::Client, Role::Server] {
        for (size, frame) in ALIKE {
            let sizes = vec![size; 5 + READ_BUFFER / size];
            let outcome = read(role, &wire(role, &sizes, frame), usize::MAX, |_| true);
            assert_eq!(outcome.messages.len(), sizes.len());
            let first = if size > frame || size > READ_BUFFER { frame.min(READ_BUFFER) } else { 0 };
            // The first messages show what the others will be like.
            for copied in &outcome.copied[sizes.len() - 3..] {
                assert!(*copied <= first, "{copied} of {size} in frames of {frame}: {:?}", outcome.copied);
            }
        }
    }
}

#[test]
fn messages_that_are_alike_are_read_without_a_copy_if_each_is_gone_when_the_next_begins() {
    // The first frame was copied, which took a tenth of the time of messages of 100 KiB, and two tenths of those of 66,000 bytes.
    for role in [Role::Client, Role::Server] {
        for (size, frame) in ALIKE {
            let sizes = vec![size; 5 + READ_BUFFER / size];
            let mut all = Vec::new();
            read_each(role, &wire(role, &sizes, frame), usize::MAX, |_| true, |_, copied| all.push(copied));
            assert_eq!(all.len(), sizes.len());
            assert_eq!(all[sizes.len() - 3..], [0; 3], "{size} in frames of {frame}: {all:?}");
        }
    }
}

#[test]
fn what_comes_instead_of_a_message_like_the_last_does_not_keep_its_memory() {
    // Of what comes in one read, many small messages, and one that is much smaller, in frames of all sizes.
    let others = [vec![10; 20], vec![0, 5, 3000], vec![20 * KIB], vec![40 * KIB, 3], vec![70 * KIB]];
    for role in [Role::Client, Role::Server] {
        for (size, frame) in [(MIB, 64 * KIB), (3 * MIB, usize::MAX)] {
            for (others, other_frame) in
                others.iter().flat_map(|others| [10, 10 * KIB, usize::MAX].map(|it| (others, it)))
            {
                for burst in [1000, 10 * KIB + 5, usize::MAX] {
                    let mut bytes = wire(role, &[size; 3], frame);
                    bytes.extend_from_slice(&wire(role, others, other_frame));
                    let mut small = Vec::new();
                    read_each(
                        role,
                        &bytes,
                        burst,
                        |_| true,
                        |message, _| small.extend((message.len() < size).then_some(message)),
                    );
                    assert_eq!(small.iter().map(BytesMut::len).collect::<Vec<_>>(), *others);
                    let has_room = || with_spare(|spare| spare.message.try_reclaim(size));
                    let is_free = has_room();
                    drop(small);
                    // It may have been replaced by memory of one of theirs.
                    assert!(
                        is_free || !has_room(),
                        "{others:?} in frames of {other_frame} after {size} in frames of {frame}"
                    );
                }
            }
        }
    }
}

#[test]
fn messages_of_a_frame_each_are_read_as_many_at_a_time_as_fit() {
    // One by one, those of 64 KiB came at 4.0 GB/s instead of 5.3 on one thread.
    const FRAME: u64 = 65_546;
    let one_each = Ahead { frame: FRAME, last_message: 65_536, ..Ahead::default() };
    assert_eq!(aligned(one_each) as u64, 3 * FRAME);
    assert_eq!(aligned(Ahead { held: 5, ..one_each }) as u64, 3 * FRAME - 5);
    assert_eq!(aligned(Ahead { missing: 100, ..one_each }) as u64, 100 + 3 * FRAME);
    assert_eq!(aligned(Ahead { missing: FRAME, ..one_each }) as u64, 3 * FRAME);
    // Of which the next is gathered from its first frame on.
    assert_eq!(aligned(Ahead { last_message: 100_000, ..one_each }) as u64, FRAME);
    // None of which is worth it, or fits.
    let small = ReadBuffer::default().prepare(ALIGNED_FROM - 1, || one_each, true).1;
    assert_eq!(small, READ_BUFFER);
    assert_eq!(aligned(Ahead { frame: READ_BUFFER as u64 + 1, ..one_each }), READ_BUFFER);
    assert_eq!(aligned(Ahead { missing: 1 << 62, ..one_each }), READ_BUFFER);
}

#[test]
fn a_message_has_the_memory_of_one_that_nobody_holds_any_more() {
    // Each had its own, from the system and back: messages of 100,000 bytes came at 0.9 GB/s instead of 3.7, those of 500,000
    // in one frame at 1.1 instead of 3.9.
    for (size, frame) in [(100_000, 64 * KIB), (MIB, 64 * KIB), (500_000, usize::MAX), (3 * MIB, usize::MAX)] {
        for held in [0, 1, 3] {
            let (mut places, mut messages, mut others) = (Vec::new(), VecDeque::new(), Vec::new());
            let sizes = vec![size; 12];
            read_each(
                Role::Server,
                &wire(Role::Server, &sizes, frame),
                usize::MAX,
                |_| true,
                |message, _| {
                    assert!(message.len() == size && message.iter().all(|byte| *byte == places.len() as u8));
                    places.push(message.as_ptr());
                    messages.push_back(message);
                    if messages.len() > held {
                        messages.pop_front();
                        // It would be the first to get what has been given back.
                        others.push(Vec::<u8>::with_capacity(size));
                    }
                },
            );
            let is_used_again = places[4..].iter().all(|place| places[3..4].contains(place));
            assert!(is_used_again == (held == 0), "{size} in frames of {frame}, {held} held: {places:?}");
        }
    }
}

#[test]
fn what_is_not_delivered_as_it_comes_and_what_has_no_known_length_is_not_gathered() {
    let mut read = ReadBuffer::default();
    let (buffer, _) = read.prepare(0, Ahead::default, true);
    buffer.extend_from_slice(&[1; 200 * KIB]);
    read.filled(200 * KIB, false);
    let mut chunk = read.input.split();
    read.gather(&mut chunk, Ahead { missing: 300_000, header: 10, message: 0, frame: 500_000, ..Ahead::default() });
    let (_, asked) = read.prepare(0, || Ahead { missing: 300_000, ..Ahead::default() }, true);
    assert!(!read.gathers && asked > 10 && chunk.len() == 200 * KIB);
}

#[test]
fn the_beginning_of_a_small_message_does_not_keep_the_buffer_from_the_read_that_brings_its_end() {
    // It did, and another buffer was taken from the system, and given back, for each read.
    for role in [Role::Client, Role::Server] {
        let bytes = wire(role, &[1100; 1500], usize::MAX);
        let receives = if role == Role::Client { Role::Server } else { Role::Client };
        let (mut receiver, mut read) = (Receiver::new(receives, None), ReadBuffer::default());
        let (mut beginning, mut addresses) = (None, Vec::new());
        for part in bytes.chunks_exact(READ_BUFFER) {
            let (buffer, asked) = read.prepare(receiver.last_frame(), || receiver.ahead(), true);
            assert_eq!(asked, READ_BUFFER);
            addresses.push(buffer.as_ptr());
            buffer.extend_from_slice(part);
            read.filled(part.len(), false);
            let mut chunks: Vec<Chunk> = Vec::new();
            while receiver.decode(&mut read.input, false, &mut |chunk| chunks.push(chunk)).unwrap().is_some() {}
            if let Some(mut last) = chunks.pop().filter(|last| last.first && !last.last) {
                let before = last.data.clone();
                read.gather(&mut last.data, receiver.ahead());
                assert_eq!(last.data, before);
                beginning = Some(last);
            }
        }
        assert!(beginning.is_some() && addresses.len() >= 5);
        let is_one = |address: &*const u8| address.addr().abs_diff(addresses[0].addr()) <= 3 * IN_PAGE;
        assert!(addresses.iter().all(is_one), "{addresses:?}");
    }
}

#[test]
fn a_beginning_without_payload_keeps_no_buffer_and_gets_no_memory() {
    for came in [0, 1] {
        let mut read = ReadBuffer::default();
        let (buffer, asked) = read.prepare(0, Ahead::default, true);
        buffer.resize(asked, 7);
        read.filled(asked, false);
        let input = read.input.split();
        let mut chunk = BytesMut::from(&input[..came]);
        read.gather(&mut chunk, Ahead { missing: 10_000, message: 10_000, ..Ahead::default() });
        assert_eq!(chunk.capacity() >= 10_000, came > 0, "{came} bytes have come");
    }
}

#[test]
fn what_is_awaited_is_copied_only_if_it_is_small_and_counts_for_what_it_keeps() {
    // It was copied up to half of the buffer, which one end of a large transfer spent a tenth of its time on.
    // And what had come in three pieces of 64 KiB was taken for more than the buffer, and the last of them left for later.
    for (len, is_awaited, copies) in [
        (SHARED_FROM - 1, true, true),
        (SHARED_FROM, true, false),
        (65_483, true, false),
        (READ_BUFFER / 2 - 1, true, false),
        (READ_BUFFER / 2 - 1, false, true),
        (READ_BUFFER / 2, false, false),
        (READ_BUFFER / 4 * 3, false, false),
        (READ_BUFFER, false, false),
    ] {
        let mut read = ReadBuffer::default();
        let (buffer, _) = read.prepare(0, Ahead::default, false);
        buffer.resize(len, 7);
        read.filled(len, is_awaited);
        let (kept, counts) = (if copies { len } else { READ_BUFFER }, read.charge(len));
        let is_exact = (kept..=kept + len / WEIGHT_UNIT + 1).contains(&counts);
        assert!(read.copies() == copies && is_exact, "{len} bytes, awaited: {is_awaited}: {counts}");
    }
}

#[test]
fn reads_do_not_begin_where_a_page_does() {
    // Reading chunks went at 1.7 GB/s on a Zen 3, where whole messages had 5.
    let mut read = ReadBuffer::default();
    let mut held = VecDeque::new();
    for round in 0..200 {
        // Full reads and short ones, of which chunks are kept for a while or not at all.
        let (buffer, asked) = read.prepare(0, Ahead::default, round % 3 == 0);
        assert!(buffer.as_ptr().addr() % PAGE >= IN_PAGE || read.is_short, "read {round}");
        assert!(asked == READ_BUFFER || read.is_short, "{asked}");
        assert!(asked <= read.input.capacity(), "{asked}");
        let len = if round % 5 == 0 { asked / 3 } else { asked };
        read.input.resize(len, 7);
        read.filled(len, false);
        held.push_back(read.input.split());
        if round % 7 > 1 {
            held.pop_front();
        }
        if round % 4 == 0 {
            held.clear();
            read.release();
        }
    }
}

#[test]
fn full_reads_do_not_find_the_source_at_the_same_place_of_its_page_for_ever() {
    // A message of 1 GiB in frames of 64 KiB took 1.5 times the CPU of raw TCP on a Zen 3: a reader that had fallen behind
    // where copying is slow stayed behind.
    for whole in [false, true] {
        let mut read = ReadBuffer::default();
        let (mut came, mut places) = (0, std::collections::HashSet::new());
        for _ in 0..64 {
            let (buffer, asked) = read.prepare(0, Ahead::default, whole);
            let target = buffer.as_ptr().addr() % PAGE;
            places.insert((target + PAGE - came % PAGE) % PAGE / 32);
            came += asked;
            buffer.resize(asked, 7);
            read.filled(asked, true);
            read.input.clear();
        }
        assert!(places.len() >= 32, "{places:?}");
    }
}

#[test]
fn no_header_behind_others_gets_memory_for_what_has_not_come() {
    const FRAME: usize = 64 * KIB;
    let messages = [(0, FRAME), (3 * FRAME, FRAME), (100_000, FRAME), (300_000, usize::MAX), (MIB, FRAME)];
    let lies = [100_000, 1 << 21, 1 << 32, 1 << 62];
    for ((size, frame), lie) in messages.into_iter().flat_map(|message| lies.map(|lie| (message, lie))) {
        for before in 0..4 {
            let mut bytes = wire(Role::Server, &[size, size], frame);
            for number in 0..before {
                bytes.extend_from_slice(&header(if number == 0 { 2 } else { 0 }, 0, FRAME as u64));
                bytes.resize(bytes.len() + FRAME, 7);
            }
            bytes.extend_from_slice(&header(if before == 0 { 2 } else { 0 }, 0, lie));
            bytes.resize(bytes.len() + lie.min(600_000) as usize, 7);
            for burst in [1000, usize::MAX] {
                let mut messages = 0;
                read_each(Role::Server, &bytes, burst, |_| true, |_, _| messages += 1);
                assert_eq!(messages, 2);
            }
        }
    }
}

#[test]
fn a_header_that_announces_much_gets_no_memory_before_payload_has_come() {
    let cases = [(0, false), (1, false), (16 * KIB, false), (64 * KIB, true)];
    for ((came, reserves), is_awaited) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut read = ReadBuffer::default();
        read.prepare(0, Ahead::default, true);
        read.filled(came + 10, is_awaited);
        let mut chunk = BytesMut::from(&vec![7; came][..]);
        let missing = (4 * MIB - came) as u64;
        read.gather(&mut chunk, Ahead { missing, message: missing, frame: 4 * MIB as u64 + 10, ..Ahead::default() });
        assert_eq!(read.gathers, reserves, "{came} bytes have come");
        assert_eq!(read.input.capacity() >= MIB, reserves, "{came} bytes have come");
        assert!(chunk.len() == came && chunk.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn messages_stay_whole_however_they_come() {
    let sizes = [0, 5, 70 * KIB, 70 * KIB, 300 * KIB, 2 * MIB, 2 * MIB, 1, 5 * MIB, 64 * KIB, 64 * KIB, 0, 20 * KIB];
    for role in [Role::Client, Role::Server] {
        for frame in [10 * KIB, 64 * KIB, 65 * KIB, usize::MAX] {
            for (burst, alternate) in [(1000, 7), (65_537, 1), (262_145, 2), (usize::MAX, 1), (usize::MAX, 3)] {
                let bytes = wire(role, &sizes, frame);
                // The application may change its mind at any time, and keep the last messages, so that they stay as they were.
                for keeps in [0, 1, sizes.len()] {
                    let (mut number, mut kept) = (0, VecDeque::new());
                    let check = |message: &BytesMut, number: usize| {
                        assert_eq!(message.len(), sizes[number]);
                        assert!(message.iter().all(|byte| *byte == number as u8), "{number}");
                    };
                    let done = |message: BytesMut, _| {
                        check(&message, number);
                        kept.push_back((message, number));
                        number += 1;
                        if kept.len() > keeps {
                            kept.pop_front();
                        }
                        kept.iter().for_each(|(message, number)| check(message, *number));
                    };
                    read_each(role, &bytes, burst, |number| number % alternate == 0, done);
                    assert_eq!(number, sizes.len());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_messages_stay_whole_and_as_they_were(
        is_client: bool,
        runs in prop::collection::vec((1..4_usize, size(), prop_oneof![size(), Just(64 * KIB), Just(usize::MAX)]), 1..6),
        bursts in prop::collection::vec(prop_oneof![1..20_usize, 1..300_000_usize, Just(usize::MAX)], 1..4),
        changes_mind: bool,
        keeps in 0..4_usize,
        pings: bool,
    ) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
        for (count, size, frame) in runs {
            for _ in 0..count {
                // Frames of a few bytes would only take their time.
                push_message(&mut bytes, role, sizes.len() as u8, size, frame.max(size / 500 + 1));
                sizes.push(size);
                if pings {
                    bytes.extend_from_slice(&header(0x89, u8::from(is_client) << 7, 0));
                    bytes.extend_from_slice(&[0; 4][..4 * usize::from(is_client)]);
                }
            }
        }
        let (mut number, mut kept) = (0, VecDeque::new());
        let done = |message: BytesMut, _| {
            kept.push_back((message, number));
            number += 1;
            for (message, number) in &kept {
                assert!(message.len() == sizes[*number] && message.iter().all(|byte| *byte == *number as u8));
            }
            if kept.len() > keeps {
                kept.pop_front();
            }
        };
        read_in_bursts(role, &bytes, &bursts, |read| !changes_mind || read % 5 < 3, done);
        assert_eq!(number, sizes.len());
    }
}

/// Around the limits, and between them.
fn size() -> impl Strategy<Value = usize> {
    let limits = vec![0, 125, 16 * KIB, 64 * KIB, READ_BUFFER / 5, READ_BUFFER, MIB, GATHER_MAX];
    let near = (prop::sample::select(limits), 0..40_usize);
    prop_oneof![near.prop_map(|(limit, by)| (limit + by).saturating_sub(20)), 0..GATHER_MAX]
}
