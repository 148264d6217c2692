//! Negotiating extensions (RFC 6455, 9.1). There is one: permessage-deflate (RFC 7692, 7.1).

mod grammar;
mod params;

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use self::grammar::Extensions;
pub(crate) use self::grammar::Malformed;
use self::params::{Params, agree, check_answer};
use crate::{
    compression::{Compression, DeflateParams},
    negotiated::{InvalidExtensions, Negotiated},
};

const DEFLATE: &str = "permessage-deflate";

/// Client: what goes into the request.
pub(crate) fn offer(compression: Option<&Compression>) -> Option<HeaderValue> {
    HeaderValue::try_from(params::offer(compression?)).ok()
}

/// Client: what is in use after this response; on failure, what is wrong with it (RFC 6455, 4.1; RFC 7692, 7.1).
pub(crate) fn accepted(response: &HeaderMap, offered: Option<&Compression>) -> Result<Option<DeflateParams>, String> {
    let mut agreed = None;
    let read = each(response, |name, params| {
        let Some(offered) = offered.filter(|_| name == DEFLATE) else {
            return Err(format!("the server picked the extension {name:?}, which was not offered"));
        };
        if agreed.is_some() {
            return Err(format!("the server picked the extension {DEFLATE:?} twice"));
        }
        let answer = params.and_then(|params| check_answer(params, offered));
        agreed =
            Some(answer.map_err(|why| format!("the server's answer to {DEFLATE} is not one to the offer: {why}"))?);
        Ok(())
    });
    match read {
        Ok(result) => result.map(|()| agreed),
        Err(Malformed) => Err("the response's `Sec-WebSocket-Extensions` is malformed".to_owned()),
    }
}

/// Server: whether what the client offers can be read at all (RFC 6455, 9.1).
pub(crate) fn check(request: &HeaderMap) -> Result<(), Malformed> {
    each(request, |_, _| Ok(())).map(|_| ())
}

/// Server: what goes into the response to a request with these headers: the first offer that can be honoured.
pub(crate) fn choose(request: &HeaderMap, compression: Option<&Compression>) -> Option<DeflateParams> {
    let compression = compression?;
    let mut chosen = None;
    let read = each(request, |name, params| {
        if name == DEFLATE && chosen.is_none() {
            chosen = params.ok().and_then(|params| agree(&params, compression));
        }
        Ok(())
    });
    chosen.filter(|_| read.is_ok())
}

/// Calls `found` with each extension, until it fails.
fn each(
    headers: &HeaderMap,
    mut found: impl FnMut(&str, Result<Params, String>) -> Result<(), String>,
) -> Result<Result<(), String>, Malformed> {
    for field in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut extensions = Extensions::new(field.as_bytes());
        loop {
            let mut params = Ok(Params::default());
            let next = extensions.next(|key, value| {
                if let Ok(so_far) = &mut params
                    && let Err(why) = so_far.add(key, value)
                {
                    params = Err(why);
                }
            })?;
            let Some(name) = next else { break };
            if let Err(why) = found(name, params) {
                return Ok(Err(why));
            }
        }
    }
    Ok(Ok(()))
}

impl Negotiated {
    /// The extensions in use, as the server's response named them; none by default. `permessage-deflate` is the only one
    /// that there is; how hard to compress is said by [`Config::compression`](crate::Config::compression).
    ///
    /// # Errors
    /// [`InvalidExtensions`] for anything but a response's `permessage-deflate` with its parameters, or nothing.
    ///
    /// ```
    /// # use wsstream::Negotiated;
    /// let negotiated = Negotiated::default().with_extensions("permessage-deflate; client_max_window_bits=12")?;
    /// assert!(Negotiated::default().with_extensions("permessage-deflate; client_max_window_bits").is_err());
    /// # Ok::<_, wsstream::InvalidExtensions>(())
    /// ```
    pub fn with_extensions(mut self, extensions: &str) -> Result<Self, InvalidExtensions> {
        let invalid = |why: String| InvalidExtensions::new(why);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(extensions).map_err(|error| invalid(error.to_string()))?;
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, value);
        self.set_deflate(accepted(&headers, Some(&Compression::default())).map_err(invalid)?);
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
