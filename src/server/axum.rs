//! axum's extractor.

use std::future::ready;

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::HttpUpgrade;
use crate::accept_error::AcceptError;

/// An extractor, for routes of method GET. A request that is no handshake is answered with a status that fits and a body that
/// says why.
///
/// `axum::routing::get` answers other methods itself, `axum::routing::any` leaves them to this.
///
/// ```
/// use axum::{Router, response::IntoResponse, routing::any};
/// use wsstream::{Config, HttpUpgrade, WebSocketStream};
///
/// let app: Router = Router::new().route("/live", any(live));
///
/// async fn live(upgrade: HttpUpgrade) -> impl IntoResponse {
///     upgrade
///         .accept()
///         .protocols(["media.v2", "media.v1"])
///         .allow_origins(["https://media.example"])
///         .config(Config::default().max_message_size(16 << 20))
///         .on_upgrade(serve)
/// }
///
/// async fn serve(mut ws: WebSocketStream) {
///     let _ = ws.send("hello").await;
/// }
/// ```
impl<S> FromRequestParts<S> for HttpUpgrade {
    type Rejection = AcceptError;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, AcceptError>> + Send {
        let on_upgrade = parts.extensions.remove();
        ready(Self::take(&parts.method, parts.version, &parts.uri, &parts.headers, on_upgrade))
    }
}

/// The refusal, as [`AcceptError::into_response`] makes it.
impl IntoResponse for AcceptError {
    fn into_response(self) -> Response {
        AcceptError::into_response(self).map(Into::into)
    }
}
