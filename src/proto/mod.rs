//! RFC 6455 as state machines: no clock, no entropy, no socket, no task. `now` and mask keys come in as arguments.
//!
//! # Driving contract
//!
//! The application's side fills an [`Outbox`](send::Outbox). Whoever owns the transport holds a
//! [`Connection`](connection::Connection) and repeats, in this order:
//!
//! 1. **Hand over** what the application did: [`fetch`](connection::Connection::fetch) with the outbox, then
//!    `close`, `abort`, `fail`, `ping` as it asked.
//! 2. **Write**: [`fill`](connection::Connection::fill), give [`slices`](connection::Connection::slices) to the
//!    transport, report [`wrote`](connection::Connection::wrote), [`blocked`](connection::Connection::blocked) or
//!    [`write_failed`](connection::Connection::write_failed). Where there was something
//!    [`unwritten`](connection::Connection::unwritten) and nothing is ready, it is being compressed: another round goes on
//!    with it. When nothing is left, flush if it
//!    [`needs_flush`](connection::Connection::needs_flush) and report [`flushed`](connection::Connection::flushed); and if it
//!    [`wants_shutdown`](connection::Connection::wants_shutdown), shut the transport down and report `shut_down`.
//! 3. **Read** while [`wants_read`](connection::Connection::wants_read): feed bytes to
//!    [`receive`](connection::Connection::receive) until it gives `None`, or stop in the middle of them when the
//!    application lags, and go on with what it [`has_more`](connection::Connection::has_more) of before the next; report [`eof`](connection::Connection::eof) and
//!    [`read_failed`](connection::Connection::read_failed).
//! 4. **Wait** for any of these, or for [`deadline`](connection::Connection::deadline), and then call
//!    [`timed_out`](connection::Connection::timed_out).
//!
//! [`ending`](connection::Connection::ending) tells what the handles are to report, as soon as it is certain;
//! [`is_done`](connection::Connection::is_done) when the transport may be dropped.

pub(crate) mod connection;
mod deflation;
mod inflation;
pub(crate) mod keepalive;
pub(crate) mod part;
pub(crate) mod pings;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod spare;
pub(crate) mod stage;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
