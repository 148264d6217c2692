//! placeholder
mod close;
mod config;
mod driver;
mod error;
mod message;
mod negotiated;
mod proto;
mod role;
mod stats;
mod stream;
mod wire;
pub use close::{CloseCode, CloseInfo, MAX_CLOSE_REASON};
pub use config::Config;
pub use error::{CloseError, CollectError, ConnectionError, InvalidUtf8, ProtocolError, ReadError, WriteError};
pub use message::{Message, MessageKind};
pub use negotiated::Negotiated;
pub use role::Role;
pub use stats::Stats;
pub use stream::{
    Closed, Control, MessageReader, MessageWriter, Readable, ReadyState, StartMessage, WebSocketStream, Writable,
};
