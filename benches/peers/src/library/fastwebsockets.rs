//! fastwebsockets. It writes each frame at once, so small ones are gathered by a buffered stream, as its `flush` expects;
//! large ones pass it by. Frames are taken as they come: the collector would copy them together.

use anyhow::{Result, ensure};
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, WebSocket};
use tokio::{io::BufWriter, net::TcpStream};

use super::{Connection, Consumer, Floor, Kind, Purpose, Role};
use crate::tally::Tally;

/// A batch of small messages with its heads; less than one large message, which so is never copied.
const GATHERED: usize = 48 * 1024;

pub struct Fastwebsockets {
    ws: WebSocket<BufWriter<TcpStream>>,
    role: Role,
    /// A client masks in place, so it needs a payload that may be overwritten.
    scratch: Vec<u8>,
}

impl Connection for Fastwebsockets {
    type Message = (OpCode, Bytes);
    type Far = Floor;
    const SENDS_PIECES: bool = true;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let gathers = if purpose.batch() == 0 { 0 } else { GATHERED };
        let side = match role {
            Role::Client => fastwebsockets::Role::Client,
            Role::Server => fastwebsockets::Role::Server,
        };
        let mut ws = WebSocket::after_handshake(BufWriter::with_capacity(gathers, tcp), side);
        ws.set_writev(true);
        ws.set_auto_close(true);
        ws.set_auto_pong(true);
        ws.set_max_message_size(usize::MAX);
        Ok(Self { ws, role, scratch: Vec::new() })
    }

    fn message(kind: Kind, payload: Bytes) -> Self::Message {
        match kind {
            Kind::Binary => (OpCode::Binary, payload),
            Kind::Text => (OpCode::Text, payload),
        }
    }

    async fn feed(&mut self, (opcode, payload): &Self::Message) -> Result<()> {
        let payload = match self.role {
            Role::Server => Payload::Borrowed(payload),
            Role::Client => {
                self.scratch.clear();
                self.scratch.extend_from_slice(payload);
                Payload::BorrowedMut(&mut self.scratch)
            }
        };
        Ok(self.ws.write_frame(Frame::new(true, *opcode, None, payload)).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.ws.flush().await?)
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        self.ws.write_frame(Frame::new(true, OpCode::Binary, None, Payload::Owned(payload))).await?;
        Ok(self.ws.flush().await?)
    }

    async fn send_endless(&mut self, piece: Bytes) -> Result<()> {
        let mut opcode = OpCode::Binary;
        loop {
            for _ in 0..Purpose::OneMessage.batch() / piece.len() {
                self.ws.write_frame(Frame::new(false, opcode, None, Payload::Borrowed(&piece))).await?;
                opcode = OpCode::Continuation;
            }
            self.ws.flush().await?;
        }
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        loop {
            let frame = self.ws.read_frame().await?;
            tally.piece(&frame.payload);
            if frame.fin {
                tally.end_of_message();
                return Ok(());
            }
        }
    }

    async fn consume(&mut self, consumer: &mut impl Consumer) -> Result<()> {
        loop {
            let frame = self.ws.read_frame().await?;
            consumer.tally().piece(&frame.payload);
            if frame.fin {
                consumer.tally().end_of_message();
            }
            let last = frame.fin;
            drop(frame);
            consumer.taken().await;
            if last {
                return Ok(());
            }
        }
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        let frame = self.ws.read_frame().await?;
        ensure!(frame.fin, "a message of several frames");
        match frame.payload {
            Payload::Bytes(payload) => Ok(payload.freeze()),
            payload => Ok(payload.to_vec().into()),
        }
    }
}
