//! Which end of the connection this is.

/// The end of a connection: it decides who masks frames (RFC 6455, 5.1) and who ends TCP first (7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that sent the handshake request; it masks what it sends.
    Client,
    /// The end that answered it; it sends unmasked frames.
    Server,
}
