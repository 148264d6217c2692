//! The first bytes of a refusal's body: for people who want to know why, not for programs that need all of it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use super::header;

/// Bytes of a body that are kept.
const MAX_BODY: usize = 8 * 1024;

/// How long to wait for a body: a server that stalls must not hide that it refused.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Reads the body of a response until its end, the limit or the deadline; what has come by then is the answer.
pub(super) async fn read_start<R>(
    io: &mut R,
    status: StatusCode,
    headers: &HeaderMap,
    mut body: BytesMut,
    deadline: Instant,
) -> Bytes
where
    R: AsyncRead + Unpin,
{
    let is_chunked = header::has_element(headers, &TRANSFER_ENCODING, "chunked");
    let length = match header::single(headers, &CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()) {
        _ if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED => 0,
        Some(length) if !is_chunked => MAX_BODY.min(length),
        _ => MAX_BODY,
    };
    let is_complete = |body: &[u8]| body.len() >= length || (is_chunked && without_chunk_framing(body).1);
    let deadline = deadline.min(Instant::now() + MAX_WAIT);
    while !is_complete(&body) {
        let room = length - body.len();
        body.reserve(room);
        match timeout_at(deadline, io.read_buf(&mut (&mut body).limit(room))).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    body.truncate(length);
    if is_chunked { without_chunk_framing(&body).0 } else { body.freeze() }
}

/// The data of as many chunks as there are, the last one possibly cut, and whether the chunk that ends the body
/// (RFC 9112, 7.1) has come; trailers do not matter.
fn without_chunk_framing(mut body: &[u8]) -> (Bytes, bool) {
    let mut data = BytesMut::with_capacity(body.len());
    let mut ended = false;
    while let Some(at) = body.windows(2).position(|window| window == b"\r\n") {
        let size = body[..at].split(|&byte| byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        ended = size == Some(0);
        let Some(size @ 1..) = size else { break };
        let rest = &body[at + 2..];
        let (chunk, rest) = rest.split_at(size.min(rest.len()));
        data.extend_from_slice(chunk);
        body = rest.strip_prefix(b"\r\n").unwrap_or_default();
    }
    (data.freeze(), ended)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    async fn read_cut_at(body: &[u8], cut: usize) -> Bytes {
        let (first, second) = body.split_at(cut);
        let mut io = first.chain(second);
        let headers = HeaderMap::from_iter([(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        let deadline = Instant::now() + MAX_WAIT;
        read_start(&mut io, StatusCode::SERVICE_UNAVAILABLE, &headers, BytesMut::new(), deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn data_that_looks_like_the_last_chunk_ends_nothing_wherever_it_is_cut() {
        let body = b"8\r\nab0\r\n\r\nc\r\n3\r\nxyz\r\n0\r\n\r\n";
        for cut in 0..=body.len() {
            assert_eq!(read_cut_at(body, cut).await, "ab0\r\n\r\ncxyz", "cut at {cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_chunk_ends_the_body_whatever_follows_it() {
        let (mut io, mut peer) = tokio::io::duplex(1000);
        tokio::io::AsyncWriteExt::write_all(&mut peer, b"3\r\nxyz\r\n0;last\r\nDate: x\r\n\r\n").await.unwrap();
        let headers = HeaderMap::from_iter([(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        let start = Instant::now();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let body = read_start(&mut io, status, &headers, BytesMut::new(), start + MAX_WAIT).await;
        assert_eq!((&body[..], start.elapsed()), (&b"xyz"[..], Duration::ZERO));
    }

    #[test]
    fn chunk_framing_is_taken_away_even_from_a_body_that_is_cut() {
        for (body, data, ended) in [
            ("5;x=y\r\nhello\r\nC\r\n, wide world\r\n0\r\n\r\n", "hello, wide world", true),
            ("5;x=y\r\nhello\r\nB\r\n, wide world\r\n0\r\n\r\n", "hello, wide worl", false),
            ("5\r\nhello\r\n6\r\n, wor", "hello, wor", false),
            ("5\r\nhello\r\n0", "hello", false),
            ("ffffffffffffffff\r\nhello", "hello", false),
            ("fffffffffffffffff\r\nhello", "", false),
            ("nonsense", "", false),
        ] {
            assert_eq!(without_chunk_framing(body.as_bytes()), (Bytes::from(data), ended), "{body}");
        }
    }
}
