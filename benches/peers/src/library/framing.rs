//! Frames by hand, for `floor` and for the far ends of what is measured.

use std::io::{self, IoSlice};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{Kind, Role};

/// The longest head of a frame.
const MAX_HEAD: usize = 14;

/// The head of a frame, as it is sent.
#[derive(Clone, Copy)]
pub struct Head {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

impl Head {
    /// The head of the first frame of a message of this kind, or of a later one.
    pub fn new(kind: Option<Kind>, last: bool, payload: u64, mask: Option<[u8; 4]>) -> Self {
        let opcode = match kind {
            None => 0,
            Some(Kind::Text) => 1,
            Some(Kind::Binary) => 2,
        };
        let mut bytes = [0; MAX_HEAD];
        bytes[0] = u8::from(last) << 7 | opcode;
        let mut len = match payload {
            0..=125 => {
                bytes[1] = payload as u8;
                2
            }
            126..=0xFFFF => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&payload.to_be_bytes());
                10
            }
        };
        if let Some(key) = mask {
            bytes[1] |= 0x80;
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        Self { bytes, len: len as u8 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A frame whose payload is still to come.
pub struct Incoming {
    /// Text or binary; a later frame of a message has none.
    pub kind: Option<Kind>,
    pub last: bool,
    /// RSV1 is set: the message is compressed.
    pub compressed: bool,
    /// Payload bytes to come.
    pub rest: u64,
    pub mask: Mask,
}

impl Incoming {
    /// Reads a head off the front of `data` and says how long it is; `None` if there is not enough.
    #[inline]
    pub fn parse(data: &[u8], role: Role) -> io::Result<Option<(Self, usize)>> {
        let [first, second, ..] = *data else { return Ok(None) };
        let kind = match first & 0x3F {
            0 => None,
            1 => Some(Kind::Text),
            2 => Some(Kind::Binary),
            _ => return Err(io::Error::other("not a data frame")),
        };
        let masked = role == Role::Server;
        if masked != (second & 0x80 != 0) {
            return Err(io::Error::other("masked by the wrong end"));
        }
        let (mut at, mut rest) = (2, u64::from(second & 0x7F));
        if rest == 126 {
            let Some(len) = data.get(2..4) else { return Ok(None) };
            (at, rest) = (4, u64::from(u16::from_be_bytes([len[0], len[1]])));
        } else if rest == 127 {
            let Some(len) = data.get(2..10).and_then(|len| len.first_chunk()) else { return Ok(None) };
            (at, rest) = (10, u64::from_be_bytes(*len));
        }
        let mut key = [0; 4];
        if masked {
            let Some(found) = data.get(at..at + 4).and_then(|key| key.first_chunk()) else { return Ok(None) };
            (key, at) = (*found, at + 4);
        }
        let (last, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        Ok(Some((Self { kind, last, compressed, rest, mask: Mask(key) }, at)))
    }
}

/// A mask key, turned so that its first byte is the one due next.
#[derive(Clone, Copy)]
pub struct Mask(pub [u8; 4]);

impl Mask {
    /// Masks or unmasks in place.
    #[inline]
    pub fn apply(&mut self, data: &mut [u8]) {
        let key = self.word();
        let (words, rest) = data.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(rest.len() % 4);
    }

    /// Copies and masks in one pass; both are of the same length.
    #[inline]
    pub fn copy(&mut self, from: &[u8], to: &mut [u8]) {
        let key = self.word();
        let (from, from_rest) = from.as_chunks::<8>();
        let (to, to_rest) = to.as_chunks_mut::<8>();
        for (from, to) in from.iter().zip(to) {
            *to = (u64::from_ne_bytes(*from) ^ key).to_ne_bytes();
        }
        for ((from, to), key) in from_rest.iter().zip(to_rest).zip(self.0.iter().cycle()) {
            *to = from ^ key;
        }
        self.0.rotate_left(from_rest.len() % 4);
    }

    fn word(self) -> u64 {
        let key = u64::from(u32::from_ne_bytes(self.0));
        key << 32 | key
    }
}

/// Text that comes in pieces, cut anywhere.
#[derive(Default)]
pub struct Utf8 {
    /// The beginning of a character, from the end of the last piece.
    cut: Vec<u8>,
}

impl Utf8 {
    pub fn check(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while let Some(&first) = self.cut.first() {
            if self.cut.len() == character_len(first) {
                simdutf8::basic::from_utf8(&self.cut).map_err(io::Error::other)?;
                self.cut.clear();
                break;
            }
            let Some((&next, rest)) = piece.split_first() else { return Ok(()) };
            self.cut.push(next);
            piece = rest;
        }
        // A character that is cut begins within the last three bytes.
        let tail = piece.len().saturating_sub(3);
        let cut = piece[tail..].iter().rposition(|byte| byte & 0xC0 != 0x80).map(|at| tail + at);
        let whole = match cut {
            Some(at) if at + character_len(piece[at]) > piece.len() => at,
            _ => piece.len(),
        };
        self.cut.extend_from_slice(&piece[whole..]);
        simdutf8::basic::from_utf8(&piece[..whole]).map_err(io::Error::other)?;
        Ok(())
    }

    pub fn end(&mut self) -> io::Result<()> {
        if self.cut.is_empty() { Ok(()) } else { Err(io::Error::other("the text ends within a character")) }
    }
}

/// How long the character is that begins with this byte.
fn character_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// Bytes to leave free at the front of memory that is read into; see [`start`].
pub const LEAD: usize = 1024;

/// Where in `memory` to begin reading: away from the beginning of its page, where some processors (AMD Zen 3) copy what the
/// kernel has there at a third of their speed. A large `Vec` begins 16 bytes behind that.
pub fn start(memory: &[u8]) -> usize {
    LEAD.saturating_sub(memory.as_ptr().addr() % 4096)
}

/// Writes all of it, with as few calls as the socket allows.
pub async fn write_all_vectored(tcp: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        // The kernel takes at most 1024 at once.
        let count = slices.len().min(1024);
        let written = tcp.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// The wire image of one message of `total` bytes, a pattern many times over: as blocks that are written one after the
/// other, so that its sender works no more than one of raw TCP.
pub struct Prepared {
    pub blocks: Vec<Bytes>,
}

impl Prepared {
    /// The payload alone.
    pub fn raw(pattern: &Bytes, total: u64) -> Self {
        Self { blocks: vec![pattern.clone(); (total / pattern.len() as u64) as usize] }
    }

    /// One frame, masked or not. The pattern's length is a multiple of 4, so that each block is masked alike.
    pub fn one_frame(pattern: &Bytes, total: u64, mask: Option<[u8; 4]>) -> Self {
        let head = Head::new(Some(Kind::Binary), true, total, mask);
        let mut body = pattern.to_vec();
        if let Some(key) = mask {
            Mask(key).apply(&mut body);
        }
        let mut prepared = Self::raw(&body.into(), total);
        prepared.blocks.insert(0, Bytes::copy_from_slice(head.bytes()));
        prepared
    }

    /// Unmasked frames, each of a quarter of the pattern.
    pub fn fragments(pattern: &Bytes, total: u64) -> Self {
        let frame = pattern.len() / 4;
        let block = |first: bool, last: bool| {
            let frames = pattern.chunks(frame).enumerate().flat_map(|(at, payload)| {
                let kind = (first && at == 0).then_some(Kind::Binary);
                let head = Head::new(kind, last && at == 3, payload.len() as u64, None);
                [head.bytes().to_vec(), payload.to_vec()].concat()
            });
            frames.collect::<Bytes>()
        };
        let count = (total / pattern.len() as u64) as usize;
        let mut blocks = vec![block(false, false); count];
        blocks[0] = block(true, count == 1);
        if count > 1 {
            blocks[count - 1] = block(false, true);
        }
        Self { blocks }
    }

    pub async fn write(&self, tcp: &mut TcpStream) -> io::Result<()> {
        for block in &self.blocks {
            tcp.write_all(block).await?;
        }
        Ok(())
    }
}
