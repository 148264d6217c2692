//! What may be set about compression, and what the two ends agreed on (RFC 7692).

use std::fmt;

use crate::role::Role;

/// The windows that can be compressed with; one of 8 bits is nothing that zlib can do.
const SEND_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// The windows that there are (RFC 7692, 7.1.2).
pub(crate) const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// How messages are compressed (permessage-deflate, RFC 7692), for [`Config::compression`](crate::Config::compression).
///
/// Compression is used if both ends want it. What is sent is seen from this end, on a client as on a server: with
/// `send_window_bits(12)` a client asks for `client_max_window_bits=12`, and a server keeps to 12 bits itself.
///
/// What looks like random bytes, as media and archives do, is not made smaller and not tried to: it is stored as it is.
///
/// The defaults are the offer that browsers make, `permessage-deflate; client_max_window_bits`. They cost, in a connection
/// that has sent and received compressed messages, 371 KiB to compress and 46 KiB to inflate. What else they cost, and
/// whether it pays, is in `docs/compression.md`.
///
/// ```
/// use wsstream::{Compression, Config};
///
/// // Many connections with small messages: nothing is kept between messages, at the cost of a lower ratio.
/// let config = Config::default().compression(
///     Compression::default().send_takeover(false).receive_takeover(false).min_size(512),
/// );
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    level: u8,
    min_size: usize,
    pub(crate) send_window_bits: u8,
    pub(crate) receive_window_bits: u8,
    pub(crate) send_takeover: bool,
    pub(crate) receive_takeover: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            level: 3,
            min_size: 128,
            send_window_bits: 15,
            receive_window_bits: 15,
            send_takeover: true,
            receive_takeover: true,
        }
    }
}

impl Compression {
    /// How hard it tries: 0 not at all, 1 is the fastest, 9 the smallest. Default 3: against 6, the usual choice, text
    /// takes 12 % more bytes and less than half the time.
    pub fn level(mut self, level: u8) -> Self {
        self.level = level.min(9);
        self
    }

    /// Payload bytes of the smallest message that is compressed when it is sent whole. Default 128: below that little is
    /// gained. [`StartMessage::compress`](crate::StartMessage::compress) decides for a message of its own.
    pub fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }

    /// How far back compressing looks: at most 2 to the power of this many bytes, 9 to 15. Default 15. Fewer take less
    /// memory: 161 KiB with 12 bits, 137 KiB with 9. The peer may ask for fewer.
    ///
    /// If it asks for 8, which zlib cannot do: a client sends its messages uncompressed, a server does not take that offer.
    pub fn send_window_bits(mut self, bits: u8) -> Self {
        self.send_window_bits = bits.clamp(*SEND_BITS.start(), *SEND_BITS.end());
        self
    }

    /// How far back the peer's compressing may look, 8 to 15 bits. Default 15. Fewer save memory of the peer, not here: inflating
    /// takes 46 KiB in any case. A peer that cannot be limited is not compressed with, and many cannot do 8.
    pub fn receive_window_bits(mut self, bits: u8) -> Self {
        self.receive_window_bits = bits.clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end());
        self
    }

    /// Whether a message that is sent may refer to those before it (context takeover). Default `true`, which makes similar
    /// small messages several times smaller. Without, no memory is held between messages.
    pub fn send_takeover(mut self, takeover: bool) -> Self {
        self.send_takeover = takeover;
        self
    }

    /// Whether a message of the peer may refer to those before it. Default `true`. Without, no memory is held between
    /// messages; a server that does not agree to that is not compressed with.
    pub fn receive_takeover(mut self, takeover: bool) -> Self {
        self.receive_takeover = takeover;
        self
    }

    /// What this end does, given what was agreed on.
    pub(crate) fn codec(&self, role: Role, agreed: &DeflateParams) -> Codec {
        let (ours, theirs) = (&agreed.server, &agreed.client);
        let (ours, theirs) = if role == Role::Server { (ours, theirs) } else { (theirs, ours) };
        let bits = ours.max_window_bits.unwrap_or(*WINDOW_BITS.end()).min(self.send_window_bits);
        Codec {
            level: self.level,
            window_bits: bits,
            compress_from: SEND_BITS.contains(&bits).then_some(self.min_size),
            send_takeover: self.send_takeover && !ours.no_context_takeover,
            receive_takeover: !theirs.no_context_takeover,
        }
    }
}

/// The parameters of one end's compressing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndParams {
    pub(crate) no_context_takeover: bool,
    /// 15 if it was not said.
    pub(crate) max_window_bits: Option<u8>,
}

/// What was agreed on, as the server's handshake says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeflateParams {
    pub(crate) server: EndParams,
    pub(crate) client: EndParams,
}

impl fmt::Display for DeflateParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate")?;
        for (name, end) in [("server", &self.server), ("client", &self.client)] {
            if end.no_context_takeover {
                write!(f, "; {name}_no_context_takeover")?;
            }
            if let Some(bits) = end.max_window_bits {
                write!(f, "; {name}_max_window_bits={bits}")?;
            }
        }
        Ok(())
    }
}

/// What one end of a connection does about compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    pub(crate) level: u8,
    pub(crate) window_bits: u8,
    /// Bytes of the smallest message that is compressed; `None`: nothing can be.
    pub(crate) compress_from: Option<usize>,
    pub(crate) send_takeover: bool,
    pub(crate) receive_takeover: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_does_its_part_of_what_was_agreed_on() {
        let agreed = DeflateParams {
            server: EndParams { no_context_takeover: true, max_window_bits: Some(10) },
            client: EndParams { no_context_takeover: false, max_window_bits: Some(8) },
        };
        let text =
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=8";
        assert_eq!(agreed.to_string(), text);
        let server = Compression::default().codec(Role::Server, &agreed);
        assert_eq!((server.window_bits, server.compress_from), (10, Some(128)));
        assert_eq!((server.send_takeover, server.receive_takeover), (false, true));
        let client = Compression::default().codec(Role::Client, &agreed);
        assert_eq!(client.compress_from, None, "zlib cannot do 8 bits");
        assert_eq!((client.send_takeover, client.receive_takeover), (true, false));
    }

    #[test]
    fn less_than_agreed_on_is_done_where_that_is_wanted() {
        let compression = Compression::default().send_window_bits(9).send_takeover(false);
        for role in [Role::Client, Role::Server] {
            let codec = compression.codec(role, &DeflateParams::default());
            assert_eq!((codec.window_bits, codec.send_takeover, codec.receive_takeover), (9, false, true));
        }
    }
}
