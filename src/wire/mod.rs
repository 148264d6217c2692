//! Bytes to frames and back (RFC 6455, section 5; RFC 7692). Each file stands alone: no state of a connection, no policy.

pub(crate) mod copy;
pub(crate) mod deflate;
pub(crate) mod header;
pub(crate) mod mask;
pub(crate) mod utf8;
