//! Recordings: what a peer sends, the same in every run apart from its mask keys.

use std::fmt;

use bytes::Bytes;
use wsstream::{MessageKind, Role, bench::Sender};

/// Bytes of a recording, about.
const LEN: usize = 512 * 1024;

/// What it is a recording of.
#[derive(Clone, Copy)]
pub(crate) enum Recording {
    /// Binary messages of one size.
    Binary(usize),
    /// Text of 5 to 300 bytes in several languages, and a ping now and then.
    Chat,
    /// Binary messages of all sizes, most of them small, and a ping now and then.
    Mixed,
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(size) => f.write_str(&super::size(*size)),
            Self::Chat => f.write_str("chat"),
            Self::Mixed => f.write_str("mixed"),
        }
    }
}

impl Recording {
    /// What the other side sends to `role`, and how many messages that is.
    pub(crate) fn sent_to(self, role: Role) -> (Vec<u8>, u64) {
        let mut sender = Sender::new(if role == Role::Server { Role::Client } else { Role::Server });
        let mut dice = Dice::default();
        let (mut traffic, mut messages) = (Vec::new(), 0);
        while traffic.len() < LEN {
            match self {
                Self::Binary(size) => sender.message(MessageKind::Binary, vec![0x5A; size].into()),
                Self::Chat => {
                    let language = &text::ALL[dice.below(text::ALL.len())];
                    let text = language.text(dice.below(100), 5 + dice.below(296));
                    sender.message(MessageKind::Text, text);
                }
                Self::Mixed => sender.message(MessageKind::Binary, vec![0x5A; dice.length()].into()),
            }
            messages += 1;
            if !matches!(self, Self::Binary(_)) && messages % 64 == 0 {
                sender.ping(b"12345678");
            }
            sender.write(|slices| slices.iter().for_each(|slice| traffic.extend_from_slice(slice)));
        }
        (traffic, messages)
    }
}

/// Lengths of messages of all sizes, most of them small.
pub(crate) fn mixed_lengths(count: usize) -> Vec<usize> {
    let mut dice = Dice::default();
    std::iter::repeat_with(|| dice.length()).take(count).collect()
}

/// Chance that comes out the same every time.
struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Dice {
    /// Xorshift.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    /// As many from one power of two to the next, up to 128 KiB.
    fn length(&mut self) -> usize {
        let power = 1 << (2 + self.below(15));
        power + self.below(power)
    }
}

pub(crate) mod text {
    use super::Bytes;

    /// One that text is made of.
    pub(crate) struct Language {
        pub(crate) name: &'static str,
        sample: &'static str,
    }

    pub(crate) const ALL: [Language; 3] = [
        Language { name: "ascii", sample: "The quick brown fox jumps over the lazy dog. " },
        // Characters of one to four bytes.
        Language { name: "mixed", sample: "Ça va? Übung macht den Meister \u{1F600} – vielleicht. 多謝! " },
        // Hardly anything but characters of three bytes.
        Language { name: "wide", sample: "天地玄黃宇宙洪荒日月盈昃辰宿列張、寒來暑往" },
    ];

    impl Language {
        /// Text of at most `len` bytes, and hardly less, that begins at the given character of the sample.
        pub(crate) fn text(&self, begin: usize, len: usize) -> Bytes {
            let mut text = String::with_capacity(len + 4);
            for character in self.sample.chars().cycle().skip(begin % self.sample.chars().count()) {
                if text.len() + character.len_utf8() > len {
                    break;
                }
                text.push(character);
            }
            text.into()
        }
    }
}
