//! Frame headers (RFC 6455, 5.2): 2 to 14 bytes, decoded from any split of the input. RSV1 marks the first frame of a
//! compressed message (RFC 7692, 6).

use bytes::{Buf, BufMut, BytesMut};

use crate::error::ProtocolError;

/// 2 bytes, 8 of extended length, 4 of mask key.
pub(crate) const MAX_HEADER: usize = 14;

/// The most a control frame may carry (5.5).
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpCode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
    /// With RSV1: the message is compressed.
    CompressedText = 0x41,
    CompressedBinary = 0x42,
}

impl OpCode {
    /// From a first byte without FIN; RSV2 and RSV3 are clear.
    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            0x41 => Self::CompressedText,
            0x42 => Self::CompressedBinary,
            0x40 | 0x48 | 0x49 | 0x4A => return Err(ProtocolError::MisplacedCompression),
            other => return Err(ProtocolError::ReservedOpcode(other & 0x0F)),
        })
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    /// Begins a compressed message.
    pub(crate) fn is_compressed(self) -> bool {
        self as u8 & RSV1 != 0
    }
}

/// A decoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) fin: bool,
    pub(crate) opcode: OpCode,
    pub(crate) mask: Option<u32>,
    pub(crate) len: u64,
}

impl FrameHeader {
    /// Reads a header from the front of `bytes`: it and its length, or `None` while bytes are missing.
    ///
    /// What is wrong is reported at the first byte that shows it. `masked` says what the sender's role demands (5.1),
    /// `compression` whether RSV1 has a meaning.
    #[inline(always)]
    pub(crate) fn parse(bytes: &[u8], masked: bool, compression: bool) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let reserved = if compression { RESERVED & !RSV1 } else { RESERVED };
        if first & reserved != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = OpCode::from_bits(first & !FIN)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if (second & MASKED != 0) != masked {
            return Err(if masked { ProtocolError::Unmasked } else { ProtocolError::Masked });
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::ControlTooLong);
        }

        let (len, at) = match short {
            126 => match bytes.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
                Some(b) => (u64::from_be_bytes(b), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if (short == 126 && len < 126) || (short == 127 && len <= u64::from(u16::MAX)) {
            return Err(ProtocolError::OverlongLength);
        }
        if len > i64::MAX as u64 {
            return Err(ProtocolError::LengthTooLarge);
        }

        if !masked {
            return Ok(Some((Self { fin, opcode, mask: None, len }, at)));
        }
        match bytes.get(at..at + 4).and_then(|b| b.try_into().ok()) {
            Some(key) => Ok(Some((Self { fin, opcode, mask: Some(u32::from_ne_bytes(key)), len }, at + 4))),
            None => Ok(None),
        }
    }

    /// Appends the header, with the length in its shortest form.
    #[inline]
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let first = self.opcode as u8 | if self.fin { FIN } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        match self.len {
            len @ 0..=125 => out.put_slice(&[first, masked | len as u8]),
            len @ 126..=0xFFFF => {
                let [a, b] = (len as u16).to_be_bytes();
                out.put_slice(&[first, masked | 126, a, b]);
            }
            len => {
                out.put_slice(&[first, masked | 127]);
                out.put_u64(len);
            }
        }
        if let Some(key) = self.mask {
            out.put_slice(&key.to_ne_bytes());
        }
    }
}

/// Bytes of the header of a frame with `len` bytes of payload.
pub(crate) fn header_len(len: u64, masked: bool) -> usize {
    let length = match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    length + if masked { 4 } else { 0 }
}

/// Sets FIN on a header that has been encoded at the front of `frame`.
pub(crate) fn set_fin(frame: &mut [u8]) {
    if let Some(first) = frame.first_mut() {
        *first |= FIN;
    }
}

/// Collects a header that arrives in pieces, so that no input has to be kept for it.
#[derive(Debug, Default)]
pub(crate) struct HeaderDecoder {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl HeaderDecoder {
    /// Bytes of a header that has come in part.
    pub(crate) fn held(&self) -> usize {
        usize::from(self.len)
    }

    /// Takes a header from the front of `input`; `None` when all of `input` has been taken and more is needed.
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
        masked: bool,
        compression: bool,
    ) -> Result<Option<FrameHeader>, ProtocolError> {
        if self.len == 0
            && let Some((header, size)) = FrameHeader::parse(input, masked, compression)?
        {
            remove(input, size);
            return Ok(Some(header));
        }
        self.decode_pieces(input, masked, compression)
    }

    #[cold]
    fn decode_pieces(
        &mut self,
        input: &mut BytesMut,
        masked: bool,
        compression: bool,
    ) -> Result<Option<FrameHeader>, ProtocolError> {
        for taken in 0..input.len() {
            self.bytes[usize::from(self.len)] = input[taken];
            self.len += 1;
            let so_far = &self.bytes[..usize::from(self.len)];
            if let Some((header, _)) = FrameHeader::parse(so_far, masked, compression)? {
                self.len = 0;
                remove(input, taken + 1);
                return Ok(Some(header));
            }
        }
        input.clear();
        Ok(None)
    }
}

