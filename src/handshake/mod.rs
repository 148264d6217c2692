//! The opening handshake: HTTP/1.1 upgrade, both ends (RFC 6455, 4).
//!
//! Heads are read and bounded here ([`head`]); parsing and writing their bytes is left to tungstenite, which the library
//! sees nowhere outside this directory. What a head must say is checked here too, for both ends ([`client`], [`server`]).

pub(crate) mod client;
pub(crate) mod extensions;
mod head;
mod header;
pub(crate) mod origin;
pub(crate) mod refusal;
mod response_body;
pub(crate) mod server;
pub(crate) mod target;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use header::parse as parse_header;

/// What a time limit means from now on. Limits beyond what the clock can tell are as good as none.
pub(crate) fn deadline_after(limit: Duration) -> Instant {
    const AS_GOOD_AS_NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(limit).unwrap_or(now + AS_GOOD_AS_NEVER)
}
