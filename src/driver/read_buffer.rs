//! Read buffers, lent by the worker thread to the connection that is being polled, so that idle ones hold none; and how
//! much is read at a time.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use bytes::{Buf, BytesMut};

use crate::proto::recv::{Ahead, Chunk};

/// What is asked of the transport at a time, at most: a little less than 64 pages. With whole ones, a reader for whom copying
/// is slow, see [`IN_PAGE`], would fall behind, and as long as every read is a full one find the source at the same place of
/// its page again.
pub(crate) const READ_BUFFER: usize = 256 * 1024 - 64;

/// A buffer begins no less than this far into a page of memory. The kernel copies with an instruction that takes three times as
/// long on some processors (AMD Zen 3) where the target lies up to 31 bytes behind the source, each in its page. What it
/// copies begins with a page, whenever the reader has caught up; and large blocks of glibc's memory begin 16 bytes into one.
const IN_PAGE: usize = 1024;
const PAGE: usize = 4096;

/// Frames from this size on are read up to the end of one, if they are alike, and none of their payload is cut: of messages
/// that are a frame each as many at a time as a buffer holds, otherwise the one that the message begins with.
const ALIGNED_FROM: u64 = 16 * 1024;

/// Messages up to this size are read into memory of their own if they are wanted whole; parts of larger ones are put
/// together as they come, so that what a peer announces and does not send costs little address space.
const GATHER_MAX: usize = 4 * 1024 * 1024;

/// Memory for that is reserved up to the length of the last message, or so many times what has come of this one: what a
/// header announces gets none.
const GATHER_RATIO: usize = 64;

/// So much is not copied out of its buffer if the reader is waiting for it, and has let go of it before the next read if it is
/// quick: there a copy is a tenth of what receiving costs. Who keeps it keeps at most five times as much, as long as it
/// counts for. A segment of Linux's loopback, 65,483 bytes, is more than that.
const SHARED_FROM: usize = READ_BUFFER / 5;

/// Shares of a buffer are counted this finely: in whole multiples, a read that filled three quarters of it would count for
/// half as much again as the buffer, and not all of what it brought be decoded in one go.
const WEIGHT_UNIT: usize = 256;

/// What a thread keeps for the connections that it polls, and some of which others may hold for now. Taken from the system and
/// given back each time, as glibc does with blocks of this size, it would take several times as long.
#[derive(Default)]
struct Spare {
    /// A buffer of [`READ_BUFFER`] bytes.
    full: BytesMut,
    /// The last one of another size, and that size.
    other: (BytesMut, usize),
    /// The memory of the last message that was gathered.
    message: BytesMut,
}

impl Spare {
    /// The memory of the last message, if nobody holds it and it suits one of `len` bytes.
    fn take_message(&mut self, len: usize) -> Option<BytesMut> {
        let size = len + 2 * IN_PAGE;
        if !self.message.try_reclaim(size) || self.message.capacity() > 2 * size {
            return None;
        }
        let mut memory = std::mem::take(&mut self.message);
        skip(&mut memory);
        Some(memory)
    }
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// A thread that ends, and drops connections while it does, has nothing any more.
fn with_spare<R: Default>(with: impl FnOnce(&mut Spare) -> R) -> R {
    SPARE.try_with(|spare| with(&mut spare.borrow_mut())).unwrap_or_default()
}

/// What the input is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Memory {
    /// Nothing that is used again.
    #[default]
    Other,
    /// A read buffer of so many bytes.
    Buffer(usize),
    /// Memory for one message.
    Message,
}

/// The input of one connection: what was read and not yet decoded.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    pub(crate) input: BytesMut,
    memory: Memory,
    /// How much may still be read into it, unless it gathers.
    room: usize,
    /// Bytes that the last read could have brought.
    asked: usize,
    copies: bool,
    /// The last read left room in the buffer.
    is_short: bool,
    /// What is read next belongs to the message that has begun, which is wanted whole: it goes behind that.
    gathers: bool,
    /// What a byte of it stands for: its share of the whole buffer, in parts of [`WEIGHT_UNIT`].
    weight: usize,
}

impl ReadBuffer {
    /// Begins with bytes that were read along with the handshake.
    pub(crate) fn holding(input: BytesMut) -> Self {
        Self { input, copies: true, weight: WEIGHT_UNIT, ..Self::default() }
    }

    /// Everything read has been decoded.
    pub(crate) fn is_decoded(&self) -> bool {
        self.input.is_empty()
    }

