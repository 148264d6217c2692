//! The parameters of permessage-deflate, in an offer and in the answer to it (RFC 7692, 7.1).

use super::DEFLATE;
use crate::compression::{Compression, DeflateParams, EndParams, WINDOW_BITS};

const ALL_BITS: u8 = *WINDOW_BITS.end();

/// The parameters of an offer or an answer, each of which is right for itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<ClientBits>,
}

/// In an offer it may say no more than that the client knows the parameter (7.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientBits {
    Any,
    AtMost(u8),
}

impl Params {
    /// Adds one; on failure, what is wrong with it.
    pub(super) fn add(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let is_new = match key {
            "server_no_context_takeover" => !std::mem::replace(&mut self.server_no_context_takeover, flag(key, value)?),
            "client_no_context_takeover" => !std::mem::replace(&mut self.client_no_context_takeover, flag(key, value)?),
            "server_max_window_bits" => self.server_max_window_bits.replace(bits(key, value)?).is_none(),
            "client_max_window_bits" => {
                let bits = match value {
                    None => ClientBits::Any,
                    value => ClientBits::AtMost(bits(key, value)?),
                };
                self.client_max_window_bits.replace(bits).is_none()
            }
            _ => return Err(format!("it has no parameter {key:?}")),
        };
        if is_new { Ok(()) } else { Err(format!("{key} is given twice")) }
    }
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None => Ok(true),
        Some(value) => Err(format!("{key} takes no value, not {value:?}")),
    }
}

fn bits(key: &str, value: Option<&str>) -> Result<u8, String> {
    // Neither a sign nor a leading zero.
    let bits = value.filter(|value| !value.starts_with(['+', '0'])).and_then(|value| value.parse().ok());
    match bits {
        Some(bits) if WINDOW_BITS.contains(&bits) => Ok(bits),
        _ => Err(format!("{key} takes a number from 8 to 15, not {:?}", value.unwrap_or_default())),
    }
}

/// The client's offer.
pub(super) fn offer(compression: &Compression) -> String {
    let mut offer = DEFLATE.to_owned();
    if !compression.receive_takeover {
        offer += "; server_no_context_takeover";
    }
    if !compression.send_takeover {
        offer += "; client_no_context_takeover";
    }
    if compression.receive_window_bits < ALL_BITS {
        offer += &format!("; server_max_window_bits={}", compression.receive_window_bits);
    }
    // Any server may limit what it has to remember.
    offer += "; client_max_window_bits";
    if compression.send_window_bits < ALL_BITS {
        offer += &format!("={}", compression.send_window_bits);
    }
    offer
}

/// Client: whether the answer is one to what was offered (7.1); on failure, why not.
pub(super) fn check_answer(answer: Params, offered: &Compression) -> Result<DeflateParams, String> {
    let client_bits = match answer.client_max_window_bits {
        Some(ClientBits::Any) => return Err("client_max_window_bits takes a number".to_owned()),
        Some(ClientBits::AtMost(bits)) if bits > offered.send_window_bits => {
            let ours = offered.send_window_bits;
            return Err(format!("client_max_window_bits={bits} is more than the {ours} offered"));
        }
        Some(ClientBits::AtMost(bits)) => Some(bits),
        None => None,
    };
    if !offered.receive_takeover && !answer.server_no_context_takeover {
        return Err("server_no_context_takeover is missing".to_owned());
    }
    match answer.server_max_window_bits.unwrap_or(ALL_BITS) {
        bits if bits > offered.receive_window_bits => {
            let ours = offered.receive_window_bits;
            Err(format!("server_max_window_bits is {bits}, more than the {ours} offered"))
        }
        _ => Ok(DeflateParams {
            server: EndParams {
                no_context_takeover: answer.server_no_context_takeover,
                max_window_bits: answer.server_max_window_bits,
            },
            client: EndParams { no_context_takeover: answer.client_no_context_takeover, max_window_bits: client_bits },
        }),
    }
}

/// Server: the answer to an offer, `None` if it cannot be honoured.
pub(super) fn agree(offer: &Params, compression: &Compression) -> Option<DeflateParams> {
    // Said where the client asks for it. It may be said elsewhere too (7.1.2.1), which surprises some clients, for nothing.
    let server_bits = offer.server_max_window_bits.map(|bits| bits.min(compression.send_window_bits));
    // What cannot be done; a later offer may ask for less.
    if server_bits.is_some_and(|bits| bits < 9) {
        return None;
    }
    let client_bits = match offer.client_max_window_bits {
        None => ALL_BITS,
        Some(ClientBits::Any) => compression.receive_window_bits,
        Some(ClientBits::AtMost(bits)) => bits.min(compression.receive_window_bits),
    };
    if client_bits > compression.receive_window_bits {
        return None; // a client that does not know the parameter cannot be limited (7.1.2.2)
    }
    Some(DeflateParams {
        server: EndParams {
            no_context_takeover: offer.server_no_context_takeover || !compression.send_takeover,
            max_window_bits: server_bits,
        },
        client: EndParams {
            no_context_takeover: offer.client_no_context_takeover || !compression.receive_takeover,
            max_window_bits: Some(client_bits).filter(|bits| *bits < ALL_BITS),
        },
    })
}
