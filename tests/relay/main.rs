//! Two connections joined: what is carried, in what order and when, and what becomes of the other side at every kind of end.

#[path = "../faults/faulty.rs"]
mod faulty;
#[path = "../support/mod.rs"]
mod support;

mod backpressure;
mod endings;
mod faults;
mod flow;
mod one_way;

use support::{Raw, other};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    task::JoinHandle,
};
use wsstream::{Compression, Config, Negotiated, Relayed, Role, WebSocketStream, relay};

/// Without the keepalive: nothing but what happens wakes anybody, and what is not woken hangs.
fn config() -> Config {
    Config::default().ping_interval(None).keepalive_timeout(None).compression(Compression::default().min_size(0))
}

/// What the two ends of a connection agreed on.
fn negotiated(deflate: bool) -> Negotiated {
    let plain = Negotiated::default();
    if deflate { plain.with_extensions("permessage-deflate").unwrap() } else { plain }
}

fn start<T>(transport: T, role: Role, deflate: bool) -> WebSocketStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    WebSocketStream::from_upgraded(transport, "", role, negotiated(deflate), config())
}

/// A connection of the relay, in the given role, and a peer of this library.
fn side(role: Role, deflate: bool, capacity: usize) -> (WebSocketStream, WebSocketStream) {
    let (near, far) = duplex(capacity);
    (start(near, role, deflate), start(far, other(role), deflate))
}

/// The same with a scripted peer.
fn raw_side(role: Role, capacity: usize) -> (WebSocketStream, Raw) {
    let (near, far): (DuplexStream, DuplexStream) = duplex(capacity);
    (start(near, role, false), Raw::new(far, other(role)))
}

/// A relay between two scripted peers.
fn between(roles: (Role, Role), capacity: usize) -> (Raw, JoinHandle<Relayed>, Raw) {
    let ((first, left), (second, right)) = (raw_side(roles.0, capacity), raw_side(roles.1, capacity));
    (left, tokio::spawn(relay(first, second)), right)
}

/// Which roles the relay has: usually it is a server to one side and a client to the other.
const ROLES: [(Role, Role); 3] =
    [(Role::Server, Role::Client), (Role::Client, Role::Server), (Role::Server, Role::Server)];
