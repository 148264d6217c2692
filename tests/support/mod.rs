//! A peer that does exactly what a test tells it to: it writes bytes, frames and lies, and sees what comes back as frames.
//!
//! Frames are built and parsed here a second time, in the plainest way, so that a mistake of the library is not made on
//! both sides of a test.

#![allow(dead_code)] // each test binary uses a part of this

use std::{future::Future, panic::Location, pin::pin, task::Poll, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use wsstream::{Config, Negotiated, Role, WebSocketStream};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const BOTH: [Role; 2] = [Role::Client, Role::Server];

/// Room in a pipe that no test fills by accident.
pub(crate) const WIDE: usize = 1 << 20;

/// Far longer than anything here takes on a busy machine, and in virtual time longer than any timer of the library.
const LIMIT: Duration = Duration::from_secs(60);

/// The next item. With `StreamExt` in scope its `collect`, which takes `self`, would hide that of a `MessageReader`.
pub(crate) async fn next<S: futures::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    futures::StreamExt::next(stream).await
}

/// Awaits with a limit, so that what hangs fails and says where.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("this never came: {caller}"),
        }
    }
}

/// Lets every task do what it can, without time passing. Only for single-threaded runtimes.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// The header of a frame; a client's is masked with a key of zeros, which leaves the payload as it is.
pub(crate) fn header(sender: Role, fin: bool, opcode: u8, len: u64) -> Vec<u8> {
    let mask = if sender == Role::Client { 0x80 } else { 0 };
    let mut out = vec![if fin { 0x80 } else { 0 } | opcode];
    match len {
        0..=125 => out.push(mask | len as u8),
        126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    if sender == Role::Client {
        out.extend_from_slice(&[0; 4]);
    }
    out
}

pub(crate) fn frame(sender: Role, fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(sender, fin, opcode, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

pub(crate) fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// Bytes in which a swap, a loss or a repetition shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 251 % 253) as u8).collect()
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fin, opcode, payload } = self;
        let begin = payload[..payload.len().min(20)].escape_ascii();
        write!(f, "Frame {{ fin: {fin}, opcode: {opcode}, {} bytes: {begin} }}", payload.len())
    }
}

/// Takes one whole frame from the front of `bytes`. It must be masked if, and only if, a client sent it.
pub(crate) fn parse(sender: Role, bytes: &mut Vec<u8>) -> Option<Frame> {
    let [first, second, ..] = bytes[..] else { return None };
    let masked = second & 0x80 != 0;
    assert_eq!(masked, sender == Role::Client, "masked if and only if it comes from a client");
    assert_eq!(first & 0x70, 0, "reserved bits");
    let (len, mut at) = match second & 0x7f {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()) as usize, 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        short => (short as usize, 2),
    };
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(bytes.get(at..at + 4)?);
        at += 4;
    }
    let mut payload = bytes.get(at..at + len)?.to_vec();
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
    bytes.drain(..at + len);
    Some(Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload })
}

/// The other end of a connection.
pub(crate) struct Raw<T = DuplexStream> {
    pub(crate) io: T,
    /// The role of this end.
    pub(crate) role: Role,
    unparsed: Vec<u8>,
}

/// A connection in the given role, and its scripted peer. The pipe holds `capacity` bytes in each direction.
pub(crate) fn pair_over(role: Role, config: Config, capacity: usize) -> (WebSocketStream, Raw) {
    let (near, far) = tokio::io::duplex(capacity);
    let ws = WebSocketStream::from_upgraded(near, "", role, Negotiated::default(), config);
    (ws, Raw::new(far, other(role)))
}

pub(crate) fn pair(role: Role) -> (WebSocketStream, Raw) {
    pair_over(role, Config::default(), WIDE)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Raw<T> {
    pub(crate) fn new(io: T, role: Role) -> Self {
        Self { io, role, unparsed: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.io.write_all(bytes)).await.expect("the connection takes bytes");
    }

    /// Sends a whole frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_part(true, opcode, payload).await;
    }

    pub(crate) async fn send_part(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        self.write(&frame(self.role, fin, opcode, payload)).await;
    }

    pub(crate) async fn send_close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, &close_body(code, reason)).await;
    }

    /// The next frame, `None` at the end of the transport.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let sender = other(self.role);
        loop {
            if let Some(frame) = parse(sender, &mut self.unparsed) {
                return Some(frame);
            }
            let mut buffer = [0; 16 * 1024];
            match within(self.io.read(&mut buffer)).await {
                Ok(0) | Err(_) => {
                    assert!(self.unparsed.is_empty(), "the transport ended within a frame");
                    return None;
                }
                Ok(len) => self.unparsed.extend_from_slice(&buffer[..len]),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, opcode: u8) -> impl Future<Output = Vec<u8>> {
        let caller = Location::caller();
        async move {
            let frame = self.frame().await;
            match frame {
                Some(frame) if frame.fin && frame.opcode == opcode => frame.payload,
                other => panic!("expected one frame of opcode {opcode}, got {other:?} at {caller}"),
            }
        }
    }

    /// The next frame must be a Close: its code and reason, `None` for an empty body.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> impl Future<Output = Option<(u16, String)>> {
        let close = self.expect(CLOSE);
        async move {
            let body = close.await;
            let (code, reason) = body.split_at_checked(2)?;
            let code = u16::from_be_bytes(code.try_into().unwrap());
            Some((code, String::from_utf8(reason.to_vec()).expect("a reason is UTF-8")))
        }
    }

    /// A whole message, put together from its fragments; nothing may come between them.
    pub(crate) async fn message(&mut self) -> (u8, Vec<u8>) {
        let first = self.frame().await.expect("a message comes");
        assert!(matches!(first.opcode, TEXT | BINARY), "a message comes, not {first:?}");
        let (opcode, mut fin, mut payload) = (first.opcode, first.fin, first.payload);
        while !fin {
            let next = self.frame().await.expect("the message goes on");
            assert_eq!(next.opcode, CONTINUATION);
            fin = next.fin;
            payload.extend_from_slice(&next.payload);
        }
        (opcode, payload)
    }

    /// Nothing may come before the end of the transport.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let frame = self.frame().await;
            assert_eq!(frame, None, "{caller}");
        }
    }

    /// Nothing has come so far.
    pub(crate) async fn expect_silence(&mut self) {
        settle().await;
        assert!(self.unparsed.is_empty());
        let mut byte = [0];
        let read = self.io.read(&mut byte);
        tokio::select! {
            biased;
            read = read => panic!("there should be silence, not {read:?} {byte:?}"),
            () = std::future::ready(()) => {}
        }
    }
}

/// Polls at most `k` times, then drops the future; `None` if it was not enough.
pub(crate) async fn poll_times<F: Future>(k: usize, future: F) -> Option<F::Output> {
    if k == 0 {
        return None;
    }
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= k => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
