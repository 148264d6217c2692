//! What two ends of a transfer say to each other: one connection, one file.
//!
//! The URL's path names the file; the subprotocol says which way it goes: `put.file.v1` makes the client the sender,
//! `get.file.v1` the server. What can be refused before a connection exists is refused with an HTTP status. Then, all
//! of it JSON in text messages but for the file itself:
//!
//! | | from | message |
//! | --- | --- | --- |
//! | 1 | sender | [`Offer`]: the file has `size` bytes |
//! | 2 | receiver | [`Have`]: an earlier transfer left `bytes` bytes with this hash (none: 0 bytes and their hash) |
//! | 3 | sender | [`Start`]: the file goes on `from` there, if its own first bytes have that hash, and else from 0 |
//! | 4 | sender | the rest of the file, one binary message, a single frame if the receiver or the sender wants it |
//! | 5 | sender | [`Done`]: the hash of the whole file, taken while it was sent |
//! | 6 | receiver | Close 1000: the hash is the same, and the file is in its place and on disk |
//!
//! Who cannot go on closes: 1001 if it is shutting down, else 4000 plus the HTTP status that fits, with a reason of one
//! line that says what happened and what to do. A sender may have to do so in the middle of the binary message; if
//! that is a single frame, no Close fits in, and the connection just ends.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wsstream::{CollectError, Message, Readable, Writable};

use crate::failure::{Failure, Trouble};

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the server.
    Put,
    /// From the server.
    Get,
}

impl Direction {
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Put => "put.file.v1",
            Self::Get => "get.file.v1",
        }
    }

    pub(crate) fn of_protocol(protocol: &str) -> Option<Self> {
        [Self::Put, Self::Get].into_iter().find(|direction| direction.protocol() == protocol)
    }
}

/// What the sender has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) size: u64,
}

/// What the receiver has of it, if it still is the same file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Have {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// The receiver wants the rest as a single frame.
    pub(crate) one_frame: bool,
}

/// Where the binary message begins in the file: at [`Have::bytes`], or at 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) from: u64,
}

/// What the whole file should hash to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) sha256: String,
}

/// More than any of these takes.
const MAX_CONTROL: usize = 1024;

pub(crate) async fn say(writable: &mut Writable, what: &impl Serialize) -> Result<(), Trouble> {
    let json = serde_json::to_string(what).map_err(|error| Failure::protocol(&error.to_string()))?;
    tracing::debug!("say {json}");
    Ok(writable.send(Message::text(json)).await?)
}

pub(crate) async fn hear<T: DeserializeOwned>(readable: &mut Readable) -> Result<T, Trouble> {
    let message = readable.next_message().await?.ok_or(Trouble::Connection)?;
    let message = message.collect(MAX_CONTROL).await.map_err(|error| match error {
        CollectError::Read(error) => error.into(),
        other => Trouble::Here(Failure::protocol(&other.to_string())),
    })?;
    tracing::debug!("hear {:?}", message.as_text());
    let heard = serde_json::from_slice(message.as_bytes());
    heard.map_err(|error| Failure::protocol(&format!("an unexpected message ({error})")).into())
}
