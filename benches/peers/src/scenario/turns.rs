//! What the kernel takes for frames and turns: a thread that writes and reads by turns, or two side by side, without a runtime and
//! without looking at what is read; upwards, with what masking takes. The way each library sends and reads messages of a MiB has
//! its limit here.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::TcpStream,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Case, Column, Direction, Figures, Scale, Scenario, Workers};
use wsstream_peers::{
    child::pair,
    library::framing::{LEAD, Mask, start},
    tally,
};

/// Ways to send and to read, each with its own limit.
const SHAPES: [(Column, Shape); 7] = [
    shape("chunks", "turns of 768 KiB, frames of 64 KiB, read 256 KiB at a time, GB/s", 768, 64, 256, 256),
    shape("whole", "the same, each frame read to its place, GB/s", 768, 64, 64, 1024),
    shape("large_frames", "frames of 1 MiB, each a turn and read as a whole, GB/s", 768, 1024, 1024, 1024),
    shape("large_turns", "frames of 64 KiB each read to its place, no turns, GB/s", NO_TURNS, 64, 64, 1024),
    shape("large_both", "frames of 1 MiB read as a whole, no turns, GB/s", NO_TURNS, 1024, 1024, 1024),
    shape("two_chunks", "two threads, frames of 1 MiB read 256 KiB at a time, GB/s", SIDE_BY_SIDE, 1024, 256, 256),
    shape("two_whole", "two threads, frames of 1 MiB read as a whole, GB/s", SIDE_BY_SIDE, 1024, 1024, 1024),
];

/// Until the socket is full.
const NO_TURNS: usize = 64 * 1024;
/// Neither waits for the other, but for the socket.
const SIDE_BY_SIDE: usize = 0;

pub(crate) const COLUMNS: &[Column] =
    &[SHAPES[0].0, SHAPES[1].0, SHAPES[2].0, SHAPES[3].0, SHAPES[4].0, SHAPES[5].0, SHAPES[6].0];

#[derive(Clone, Copy)]
struct Shape {
    /// Bytes until the reader has its turn, or a frame if that is longer; sooner, if the socket is full.
    turn: usize,
    /// Payload of a frame.
    frame: usize,
    /// Bytes that a call reads, and a header.
    read: usize,
    /// Bytes that are read into before the beginning is used again.
    memory: usize,
}

const fn shape(
    key: &'static str,
    title: &'static str,
    turn: usize,
    frame: usize,
    read: usize,
    memory: usize,
) -> (Column, Shape) {
    let shape = Shape { turn: turn << 10, frame: frame << 10, read: read << 10, memory: memory << 10 };
    (Column::more(key, title, 2).alone(), shape)
}

impl Shape {
    /// What is masked at once: several frames, or one that is longer than that.
    fn masked(self) -> usize {
        self.frame.max(512 << 10)
    }
}

const MESSAGE: usize = 1 << 20;
const SLICES: usize = 64;
const KEY: Mask = Mask([0xA1, 0x02, 0x73, 0x44]);

pub(crate) fn scenario(direction: Direction) -> Scenario {
    let (name, what) = direction.names();
    Scenario {
        name: format!("turns/{name}"),
        title: format!(
            "What the kernel allows for messages of 1 MiB {what}: one thread that writes and reads by turns, or two"
        ),
        case: Case::Turns(direction),
    }
}

pub(crate) fn run(direction: Direction, scale: Scale) -> Result<Figures> {
    let (sender, receiver) = Workers::One.runtime()?.block_on(pair())?;
    let header = if direction == Direction::Upload { 14 } else { 10 };
    let sender = Sender {
        direction,
        header,
        socket: sender.into_std()?,
        payload: tally::binary(MESSAGE).to_vec(),
        at: 0,
        masked: Vec::new(),
        ready: 0..0,
    };
    let mut line = Line { sender, receiver: Receiver { direction, header, socket: receiver.into_std()?, at: 0 } };
    let mut speeds = [0.0; SHAPES.len()];
    for (_, shape) in SHAPES {
        line.speed(shape, scale.warm_up())?;
    }
    // In slices, so that all of them see the same of what else the machine does.
    const PARTS: usize = 8;
    for _ in 0..PARTS {
        for ((_, shape), speed) in SHAPES.iter().zip(&mut speeds) {
            *speed += line.speed(*shape, scale.measured() / 4)? / PARTS as f64;
        }
    }
    Ok(SHAPES.iter().zip(speeds).map(|((column, _), speed)| (column.key.to_owned(), speed)).collect())
}

struct Line {
    sender: Sender,
    receiver: Receiver,
}

struct Sender {
    direction: Direction,
    header: usize,
    socket: TcpStream,
    payload: Vec<u8>,
    /// Bytes of the frames of a message that have been written; of its payload that have been masked.
    at: usize,
    /// Upwards, frames, and which of them wait to be written.
    masked: Vec<u8>,
    ready: Range<usize>,
}

struct Receiver {
    direction: Direction,
    header: usize,
    socket: TcpStream,
    /// Where in its memory it reads next.
    at: usize,
}

