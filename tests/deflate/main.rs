//! Compression (permessage-deflate, RFC 7692): agreed on, used, misused, and with other implementations at the other end.

#[path = "../support/mod.rs"]
mod support;

mod exchange;
mod interop;
mod negotiation;

use wsstream::{Config, Negotiated, Role, WebSocketStream};

/// Both ends of a connection that have agreed on compression with these parameters; client first.
fn pair(config: &Config, params: &str, capacity: usize) -> (WebSocketStream, WebSocketStream) {
    let (near, far) = tokio::io::duplex(capacity);
    let negotiated = Negotiated::default().with_extensions(&format!("permessage-deflate{params}")).unwrap();
    let client = WebSocketStream::from_upgraded(near, "", Role::Client, negotiated.clone(), config.clone());
    (client, WebSocketStream::from_upgraded(far, "", Role::Server, negotiated, config.clone()))
}

/// JSON lines, as they compress well and go on for ever.
fn json(len: usize) -> String {
    let mut text = String::new();
    for i in 0u32.. {
        let id = i.wrapping_mul(2654435761) >> 8;
        text += &format!("{{\"id\":{id},\"user\":\"user {}\",\"größe\":{}.{:02}}}\n", id % 17, id % 1009, id % 100);
        if text.len() >= len {
            break;
        }
    }
    while !text.is_char_boundary(len) {
        text.insert(0, ' ');
    }
    text.truncate(len);
    text
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}
