//! yawc, with the buffers of its own benchmark (128 KiB to read, backpressure at the batch; 1 KiB each for idle
//! connections) and its checking of text switched on. A message too large to be put together is streamed, frame by frame.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, future::Either};
use tokio::net::TcpStream;
use yawc::{CompressionLevel, Frame, Options, WebSocket, streaming::Streaming};

use super::{Connection, Consumer, DEFLATE, Floor, Kind, Purpose, Role, ended};
use crate::tally::Tally;

pub struct Yawc(Either<WebSocket<TcpStream>, Streaming<TcpStream>>);

impl Connection for Yawc {
    type Message = Frame;
    type Far = Floor;
    const SENDS_PIECES: bool = true;

    async fn open(tcp: TcpStream, role: Role, purpose: Purpose, _message_len: usize) -> Result<Self> {
        let role = match role {
            Role::Client => yawc::Role::Client,
            Role::Server => yawc::Role::Server,
        };
        let (read, write) = match purpose {
            Purpose::Bulk | Purpose::DefaultFrames | Purpose::OneMessage | Purpose::Deflate { .. } => {
                (256 * 1024, 256 * 1024)
            }
            Purpose::Small | Purpose::Echo => (128 * 1024, 64 * 1024),
            Purpose::Idle => (1024, 1024),
        };
        let mut options = Options::default()
            .with_limits(usize::MAX / 4, usize::MAX / 2)
            .with_read_buffer_capacity(read)
            .with_write_buffer_capacity(write)
            .with_backpressure_boundary(write)
            .with_utf8()
            .with_no_delay();
        let mut extensions = None;
        if let Purpose::Deflate { level } = purpose {
            options = options.with_compression_level(CompressionLevel::new(level.into()));
            extensions = Some(DEFLATE);
        }
        let ws = WebSocket::from_stream_with_extensions(tcp, role, extensions, options)?;
        Ok(Self(match purpose {
            Purpose::OneMessage => Either::Right(ws.into_streaming()),
            _ => Either::Left(ws),
        }))
    }

    fn message(kind: Kind, payload: Bytes) -> Frame {
        match kind {
            Kind::Binary => Frame::binary(payload),
            Kind::Text => Frame::text(payload),
        }
    }

    async fn feed(&mut self, message: &Frame) -> Result<()> {
        Ok(self.0.feed(message.clone()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    async fn send_once(&mut self, payload: Vec<u8>) -> Result<()> {
        Ok(self.0.send(Frame::binary(payload)).await?)
    }

    async fn send_endless(&mut self, piece: Bytes) -> Result<()> {
        let mut frame = Frame::binary(piece.clone()).with_fin(false);
        loop {
            for _ in 0..Purpose::OneMessage.batch() / piece.len() {
                self.0.feed(frame).await?;
                frame = Frame::continuation(piece.clone()).with_fin(false);
            }
            self.0.flush().await?;
        }
    }

    async fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        loop {
            let frame = self.0.next().await.ok_or_else(ended)?;
            tally.piece(frame.payload());
            if frame.is_fin() {
                tally.end_of_message();
                return Ok(());
            }
        }
    }

    async fn consume(&mut self, consumer: &mut impl Consumer) -> Result<()> {
        loop {
            let frame = self.0.next().await.ok_or_else(ended)?;
            consumer.tally().piece(frame.payload());
            let last = frame.is_fin();
            if last {
                consumer.tally().end_of_message();
            }
            drop(frame);
            consumer.taken().await;
            if last {
                return Ok(());
            }
        }
    }

    async fn receive_whole(&mut self) -> Result<Bytes> {
        let frame = self.0.next().await.ok_or_else(ended)?;
        ensure!(frame.is_fin(), "a message of several frames");
        Ok(frame.into_payload())
    }
}