impl Line {
    /// GB/s.
    fn speed(&mut self, shape: Shape, time: Duration) -> Result<f64> {
        let mut memory = vec![0; LEAD + shape.memory];
        let lead = start(&memory).min(LEAD);
        let memory = &mut memory[lead..lead + shape.memory];
        (self.sender.at, self.sender.ready) = (0, 0..0);
        let begin = Instant::now();
        let bytes = if shape.turn == SIDE_BY_SIDE {
            self.side_by_side(shape, memory, begin + time)?
        } else {
            self.by_turns(shape, memory, begin + time)?
        };
        Ok(bytes as f64 / begin.elapsed().as_secs_f64() / 1e9)
    }

    fn by_turns(&mut self, shape: Shape, memory: &mut [u8], end: Instant) -> Result<usize> {
        self.set_nonblocking(true)?;
        let mut bytes = 0;
        while Instant::now() < end {
            self.sender.write_turn(shape)?;
            bytes += self.receiver.read_all(shape, memory)?;
        }
        Ok(bytes)
    }

    fn side_by_side(&mut self, shape: Shape, memory: &mut [u8], end: Instant) -> Result<usize> {
        self.set_nonblocking(false)?;
        let Self { sender, receiver } = self;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    sender.write_turn(shape)?;
                }
                anyhow::Ok(())
            });
            let mut bytes = 0;
            receiver.at = 0;
            while Instant::now() < end {
                bytes += receiver.read_once(shape, memory)?;
            }
            // The writer may be in the middle of a frame that the socket has no room for.
            is_over.store(true, Relaxed);
            receiver.socket.set_nonblocking(true)?;
            while !writing.is_finished() {
                bytes += receiver.read_all(shape, memory)?;
            }
            writing.join().expect("the writer does not panic")?;
            Ok(bytes + receiver.read_all(shape, memory)?)
        })
    }

    fn set_nonblocking(&self, is_nonblocking: bool) -> Result<()> {
        self.sender.socket.set_nonblocking(is_nonblocking)?;
        Ok(self.receiver.socket.set_nonblocking(is_nonblocking)?)
    }
}

impl Sender {
    fn write_turn(&mut self, shape: Shape) -> Result<()> {
        let mut left = shape.turn.max(self.header + shape.frame);
        while left > 0 {
            let written = match self.direction {
                Direction::Download => self.write_by_reference(shape, left),
                Direction::Upload => self.write_masked(shape, left),
            };
            match written {
                Ok(len) => left -= len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_by_reference(&mut self, shape: Shape, mut most: usize) -> io::Result<usize> {
        let (header, size) = ([0; 14], self.header + shape.frame);
        let (mut slices, mut used, mut at) = ([IoSlice::new(&[]); SLICES], 0, self.at);
        while used < SLICES && most > 0 {
            let (frame, within) = (at / size, at % size);
            let part = if within < self.header {
                &header[within..self.header]
            } else {
                &self.payload[frame * shape.frame % MESSAGE..][..shape.frame][within - self.header..]
            };
            let part = &part[..part.len().min(most)];
            slices[used] = IoSlice::new(part);
            (used, at, most) = (used + 1, at + part.len(), most - part.len());
        }
        let len = self.socket.write_vectored(&slices[..used])?;
        self.at = (self.at + len) % (MESSAGE / shape.frame * size);
        Ok(len)
    }

    fn write_masked(&mut self, shape: Shape, most: usize) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.mask(shape);
        }
        let end = self.ready.end.min(self.ready.start + most);
        let len = self.socket.write(&self.masked[self.ready.start..end])?;
        self.ready.start += len;
        Ok(len)
    }

    fn mask(&mut self, shape: Shape) {
        let frames = shape.masked() / shape.frame;
        self.masked.resize(LEAD + frames * (self.header + shape.frame), 0);
        let lead = start(&self.masked).min(LEAD);
        let mut end = lead;
        for _ in 0..frames {
            let payload = &self.payload[self.at..self.at + shape.frame];
            self.masked[end..end + self.header].fill(0);
            end += self.header;
            let mut key = KEY;
            key.copy(payload, &mut self.masked[end..end + shape.frame]);
            end += shape.frame;
            self.at = (self.at + shape.frame) % MESSAGE;
        }
        self.ready = lead..end;
    }
}

impl Receiver {
    /// Until there is nothing more.
    fn read_all(&mut self, shape: Shape, memory: &mut [u8]) -> Result<usize> {
        let mut bytes = 0;
        self.at = 0;
        loop {
            match self.read_once(shape, memory) {
                Ok(len) => bytes += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_once(&mut self, shape: Shape, memory: &mut [u8]) -> io::Result<usize> {
        if memory.len() - self.at < shape.read {
            self.at = 0;
        }
        // What is read next lies over the header that comes along.
        let end = (self.at + shape.read + self.header).min(memory.len());
        let len = self.socket.read(&mut memory[self.at..end])?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.direction == Direction::Upload {
            let mut key = KEY;
            key.apply(&mut memory[self.at..self.at + len]);
        }
        self.at += len.min(shape.read);
        Ok(len)
    }
}