    /// Makes room for a read, once everything has been decoded, and says how much should be read. A buffer that nobody
    /// else holds a part of is used again from its front. After a short read the next one most likely finds nothing, and
    /// the rest of the buffer will do: another one would have to be allocated while chunks of this one are about.
    ///
    /// `whole`: messages are wanted whole, so it is worth while to read them in one piece. `last_frame` is the payload of the
    /// frame that the last one began with: if it is small, nobody asks what is `ahead`.
    #[inline(always)]
    pub(crate) fn prepare(
        &mut self,
        last_frame: u64,
        ahead: impl FnOnce() -> Ahead,
        whole: bool,
    ) -> (&mut BytesMut, usize) {
        debug_assert!(self.input.is_empty());
        if self.gathers && self.input.capacity() == 0 {
            // It is longer than was to be expected: by how much, its header may say, but nothing of it has come.
            self.stop_gathering();
        }
        let goes_on = (self.gathers || self.is_short) && self.room() > 0;
        let asked = if self.gathers {
            ahead().to_next_payload()
        } else if whole && last_frame >= ALIGNED_FROM {
            self.prepare_aligned(ahead(), goes_on)
        } else {
            if !goes_on {
                self.make_room(READ_BUFFER);
            }
            READ_BUFFER
        };
        self.asked = asked.min(self.room());
        (&mut self.input, self.asked)
    }

    #[inline(never)]
    fn prepare_aligned(&mut self, ahead: Ahead, goes_on: bool) -> usize {
        let asked = aligned(ahead);
        if !goes_on && !self.begin_message(asked, ahead) {
            self.make_room(asked.min(READ_BUFFER));
        }
        asked
    }

    /// Memory is taken for more than is asked for, and the headers between what is gathered need none.
    fn room(&self) -> usize {
        if self.gathers { self.input.capacity() } else { self.room }
    }

    fn make_room(&mut self, size: usize) {
        let mut old = match self.memory {
            Memory::Buffer(old) if (old == READ_BUFFER) == (size == READ_BUFFER) => old,
            memory => {
                if memory != Memory::Other {
                    self.release();
                }
                let lent;
                (self.input, lent) = with_spare(|spare| match size {
                    READ_BUFFER => (std::mem::take(&mut spare.full), READ_BUFFER),
                    _ => std::mem::take(&mut spare.other),
                });
                lent
            }
        };
        let fits = (size..=2 * size).contains(&old);
        if !fits || !self.input.try_reclaim(old + IN_PAGE) {
            // More than may be skipped, so that small reads need not start over, and skip it, each time.
            (self.input, old) = (BytesMut::with_capacity(size + 3 * IN_PAGE), size);
        }
        skip(&mut self.input);
        self.memory = Memory::Buffer(old);
        self.room = old;
    }

    /// A message like the last one goes where that was, if that was gathered and nobody holds it any more. Whether it is like
    /// that one [`end_read`](Self::end_read) finds out.
    fn begin_message(&mut self, asked: usize, ahead: Ahead) -> bool {
        let len = usize::try_from(ahead.last_message).unwrap_or(usize::MAX);
        if !ahead.is_between || !is_large(ahead) || len > GATHER_MAX {
            return false;
        }
        self.release();
        let Some(memory) = with_spare(|spare| spare.take_message(len)) else { return false };
        self.input = memory;
        self.memory = Memory::Message;
        self.room = asked;
        true
    }

    /// What has come should begin a message like the last one.
    pub(crate) fn is_begun(&self) -> bool {
        self.memory == Memory::Message && !self.gathers
    }

