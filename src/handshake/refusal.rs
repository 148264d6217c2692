//! Refusing an upgrade: an HTTP answer, sent such that the client gets to read it.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::handshake::server::write_response;

/// How long input is drained, in all.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long the peer may be silent before draining ends: it has nothing more to say.
const DRAIN_PAUSE: Duration = Duration::from_millis(200);
/// How much input is drained.
const DRAIN_BYTES: usize = 8 << 20;

/// An answer other than 101.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// A list, not a `HeaderMap`: this is carried in errors, and those are to be small.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Refusal {
    /// A refusal with a plain text that says why.
    pub(crate) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let mut why = why.into();
        why.push('\n');
        Self { status, headers: Vec::new(), body: why.into() }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a header of the application's; on failure, what is wrong with it.
    pub(crate) fn add_header(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), String> {
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            return Err(format!("the header `{name}` belongs to the answer itself; leave it out"));
        }
        super::server::check_writable(&name, &value)?;
        self.headers.push((name, value));
        Ok(())
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }

    /// What is said, whatever it is said over.
    fn head(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
        // A hop-by-hop header is named in `Connection` (RFC 9110, 7.8).
        if headers.contains_key(UPGRADE) {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        response
    }

    /// For an HTTP server that writes it, and that decides whether its connection goes on.
    pub(crate) fn to_response(&self) -> Response<String> {
        self.head().map(|()| String::from_utf8_lossy(&self.body).into_owned())
    }

    fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut response = self.head();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, self.body.len().into());
        let connection = if headers.contains_key(UPGRADE) { "close, upgrade" } else { "close" };
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        let mut bytes = Vec::with_capacity(256 + self.body.len());
        write_response(&mut bytes, &response).map_err(io::Error::other)?;
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// Writes the answer and ends the transport, [politely](end_politely).
    pub(crate) async fn send<T>(self, io: &mut T, deadline: Instant) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let bytes = self.into_bytes()?;
        let write = async {
            io.write_all(&bytes).await?;
            io.flush().await
        };
        timeout_at(deadline, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        end_politely(io).await;
        Ok(())
    }
}

/// Ends a transport whose last bytes the peer is to read. A socket that is closed with unread input resets the connection,
/// which can destroy them on their way; so input is drained for a moment, as long as some comes.
pub(crate) async fn end_politely<T>(io: &mut T)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let end = async {
        // A peer that has its answer may be gone already.
        let _ = io.shutdown().await;
        drain(io).await;
    };
    let _ = timeout(DRAIN_TIME, end).await;
}

async fn drain<R: AsyncRead + Unpin>(io: &mut R) {
    let mut buffer = [0; 4096];
    let mut drained = 0;
    while drained < DRAIN_BYTES {
        match timeout(DRAIN_PAUSE, io.read(&mut buffer)).await {
            Ok(Ok(count @ 1..)) => drained += count,
            _ => break,
        }
    }
}
