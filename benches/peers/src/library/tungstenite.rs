//! tokio-tungstenite. Its documentation advises large buffers for high load, 4 KiB for many idle connections. For an echo
//! something in between: the read buffer is filled with zeros before each read.

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{
            self,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use super::{Connection, Floor, Kind, Purpose, Role, ended};
use crate::tally::Tally;

pub struct Tungstenite(WebSocketStream<TcpStream>);

impl Connection for Tungstenite {
    type Message = Message;
    type Far = Floor;
    const SENDS_PIECES: bool = true;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let role = match role {
            Role::Client => protocol::Role::Client,
            Role::Server => protocol::Role::Server,
        };
        let buffer = match purpose {
            Purpose::Bulk | Purpose::DefaultFrames | Purpose::OneMessage | Purpose::Deflate { .. } => 256 * 1024,
            Purpose::Small => 128 * 1024,
            Purpose::Echo => 16 * 1024,
            Purpose::Idle => 4 * 1024,
        };
        let config = protocol::WebSocketConfig::default()
            .read_buffer_size(buffer)
            .write_buffer_size(buffer)
            .max_message_size(None)
            .max_frame_size(None);
        Ok(Self(WebSocketStream::from_raw_socket(tcp, role, Some(config)).await))
    }

    fn message(kind: Kind, payload: Bytes) -> Message {
        match kind {
            Kind::Binary => Message::Binary(payload),
            Kind::Text => Message::Text(Utf8Bytes::try_from(payload).expect("the text is valid")),
        }
    }

    async fn feed(&mut self, message: &Message) -> Result<()> {
        Ok(self.0.feed(message.clone()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        Ok(self.0.send(Message::Binary(payload.into())).await?)
    }

    async fn send_endless(&mut self, piece: Bytes) -> Result<()> {
        let mut data = Data::Binary;
        loop {
            for _ in 0..Purpose::OneMessage.batch() / piece.len() {
                let frame = Frame::message(piece.clone(), OpCode::Data(data), false);
                self.0.feed(Message::Frame(frame)).await?;
                data = Data::Continue;
            }
            self.0.flush().await?;
        }
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        match self.0.next().await.ok_or_else(ended)?? {
            Message::Binary(payload) => tally.whole(&payload),
            Message::Text(payload) => tally.whole(payload.as_bytes()),
            _ => {}
        }
        Ok(())
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        Ok(self.0.next().await.ok_or_else(ended)??.into_data())
    }
}