    /// A read has brought `chunks`. If there is more to come of the message that the last of them begins, and it is wanted
    /// `whole`, that is read next to it. Nothing is to be done if each is the end of a message, unless one
    /// [`is_begun`](Self::is_begun).
    pub(crate) fn end_read<'a>(
        &mut self,
        mut chunks: impl DoubleEndedIterator<Item = &'a mut Chunk>,
        ahead: Ahead,
        whole: bool,
    ) {
        let is_begun = self.is_begun();
        if let Some(last) = chunks.next_back() {
            if last.first && !last.last && whole {
                self.gather(&mut last.data, ahead);
            }
            let is_whole = last.first && last.last && self.suits(last.data.len());
            if is_begun && !self.gathers && !is_whole {
                last.data = BytesMut::from(&last.data[..]);
            }
        }
        if is_begun {
            // Other messages than were to be expected, which are not to keep as much.
            chunks.for_each(|chunk| chunk.data = BytesMut::from(&chunk.data[..]));
        }
    }

    /// From now on the message that has begun with `chunk` is read next to that, in memory of its own, up to [`GATHER_MAX`]. Of
    /// that memory nothing is touched before bytes come. The beginning of a small one is put aside: waiting for its end it would
    /// keep the buffer from the next read, which brings that.
    fn gather(&mut self, chunk: &mut BytesMut, ahead: Ahead) {
        let rest = usize::try_from(ahead.message).unwrap_or(usize::MAX);
        if self.gathers || !self.input.is_empty() || rest == 0 {
            return;
        }
        let len = chunk.len().saturating_add(rest);
        // In small frames, a message that is none like the last would still keep as much.
        let is_like_last = ahead.message <= ahead.last_message && ahead.frame >= ALIGNED_FROM;
        let is_likely = is_like_last || rest <= GATHER_RATIO * chunk.len();
        let fits = match self.memory {
            Memory::Message => is_likely && self.input.capacity() >= rest && self.suits(len),
            _ => !self.copies && self.room >= rest,
        };
        if fits {
            self.gathers = true;
            return;
        }
        let is_in_buffer = self.memory != Memory::Message && !self.copies;
        if is_in_buffer && !chunk.is_empty() && (len as u64) < ALIGNED_FROM {
            let beginning = std::mem::replace(chunk, BytesMut::with_capacity(len));
            chunk.extend_from_slice(&beginning);
            return;
        }
        if is_likely && len <= GATHER_MAX && len as u64 >= ALIGNED_FROM {
            self.release();
            let mut memory = with_spare(|spare| spare.take_message(len)).unwrap_or_else(|| message_memory(len));
            memory.extend_from_slice(chunk);
            *chunk = memory.split();
            self.input = memory;
            self.memory = Memory::Message;
            self.gathers = true;
        }
    }

    /// A message of `len` bytes has come into memory for one, as far as it has come, and does not keep much more than it needs.
    fn suits(&self, len: usize) -> bool {
        self.input.capacity() <= len
    }

    /// The message that was gathered is complete: what is left of its memory is for others when nobody holds it.
    pub(crate) fn end_message(&mut self) {
        if self.gathers && self.input.is_empty() {
            self.stop_gathering();
        }
    }

    fn stop_gathering(&mut self) {
        self.gathers = false;
        self.room = 0;
        if self.memory == Memory::Message {
            self.release();
        }
    }

    /// A read has brought `len` bytes; `is_awaited`: the reader takes them at once.
    pub(crate) fn filled(&mut self, len: usize, is_awaited: bool) {
        self.is_short = len < self.asked;
        self.room = self.room.saturating_sub(len);
        let mut kept = len;
        self.copies = false;
        if let Memory::Buffer(size) = self.memory
            && !self.gathers
        {
            // What waits in a queue then keeps no more memory than twice what it holds, and the buffer is free for the next read.
            let is_shared = len >= size / 2 || (is_awaited && len >= SHARED_FROM);
            self.copies = !is_shared;
            kept = if is_shared { size } else { len };
        }
        self.weight = (WEIGHT_UNIT * kept).div_ceil(len);
    }

    /// Another read would go to memory that has been counted, with what is shared of it.
    pub(crate) fn has_counted_room(&self) -> bool {
        let is_shared = matches!(self.memory, Memory::Buffer(_)) && !self.copies && !self.gathers;
        is_shared && self.is_short && self.room > 0
    }

    /// The last read could have brought more, had there been more.
    pub(crate) fn was_short(&self) -> bool {
        self.is_short
    }

    /// What `bytes` taken from it count for: views of a buffer keep all of it alive, however much of it was filled.
    pub(crate) fn charge(&self, bytes: usize) -> usize {
        bytes * self.weight / WEIGHT_UNIT
    }

    /// Chunks of the last read are to be copied, not shared.
    pub(crate) fn copies(&self) -> bool {
        self.copies
    }

    /// Gives the memory back if nothing waits in it.
    pub(crate) fn release(&mut self) {
        if !self.input.is_empty() || self.gathers {
            return;
        }
        self.room = 0;
        let (input, memory) = (std::mem::take(&mut self.input), std::mem::take(&mut self.memory));
        with_spare(|spare| match memory {
            Memory::Other => {}
            Memory::Buffer(READ_BUFFER) => spare.full = input,
            Memory::Buffer(size) => spare.other = (input, size),
            Memory::Message => spare.message = input,
        });
    }
}

/// Memory for a message of `len` bytes, and the headers that it is read with.
fn message_memory(len: usize) -> BytesMut {
    let mut memory = BytesMut::with_capacity(len + 3 * IN_PAGE);
    skip(&mut memory);
    memory
}

/// Goes on far enough into the page that memory begins in.
fn skip(memory: &mut BytesMut) {
    let skipped = IN_PAGE.saturating_sub(memory.as_ptr().addr() % PAGE);
    memory.resize(skipped, 0);
    memory.advance(skipped);
}

/// Messages like the last one are gathered: they are of several large frames, or of one that is larger than a buffer.
fn is_large(ahead: Ahead) -> bool {
    ahead.frame > READ_BUFFER as u64 || ahead.last_message >= ahead.frame
}

/// How much is best read next: up to the end of a frame, if those that come are like the last one.
fn aligned(ahead: Ahead) -> usize {
    if ahead.is_between && is_large(ahead) {
        let asked = ahead.frame.saturating_sub(ahead.held as u64) + ahead.header as u64;
        return usize::try_from(asked).unwrap_or(READ_BUFFER);
    }
    if ahead.frame > READ_BUFFER as u64 {
        return READ_BUFFER;
    }
    let most = if ahead.last_message < ahead.frame { READ_BUFFER as u64 } else { 0 };
    let frames = most.saturating_sub(ahead.missing) / ahead.frame;
    let asked = if ahead.missing == 0 {
        frames.max(1) * ahead.frame - ahead.held as u64
    } else {
        ahead.missing + frames * ahead.frame
    };
    usize::try_from(asked).unwrap_or(READ_BUFFER).min(READ_BUFFER)
}
