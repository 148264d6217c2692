//! A server that speaks bytes: whatever a test wants said, and nothing else.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use wsstream::{Config, Connect, ConnectError, WebSocketStream};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What the transport between the two ends holds in each direction.
pub(crate) const PIPE: usize = 64 * 1024;

/// A frame of the client's, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer<T = DuplexStream> {
    pub(crate) io: T,
}

/// An open connection, and the peer that its handshake was done with.
pub(crate) async fn open() -> (WebSocketStream, Peer) {
    open_with(|connect| connect).await
}

pub(crate) async fn open_config(config: Config) -> (WebSocketStream, Peer) {
    open_with(|connect| connect.config(config)).await
}

pub(crate) async fn open_with(
    options: impl FnOnce(Connect<DuplexStream>) -> Connect<DuplexStream>,
) -> (WebSocketStream, Peer) {
    let (connected, peer) = try_open("", options).await;
    (connected.unwrap(), peer)
}

/// A handshake whose response has these header lines in addition.
pub(crate) async fn try_open(
    lines: &str,
    options: impl FnOnce(Connect<DuplexStream>) -> Connect<DuplexStream>,
) -> (Result<WebSocketStream, ConnectError>, Peer) {
    let (client, server) = duplex(PIPE);
    let connect = options(WebSocketStream::connect_over("ws://localhost/", client));
    let mut peer = Peer { io: server };
    let serve = async {
        let request = peer.request().await;
        peer.switch_protocols(&request, lines).await;
    };
    let (connected, ()) = tokio::join!(connect.into_future(), serve);
    (connected, peer)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Peer<T> {
    /// The head of the client's request.
    pub(crate) async fn request(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.io.read_u8().await.expect("the transport ended in the middle of the request"));
        }
        String::from_utf8(head).unwrap()
    }

    /// Answers the request with a 101, and these header lines in addition.
    pub(crate) async fn switch_protocols(&mut self, request: &str, lines: &str) {
        let accept = derive_accept_key(header(request, "sec-websocket-key").unwrap().as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        );
        self.io.write_all(head.as_bytes()).await.unwrap();
    }

    /// The next frame; `None` at the end of the transport, which has to come between two frames.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let first = self.io.read_u8().await.ok()?;
        let frame = self.frame_behind(first).await;
        Some(frame.expect("the transport ended in the middle of a frame"))
    }

    async fn frame_behind(&mut self, first: u8) -> std::io::Result<Frame> {
        assert_eq!(first & 0x70, 0, "reserved bits");
        let second = self.io.read_u8().await?;
        assert_eq!(second & 0x80, 0x80, "a client masks");
        let len = match second & 0x7f {
            126 => u64::from(self.io.read_u16().await?),
            127 => self.io.read_u64().await?,
            len => u64::from(len),
        };
        let mut mask = [0; 4];
        self.io.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.io.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload })
    }

    /// The next message, put together, or the next control frame: opcode and payload.
    pub(crate) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let Frame { mut fin, opcode, mut payload } = self.frame().await?;
        while !fin {
            let next = self.frame().await.expect("the end of the message");
            assert_eq!(next.opcode, CONTINUATION);
            fin = next.fin;
            payload.extend(next.payload);
        }
        Some((opcode, payload))
    }

    /// Passes over what comes until the Close frame; its body.
    pub(crate) async fn close_body(&mut self) -> Vec<u8> {
        loop {
            match self.frame().await.expect("a Close frame before the end") {
                Frame { opcode: CLOSE, payload, .. } => return payload,
                _ => continue,
            }
        }
    }

    /// Sends an unfragmented frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.raw(&frame(0x80 | opcode, payload.as_ref())).await;
    }

    /// Sends a Close frame.
    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, close_body(code, reason)).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// Waits for the client to end the transport; nothing more may come.
    pub(crate) async fn end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.io.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "bytes where the transport should have ended");
    }
}

/// A frame of the server's with this first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

pub(crate) fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The value of a header of the request.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The virtual time that a future takes.
pub(crate) async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}

/// What polling a future once gives.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
