//! Masking (RFC 6455, 5.3): XOR with a 4-byte key that repeats over the payload of one frame.

use bytes::{BufMut, BytesMut};
use multiversion::multiversion;

/// A mask key and the position in it: one value serves a frame, however many pieces its payload comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    /// In the order of memory, rotated so that its first byte is the one due next. A number, since one is moved in a
    /// register where an array goes through memory in pieces.
    key: u32,
}

impl Mask {
    pub(crate) fn new(key: u32) -> Self {
        Self { key }
    }

    fn bytes(&self) -> [u8; 4] {
        self.key.to_ne_bytes()
    }

    /// Masks or unmasks the next `data.len()` bytes of the payload.
    #[inline]
    pub(crate) fn apply(&mut self, data: &mut [u8]) {
        let (words, rest) = data.as_chunks_mut::<8>();
        if words.len() >= LONG / 8 {
            apply_long(self.key, words)
        } else {
            apply_words(self.key, words)
        }
        for (byte, key) in rest.iter_mut().zip(self.bytes().iter().cycle()) {
            *byte ^= key;
        }
        // A word is two whole turns of the key, so only the rest moves it.
        self.skip(rest.len());
    }

    /// Leaves out `len` bytes of the payload.
    #[inline]
    pub(crate) fn skip(&mut self, len: usize) {
        // In a register: as an array it would be copied in three pieces and read in one, which stalls.
        self.key = u32::from_le(self.key).rotate_right(8 * (len as u32 % 4)).to_le();
    }

    /// Appends `data`, masked, to `out`.
    ///
    /// In one pass, through registers: a second one over what has just been written waits for those stores, and longest
    /// where they were of another size, as those of short payloads are. `BytesMut` looks after its room with every block,
    /// so that the last ones are as large as they can be, too.
    #[inline]
    pub(crate) fn copy(&mut self, data: &[u8], out: &mut BytesMut) {
        out.reserve(data.len());
        let rest = if data.len() >= LONG { copy_long(*self, data, out) } else { self.copy_blocks::<128>(data, out) };
        let rest = self.copy_blocks::<64>(rest, out);
        let rest = self.copy_blocks::<32>(rest, out);
        let rest = self.copy_blocks::<16>(rest, out);
        let rest = self.copy_blocks::<8>(rest, out);
        let rest = self.copy_blocks::<4>(rest, out);
        for (byte, key) in rest.iter().zip(self.bytes()) {
            out.put_u8(byte ^ key);
        }
        self.skip(rest.len());
    }

    /// Appends the front of `data`, masked, as far as it consists of `N` bytes each: whole turns of the key. The rest.
    #[inline(always)]
    fn copy_blocks<'a, const N: usize>(&self, data: &'a [u8], out: &mut BytesMut) -> &'a [u8] {
        let (blocks, rest) = data.as_chunks::<N>();
        for block in blocks {
            let mut block = *block;
            for word in block.as_chunks_mut::<4>().0 {
                *word = (u32::from_ne_bytes(*word) ^ self.key).to_ne_bytes();
            }
            out.extend_from_slice(&block);
        }
        rest
    }
}

/// From so many bytes on it is worth while to call what is compiled for the processor at hand: wider registers, which gain 5 %
/// of a transfer of 64 KiB messages that the caches hold.
const LONG: usize = 1024;

#[inline(always)]
fn apply_words(key: u32, words: &mut [[u8; 8]]) {
    let key = u64::from(key) << 32 | u64::from(key);
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn apply_long(key: u32, words: &mut [[u8; 8]]) {
    apply_words(key, words);
}

#[multiversion(targets("x86_64+avx2"))]
fn copy_long<'a>(mask: Mask, data: &'a [u8], out: &mut BytesMut) -> &'a [u8] {
    mask.copy_blocks::<128>(data, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// The definition of RFC 6455, 5.3, letter by letter.
    fn by_the_book(data: &[u8]) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]).collect()
    }

    #[test]
    fn every_length_and_split_is_by_the_book() {
        let data: Vec<u8> = (0..100).collect();
        for len in 0..data.len() {
            for cut in 0..=len {
                let mut mask = Mask::new(u32::from_ne_bytes(KEY));
                let mut masked = data[..len].to_vec();
                mask.apply(&mut masked[..cut]);
                mask.apply(&mut masked[cut..]);
                assert_eq!(masked, by_the_book(&data[..len]), "length {len}, cut at {cut}");
            }
        }
    }

    #[test]
    fn long_payloads_are_by_the_book_too() {
        let data: Vec<u8> = (0..=255).cycle().take(3 * LONG + 300).collect();
        for len in (LONG - 9..LONG + 140).chain(data.len() - 140..data.len()) {
            for cut in 0..9 {
                let (mut applied, mut copied) = (data[..len].to_vec(), BytesMut::new());
                let mut mask = Mask::new(u32::from_ne_bytes(KEY));
                mask.apply(&mut applied[..cut]);
                mask.apply(&mut applied[cut..]);
                let mut mask = Mask::new(u32::from_ne_bytes(KEY));
                mask.copy(&data[..cut], &mut copied);
                mask.copy(&data[cut..len], &mut copied);
                assert_eq!(applied, by_the_book(&data[..len]), "length {len}, cut at {cut}");
                assert_eq!(copied, applied, "length {len}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_copy_is_by_the_book_at_every_length_and_split() {
        let data: Vec<u8> = (0..=255).cycle().take(300).collect();
        for len in 0..data.len() {
            for cut in [0, 1, 2, 3, 5, len / 2, len] {
                let cut = cut.min(len);
                let mut out = BytesMut::from(&b"head"[..]);
                let mut mask = Mask::new(u32::from_ne_bytes(KEY));
                mask.copy(&data[..cut], &mut out);
                mask.copy(&data[cut..len], &mut out);
                assert_eq!(&out[..4], b"head");
                assert_eq!(&out[4..], by_the_book(&data[..len]), "length {len}, cut at {cut}");
            }
        }
    }

    #[test]
    fn the_example_of_rfc_6455_5_7() {
        let mut data = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        Mask::new(u32::from_ne_bytes(KEY)).apply(&mut data);
        assert_eq!(&data, b"Hello");
    }
}
