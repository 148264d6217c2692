//! Reading the head of an HTTP message: everything up to the blank line, within bounds, and not a byte lost of what
//! follows.

use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::Config;

/// What tungstenite's parser has room for; `Config::max_headers` cannot raise it.
pub(crate) const MOST_HEADERS: usize = 124;

/// Bytes asked of the transport at a time: a usual head arrives in one read.
const READ_SIZE: usize = 4 * 1024;

/// Longer first words than this are not a method. (The longest registered one has 17 bytes.)
const LONGEST_METHOD: usize = 32;

/// Which head is expected; they differ in the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadKind {
    Request,
    Response,
}

/// The bytes of a head, blank line included, and those after it, which belong to the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) bytes: BytesMut,
    pub(crate) leftover: BytesMut,
}

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum HeadError {
    Io(io::Error),
    /// The transport ended after so many bytes.
    Ended(usize),
    /// More bytes than `Config::max_head_size`.
    TooLarge(usize),
    /// More header lines than this.
    TooManyHeaders(usize),
    /// These bytes are no HTTP/1 head; what they look like instead, where that can be told.
    NotHttp(&'static str),
}

impl HeadError {
    /// What is wrong with the head, for errors about limits: names limit, value and knob.
    pub(crate) fn limit_message(kind: &str, error: &Self) -> Option<String> {
        match error {
            Self::TooLarge(limit) => {
                Some(format!("the {kind} head is over {limit} bytes; `Config::max_head_size` raises the limit"))
            }
            Self::TooManyHeaders(limit) => Some(format!(
                "the {kind} has more than {limit} headers; `Config::max_headers` raises the limit, up to {MOST_HEADERS}"
            )),
            _ => None,
        }
    }
}

/// Reads a head that begins with `bytes`. At most `Config::max_head_size` bytes and one read more are ever held.
///
/// # Cancel safety
/// Not cancel-safe: what was read is lost with the future, which is to be dropped only to give the handshake up.
pub(crate) async fn read_head<R>(
    io: &mut R,
    mut bytes: BytesMut,
    kind: HeadKind,
    config: &Config,
) -> Result<Head, HeadError>
where
    R: AsyncRead + Unpin,
{
    let mut scanner = Scanner::new(kind, config);
    loop {
        if let Some(end) = scanner.scan(&bytes)? {
            let leftover = bytes.split_off(end);
            return Ok(Head { bytes, leftover });
        }
        if bytes.len() == bytes.capacity() {
            bytes.reserve(READ_SIZE);
        }
        if io.read_buf(&mut (&mut bytes).limit(READ_SIZE)).await.map_err(HeadError::Io)? == 0 {
            return Err(HeadError::Ended(bytes.len()));
        }
    }
}

/// Finds the end of a head in a buffer that grows, looking at each byte once.
struct Scanner {
    kind: HeadKind,
    max_size: usize,
    max_headers: usize,
    scanned: usize,
    line_start: usize,
    /// Lines that are not empty, the first line included.
    lines: usize,
}

impl Scanner {
    fn new(kind: HeadKind, config: &Config) -> Self {
        let max_headers = config.max_headers.min(MOST_HEADERS);
        Self { kind, max_size: config.max_head_size, max_headers, scanned: 0, line_start: 0, lines: 0 }
    }

    /// Where the head ends in `buffer`, which is that of the last call with more bytes at its end.
    fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadError> {
        // Bytes beyond the limit are looked at only once the head has been found to fit.
        let head = &buffer[..buffer.len().min(self.max_size)];
        while let Some(at) = head[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let end = self.scanned + at + 1;
            let line = &head[self.line_start..end - 1];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (self.scanned, self.line_start) = (end, end);
            if !line.is_empty() {
                self.lines += 1;
                if self.lines == 1 {
                    self.check_first_line(line)?;
                } else if self.lines - 1 > self.max_headers {
                    return Err(HeadError::TooManyHeaders(self.max_headers));
                }
            } else if self.lines > 0 {
                return Ok(Some(end));
            } // else: empty lines before the first one are ignored (RFC 9112, 2.2)
        }
        self.scanned = head.len();
        if self.lines == 0 {
            self.check_start(&head[self.line_start..])?;
        }
        if buffer.len() >= self.max_size { Err(HeadError::TooLarge(self.max_size)) } else { Ok(None) }
    }

    /// Whether the first line may still become one of HTTP: a peer that speaks another protocol, and then waits, is
    /// found out at once and not when time is up.
    fn check_start(&self, start: &[u8]) -> Result<(), HeadError> {
        if start.is_empty() || start == b"\r" {
            return Ok(());
        }
        let fits = match self.kind {
            HeadKind::Response => start.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected),
            HeadKind::Request => {
                let start = &start[..start.len().min(LONGEST_METHOD + 1)];
                let method = start.split(|&byte| byte == b' ').next().unwrap_or(start);
                (1..=LONGEST_METHOD).contains(&method.len()) && method.iter().all(u8::is_ascii_graphic)
            }
        };
        if fits { Ok(()) } else { Err(not_http(start)) }
    }

    fn check_first_line(&self, line: &[u8]) -> Result<(), HeadError> {
        self.check_start(line)?;
        match self.kind {
            HeadKind::Response if !line.starts_with(b"HTTP/1.") => Err(not_http(line)),
            HeadKind::Request if !line.windows(6).any(|window| window == b" HTTP/") => {
                Err(HeadError::NotHttp("not HTTP"))
            }
            _ => Ok(()),
        }
    }
}

