//! What holds of the browser's `WebSocketStream`: the API's public tests, ported, and what they leave open. The other end
//! is always a script that speaks bytes.
//!
//! The first modules are named after the files of the public tests, their tests after the originals. Where the two
//! differ, the test asserts what this library decided; `docs/websocketstream.md` says why, row by row.

mod abort;
mod backpressure_receive;
mod backpressure_send;
mod close;
mod constructor;
mod read;
mod remote_close;
mod websocket_error;
mod write;

// What the public tests do not cover.
mod closing_time;
mod control_frames;
mod document;
mod faults;
mod options;
mod queued;
mod settlement;
mod unread;

mod handlers;
mod peer;
