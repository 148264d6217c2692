//! What was received: counted, and checked in samples, the same for every library.

use anyhow::{Result, ensure};
use bytes::Bytes;

/// Counts the payload that comes and compares the first and the last byte of each piece with what was sent: enough to
/// see that nothing was lost, doubled or left masked, and cheap enough not to be what is measured. What was compressed is
/// compared byte by byte.
pub struct Tally {
    /// Every message consists of this, once or many times over; or it is many messages, one after the other.
    pattern: Bytes,
    /// How much of the pattern one message is.
    message_len: usize,
    /// Every byte is compared.
    exact: bool,
    /// Position in the pattern.
    at: usize,
    /// Where in the pattern the last message ended.
    border: usize,
    bytes: u64,
    wrong: bool,
}

impl Tally {
    pub fn new(pattern: Bytes) -> Self {
        let message_len = pattern.len();
        Self { pattern, message_len, exact: false, at: 0, border: 0, bytes: 0, wrong: false }
    }

    /// Of messages that differ, which are of this length and are compared byte by byte.
    pub fn exact(pattern: Bytes, message_len: usize) -> Self {
        Self { message_len, exact: true, ..Self::new(pattern) }
    }

    /// Counts a piece of payload.
    #[inline]
    pub fn piece(&mut self, piece: &[u8]) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return };
        self.wrong |= *first != self.pattern[self.at];
        let mut last_at = self.at + piece.len() - 1;
        if last_at >= self.pattern.len() {
            last_at %= self.pattern.len();
        }
        self.wrong |= *last != self.pattern[last_at];
        if self.exact {
            self.wrong |= self.pattern.get(self.at..=last_at) != Some(piece);
        }
        self.at = if last_at + 1 == self.pattern.len() { 0 } else { last_at + 1 };
        self.bytes += piece.len() as u64;
    }

    /// A message ends here.
    #[inline]
    pub fn end_of_message(&mut self) {
        self.border += self.message_len;
        if self.border == self.pattern.len() {
            self.border = 0;
        }
        self.wrong |= self.at != self.border;
    }

    /// Counts a whole message.
    #[inline]
    pub fn whole(&mut self, payload: &[u8]) {
        self.piece(payload);
        self.end_of_message();
    }

    /// Payload bytes so far.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn check(&self) -> Result<()> {
        ensure!(!self.wrong, "what came is not what was sent, within {} bytes", self.bytes);
        Ok(())
    }
}

/// `len` bytes without a period that a fault could hide behind.
pub fn binary(len: usize) -> Bytes {
    let mut state = 0x9E37_79B9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// `len` bytes of text, with characters of one to four bytes.
pub fn text(len: usize) -> Bytes {
    const PROSE: &str = "Größe zählt: δεδομένα, данные, データ, 数据 — streams of text, 🙂 and so on. ";
    let mut text: String = PROSE
        .chars()
        .cycle()
        .scan(0, |bytes, char| {
            *bytes += char.len_utf8();
            (*bytes <= len).then_some(char)
        })
        .collect();
    text.extend(std::iter::repeat_n('.', len - text.len()));
    text.into()
}

/// `count` messages of `len` bytes of JSON: events, one to a line, of some 200 bytes each, with what differs from one to the
/// next in real ones. Spaces, which JSON allows, fill the rest.
pub fn json(count: usize, len: usize) -> Vec<Bytes> {
    const WHAT: [&str; 6] = ["page_view", "search", "add_to_cart", "checkout", "login", "error"];
    const WHERE: [&str; 5] = ["Berlin", "São Paulo", "東京", "Nairobi", "Chicago"];
    let mut state = 0x2545_F491_u64;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut time = 1_790_000_000_000;
    let mut event = move || {
        time += next(400);
        format!(
            "{{\"time\":{time},\"id\":\"{:08x}{:08x}\",\"event\":\"{}\",\"user\":{},\"city\":\"{}\",\"path\":\"/shop/{}/{}\",\
             \"ms\":{}.{:02},\"ok\":{}}}",
            next(1 << 31),
            next(1 << 31),
            WHAT[next(6) as usize],
            next(50_000),
            WHERE[next(5) as usize],
            ["books", "music", "garden"][next(3) as usize],
            next(9_000),
            next(900),
            next(100),
            next(20) > 0,
        )
    };
    let mut message = || {
        let mut text = event();
        loop {
            let line = event();
            if text.len() + 1 + line.len() > len {
                break;
            }
            text = text + "\n" + &line;
        }
        text.extend(std::iter::repeat_n(' ', len - text.len()));
        text.into()
    };
    (0..count).map(|_| message()).collect()
}
