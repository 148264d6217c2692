//! One source and many receivers, over real connections: both roles, with and without compression, whole and in chunks;
//! receivers that stall, die, leave and join late.

#[path = "../support/mod.rs"]
mod support;

mod members;
mod sharing;
mod streams;

use support::other;
use tokio::io::duplex;
use wsstream::{Compression, Config, Message, Negotiated, Role, WebSocketStream};

/// Without the keepalive: nothing but what happens wakes anybody, and what is not woken hangs.
fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None).compression(Compression::default().min_size(0))
}

/// What was agreed on: nothing, or parameters of permessage-deflate.
fn negotiated(deflate: Option<&str>) -> Negotiated {
    match deflate {
        None => Negotiated::default(),
        Some(params) => Negotiated::default().with_extensions(&format!("permessage-deflate{params}")).unwrap(),
    }
}

/// A connection for the fan-out, and its peer.
fn pair(role: Role, deflate: Option<&str>, capacity: usize) -> (WebSocketStream, WebSocketStream) {
    let (near, far) = duplex(capacity);
    let near = WebSocketStream::from_upgraded(near, "", role, negotiated(deflate), config());
    (near, WebSocketStream::from_upgraded(far, "", other(role), negotiated(deflate), config()))
}

/// Text that compresses well, and differs from message to message.
fn json(number: usize, len: usize) -> String {
    let line = format!("{{\"message\":{number},\"größe\":{len}}}\n");
    let mut text = line.repeat(len / line.len() + 1);
    text.truncate(text.floor_char_boundary(len));
    text
}

fn messages() -> Vec<Message> {
    vec![
        Message::text(json(0, 300)),
        Message::binary(""),
        Message::binary(support::pattern(200_000)),
        Message::text(json(3, 150_000)),
        Message::text(""),
        Message::binary(vec![7; 1000]),
        Message::text("größe"),
    ]
}
