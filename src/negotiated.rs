//! What the two ends agreed on in the opening handshake.

use thiserror::Error;

use crate::compression::DeflateParams;

/// The outcome of an opening handshake, beyond the fact that it succeeded.
///
/// Give one to [`WebSocketStream::from_upgraded`](crate::WebSocketStream::from_upgraded) when somebody else, an HTTP
/// server for example, did the handshake.
///
/// ```
/// # use wsstream::Negotiated;
/// let negotiated = Negotiated::default().with_protocol("media.v1").with_url("/live");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    pub(crate) protocol: String,
    pub(crate) extensions: String,
    pub(crate) url: String,
    pub(crate) deflate: Option<DeflateParams>,
}

/// What was said to be the extensions in use cannot be; see
/// [`Negotiated::with_extensions`](crate::Negotiated::with_extensions).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("extensions: {0}")]
pub struct InvalidExtensions(String);

impl InvalidExtensions {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

impl Negotiated {
    /// The subprotocol in use; empty if none, as by default.
    pub fn with_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// The URL (client) or the request target (server); empty by default.
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }
    /// Compression is in use, or not.
    pub(crate) fn set_deflate(&mut self, params: Option<DeflateParams>) {
        self.extensions = params.map(|params| params.to_string()).unwrap_or_default();
        self.deflate = params;
    }
}
