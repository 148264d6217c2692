//! Heads of the opening handshake: any bytes as a request and as a response, and our own ones at both ends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex},
    runtime::{Builder, Runtime},
};
use tokio_tungstenite::tungstenite::handshake::{
    client::Response as ParsedResponse, derive_accept_key, machine::TryParse,
};

use super::input::{Input, Sizes};
use crate::{
    accept_error::AcceptErrorKind,
    config::Config,
    connect_error::ConnectErrorKind,
    handshake::{
        client::{Offer, open},
        deadline_after, parse_header,
        server::{Agreement, head_bytes, read_request},
        target::Target,
    },
};

/// What is asked of the transport at a time while a head is read, and when it refuses, of the body.
const READ_MOST: usize = 8 * 1024;

/// In a response it stands for the accept key, which differs each time.
const ACCEPT: &str = "$ACCEPT";

/// A flag byte, two sizes of pieces, two bytes of limits, and a request, a response or options of both.
///
/// A head is judged the same in whatever pieces it comes, what follows it is left over to the byte, and no more is read
/// than its limit and one read. What this library asks for in a request, and agrees to in a response, the other end of
/// this library understands.
pub fn handshake_head(data: &[u8]) {
    thread_local!(static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap());
    let mut input = Input(data);
    let flags = input.byte();
    let pieces = input.pieces();
    let (size, headers) = (input.byte(), input.byte());
    let mut config = Config::default().require_protocol(flags & 4 != 0);
    if size > 0 {
        config = config.max_head_size(usize::from(size) * 4);
    }
    if headers > 0 {
        config = config.max_headers(headers.into());
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            match flags & 3 {
                0 => request(input.0, pieces, &config).await,
                1 => response(input.0, pieces, &config, flags & 8 != 0).await,
                _ => both_ends(input, &config).await,
            }
        });
    });
}

/// A transport that gives bytes in pieces, and knows what was said to it.
struct Peer<'a> {
    /// What it answers; the accept key is not in it yet.
    answer: &'a [u8],
    /// As it goes out, once that has begun.
    outgoing: Option<Vec<u8>>,
    given: usize,
    pieces: Sizes,
    heard: Vec<u8>,
}

impl<'a> Peer<'a> {
    fn new(answer: &'a [u8], pieces: Sizes) -> Self {
        Self { answer, outgoing: None, given: 0, pieces, heard: Vec::new() }
    }

    fn accept_key(&self) -> String {
        let heard = String::from_utf8_lossy(&self.heard);
        let key = heard.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        derive_accept_key(key.unwrap_or_default().as_bytes())
    }

    /// What has not been read.
    fn rest(&self) -> &[u8] {
        &self.outgoing.as_deref().unwrap_or(self.answer)[self.given..]
    }
}

impl AsyncRead for Peer<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_none() {
            self.outgoing = Some(with_accept_key(self.answer, &self.accept_key()));
        }
        let len = self.pieces.next_size().min(buffer.remaining()).min(self.rest().len());
        buffer.put_slice(&self.rest()[..len]);
        self.given += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Puts the key into the heads of responses with status 1xx. A body must not have it: where it is cut, the results would
/// differ by chance.
fn with_accept_key(answer: &[u8], key: &str) -> Vec<u8> {
    let mut heads = 0;
    while answer[heads..].starts_with(b"HTTP/1.1 1") {
        heads += head_end(&answer[heads..]);
    }
    let (heads, rest) = answer.split_at(heads);
    let mut filled = Vec::new();
    let mut from = 0;
    while let Some(at) = heads[from..].windows(ACCEPT.len()).position(|window| window == ACCEPT.as_bytes()) {
        filled.extend(&heads[from..from + at]);
        filled.extend(key.as_bytes());
        from += at + ACCEPT.len();
    }
    [&filled, &heads[from..], rest].concat()
}

/// Where the first head ends: after the first empty line that follows one that is not.
fn head_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    let mut begun = false;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        let is_empty = matches!(line, b"\n" | b"\r\n");
        if begun && is_empty {
            break;
        }
        begun |= !is_empty;
    }
    end
}

async fn request(bytes: &[u8], pieces: Sizes, config: &Config) {
    let mut outcomes = Vec::new();
    for pieces in [Sizes::WHOLE, pieces] {
        let mut peer = Peer::new(bytes, pieces);
        let result = read_request(&mut peer, config).await;
        assert!(peer.given <= config.max_head_size + READ_MOST, "{} bytes were read", peer.given);
        outcomes.push(match result {
            Err(bad) => format!("{bad:?}"),
            Ok((request, leftover)) => {
                let rest = [&leftover[..], peer.rest()].concat();
                assert_eq!(rest, bytes[head_end(bytes)..], "what is left over");
                let mut agreement = Agreement::default();
                if let Some(protocol) = request.protocols.first() {
                    agreement.set_protocol(protocol.clone());
                }
                let (response, negotiated) =
                    agreement.agree_to(&request, config).expect("what was offered can be agreed to");
                let response = head_bytes(&response).expect("what can be agreed to can be written");
                let (len, parsed) = ParsedResponse::try_parse(&response).expect("HTTP").expect("a whole head");
                assert_eq!((len, parsed.status().as_u16()), (response.len(), 101));
                format!("{request:?} {negotiated:?}")
            }
        });
    }
    assert_eq!(outcomes[0], outcomes[1], "in one piece, and in several");
}

