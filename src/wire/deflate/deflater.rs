//! The sending end.

use std::{cell::RefCell, fmt};

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::{Scratch, noise::is_noise};

/// The body of an empty stored block, with which a flush ends; cut off the end of each message (7.2.1).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The header of a stored block, where it begins at a byte; also of an empty one.
const STORED: u8 = 0x00;

/// The most that a stored block holds.
const STORED_MAX: usize = 0xFFFF;

thread_local! {
    /// One that is between two messages and forgets the last: for the next of any connection with the same settings.
    static SPARE: RefCell<Option<(Settings, Deflate)>> = const { RefCell::new(None) };
}

/// How hard it tries, and how far back it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    level: u8,
    window_bits: u8,
}

/// What follows the bytes that are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More of the message: what has been compressed may be held back.
    None,
    /// More of the message, but all before it is to be readable at once.
    Flush,
    /// Nothing: the message is complete.
    Message,
}

/// Compresses one message after the other.
pub(crate) struct Deflater {
    /// None before it is needed, and between messages that know nothing of each other.
    stream: Option<Deflate>,
    settings: Settings,
    /// Messages may refer to those before them (7.1.1).
    takeover: bool,
    /// Something was compressed since the last flush.
    dirty: bool,
    /// What the stream remembers is out of the peer's reach: more than a window was stored since, or sent by another.
    stale: bool,
}

impl Deflater {
    /// `level` is 0 to 9, `window_bits` 9 to 15.
    pub(crate) fn new(level: u8, window_bits: u8, takeover: bool) -> Self {
        let settings = Settings { level: level.min(9), window_bits: window_bits.clamp(9, 15) };
        Self { stream: None, settings, takeover, dirty: false, stale: false }
    }

    /// Compresses all of `input`; what comes of it is added to `output`.
    pub(crate) fn deflate(&mut self, input: &[u8], end: End, output: &mut Scratch) {
        if is_noise(input) {
            self.store(input, output);
        } else {
            self.dirty |= !input.is_empty();
            if self.dirty {
                self.run(input, end != End::None, output);
            }
        }
        match end {
            End::None => return,
            End::Flush => {}
            End::Message if self.dirty => output.cut(TAIL.len()),
            // Nothing came after the last flush, so there is nothing to flush: an empty block, spelled out (7.2.3.6).
            End::Message => output.push(&[STORED]),
        }
        self.dirty = false;
        if end == End::Message
            && !self.takeover
            && let Some(stream) = self.stream.take()
        {
            self.stale = false;
            SPARE.set(Some((self.settings, stream)));
        }
    }

    /// The peer's window has something else in it: the next message refers to nothing before it.
    pub(crate) fn forget(&mut self) {
        self.stale = self.stream.is_some();
    }

    /// Adds blocks that are stored as they are: all that compressing noise would come to, after a hundred times the work.
    fn store(&mut self, noise: &[u8], output: &mut Scratch) {
        if self.dirty {
            // Such a block begins at a byte.
            self.run(&[], true, output);
            self.dirty = false;
        }
        for block in noise.chunks(STORED_MAX) {
            let len = block.len() as u16;
            output.push(&[STORED]);
            output.push(&len.to_le_bytes());
            output.push(&(!len).to_le_bytes());
            output.push(block);
        }
        // The peer's window has it, so that of the stream must.
        if let Some(stream) = &mut self.stream
            && !self.stale
        {
            let window = 1 << self.settings.window_bits;
            self.stale = noise.len() >= window || stream.set_dictionary(noise).is_err();
        }
    }

    fn run(&mut self, mut input: &[u8], flush: bool, output: &mut Scratch) {
        let flush = if flush { DeflateFlush::SyncFlush } else { DeflateFlush::NoFlush };
        let stream = self.stream.get_or_insert_with(|| new_stream(self.settings));
        if std::mem::take(&mut self.stale) {
            stream.reset();
        }
        loop {
            let room = output.room();
            let size = room.len();
            let (taken, given) = (stream.total_in(), stream.total_out());
            if stream.compress(input, room, flush).is_err() {
                unreachable!("a stream that is never finished takes any bytes");
            }
            let given = (stream.total_out() - given) as usize;
            input = &input[(stream.total_in() - taken) as usize..];
            output.advance(given);
            // Room to spare is how it says that nothing is left to do.
            if given < size {
                break;
            }
        }
    }
}

fn new_stream(settings: Settings) -> Deflate {
    match SPARE.take() {
        Some((others, mut stream)) if others == settings => {
            stream.reset();
            stream
        }
        _ => Deflate::new_with_config(DeflateConfig {
            level: settings.level.into(),
            // Negative: without a header.
            window_bits: -i32::from(settings.window_bits),
            // Who wants a small window wants little memory: 371 KiB in all with 15 bits, 161 KiB with 12, 137 KiB with 9.
            mem_level: (i32::from(settings.window_bits) - 7).min(8),
            ..DeflateConfig::default()
        }),
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("holds_state", &self.stream.is_some())
            .field("settings", &self.settings)
            .field("takeover", &self.takeover)
            .field("dirty", &self.dirty)
            .field("stale", &self.stale)
            .finish()
    }
}

#[cfg(test)]
impl Deflater {
    pub(super) fn stream_is_none(&self) -> bool {
        self.stream.is_none()
    }
}
