//! What was received: counted, and checked in samples, the same for every library.

use anyhow::{Result, ensure};
use bytes::Bytes;

/// Counts the payload that comes and compares the first and the last byte of each piece with what was sent: enough to
/// see that nothing was lost, doubled or left masked, and cheap enough not to be what is measured.
pub(crate) struct Tally {
    /// Every message consists of this, once or many times over.
    pattern: Bytes,
    /// Position in the pattern.
    at: usize,
    bytes: u64,
    wrong: bool,
}

impl Tally {
    pub(crate) fn new(pattern: Bytes) -> Self {
        Self { pattern, at: 0, bytes: 0, wrong: false }
    }

    /// Counts a piece of payload.
    #[inline]
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return };
        self.wrong |= *first != self.pattern[self.at];
        let mut last_at = self.at + piece.len() - 1;
        if last_at >= self.pattern.len() {
            last_at %= self.pattern.len();
        }
        self.wrong |= *last != self.pattern[last_at];
        self.at = if last_at + 1 == self.pattern.len() { 0 } else { last_at + 1 };
        self.bytes += piece.len() as u64;
    }

    /// A message ends here.
    #[inline]
    pub(crate) fn end_of_message(&mut self) {
        self.wrong |= self.at != 0;
    }

    /// Counts a whole message.
    #[inline]
    pub(crate) fn whole(&mut self, payload: &[u8]) {
        self.piece(payload);
        self.end_of_message();
    }

    /// Payload bytes so far.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.wrong, "what came is not what was sent, within {} bytes", self.bytes);
        Ok(())
    }
}

/// `len` bytes without a period that a fault could hide behind.
pub(crate) fn binary(len: usize) -> Bytes {
    let mut state = 0x9E37_79B9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// `len` bytes of text, with characters of one to four bytes.
pub(crate) fn text(len: usize) -> Bytes {
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
