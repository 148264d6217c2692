//! Negotiating extensions (RFC 6455, 9.1). There are none yet: nothing is offered, and nothing offered is accepted.
//!
//! These three functions are where permessage-deflate comes in.

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::header;

/// Client: what goes into the request.
pub(super) fn offer() -> Option<HeaderValue> {
    None
}

/// Client: the extensions in use after this response; on failure the one that was not offered (RFC 6455, 4.1).
pub(super) fn accepted(response: &HeaderMap) -> Result<String, String> {
    match header::list(response, &SEC_WEBSOCKET_EXTENSIONS).next() {
        None => Ok(String::new()),
        Some(extension) => Err(extension.to_owned()),
    }
}

/// Server: what goes into the response to a request with these headers.
pub(super) fn choose(_request: &HeaderMap) -> Option<HeaderValue> {
    None
}
