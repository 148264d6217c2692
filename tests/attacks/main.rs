//! What a hostile peer can do, each attack with a bound on memory and on time. `docs/security.md` lists them.
//!
//! The peers are scripted and speak bytes; the library is used through its public API. An allocator that counts tells
//! how much memory an attack made this process hold, so the tests of this binary run one at a time.

mod allocator;
#[cfg(feature = "rustls")]
#[path = "../tls/authority.rs"]
mod authority;
mod closing;
mod compression;
mod frames;
mod handshake;
mod messages;
mod peer;
mod pings;
mod pipe;
#[cfg(feature = "rustls")]
mod tls;