/// Takes a header off the front. If hardly anything follows it, that is moved into its place, so that payload read next
/// lies right behind what was there before.
#[inline]
fn remove(input: &mut BytesMut, header: usize) {
    let rest = input.len() - header;
    if rest <= MAX_HEADER {
        input.copy_within(header.., 0);
        input.truncate(rest);
    } else {
        input.advance(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [u64; 10] = [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 0x1_0001, 1 << 62, i64::MAX as u64];

    fn encoded(header: FrameHeader) -> BytesMut {
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out
    }

    #[test]
    fn every_header_survives_every_split() {
        for len in LENGTHS {
            for mask in [None, Some(0x0403_0201)] {
                for fin in [false, true] {
                    let header = FrameHeader { fin, opcode: OpCode::Binary, mask, len };
                    let bytes = encoded(header);
                    for cut in 0..=bytes.len() {
                        let mut decoder = HeaderDecoder::default();
                        let (mut a, mut b) = (bytes.clone(), bytes.clone().split_off(cut));
                        a.truncate(cut);
                        let first = decoder.decode(&mut a, mask.is_some(), false).unwrap();
                        assert!(a.is_empty(), "everything is taken");
                        let second = decoder.decode(&mut b, mask.is_some(), false).unwrap();
                        assert_eq!(first.or(second), Some(header), "cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_header_leaves_the_payload() {
        let mut input = encoded(FrameHeader { fin: true, opcode: OpCode::Text, mask: None, len: 3 });
        input.extend_from_slice(b"abc");
        HeaderDecoder::default().decode(&mut input, false, false).unwrap().unwrap();
        assert_eq!(&input[..], b"abc");
    }

    #[test]
    fn lengths_must_be_in_their_shortest_form() {
        let cases: [&[u8]; 4] = [
            &[0x82, 126, 0, 125],
            &[0x82, 126, 0, 0],
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1],
        ];
        for bytes in cases {
            assert_eq!(FrameHeader::parse(bytes, false, false), Err(ProtocolError::OverlongLength), "{bytes:?}");
        }
    }

    #[test]
    fn the_64th_bit_of_a_length_must_be_clear() {
        let bytes = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(FrameHeader::parse(&bytes, false, false), Err(ProtocolError::LengthTooLarge));
    }

    #[test]
    fn reserved_bits_and_opcodes_fail_at_the_first_byte() {
        for bit in [0x10, 0x20, 0x40] {
            assert_eq!(FrameHeader::parse(&[0x82 | bit], false, false), Err(ProtocolError::ReservedBits));
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(FrameHeader::parse(&[0x80 | opcode], false, false), Err(ProtocolError::ReservedOpcode(opcode)));
        }
    }

    #[test]
    fn the_first_frame_of_a_message_may_say_that_it_is_compressed() {
        for (first, opcode) in [(0xC1, OpCode::CompressedText), (0x42, OpCode::CompressedBinary)] {
            let (header, _) = FrameHeader::parse(&[first, 0], false, true).unwrap().unwrap();
            assert!(header.opcode == opcode && opcode.is_compressed() && !opcode.is_control());
            assert_eq!(encoded(header)[0], first);
        }
        for (first, error) in [
            (0xC0, ProtocolError::MisplacedCompression),
            (0xC8, ProtocolError::MisplacedCompression),
            (0xC9, ProtocolError::MisplacedCompression),
            (0xCA, ProtocolError::MisplacedCompression),
            (0xC3, ProtocolError::ReservedOpcode(3)),
            (0xE1, ProtocolError::ReservedBits),
            (0x92, ProtocolError::ReservedBits),
        ] {
            assert_eq!(FrameHeader::parse(&[first], false, true), Err(error), "{first:x}");
        }
    }

    #[test]
    fn control_frames_are_short_and_whole() {
        for opcode in [8, 9, 10] {
            assert_eq!(FrameHeader::parse(&[opcode], false, false), Err(ProtocolError::FragmentedControl));
            assert_eq!(FrameHeader::parse(&[0x80 | opcode, 126], false, false), Err(ProtocolError::ControlTooLong));
            assert!(FrameHeader::parse(&[0x80 | opcode, 125], false, false).unwrap().is_some());
        }
    }

    #[test]
    fn the_role_decides_about_masking() {
        assert_eq!(FrameHeader::parse(&[0x82, 0x00], true, false), Err(ProtocolError::Unmasked));
        assert_eq!(FrameHeader::parse(&[0x82, 0x80], false, false), Err(ProtocolError::Masked));
    }
}
