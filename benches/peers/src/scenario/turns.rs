//! What the kernel takes for frames and turns: a thread that writes and reads by turns, without a runtime and without looking at
//! what it reads; upwards, with what masking takes. The way each library sends and reads messages of a MiB has its limit here.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::TcpStream,
    ops::Range,
    time::Instant,
};

use anyhow::Result;

use super::{Case, Column, Direction, Figures, Scale, Scenario, Workers};
use wsstream_peers::{
    child::pair,
    library::framing::{LEAD, Mask, start},
    tally,
};

/// Ways to send and to read, each with its own limit.
const SHAPES: [(Column, Shape); 5] = [
    shape("chunks", "turns of 768 KiB, frames of 64 KiB, read 256 KiB at a time, GB/s", 768, 64, 256, 256),
    shape("whole", "the same, each frame read to its place, GB/s", 768, 64, 64, 1024),
    shape("large_frames", "frames of 1 MiB, read as a whole, GB/s", 768, 1024, 1024, 1024),
    shape("large_turns", "frames of 64 KiB each read to its place, no turns, GB/s", 64 * 1024, 64, 64, 1024),
    shape("large_both", "frames of 1 MiB read as a whole, no turns, GB/s", 64 * 1024, 1024, 1024, 1024),
];

pub(crate) const COLUMNS: &[Column] = &[SHAPES[0].0, SHAPES[1].0, SHAPES[2].0, SHAPES[3].0, SHAPES[4].0];

#[derive(Clone, Copy)]
struct Shape {
    /// Bytes until the reader has its turn; sooner, if the socket is full.
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
            "What the kernel allows for messages of 1 MiB {what}: one thread that writes and reads by turns"
        ),
        case: Case::Turns(direction),
    }
}

pub(crate) fn run(direction: Direction, scale: Scale) -> Result<Figures> {
    let (sender, receiver) = Workers::One.runtime()?.block_on(pair())?;
    let mut line = Line {
        direction,
        header: if direction == Direction::Upload { 14 } else { 10 },
        sender: sender.into_std()?,
        receiver: receiver.into_std()?,
        payload: tally::binary(MESSAGE).to_vec(),
        at: 0,
        masked: Vec::new(),
        ready: 0..0,
    };
    let mut speeds = [0.0; SHAPES.len()];
    for (_, shape) in SHAPES {
        line.speed(shape, scale.warm_up().as_secs_f64())?;
    }
    // In slices, so that all of them see the same of what else the machine does.
    const PARTS: usize = 8;
    for _ in 0..PARTS {
        for ((_, shape), speed) in SHAPES.iter().zip(&mut speeds) {
            *speed += line.speed(*shape, scale.measured().as_secs_f64() / 4.0)? / PARTS as f64;
        }
    }
    Ok(SHAPES.iter().zip(speeds).map(|((column, _), speed)| (column.key.to_owned(), speed)).collect())
}

struct Line {
    direction: Direction,
    header: usize,
    sender: TcpStream,
    receiver: TcpStream,
    payload: Vec<u8>,
    /// Bytes of the frames of a message that have been written; of its payload that have been masked.
    at: usize,
    /// Upwards, frames, and which of them wait to be written.
    masked: Vec<u8>,
    ready: Range<usize>,
}

impl Line {
    /// GB/s.
    fn speed(&mut self, shape: Shape, seconds: f64) -> Result<f64> {
        let mut memory = vec![0; LEAD + shape.memory];
        let lead = start(&memory).min(LEAD);
        let memory = &mut memory[lead..lead + shape.memory];
        (self.at, self.ready) = (0, 0..0);
        let (begin, mut bytes) = (Instant::now(), 0);
        while begin.elapsed().as_secs_f64() < seconds {
            self.write_turn(shape)?;
            bytes += self.read_all(shape, memory)?;
        }
        Ok(bytes as f64 / begin.elapsed().as_secs_f64() / 1e9)
    }

    fn write_turn(&mut self, shape: Shape) -> Result<()> {
        let mut left = shape.turn;
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
        let len = self.sender.write_vectored(&slices[..used])?;
        self.at = (self.at + len) % (MESSAGE / shape.frame * size);
        Ok(len)
    }

    fn write_masked(&mut self, shape: Shape, most: usize) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.mask(shape);
        }
        let end = self.ready.end.min(self.ready.start + most);
        let len = self.sender.write(&self.masked[self.ready.start..end])?;
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

    fn read_all(&mut self, shape: Shape, memory: &mut [u8]) -> Result<usize> {
        let (mut bytes, mut at) = (0, 0);
        loop {
            if memory.len() - at < shape.read {
                at = 0;
            }
            // What is read next lies over the header that comes along.
            let end = (at + shape.read + self.header).min(memory.len());
            match self.receiver.read(&mut memory[at..end]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(len) => {
                    if self.direction == Direction::Upload {
                        let mut key = KEY;
                        key.apply(&mut memory[at..at + len]);
                    }
                    bytes += len;
                    at += len.min(shape.read);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