/// What something that starts like this is instead.
fn not_http(start: &[u8]) -> HeadError {
    HeadError::NotHttp(match start {
        // The content types of TLS records: alert, handshake.
        [0x15 | 0x16, ..] => "TLS, not HTTP",
        [b'H', b'T', b'T', b'P', b'/', ..] => "another version of HTTP than 1.1",
        _ => "not HTTP",
    })
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{ReadBuf, duplex};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n";
    const FRAMES: &[u8] = b"\x81\x02hi\r\n\r\n\x00";

    /// Gives one byte a read.
    struct OneByOne<'a>(&'a [u8]);

    impl AsyncRead for OneByOne<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some((first, rest)) = self.0.split_first() {
                buf.put_slice(&[*first]);
                self.0 = rest;
            }
            Poll::Ready(Ok(()))
        }
    }

    fn config(max_head_size: usize, max_headers: usize) -> Config {
        Config::default().max_head_size(max_head_size).max_headers(max_headers)
    }

    async fn read(mut bytes: &[u8], config: &Config) -> Result<Head, HeadError> {
        read_head(&mut bytes, BytesMut::new(), HeadKind::Request, config).await
    }

    #[tokio::test]
    async fn wherever_the_bytes_are_cut_none_is_lost() {
        let all = [REQUEST, FRAMES].concat();
        for cut in 0..=all.len() {
            let (first, second) = all.split_at(cut);
            // A slice that is empty would be the end.
            let mut io = if first.is_empty() { second.chain(&b""[..]) } else { first.chain(second) };
            let head = read_head(&mut io, BytesMut::new(), HeadKind::Request, &Config::default()).await.unwrap();
            assert_eq!(head.bytes, REQUEST, "cut at {cut}");
            let mut rest = head.leftover.to_vec();
            io.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, FRAMES, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_byte_at_a_time_costs_linear_time() {
        let line = "x".repeat(512 * 1024);
        let request = format!("GET /{line} HTTP/1.1\r\nHost: {line}\r\n\r\nrest");
        let mut io = OneByOne(request.as_bytes());
        let head = read_head(&mut io, BytesMut::new(), HeadKind::Request, &config(2 << 20, 10)).await.unwrap();
        assert_eq!(head.bytes.len() + 4, request.len());
        assert!(head.leftover.is_empty());
        assert_eq!(io.0, b"rest");
    }

    #[tokio::test]
    async fn bare_line_feeds_and_empty_lines_before_the_first_line_are_taken() {
        let head = read(b"\r\n\nGET / HTTP/1.1\nHost: a\n\nrest", &Config::default()).await.unwrap();
        assert_eq!(head.leftover, "rest");
    }

    #[tokio::test]
    async fn the_end_of_the_transport_is_told_from_a_head() {
        for len in 0..REQUEST.len() {
            let error = read(&REQUEST[..len], &Config::default()).await.unwrap_err();
            assert!(matches!(error, HeadError::Ended(count) if count == len), "{len}: {error:?}");
        }
    }

    #[tokio::test]
    async fn the_size_limit_is_exact_and_leftovers_do_not_count() {
        let all = [REQUEST, &[0; 3000]].concat();
        assert_eq!(read(&all, &config(REQUEST.len(), 10)).await.unwrap().leftover.len(), 3000);
        let error = read(&all, &config(REQUEST.len() - 1, 10)).await.unwrap_err();
        assert!(matches!(error, HeadError::TooLarge(limit) if limit == REQUEST.len() - 1), "{error:?}");
        let message = HeadError::limit_message("request", &error).unwrap();
        assert!(message.contains("Config::max_head_size"), "{message}");
        let error = read(&[b'\n'; 100], &config(50, 10)).await.unwrap_err();
        assert!(matches!(error, HeadError::TooLarge(50)), "{error:?}");
    }

    #[tokio::test]
    async fn the_header_limit_is_exact_and_does_not_wait_for_the_end() {
        let head = |count| format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(count));
        for (setting, limit) in [(0, 0), (3, 3), (10_000, MOST_HEADERS)] {
            assert!(read(format!("{}\r\n", head(limit)).as_bytes(), &config(1 << 20, setting)).await.is_ok());
            let error = read(head(limit + 1).as_bytes(), &config(1 << 20, setting)).await.unwrap_err();
            assert!(matches!(error, HeadError::TooManyHeaders(it) if it == limit), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_fails_before_the_peer_says_more() {
        use HeadKind::{Request, Response};
        for (kind, junk, looks_like) in [
            (Request, &b"\x16\x03\x01\x02\x00"[..], "TLS, not HTTP"),
            (Response, b"\x15\x03\x01\x00\x02\x02F", "TLS, not HTTP"),
            (Request, b"\x81\x85", "not HTTP"),
            (Request, b"hello\r\n", "not HTTP"),
            (Request, b" GET / HTTP/1.1\r\n", "not HTTP"),
            (Request, b"GET /\r\n", "not HTTP"),
            (Request, b"an-endless-word-without-any-end-to-it", "not HTTP"),
            (Response, b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP"),
            (Response, b"220 mail.example ESMTP\r\n", "not HTTP"),
            (Response, b"HTT\r\n", "not HTTP"),
            (Response, b"HTTP/2", "another version of HTTP than 1.1"),
            // The same as in several pieces, where the line is not known to end.
            (Response, b"HTTP/1\r\n", "another version of HTTP than 1.1"),
        ] {
            let (mut io, mut peer) = duplex(100);
            tokio::io::AsyncWriteExt::write_all(&mut peer, junk).await.unwrap();
            let error = read_head(&mut io, BytesMut::new(), kind, &Config::default()).await.unwrap_err();
            assert!(matches!(error, HeadError::NotHttp(it) if it == looks_like), "{junk:?}: {error:?}");
        }
    }
}
