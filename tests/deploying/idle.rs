//! Connections on which nothing happens: cut by the proxy, unless there are pings.

use std::time::Duration;

use wsstream::{Config, ConnectionError, Message, MessageKind, ReadyState, WebSocketStream};

use crate::{
    peer::alone,
    proxy::{Change, Program},
    site::{Scheme, Site},
    support::{next, within},
};

const NGINX: &[Change] = &[
    ("proxy_read_timeout 60s;", "proxy_read_timeout 2s;"),
    ("proxy_send_timeout 60s;", "proxy_send_timeout 2s;"),
    (" send_timeout 60s;", " send_timeout 2s;"),
];
const HAPROXY: &[Change] = &[("timeout tunnel 1h", "timeout tunnel 2s")];

/// No pings, and none missed.
fn silent() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None)
}

fn with_pings() -> Config {
    silent().ping_interval(Duration::from_millis(250))
}

async fn silence(program: Program, changes: &[Change<'_>]) {
    let Some(mut site) = Site::start(program, Scheme::Ws, changes) else { return };
    let mut kept = [site.open(with_pings(), silent()).await, site.open(silent(), with_pings()).await];
    // Opened later than the others, and cut: so the others have been idle for longer than the proxy bears. Twice.
    for _ in 0..2 {
        let (client, server) = site.open(silent(), silent()).await;
        for end in [client.closed(), server.closed()] {
            let error = within(end).await.unwrap_err();
            assert!(matches!(error, ConnectionError::Lost | ConnectionError::Io(_)), "{error:?}");
            assert_eq!(error.close_code(), wsstream::CloseCode::ABNORMAL);
        }
        for (client, server) in &mut kept {
            assert_eq!((client.ready_state(), server.ready_state()), (ReadyState::Open, ReadyState::Open));
        }
    }
    for (client, server) in &mut kept {
        answered(client, server).await;
        answered(server, client).await;
    }
}

async fn answered(from: &mut WebSocketStream, to: &mut WebSocketStream) {
    from.send("still there").await.unwrap();
    assert_eq!(within(next(to)).await.unwrap().unwrap(), Message::text("still there"));
}

#[test]
fn nginx_cuts_silence_and_keeps_what_is_kept_alive() {
    alone(async || silence(Program::Nginx, NGINX).await);
}

#[test]
fn haproxy_cuts_silence_and_keeps_what_is_kept_alive() {
    alone(async || silence(Program::HaProxy, HAPROXY).await);
}

/// A consumer that takes nothing for longer than the proxy bears, with a sender that has more than the buffers between
/// them hold. The pongs that the consumer's end sends meanwhile are all that moves.
async fn stall(program: Program, changes: &[Change<'_>], upload: bool, is_kept: bool) {
    const SIZE: usize = 256 << 20;
    let Some(mut site) = Site::start(program, Scheme::Ws, changes) else { return };
    let (client, server) = site.open(with_pings(), with_pings()).await;
    let (from, mut to) = if upload { (client, server) } else { (server, client) };
    let sender = from.control();
    let send = tokio::spawn(async move {
        let mut from = from;
        let mut message = from.start_message(MessageKind::Binary).await?;
        for _ in 0..SIZE / (1 << 20) {
            message.write(vec![0; 1 << 20]).await?;
        }
        message.finish().await
    });
    // Each is cut after a time that begins with it. The first is there to let the buffers fill.
    for _ in 0..3 {
        let (client, server) = site.open(silent(), silent()).await;
        let _ = (within(client.closed()).await.unwrap_err(), within(server.closed()).await.unwrap_err());
    }
    assert!(sender.stats().sent.bytes < SIZE as u64, "it must be held up");
    assert_eq!(sender.ready_state() == ReadyState::Open, is_kept, "{:?}", sender.stats());
    let mut message = to.next_message().await.unwrap().unwrap();
    let mut received = 0;
    let end = loop {
        match within(message.chunk()).await {
            Ok(Some(chunk)) => received += chunk.len(),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!((end.is_ok(), received == SIZE), (is_kept, is_kept), "{received} {end:?}");
    assert_eq!(within(send).await.unwrap().is_ok(), is_kept);
}

#[test]
fn nginx_keeps_a_consumer_that_stalls() {
    for upload in [true, false] {
        alone(async || stall(Program::Nginx, NGINX, upload, true).await);
    }
}

/// It minds what is written to each side by itself, so its time for tunnels must be longer than any pause.
#[test]
fn haproxy_cuts_a_consumer_that_stalls_for_longer_than_its_timeout() {
    for upload in [true, false] {
        alone(async || stall(Program::HaProxy, HAPROXY, upload, false).await);
    }
}
