//! Text checked as it streams (RFC 6455, 8.1): at the first bad byte, across any split of the bytes.

/// What the vectorised checker looks at together. Anything shorter it hands to the standard library, which takes its
/// time over text that is not ASCII.
const BLOCK: usize = 64;

/// From here on it is quicker to fill up a block.
const PADDED_MIN: usize = 24;

/// The bytes are not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8 {
    /// Bytes of whole characters before the first bad one, in the piece that was checked.
    pub(crate) valid_up_to: usize,
}

/// Checks a text that comes in pieces. A character that a piece leaves unfinished is remembered, at most 3 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Validator {
    partial: [u8; 4],
    partial_len: u8,
}

/// What a piece holds, apart from the character it may begin and not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Bytes of whole characters at the front of the piece.
    pub(crate) valid: usize,
    /// What follows them is wrong; otherwise it is the beginning of a character, now remembered.
    pub(crate) bad: bool,
}

impl Utf8Validator {
    /// The beginning of a character that still misses bytes.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial_len > 0
    }

    /// Puts the bytes of the character begun before at the front of `into`, and forgets them; how many.
    pub(crate) fn take_partial(&mut self, into: &mut [u8]) -> usize {
        let len = usize::from(std::mem::take(&mut self.partial_len));
        into[..len].copy_from_slice(&self.partial[..len]);
        len
    }

    /// Adds one byte to the character begun before: its bytes once it is whole.
    pub(crate) fn complete(&mut self, byte: u8) -> Result<Option<([u8; 4], usize)>, NotUtf8> {
        let len = usize::from(self.partial_len) + 1;
        self.partial[len - 1] = byte;
        match std::str::from_utf8(&self.partial[..len]) {
            Ok(_) => {
                self.partial_len = 0;
                Ok(Some((self.partial, len)))
            }
            Err(error) if error.error_len().is_none() => {
                self.partial_len = len as u8;
                Ok(None)
            }
            Err(_) => Err(NotUtf8 { valid_up_to: 0 }),
        }
    }

    /// Checks a piece that begins at a character border.
    pub(crate) fn check(&mut self, piece: &[u8]) -> Checked {
        debug_assert!(!self.is_partial(), "complete() the character first");
        if piece.len() < BLOCK && is_short_text(piece) {
            return Checked { valid: piece.len(), bad: false };
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Checked { valid: piece.len(), bad: false },
            Err(error) => {
                let valid = error.valid_up_to();
                let bad = error.error_len().is_some();
                if !bad {
                    let rest = &piece[valid..];
                    self.partial[..rest.len()].copy_from_slice(rest);
                    self.partial_len = rest.len() as u8;
                }
                Checked { valid, bad }
            }
        }
    }

    /// Checks a piece that may begin in the middle of a character. After an error the validator is as it was before.
    pub(crate) fn accept(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let before = *self;
        let mut rest = piece;
        while self.is_partial() {
            let Some((&byte, tail)) = rest.split_first() else { return Ok(()) };
            if let Err(error) = self.complete(byte) {
                *self = before;
                return Err(error);
            }
            rest = tail;
        }
        let checked = self.check(rest);
        if checked.bad {
            *self = before;
            return Err(NotUtf8 { valid_up_to: piece.len() - rest.len() + checked.valid });
        }
        Ok(())
    }
}

/// Whether less than a block is text and ends at a character border; `false` may also mean that it was not looked at.
#[inline]
fn is_short_text(piece: &[u8]) -> bool {
    if piece.is_ascii() {
        return true;
    }
    if piece.len() < PADDED_MIN {
        return false;
    }
    // Zeros are characters, so that one that is cut off before them is seen.
    let mut block = [0; BLOCK];
    block[..piece.len()].copy_from_slice(piece);
    simdutf8::basic::from_utf8(&block).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes after which the text is known to be bad; `None` if it never is.
    fn first_bad(text: &[u8]) -> Option<usize> {
        let mut validator = Utf8Validator::default();
        text.iter().position(|&byte| validator.accept(&[byte]).is_err())
    }

    #[test]
    fn bad_bytes_are_found_at_once() {
        let cases: [(&[u8], usize); 8] = [
            (b"\xFF", 0),
            (b"a\x80", 1),
            (b"\xC0\x80", 0),
            (b"\xE0\x80\x80", 1),
            (b"\xED\xA0\x80", 1),
            (b"\xF4\x90\x80\x80", 1),
            (b"\xF5\x80\x80\x80", 0),
            (b"\xE2\x82\x28", 2),
        ];
        for (text, at) in cases {
            assert_eq!(first_bad(text), Some(at), "{text:x?}");
        }
    }

    #[test]
    fn good_text_passes_in_any_split() {
        let text = "κόσμε \u{1F50C}\u{10FFFF}\u{FFFF}\u{7FF}\u{800} end".as_bytes();
        for a in 0..=text.len() {
            for b in a..=text.len() {
                let mut validator = Utf8Validator::default();
                assert!([&text[..a], &text[a..b], &text[b..]].iter().all(|piece| validator.accept(piece).is_ok()));
                assert!(!validator.is_partial());
            }
        }
    }

    #[test]
    fn agrees_with_the_standard_library_on_every_two_bytes_in_context() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let text = [b'x', a, b, b'y'];
                let mut validator = Utf8Validator::default();
                let ok = text.iter().all(|&byte| validator.accept(&[byte]).is_ok()) && !validator.is_partial();
                assert_eq!(ok, std::str::from_utf8(&text).is_ok(), "{text:x?}");
            }
        }
    }

    #[test]
    fn agrees_with_the_standard_library_at_every_length_and_with_every_byte_spoilt() {
        let text = "κόσμε \u{1F50C}\u{10FFFF} ascii \u{7FF}\u{800}".repeat(5).into_bytes();
        for len in 0..=text.len() {
            for spoilt in (0..len).map(Some).chain([None]) {
                let mut piece = text[..len].to_vec();
                if let Some(at) = spoilt {
                    piece[at] ^= 0x80;
                }
                let checked = Utf8Validator::default().check(&piece);
                let (valid, bad) = match std::str::from_utf8(&piece) {
                    Ok(_) => (len, false),
                    Err(error) => (error.valid_up_to(), error.error_len().is_some()),
                };
                assert_eq!(checked, Checked { valid, bad }, "length {len}, spoilt {spoilt:?}");
            }
        }
    }

    #[test]
    fn a_refused_piece_changes_nothing() {
        let mut validator = Utf8Validator::default();
        assert!(validator.accept(b"\xE2\x82").is_ok());
        assert!(validator.accept(b"\x28").is_err());
        assert!(validator.accept(b"\xAC").is_ok());
        assert!(!validator.is_partial());
    }
}
