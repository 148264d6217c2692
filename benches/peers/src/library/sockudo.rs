//! sockudo-ws. The high-water mark is raised to the batch, so that `feed` gathers all of it; that of its compressed streams
//! cannot be.

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt, future::Either};
use sockudo_ws::{CompressedWebSocketStream, Config, DeflateConfig, Message, WebSocketStream};
use tokio::net::TcpStream;

use super::{Connection, Floor, Kind, Purpose, Role, ended};
use crate::tally::Tally;

pub struct Sockudo(Either<WebSocketStream<TcpStream>, CompressedWebSocketStream<TcpStream>>);

impl Connection for Sockudo {
    type Message = Message;
    type Far = Floor;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let config = Config::builder().max_payload_length(usize::MAX).build();
        if let Purpose::Deflate { level } = purpose {
            let deflate = DeflateConfig { compression_level: level.into(), ..DeflateConfig::default() };
            return Ok(Self(Either::Right(match role {
                Role::Client => CompressedWebSocketStream::client(tcp, config, deflate),
                Role::Server => CompressedWebSocketStream::server(tcp, config, deflate),
            })));
        }
        let mut ws = match role {
            Role::Client => WebSocketStream::client(tcp, config),
            Role::Server => WebSocketStream::server(tcp, config),
        };
        ws.set_high_water_mark(purpose.batch().max(ws.high_water_mark()));
        Ok(Self(Either::Left(ws)))
    }

    fn message(kind: Kind, payload: Bytes) -> Message {
        match kind {
            Kind::Binary => Message::Binary(payload),
            Kind::Text => Message::Text(payload),
        }
    }

    async fn feed(&mut self, message: &Message) -> Result<()> {
        Ok(self.0.feed(message.clone()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        Ok(self.0.send(Message::binary(payload)).await?)
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        tally.whole(self.0.next().await.ok_or_else(ended)??.as_bytes());
        Ok(())
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        Ok(self.0.next().await.ok_or_else(ended)??.into_bytes())
    }
}
