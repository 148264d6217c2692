//! One message of a GiB, to a consumer that stops now and then.

use std::time::Duration;

use bytes::Bytes;
use wsstream::{CloseCode, Config, Control, MessageKind, Readable, WebSocketStream, Writable};

use crate::{allocator::Meter, site::Site, support::pattern};

const MIB: usize = 1 << 20;
const SIZE: usize = 1024 * MIB;

/// Where the consumer stops.
const STOPS: [usize; 4] = [64 * MIB, 300 * MIB, 600 * MIB, 1000 * MIB];

/// What may be on the way when everything stands still: our buffers, the proxy's, and those of four sockets, which the
/// system lets grow, to 6 MiB each and more.
const ON_THE_WAY: u64 = 128 * MIB as u64;

/// Both ends together, TLS of the client included.
const MEMORY: usize = 4 * MIB;

/// On a machine that stands still at times.
fn patient() -> Config {
    let time = Duration::from_secs(600);
    Config::default().keepalive_timeout(time).close_timeout(time)
}

pub(crate) async fn upload(mut site: Site) {
    let (client, server) = site.open(patient(), patient()).await;
    transfer(site, client, server).await;
}

pub(crate) async fn download(mut site: Site) {
    let (client, server) = site.open(patient(), patient()).await;
    transfer(site, server, client).await;
}

async fn transfer(site: Site, from: WebSocketStream, to: WebSocketStream) {
    let proxy_before = site.proxy.peak_memory();
    let piece = Bytes::from(pattern(256 * 1024));
    let meter = Meter::start();
    let (sender, receiver) = (from.control(), to.control());
    let (_unread, writable) = from.split();
    let (readable, _unwritten) = to.split();
    let send = tokio::spawn(send(writable, piece.clone()));
    receive(readable, &piece, &sender).await;
    let closed = send.await.unwrap();
    assert!(closed.was_clean);

    let what = format!("{:?}, a GiB", site.program);
    meter.assert_below(MEMORY, &what);
    let (sent, received) = (sender.stats().sent, receiver.stats().received);
    let stops = STOPS.len() as u64;
    assert!(received.pauses >= stops, "the reader's mark was never reached: {received:?}");
    assert!(sent.pauses >= stops, "the writer was never held up: {sent:?}");
    if let (Some(before), Some(after)) = (proxy_before, site.proxy.peak_memory()) {
        eprintln!("{what}: the proxy took {} KiB more, {} KiB in all", (after - before) / 1024, after / 1024);
        assert!(after - before < 8 * MIB, "{} bytes more in the proxy", after - before);
    }
}

async fn send(mut writable: Writable, piece: Bytes) -> wsstream::CloseInfo {
    let mut message = writable.start_message(MessageKind::Binary).await.unwrap();
    for _ in 0..SIZE / piece.len() {
        message.write(piece.clone()).await.unwrap();
    }
    message.finish().await.unwrap();
    writable.close(CloseCode::NORMAL, "").await.unwrap()
}

async fn receive(mut readable: Readable, piece: &Bytes, sender: &Control) {
    let mut message = readable.next_message().await.unwrap().unwrap();
    let mut stops = STOPS.into_iter().peekable();
    let mut at = 0;
    while let Some(chunk) = message.chunk().await.unwrap() {
        check(&chunk, piece, at);
        at += chunk.len();
        if stops.next_if(|stop| *stop <= at).is_some() {
            let sent = stands_still(sender).await;
            let ahead = sent.saturating_sub(at as u64);
            assert!(ahead < ON_THE_WAY, "{ahead} bytes were sent that nobody has taken");
        }
    }
    drop(message);
    assert_eq!((at, stops.next()), (SIZE, None));
    assert!(readable.next_message().await.unwrap().is_none());
}

/// Stops until the sender has stopped, too: nothing has left it for a while. Returns how much has.
async fn stands_still(sender: &Control) -> u64 {
    let (mut sent, mut unchanged) = (0, 0);
    while unchanged < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = sender.stats().sent.bytes;
        unchanged = if now == sent { unchanged + 1 } else { 0 };
        sent = now;
    }
    sent
}

fn check(mut chunk: &[u8], piece: &[u8], mut at: usize) {
    while !chunk.is_empty() {
        let expected = &piece[at % piece.len()..];
        let len = expected.len().min(chunk.len());
        assert!(chunk[..len] == expected[..len], "the bytes at {at}");
        chunk = &chunk[len..];
        at += len;
    }
}
