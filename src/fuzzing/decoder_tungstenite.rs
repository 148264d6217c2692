//! The decoder against tungstenite's.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::{
    Error as TungsteniteError, Message as TungsteniteMessage,
    error::ProtocolError as TungsteniteFault,
    protocol::{Role as TungsteniteRole, WebSocket, WebSocketConfig},
};

use super::input::{Input, Sizes, role};
use crate::{
    error::{ConnectionError, ProtocolError},
    message::MessageKind,
    proto::tests::model::{Heard, receive},
    role::Role,
};

/// More than any input has. A frame that announces more cannot be complete.
const LARGEST_FRAME: usize = 1 << 20;

/// A whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Data(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// How tungstenite ends.
#[derive(Debug)]
enum End {
    /// After a Close frame, or with the bytes.
    Ended,
    /// A frame has begun that is larger than all there is.
    Incomplete,
    Fault(TungsteniteError),
}

/// A flag byte, two sizes of pieces, and bytes as they come from a peer.
///
/// Both hear the same messages, and both find a fault or none does, but for the differences listed in [`compare`].
pub fn decoder_tungstenite(data: &[u8]) {
    let mut input = Input(data);
    let role = role(input.byte() & 1 != 0);
    let pieces = input.pieces();
    let bytes = input.0;
    let (heard, fault) = receive(role, None, pieces.cut(bytes));
    let (theirs, end) = tungstenite(role, pieces, bytes);
    compare(role, bytes, &whole(&heard), fault, &theirs, &end);
}

/// The known differences:
///
/// 1. tungstenite judges a frame when all of it is there, this decoder at the first byte that is wrong. So it finds
///    nothing wrong in a frame that the input breaks off, where this decoder may.
/// 2. tungstenite takes lengths that are not in their shortest form (RFC 6455, 5.2: the minimal number of bytes MUST
///    be used), in control frames too, where the long forms alone are a fault here.
/// 3. tungstenite turns a close code that may not be on the wire into 1002 and reports that as the peer's; here it is a
///    fault. 1014, which IANA has registered, is one of those to tungstenite.
/// 4. Of two things that are wrong with the same control frame, each may find the other one first.
fn compare(role: Role, bytes: &[u8], ours: &[Message], fault: Option<ConnectionError>, theirs: &[Message], end: &End) {
    // 3.
    if let (Some(Message::Close(1014, _)), Some(Message::Close(1002, reason))) = (ours.last(), theirs.last()) {
        assert_eq!(reason, "Protocol violation");
        assert_eq!(ours[..ours.len() - 1], theirs[..theirs.len() - 1]);
        return;
    }
    let common = ours.len().min(theirs.len());
    match (&fault, &theirs[common..]) {
        // 2. What comes after such a frame only tungstenite hears.
        (Some(ConnectionError::Protocol(ProtocolError::OverlongLength)), _) => {
            assert_eq!(ours, &theirs[..common]);
            assert_eq!(ours.len(), common);
            return;
        }
        (
            Some(ConnectionError::Protocol(ProtocolError::ControlTooLong)),
            [Message::Ping(_) | Message::Pong(_) | Message::Close(..), ..],
        ) => {
            assert_eq!(ours, &theirs[..common]);
            return;
        }
        // 3.
        (Some(ConnectionError::Protocol(ProtocolError::InvalidCloseCode(_))), [Message::Close(1002, reason)]) => {
            assert_eq!(reason, "Protocol violation");
            assert_eq!(ours, &theirs[..common]);
            return;
        }
        _ => assert_eq!(ours, theirs),
    }
    match (&fault, end) {
        (None, End::Ended | End::Incomplete) => {}
        // 1.
        (Some(_), End::Incomplete) => {}
        (Some(fault), End::Ended) => assert!(breaks_off(role, bytes), "a fault only here: {fault}"),
        (None, End::Fault(fault)) => panic!("a fault only there: {fault}"),
        // 4.
        (
            Some(ConnectionError::Protocol(ProtocolError::InvalidCloseCode(_) | ProtocolError::ControlTooLong)),
            End::Fault(_),
        ) => {}
        (Some(fault), End::Fault(theirs)) => {
            let is_text =
                |error: &ProtocolError| matches!(error, ProtocolError::InvalidText | ProtocolError::InvalidCloseReason);
            let ours_is_text = matches!(fault, ConnectionError::Protocol(error) if is_text(error));
            let theirs_is_text = matches!(theirs, TungsteniteError::Utf8(_));
            assert_eq!(ours_is_text, theirs_is_text, "{fault}, but there: {theirs}");
        }
    }
}

