//! What the two ends agreed on in the opening handshake.

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
}
