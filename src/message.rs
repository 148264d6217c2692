//! Whole messages: the unit of the simple API.

use bytes::Bytes;

use crate::error::InvalidUtf8;

/// The type of a message (RFC 6455, 5.6): known from its first frame, before any payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text; checked in both directions.
    Text,
    /// Any bytes.
    Binary,
}

/// A whole message, held in memory.
///
/// Cloning is cheap: the payload is shared. Messages that may be large are better read with
/// [`Readable::next_message`](crate::Readable::next_message) and written with
/// [`Writable::start_message`](crate::Writable::start_message), chunk by chunk.
///
/// What has been received may share a read buffer of up to 256 KiB with what came along with it, and one of several frames of
/// 16 KiB or more lie in the memory of a longer one before it: who keeps a few messages of many for long should copy those.
///
/// ```
/// use wsstream::{Message, MessageKind};
///
/// let message = Message::text("hello");
/// assert_eq!(message.kind(), MessageKind::Text);
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(Message::from(vec![1, 2, 3]).len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    kind: MessageKind,
    payload: Bytes,
}

impl Message {
    /// A text message. A `String` is taken over without a copy.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(MessageKind::Text, Bytes::from(text.into()))
    }

    /// A binary message. `Bytes` and `Vec<u8>` are taken over without a copy.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::new(MessageKind::Binary, payload.into())
    }

    /// A text message from bytes that are not known to be UTF-8, without a copy.
    ///
    /// # Errors
    /// [`InvalidUtf8`] says where the first wrong byte is.
    ///
    /// ```
    /// # use wsstream::Message;
    /// assert!(Message::text_from_utf8(&b"gr\xc3\xbc\xc3\x9fe"[..]).is_ok());
    /// assert_eq!(Message::text_from_utf8(&b"gr\xfc\xdfe"[..]).unwrap_err().valid_up_to(), 2);
    /// ```
    pub fn text_from_utf8(payload: impl Into<Bytes>) -> Result<Self, InvalidUtf8> {
        let payload = payload.into();
        match simdutf8::compat::from_utf8(&payload) {
            Ok(_) => Ok(Self::new(MessageKind::Text, payload)),
            Err(error) => Err(InvalidUtf8::at(error.valid_up_to() as u64)),
        }
    }

    /// For payloads whose text is known to be UTF-8.
    pub(crate) fn new(kind: MessageKind, payload: Bytes) -> Self {
        Self { kind, payload }
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// `true` for a text message.
    pub fn is_text(&self) -> bool {
        self.kind == MessageKind::Text
    }

    /// `true` for a binary message.
    pub fn is_binary(&self) -> bool {
        self.kind == MessageKind::Binary
    }

    /// The payload of a text message, `None` for a binary one.
    ///
    /// Each call checks the bytes again, at memory speed; keep the `&str` where it is used often.
    pub fn as_text(&self) -> Option<&str> {
        self.is_text().then(|| simdutf8::basic::from_utf8(&self.payload).ok()).flatten()
    }

    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.payload
    }

    /// Payload bytes.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// `true` for a message without payload, which is a message all the same.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::binary(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::binary(payload)
    }
}

impl From<&'static [u8]> for Message {
    fn from(payload: &'static [u8]) -> Self {
        Self::binary(payload)
    }
}
