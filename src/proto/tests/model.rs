//! RFC 6455 a second time: slow, on whole buffers, sharing no code with what it checks. And what checking needs.

use bytes::BytesMut;

use crate::{
    error::ConnectionError,
    message::MessageKind,
    proto::recv::{Chunk, Received, Receiver},
    role::Role,
};

/// What came in, with neighbouring chunks of a message joined: the same for every split of the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Data { kind: MessageKind, first: bool, last: bool, data: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

pub(crate) fn note(log: &mut Vec<Heard>, heard: Heard) {
    match (log.last_mut(), heard) {
        (Some(Heard::Data { last, data, .. }), Heard::Data { first: false, last: more_last, data: more, .. })
            if !*last =>
        {
            data.extend(more);
            *last = more_last;
        }
        (_, heard) => log.push(heard),
    }
}

impl Heard {
    fn new(received: Received, delivered: Option<Chunk>) -> Self {
        assert_eq!(received == Received::Chunk, delivered.is_some());
        match received {
            Received::Chunk => {
                let chunk = delivered.expect("a chunk");
                if chunk.kind == MessageKind::Text {
                    assert!(std::str::from_utf8(&chunk.data).is_ok(), "text chunks end at a character border");
                }
                Self::Data { kind: chunk.kind, first: chunk.first, last: chunk.last, data: chunk.data.to_vec() }
            }
            Received::Ping(payload) => Self::Ping(payload.to_vec()),
            Received::Pong(payload) => Self::Pong(payload.to_vec()),
            Received::Close(frame) => Self::Close(frame.code.into(), frame.reason),
        }
    }
}

/// Memory that a receiver may keep between reads: room for the payload of one control frame, as it grows.
const HELD_MAX: usize = 256;

/// What the receiver makes of bytes that come in these pieces, up to a Close frame or a fault.
pub(crate) fn receive<'a>(
    role: Role,
    limit: Option<u64>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Heard>, Option<ConnectionError>) {
    receive_by(Receiver::new(role, limit), pieces)
}

pub(crate) fn receive_by<'a>(
    mut receiver: Receiver,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Heard>, Option<ConnectionError>) {
    let mut log = Vec::new();
    for piece in pieces {
        let mut input = BytesMut::from(piece);
        loop {
            let mut delivered = None;
            match receiver.decode(&mut input, false, &mut |chunk| delivered = Some(chunk)) {
                Ok(Some(received)) => {
                    let heard = Heard::new(received, delivered);
                    let over = matches!(heard, Heard::Close(..));
                    note(&mut log, heard);
                    if over {
                        return (log, None);
                    }
                }
                Ok(None) => {
                    assert!(input.is_empty() && !receiver.has_more(), "what was not taken is lost");
                    assert!(receiver.held() <= HELD_MAX, "{} bytes are held", receiver.held());
                    break;
                }
                Err(error) => return (log, Some(error)),
            }
        }
    }
    (log, None)
}

/// A frame on the wire, with its payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
    /// Where it begins on the wire.
    pub(crate) at: usize,
    pub(crate) complete: bool,
}

impl Frame {
    pub(crate) fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }
}

