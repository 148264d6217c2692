//! placeholder
mod close;
mod config;
mod error;
mod message;
mod negotiated;
mod role;
mod stats;
pub use close::{CloseCode, CloseInfo, MAX_CLOSE_REASON};
pub use config::Config;
pub use error::{CloseError, CollectError, ConnectionError, InvalidUtf8, ProtocolError, ReadError, WriteError};
pub use message::{Message, MessageKind};
pub use negotiated::Negotiated;
pub use role::Role;
pub use stats::Stats;
