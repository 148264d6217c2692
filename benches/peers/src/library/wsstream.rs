//! wsstream, reading chunks as they arrive, or whole messages. Its defaults, but for frames of up to a MiB where messages are large: that is
//! for peers which take them, as all here do.

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use wsstream::{Compression, Config, Message, MessageKind, Negotiated, WebSocketStream};

use super::{Connection, Consumer, DEFLATE, Floor, Kind, Purpose, Role, ended};
use crate::tally::Tally;

pub type Chunks = Wsstream<false>;
pub type Whole = Wsstream<true>;

pub struct Wsstream<const WHOLE: bool>(WebSocketStream);

impl<const WHOLE: bool> Connection for Wsstream<WHOLE> {
    type Message = Message;
    type Far = Floor;
    const SENDS_PIECES: bool = true;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let role = match role {
            Role::Client => wsstream::Role::Client,
            Role::Server => wsstream::Role::Server,
        };
        let mut config = Config::default().max_whole_message_size(usize::MAX);
        if purpose == Purpose::Bulk {
            config = config.max_frame_payload(1 << 20);
        }
        let mut negotiated = Negotiated::default();
        if let Purpose::Deflate { level } = purpose {
            config = config.compression(Compression::default().level(level));
            negotiated = negotiated.with_extensions(DEFLATE)?;
        }
        Ok(Self(WebSocketStream::from_upgraded(tcp, Bytes::new(), role, negotiated, config)))
    }

    fn message(kind: Kind, payload: Bytes) -> Message {
        match kind {
            Kind::Binary => Message::binary(payload),
            Kind::Text => Message::text_from_utf8(payload).expect("the text is valid"),
        }
    }

    async fn feed(&mut self, message: &Message) -> Result<()> {
        Ok(self.0.feed(message.clone()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        // The sink's: it sees to it that everything is on its way, and the driver writes while the next batch is made.
        Ok(SinkExt::flush(&mut self.0).await?)
    }

    async fn send(&mut self, message: &Message) -> Result<()> {
        Ok(self.0.send(message.clone()).await?)
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        self.0.send(payload).await?;
        Ok(self.0.flush().await?)
    }

    async fn send_endless(&mut self, piece: Bytes) -> Result<()> {
        let mut message = self.0.start_message(MessageKind::Binary).await?;
        loop {
            message.write(piece.clone()).await?;
        }
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        if WHOLE {
            let message = self.0.next().await.ok_or_else(ended)??;
            tally.whole(message.as_bytes());
        } else {
            let mut message = self.0.next_message().await?.ok_or_else(ended)?;
            while let Some(chunk) = message.chunk().await? {
                tally.piece(&chunk);
            }
            tally.end_of_message();
        }
        Ok(())
    }

    async fn consume(&mut self, consumer: &mut impl Consumer) -> Result<()> {
        if WHOLE {
            self.receive(consumer.tally()).await?;
            consumer.taken().await;
        } else {
            let mut message = self.0.next_message().await?.ok_or_else(ended)?;
            while let Some(chunk) = message.chunk().await? {
                consumer.tally().piece(&chunk);
                drop(chunk);
                consumer.taken().await;
            }
            consumer.tally().end_of_message();
        }
        Ok(())
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        Ok(self.0.next().await.ok_or_else(ended)??.into_bytes())
    }

    async fn echo(&mut self) -> Result<()> {
        if WHOLE {
            let message = self.0.next().await.ok_or_else(ended)??;
            return Ok(self.0.send(message).await?);
        }
        let payload = self.receive_whole().await?;
        let mut message = self.0.start_message(MessageKind::Binary).await?;
        message.write(payload).await?;
        Ok(message.finish().await?)
    }
}