async fn response(bytes: &[u8], pieces: Sizes, config: &Config, offers: bool) {
    let target = Target::parse("ws://example.com/live").expect("a URL");
    let mut offer = Offer::default();
    for protocol in ["a", "b"].into_iter().filter(|_| offers) {
        offer.add_protocol(protocol.to_owned()).expect("a token");
    }
    let mut outcomes = Vec::new();
    for pieces in [Sizes::WHOLE, pieces] {
        let mut peer = Peer::new(bytes, pieces);
        let deadline = deadline_after(config.handshake_timeout);
        let result = open(&mut peer, &target, &offer, config, deadline).await;
        let key = peer.accept_key();
        let outcome = match result {
            Err(error) => format!("{error:?} {:?}", error.response()),
            Ok(opened) => {
                assert!(opened.leftover.len() <= config.max_head_size + READ_MOST);
                let filled = with_accept_key(bytes, &key);
                let rest = [&opened.leftover[..], peer.rest()].concat();
                // Any number of interim responses is before it.
                let mut end = head_end(&filled);
                while end + rest.len() < filled.len() {
                    end += head_end(&filled[end..]);
                }
                assert_eq!(rest, filled[end..], "what is left over");
                format!("{:?}", opened.negotiated)
            }
        };
        outcomes.push(outcome.replace(&key, ACCEPT));
    }
    assert_eq!(outcomes[0], outcomes[1], "in one piece, and in several");
}

/// A URL, a line of subprotocols, and lines of headers.
async fn both_ends(mut input: Input<'_>, config: &Config) {
    let capacity = usize::from(input.byte()) + 1;
    let choice = usize::from(input.byte());
    let Ok(target) = Target::parse(&String::from_utf8_lossy(input.line())) else { return };
    let mut offer = Offer::default();
    let mut offered = Vec::new();
    for protocol in String::from_utf8_lossy(input.line()).split(',') {
        if offer.add_protocol(protocol.to_owned()).is_ok() {
            offered.push(protocol.to_owned());
        }
    }
    let mut asked: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut agreement = Agreement::default();
    while !input.is_empty() {
        let line = input.line();
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':').unwrap_or(line.len()));
        let Ok((name, value)) = parse_header(name, value.get(1..).unwrap_or_default()) else { continue };
        if offer.add_header(name.clone(), value.clone()).is_ok() {
            asked.push((name.clone(), value.clone()));
        }
        // One that cannot be written is refused here, and nothing else happens.
        let _ = agreement.add_header(name, value);
    }
    let protocol = offered.get(choice % (offered.len() + 1)).cloned();
    if let Some(protocol) = protocol.clone() {
        agreement.set_protocol(protocol);
    }

    let (mut client_io, mut server_io) = duplex(capacity);
    let client = async {
        let opened = open(&mut client_io, &target, &offer, config, deadline_after(config.handshake_timeout)).await;
        let mut rest = Vec::new();
        if let Ok(opened) = &opened {
            rest.extend(&opened.leftover);
            client_io.read_to_end(&mut rest).await.expect("memory does not fail");
        }
        drop(client_io);
        (opened, rest)
    };
    let server = async {
        let read = read_request(&mut server_io, config).await;
        let answer = read.map(|(request, leftover)| {
            assert_eq!(leftover.len(), 0, "nothing follows a request before its response");
            let (response, negotiated) =
                agreement.agree_to(&request, config).expect("what was offered can be agreed to");
            let response = head_bytes(&response).expect("what can be agreed to can be written");
            (request, response, negotiated)
        });
        if let Ok((_, response, _)) = &answer {
            // Unless the client has given up.
            let _ = server_io.write_all(&[response, FRAMES].concat()).await;
        }
        drop(server_io);
        answer
    };
    let ((opened, rest), answer) = tokio::join!(client, server);
    let (request, _, negotiated) = match answer {
        Ok(answer) => answer,
        Err(bad) if bad.error.kind() == AcceptErrorKind::HeadTooLarge => return,
        Err(bad) => panic!("our own request is refused: {:?}", bad.error),
    };
    assert_eq!(request.protocols, offered);
    for (name, value) in &asked {
        let is_there = request.headers.get_all(name).iter().any(|it| it.as_bytes() == value.as_bytes().trim_ascii());
        assert!(is_there, "the header {name} of the request: {value:?}");
    }
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ConnectErrorKind::HeadTooLarge => return,
        Err(_) if protocol.is_none() && config.require_protocol && !offered.is_empty() => return,
        Err(error) => panic!("our own response is refused: {error:?}"),
    };
    assert_eq!(rest, FRAMES, "what follows the response");
    let protocol = protocol.unwrap_or_default();
    assert_eq!((&opened.negotiated.protocol, &negotiated.protocol), (&protocol, &protocol));
    assert!(target.url.ends_with(&negotiated.url), "{} at {}", negotiated.url, target.url);
}

const FRAMES: &[u8] = b"\x81\x02hi\r\n\r\n\x00";
