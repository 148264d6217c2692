//! The example `media_relay`, run as its users run it.

mod demo;
mod endings;
mod junk;
mod program;
mod refusals;
#[path = "../support/running.rs"]
mod running;
mod streams;
