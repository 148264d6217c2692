//! wsstream: a `Fanout`.

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use tokio::net::TcpStream;
use wsstream::{
    Config, Negotiated, Role, WebSocketStream,
    fanout::{Fanout, Lag, ReceiverOptions},
};

use super::Missed;
use crate::case::{BUDGET, Case, Pace};

pub(super) async fn start(source: TcpStream, receivers: Vec<TcpStream>, case: Case) -> Result<Missed> {
    let mut fanout = Fanout::new();
    let audience = fanout.audience();
    let mut handles = Vec::new();
    for (at, tcp) in receivers.into_iter().enumerate() {
        let lag = match case.pace {
            Pace::Full if at < case.readers() => Lag::Wait,
            _ => Lag::DropOldest,
        };
        let (_, writable) = open(tcp).split();
        let receiver = audience.join(writable, ReceiverOptions::default().budget(BUDGET).lag(lag));
        handles.push(receiver.handle());
        tokio::spawn(receiver);
    }
    let mut source = open(source);
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            fanout.publish(message).await;
        }
    });
    Ok(Box::new(move || handles.iter().filter_map(|handle| Some(handle.stats()?.dropped_messages)).sum()))
}

fn open(tcp: TcpStream) -> WebSocketStream {
    WebSocketStream::from_upgraded(tcp, Bytes::new(), Role::Server, Negotiated::default(), Config::default())
}
