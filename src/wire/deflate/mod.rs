//! Compressed messages (RFC 7692, 7.2): DEFLATE streams without header, each message cut from them without its last four
//! bytes.
//!
//! Both directions work in steps: they take what there is and give what comes of it, however it is cut.

mod deflater;
mod inflater;
mod noise;
mod scratch;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    deflater::{Deflater, End},
    inflater::Inflater,
    scratch::{Scratch, with_scratch},
};
