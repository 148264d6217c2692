//! Transports that fail, give one byte, give none or fall silent at any operation; futures and handles that are dropped at
//! any point; wakers that must be kept. All in virtual time, which is what bounds it.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod cancel;
mod drops;
mod faulty;
mod harness;
mod opening;
mod probe;
mod transfer;
mod wakers;