/// Whether the bytes end inside a frame, whatever else is wrong with them.
fn breaks_off(role: Role, mut bytes: &[u8]) -> bool {
    let key = if role == Role::Server { 4 } else { 0 };
    while let [_, second, rest @ ..] = bytes {
        let (extended, len) = match second & 0x7F {
            126 => (2, rest.get(..2).map(|len| len.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))),
            127 => (8, rest.get(..8).map(|len| len.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))),
            len => (0, Some(u64::from(len))),
        };
        let masked = if second & 0x80 != 0 { 4 } else { 0 };
        let Some(frame) = len.and_then(|len| usize::try_from(len).ok()?.checked_add(extended + masked)) else {
            return true;
        };
        if frame > rest.len() {
            return true;
        }
        if masked != key {
            return false; // both stop here
        }
        bytes = &rest[frame..];
    }
    !bytes.is_empty()
}

fn whole(heard: &[Heard]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut open = Vec::new();
    for heard in heard {
        match heard {
            Heard::Data { kind, last, data, .. } => {
                open.extend(data);
                if *last {
                    messages.push(Message::Data(*kind, std::mem::take(&mut open)));
                }
            }
            Heard::Ping(payload) => messages.push(Message::Ping(payload.clone())),
            Heard::Pong(payload) => messages.push(Message::Pong(payload.clone())),
            Heard::Close(code, reason) => messages.push(Message::Close(*code, reason.clone())),
        }
    }
    messages
}

fn tungstenite(role: Role, pieces: Sizes, bytes: &[u8]) -> (Vec<Message>, End) {
    let role = match role {
        Role::Client => TungsteniteRole::Client,
        Role::Server => TungsteniteRole::Server,
    };
    let config =
        WebSocketConfig::default().read_buffer_size(4096).max_message_size(None).max_frame_size(Some(LARGEST_FRAME));
    let mut socket = WebSocket::from_raw_socket(Transport { rest: bytes, pieces }, role, Some(config));
    let mut messages = Vec::new();
    loop {
        let message = match socket.read() {
            Ok(TungsteniteMessage::Text(text)) => Message::Data(MessageKind::Text, text.as_bytes().to_vec()),
            Ok(TungsteniteMessage::Binary(data)) => Message::Data(MessageKind::Binary, data.to_vec()),
            Ok(TungsteniteMessage::Ping(payload)) => Message::Ping(payload.to_vec()),
            Ok(TungsteniteMessage::Pong(payload)) => Message::Pong(payload.to_vec()),
            Ok(TungsteniteMessage::Close(None)) => Message::Close(1005, String::new()),
            Ok(TungsteniteMessage::Close(Some(close))) => Message::Close(close.code.into(), close.reason.to_string()),
            Ok(TungsteniteMessage::Frame(_)) => unreachable!("raw frames are not read"),
            Err(TungsteniteError::Protocol(TungsteniteFault::ResetWithoutClosingHandshake)) => {
                return (messages, End::Ended);
            }
            Err(TungsteniteError::Capacity(_)) => return (messages, End::Incomplete),
            Err(error) => return (messages, End::Fault(error)),
        };
        let closed = matches!(message, Message::Close(..));
        messages.push(message);
        if closed {
            return (messages, End::Ended);
        }
    }
}

/// Bytes to read, in pieces; what is written is of no interest.
struct Transport<'a> {
    rest: &'a [u8],
    pieces: Sizes,
}

impl Read for Transport<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.pieces.next_size().min(buffer.len());
        self.rest.read(&mut buffer[..len])
    }
}

impl Write for Transport<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
