//! tokio-websockets. The flush threshold is raised to the batch, so that `feed` gathers all of it; one message larger than
//! its frames of 4 MiB is sent as one, which it can mask in place.

use anyhow::Result;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Config, Limits, Message, ServerBuilder, WebSocketStream};

use super::{Connection, Floor, Kind, Purpose, Role, ended};
use crate::tally::Tally;

pub struct TokioWebsockets(WebSocketStream<TcpStream>);

impl Connection for TokioWebsockets {
    type Message = Message;
    type Far = Floor;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let mut config = Config::default().flush_threshold(purpose.batch().max(8 * 1024));
        if purpose == Purpose::OneMessage {
            config = config.frame_size(usize::MAX);
        }
        Ok(Self(match role {
            Role::Client => ClientBuilder::new().config(config).limits(Limits::unlimited()).take_over(tcp),
            Role::Server => ServerBuilder::new().config(config).limits(Limits::unlimited()).serve(tcp),
        }))
    }

    fn message(kind: Kind, payload: Bytes) -> Message {
        match kind {
            Kind::Binary => Message::binary(payload),
            Kind::Text => Message::text(payload),
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
        tally.whole(self.0.next().await.ok_or_else(ended)??.as_payload());
        Ok(())
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        Ok(self.0.next().await.ok_or_else(ended)??.into_payload().into())
    }
}
