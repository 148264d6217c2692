//! How connections end: by agreement, by failure, by neglect. In virtual time, against a scripted peer.

#[path = "../support/mod.rs"]
mod support;

mod abort_and_cancel;
mod by_the_peer;
mod by_us;
mod codes;
mod cut_messages;
mod drops;
mod faults;
mod reports;
mod transport;
mod without_a_reader;

use std::{future::Future, time::Duration};

use futures::SinkExt;
use support::{BINARY, BOTH, CONTINUATION, PING, PONG, Raw, TEXT, WIDE, frame, header, other, pair, pair_over};
use support::{next, settle, within};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use wsstream::{
    CloseCode, CloseError, CollectError, Config, ConnectionError, MAX_CLOSE_REASON, Message, MessageKind, Negotiated,
    ProtocolError, ReadError, Readable, ReadyState, Role, WebSocketStream, WriteError,
};

const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A pipe so narrow that a few bytes fill it.
const NARROW: usize = 64;

fn code(code: u16) -> CloseCode {
    CloseCode::try_from(code).unwrap()
}

/// Virtual time that passes meanwhile.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let begin = Instant::now();
    let output = within(future).await;
    (output, begin.elapsed())
}

fn assert_about(time: Duration, expected: Duration) {
    assert!(time >= expected && time < expected + Duration::from_millis(10), "{time:?} instead of {expected:?}");
}

async fn next_text(readable: &mut Readable) -> Option<String> {
    let message = within(readable.next_message()).await.unwrap()?;
    let message = within(message.collect(1 << 20)).await.unwrap();
    Some(message.as_text().unwrap().to_owned())
}

/// What the connection answers to bytes that break a rule.
async fn fault(role: Role, config: Config, bytes: &[u8]) -> (u16, String, ConnectionError) {
    let (ws, mut peer) = pair_over(role, config, WIDE);
    let (mut readable, mut writable) = ws.split();
    peer.write(bytes).await;
    let (code, reason) = peer.expect_close().await.expect("the fault has a code");
    peer.expect_end().await;
    drop(peer);
    let error = within(readable.closed()).await.unwrap_err();
    assert_eq!(error.close_code(), CloseCode::ABNORMAL, "the peer sent no valid Close frame");
    let read = loop {
        match within(readable.next_message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a failed connection does not end well"),
            Err(error) => break error,
        }
    };
    assert_eq!(read.to_string(), error.to_string());
    let write = within(writable.send("")).await.unwrap_err();
    assert_eq!(write.to_string(), error.to_string());
    (code, reason, error)
}
