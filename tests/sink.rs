//! The `Sink` side of a connection: what is fed is sent, and when.

use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    time::timeout,
};
use wsstream::{Config, Message, Negotiated, Role, WebSocketStream};

fn server(transport: DuplexStream) -> WebSocketStream {
    WebSocketStream::from_upgraded(transport, Bytes::new(), Role::Server, Negotiated::default(), Config::default())
}

async fn expect(peer: &mut DuplexStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    timeout(Duration::from_secs(5), peer.read_exact(&mut got)).await.expect("the bytes come").unwrap();
    assert_eq!(got, bytes);
}

/// `feed` leaves it to a later flush to tell the driver; the flush of this library used to wait without telling it.
#[tokio::test(start_paused = true)]
async fn what_was_fed_is_sent_by_either_flush() {
    let (transport, mut peer) = duplex(1024);
    let mut ws = server(transport);

    ws.feed(Message::text("a")).await.unwrap();
    timeout(Duration::from_secs(5), ws.flush()).await.expect("flush settles").unwrap();
    expect(&mut peer, b"\x81\x01a").await;

    ws.feed(Message::text("b")).await.unwrap();
    SinkExt::flush(&mut ws).await.unwrap();
    expect(&mut peer, b"\x81\x01b").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_sink_sends_without_a_flush() {
    let (transport, mut peer) = duplex(16);
    let mut ws = server(transport);
    let feeder = tokio::spawn(async move {
        for _ in 0..10 {
            ws.feed(Message::binary(vec![7; 60_000])).await.unwrap();
        }
        ws
    });
    let mut received = vec![0; 300_000];
    timeout(Duration::from_secs(60), peer.read_exact(&mut received)).await.expect("the mark was passed").unwrap();
    drop(peer);
    feeder.abort();
}

#[tokio::test(start_paused = true)]
async fn closing_the_sink_sends_1000_behind_everything_fed() {
    let (transport, mut peer) = duplex(1024);
    let mut ws = server(transport);
    ws.feed(Message::text("last")).await.unwrap();
    let closing = tokio::spawn(async move { SinkExt::close(&mut ws).await });
    expect(&mut peer, b"\x81\x04last\x88\x02\x03\xE8").await;
    tokio::io::AsyncWriteExt::write_all(&mut peer, b"\x88\x82\0\0\0\0\x03\xE8").await.unwrap();
    closing.await.unwrap().unwrap();
}