/// The frames in well-formed bytes; the last may be incomplete.
pub(crate) fn frames(sender: Role, bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes[at..].get(..2) {
        let mut rest = &bytes[at + 2..];
        assert_eq!(header[1] & 0x80 != 0, sender == Role::Client, "a client masks, a server does not");
        let extended = match header[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let key_len = if sender == Role::Client { 4 } else { 0 };
        if rest.len() < extended + key_len {
            break;
        }
        let len = match extended {
            0 => u64::from(header[1] & 0x7F),
            _ => rest[..extended].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        let key = &rest[extended..extended + key_len];
        rest = &rest[extended + key_len..];
        let there = rest.len().min(len as usize);
        let payload = (0..there).map(|i| if key.is_empty() { rest[i] } else { rest[i] ^ key[i % 4] }).collect();
        frames.push(Frame { first: header[0], payload, at, complete: there as u64 == len });
        at += 2 + extended + key_len + there;
    }
    frames
}

/// The receiver by the book: what it hears, and the close code of the fault it ends with.
pub(crate) fn by_the_book(role: Role, limit: Option<u64>, bytes: &[u8]) -> (Vec<Heard>, Option<u16>) {
    let mut log = Vec::new();
    let fault = read_frames(role, limit, bytes, &mut log).err();
    (log, fault)
}

fn read_frames(role: Role, limit: Option<u64>, bytes: &[u8], log: &mut Vec<Heard>) -> Result<(), u16> {
    let mut at = 0;
    let mut take = |len: u64| -> Vec<u8> {
        let end = bytes.len().min(at + usize::try_from(len).unwrap_or(usize::MAX / 2));
        let taken = bytes[at..end].to_vec();
        at = end;
        taken
    };
    // Kind, whole payload, bytes of it delivered, bytes of it announced.
    let mut message: Option<(MessageKind, Vec<u8>, usize, u64)> = None;
    loop {
        let [first] = take(1)[..] else { return Ok(()) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        let control = opcode & 0x8 != 0;
        if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (control && !fin) {
            return Err(1002);
        }
        let [second] = take(1)[..] else { return Ok(()) };
        let masked = second & 0x80 != 0;
        if masked != (role == Role::Server) || (control && second & 0x7F > 125) {
            return Err(1002);
        }
        let (size, least) = match second & 0x7F {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        let extended = take(size);
        if (extended.len() as u64) < size {
            return Ok(());
        }
        let mut len = extended.iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
        if size == 0 {
            len = u64::from(second & 0x7F);
        }
        if len < least || len >> 63 != 0 {
            return Err(1002);
        }
        let key = take(if masked { 4 } else { 0 });
        if masked && key.len() < 4 {
            return Ok(());
        }
        match (opcode, &mut message) {
            (0, None) | (1 | 2, Some(_)) => return Err(1002),
            (1, _) => message = Some((MessageKind::Text, Vec::new(), 0, 0)),
            (2, _) => message = Some((MessageKind::Binary, Vec::new(), 0, 0)),
            _ => {}
        }
        if let (Some((.., announced)), false) = (&mut message, control) {
            *announced = announced.saturating_add(len);
            if limit.is_some_and(|limit| *announced > limit) {
                return Err(1009);
            }
        }
        let mut payload = take(len);
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= if masked { key[i % 4] } else { 0 };
        }
        let complete = payload.len() as u64 == len;
        if control {
            match (complete, opcode) {
                (false, _) => return Ok(()),
                (true, 9) => note(log, Heard::Ping(payload)),
                (true, 10) => note(log, Heard::Pong(payload)),
                (true, _) => {
                    let (code, reason) = close(&payload)?;
                    note(log, Heard::Close(code, reason));
                    return Ok(());
                }
            }
            continue;
        }
        let Some((kind, data, delivered, _)) = &mut message else { unreachable!("checked above") };
        data.extend(payload);
        let last = fin && complete;
        let (upto, bad) = match std::str::from_utf8(data) {
            Err(error) if *kind == MessageKind::Text => (error.valid_up_to(), last || error.error_len().is_some()),
            _ => (data.len(), false),
        };
        let first = opcode != 0;
        let fresh = data[*delivered..upto].to_vec();
        *delivered = upto;
        let last = last && !bad;
        if !fresh.is_empty() || last || first {
            note(log, Heard::Data { kind: *kind, first, last, data: fresh });
        }
        if bad {
            return Err(1007);
        }
        if last {
            message = None;
        }
        if !complete {
            return Ok(());
        }
    }
}

fn close(payload: &[u8]) -> Result<(u16, String), u16> {
    match payload.len() {
        0 => return Ok((1005, String::new())),
        1 => return Err(1002),
        _ => {}
    }
    let code = u16::from(payload[0]) << 8 | u16::from(payload[1]);
    // Those that 7.4.1 defines for use in a Close frame, those IANA has added, and the two free ranges of 7.4.2.
    let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014].contains(&code)
        || (3000..5000).contains(&code);
    match String::from_utf8(payload[2..].to_vec()) {
        _ if !good => Err(1002),
        Ok(reason) => Ok((code, reason)),
        Err(_) => Err(1007),
    }
}

/// The close code of a fault.
pub(crate) fn fault_code(error: &ConnectionError) -> u16 {
    error.close_frame().expect("a fault of the peer is told to it").code.into()
}
