//! Bytes to frames and back (RFC 6455, section 5). Each file stands alone: no state of a connection, no policy.

pub(crate) mod header;
pub(crate) mod mask;
pub(crate) mod utf8;
