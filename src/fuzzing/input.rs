//! Taking parameters from the front of a fuzzer's input.

use crate::role::Role;

/// An input that is read from its front; when it has ended, everything is zero.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A size, around those where something changes too: the headers' forms, copying, the largest frame.
    pub(super) fn size(&mut self) -> usize {
        match self.byte() {
            small @ 0..=191 => small.into(),
            240 => 65_530 + usize::from(self.byte() % 12),
            large @ 192..=239 => usize::from(large - 190) * 128 + usize::from(self.byte() % 128),
            huge => usize::from(huge - 238) * 4096 - 2,
        }
    }

    /// Two bytes, as sizes that are mostly small.
    pub(super) fn pieces(&mut self) -> Sizes {
        Sizes { sizes: [self.byte(), self.byte()], at: 0 }
    }

    /// Everything up to a newline, which is taken too.
    pub(super) fn line(&mut self) -> &'a [u8] {
        let len = self.0.iter().position(|&byte| byte == b'\n').unwrap_or(self.0.len());
        let line = self.take(len);
        self.byte();
        line
    }
}

pub(super) fn role(flag: bool) -> Role {
    if flag { Role::Server } else { Role::Client }
}

/// Sizes of pieces that something is cut into: two that alternate. Zero is as much as there is.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    sizes: [u8; 2],
    at: usize,
}

impl Sizes {
    pub(super) const WHOLE: Self = Self { sizes: [0; 2], at: 0 };

    pub(super) fn next_size(&mut self) -> usize {
        self.at ^= 1;
        match self.sizes[self.at ^ 1] {
            0 => usize::MAX,
            size => size.into(),
        }
    }

    pub(super) fn cut(mut self, bytes: &[u8]) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(self.next_size().min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces
    }
}
