//! The table of `docs/errors.md`: each fault, the close code that the peer is told, and the error that every handle gives,
//! for ever and without hanging.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};
use wsstream::{
    CloseCode, CloseError, CollectError, Config, ConnectionError, Message, MessageKind, Negotiated, ProtocolError,
    ReadError, Role, WebSocketStream, WriteError,
};

/// Hours of virtual time: what takes longer hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), future).await.expect("it hangs")
}

fn open(role: Role, config: Config) -> (WebSocketStream, DuplexStream) {
    let (ours, peer) = duplex(1 << 20);
    (WebSocketStream::from_upgraded(ours, Bytes::new(), role, Negotiated::default(), config), peer)
}

/// A frame as the peer of `role` sends it; the key is zero.
fn frame(role: Role, first_byte: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let (mask_bit, key) = if role == Role::Server { (0x80, &[0; 4][..]) } else { (0, &[][..]) };
    [&[first_byte, mask_bit | payload.len() as u8], key, payload].concat()
}

/// The close code of the last frame on the wire, `None` if that is no Close frame.
async fn told(peer: &mut DuplexStream, role: Role) -> Option<u16> {
    let mut bytes = Vec::new();
    let _ = soon(peer.read_to_end(&mut bytes)).await;
    let mut frames = &bytes[..];
    let mut last = None;
    while let [first, second, rest @ ..] = frames {
        let (size, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            size => (usize::from(size), rest),
        };
        let (key, rest) = if role == Role::Client { rest.split_at(4) } else { (&[0; 4][..], rest) };
        last = (*first == 0x88).then(|| u16::from_be_bytes([rest[0] ^ key[0], rest[1] ^ key[1]]));
        frames = rest.get(size..).unwrap_or_default();
    }
    last
}

/// All handles agree: on `closed`, reading, writing, closing, pings; now and whenever they are asked again.
async fn assert_agreed(ws: WebSocketStream, expected: &ConnectionError) {
    let expected = format!("{expected:?}");
    let is = |error: &dyn std::fmt::Debug, what: &str| {
        let shown = format!("{error:?}");
        assert!(shown.contains(&expected), "{what}: {shown}, not {expected}");
    };
    let control = ws.control();
    let closed = ws.closed();
    let (mut readable, mut writable) = ws.split();
    for _ in 0..3 {
        is(&soon(closed.clone()).await.unwrap_err(), "closed");
        is(&soon(control.closed()).await.unwrap_err(), "closed of control");
        is(&soon(control.ping()).await.unwrap_err(), "ping");
        is(&soon(control.close(CloseCode::NORMAL, "")).await.unwrap_err(), "close of control");
        is(&soon(readable.next_message()).await.map(drop).unwrap_err(), "next_message");
        is(&soon(writable.send(Message::text("x"))).await.unwrap_err(), "send");
        is(&soon(writable.start_message(MessageKind::Text)).await.map(drop).unwrap_err(), "start_message");
        is(&soon(writable.ready()).await.unwrap_err(), "ready");
        is(&soon(writable.flush()).await.unwrap_err(), "flush");
        is(&soon(writable.feed(Message::text("x"))).await.unwrap_err(), "feed");
        is(&soon(writable.close(CloseCode::NORMAL, "")).await.unwrap_err(), "close");
        is(&soon(SinkExt::close(&mut writable)).await.unwrap_err(), "close of the sink");
        control.abort();
    }
    // A stream gives its error once, and ends.
    is(&soon(readable.next()).await.unwrap().unwrap_err(), "next");
    assert!(soon(readable.next()).await.is_none());
    assert!(soon(readable.next()).await.is_none());
}

/// Sends a message, and then this, which is a fault: the message is delivered, then every handle has the error, and the peer
/// the close code.
async fn assert_fault(role: Role, config: Config, bytes: &[u8], expected: &ConnectionError, close_code: u16) {
    let (mut ws, mut peer) = open(role, config);
    peer.write_all(&frame(role, 0x82, b"before")).await.unwrap();
    peer.write_all(bytes).await.unwrap();
    let message = soon(ws.next_message()).await.unwrap().unwrap();
    let before = soon(message.collect(10)).await.unwrap();
    assert_eq!(before.into_bytes(), "before", "what came before {expected}");
    assert_eq!(told(&mut peer, role).await, Some(close_code), "{expected}");
    drop(peer);
    assert_eq!(expected.close_code(), CloseCode::ABNORMAL);
    assert_agreed(ws, expected).await;
}

#[tokio::test(start_paused = true)]
async fn each_broken_rule() {
    for role in [Role::Server, Role::Client] {
        let mask_bit = if role == Role::Server { 0x80 } else { 0 };
        let frame = |first_byte, payload: &[u8]| frame(role, first_byte, payload);
        let masked_wrong = if role == Role::Server { ProtocolError::Unmasked } else { ProtocolError::Masked };
        for (bytes, rule, close_code) in [
            (frame(0xc2, b""), ProtocolError::ReservedBits, 1002),
            (frame(0x83, b""), ProtocolError::ReservedOpcode(3), 1002),
            (frame(0x8f, b""), ProtocolError::ReservedOpcode(15), 1002),
            (frame(0x09, b""), ProtocolError::FragmentedControl, 1002),
            (vec![0x89, mask_bit | 126, 0, 126], ProtocolError::ControlTooLong, 1002),
            (vec![0x82, mask_bit | 126, 0, 125, 0, 0, 0, 0], ProtocolError::OverlongLength, 1002),
            (vec![0x82, mask_bit | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ProtocolError::LengthTooLarge, 1002),
            (vec![0x82, mask_bit ^ 0x80, 0, 0, 0, 0], masked_wrong, 1002),
            (frame(0x80, b""), ProtocolError::UnexpectedContinuation, 1002),
            (frame(0x88, b"x"), ProtocolError::CloseBodyTooShort, 1002),
            (frame(0x88, &1005u16.to_be_bytes()), ProtocolError::InvalidCloseCode(1005), 1002),
            (frame(0x88, &999u16.to_be_bytes()), ProtocolError::InvalidCloseCode(999), 1002),
            (frame(0x88, b"\x03\xe8\xff"), ProtocolError::InvalidCloseReason, 1007),
        ] {
            assert_eq!(u16::from(rule.close_code()), close_code, "{rule}");
            assert_fault(role, Config::default(), &bytes, &rule.into(), close_code).await;
        }
    }
}

/// Reads on after a fault in the midst of a message: its chunks first, then the error, for ever.
#[tokio::test(start_paused = true)]
async fn faults_within_a_message() {
    for role in [Role::Server, Role::Client] {
        for (second, rule) in [
            (frame(role, 0x82, b"new"), ProtocolError::InterleavedMessage),
            (frame(role, 0x80, b"\xff"), ProtocolError::InvalidText),
        ] {
            let (mut ws, mut peer) = open(role, Config::default());
            peer.write_all(&frame(role, 0x01, b"begun")).await.unwrap();
            peer.write_all(&second).await.unwrap();
            let expected = ConnectionError::from(rule);
            let mut message = soon(ws.next_message()).await.unwrap().unwrap();
            assert_eq!(soon(message.chunk()).await.unwrap().unwrap(), "begun");
            for _ in 0..3 {
                let error = soon(message.chunk()).await.unwrap_err();
                assert!(format!("{error:?}").contains(&format!("{expected:?}")), "{error}");
            }
            let error = soon(message.collect(100)).await.unwrap_err();
            assert!(matches!(error, CollectError::Read(ReadError::Connection(_))), "{error}");
            assert_eq!(told(&mut peer, role).await, Some(u16::from(rule.close_code())));
            drop(peer);
            assert_agreed(ws, &expected).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_over_a_limit() {
    for role in [Role::Server, Role::Client] {
        let config = Config::default().max_message_size(10);
        let expected = ConnectionError::MessageTooLarge { limit: 10, knob: "max_message_size" };
        assert_fault(role, config, &frame(role, 0x82, &[0; 11]), &expected, 1009).await;

        let (mut ws, mut peer) = open(role, Config::default().max_whole_message_size(10));
        peer.write_all(&frame(role, 0x82, &[0; 11])).await.unwrap();
        let expected = ConnectionError::MessageTooLarge { limit: 10, knob: "max_whole_message_size" };
        let error = soon(ws.next()).await.unwrap().unwrap_err();
        assert!(format!("{error:?}").contains(&format!("{expected:?}")), "{error}");
        assert!(soon(ws.next()).await.is_none());
        assert_eq!(told(&mut peer, role).await, Some(1009));
        assert!(format!("{:?}", soon(ws.closed()).await).contains(&format!("{expected:?}")));
        assert!(format!("{:?}", soon(ws.send("x")).await).contains(&format!("{expected:?}")));
    }
}

#[tokio::test(start_paused = true)]
async fn transports_that_end_or_fail() {
    for role in [Role::Server, Role::Client] {
        let (ws, peer) = open(role, Config::default());
        drop(peer);
        assert_agreed(ws, &ConnectionError::Lost).await;

        // In the middle of a frame, of a message.
        let (mut ws, mut peer) = open(role, Config::default());
        peer.write_all(&frame(role, 0x02, b"begun")).await.unwrap();
        drop(peer);
        let mut message = soon(ws.next_message()).await.unwrap().unwrap();
        assert_eq!(soon(message.chunk()).await.unwrap().unwrap(), "begun");
        for _ in 0..3 {
            let error = soon(message.chunk()).await.unwrap_err();
            assert!(matches!(error, ReadError::Connection(ConnectionError::Lost)), "{error}");
        }
        drop(message);
        assert_agreed(ws, &ConnectionError::Lost).await;

        let io = tokio_test_like::Failing;
        let ws = WebSocketStream::from_upgraded(io, Bytes::new(), role, Negotiated::default(), Config::default());
        let error = soon(ws.closed()).await.unwrap_err();
        assert!(matches!(&error, ConnectionError::Io(source) if source.kind() == std::io::ErrorKind::ConnectionReset));
        assert_agreed(ws, &error).await;
    }
}

mod tokio_test_like {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// A transport that was reset.
    pub(crate) struct Failing;

    fn reset<T>() -> Poll<io::Result<T>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    impl AsyncRead for Failing {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            reset()
        }
    }

    impl AsyncWrite for Failing {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            reset()
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            reset()
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            reset()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts() {
    let time = Duration::from_secs(7);
    for role in [Role::Server, Role::Client] {
        let (mut ws, mut peer) = open(role, Config::default().close_timeout(time));
        let error = soon(ws.close(CloseCode::NORMAL, "")).await.unwrap_err();
        let expected = ConnectionError::CloseTimeout(time);
        assert!(format!("{error:?}").contains(&format!("{expected:?}")), "{error}");
        assert_eq!(told(&mut peer, role).await, Some(1000));
        assert_agreed(ws, &expected).await;

        let (ws, mut peer) = open(role, Config::default().keepalive_timeout(time).ping_interval(None));
        assert_agreed(ws, &ConnectionError::KeepaliveTimeout(time)).await;
        assert_eq!(told(&mut peer, role).await, None);

        let (ws, mut peer) = open(role, Config::default().idle_timeout(time));
        assert_eq!(told(&mut peer, role).await, Some(1001));
        drop(peer);
        assert_agreed(ws, &ConnectionError::IdleTimeout(time)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_caller() {
    for role in [Role::Server, Role::Client] {
        let (mut ws, mut peer) = open(role, Config::default());
        let mut message = soon(ws.start_message(MessageKind::Binary)).await.unwrap();
        soon(message.write("begun")).await.unwrap();
        drop(message);
        assert_eq!(told(&mut peer, role).await, Some(1011));
        drop(peer);
        assert_agreed(ws, &ConnectionError::UnfinishedMessage).await;

        let (mut ws, mut peer) = open(role, Config::default());
        ws.abort();
        assert_eq!(told(&mut peer, role).await, None);
        assert_agreed(ws, &ConnectionError::Aborted).await;

        // Misuse that leaves the connection as it was.
        let (mut ws, mut peer) = open(role, Config::default());
        let refused = CloseCode::try_from(1006).unwrap_err();
        assert!(matches!(refused, CloseError::InvalidCode(1006)), "{refused}");
        let refused = soon(ws.close(CloseCode::ABNORMAL, "")).await.unwrap_err();
        assert!(matches!(refused, CloseError::InvalidCode(1006)), "{refused}");
        let refused = soon(ws.close(CloseCode::NORMAL, &"x".repeat(124))).await.unwrap_err();
        assert!(matches!(refused, CloseError::ReasonTooLong { len: 124 }), "{refused}");
        let refused = soon(ws.close(CloseCode::NO_STATUS, "x")).await.unwrap_err();
        assert!(matches!(refused, CloseError::ReasonWithoutCode), "{refused}");
        let mut message = soon(ws.start_message(MessageKind::Text)).await.unwrap();
        let refused = soon(message.write(&b"a\xff"[..])).await.unwrap_err();
        assert!(matches!(&refused, WriteError::InvalidUtf8(at) if at.valid_up_to() == 1), "{refused}");
        soon(message.finish()).await.unwrap();
        let mut message = soon(ws.start_message(MessageKind::Binary).length(3)).await.unwrap();
        let refused = soon(message.write("four")).await.unwrap_err();
        assert!(matches!(refused, WriteError::WrongLength { declared: 3, written: 4 }), "{refused}");
        soon(message.write("all")).await.unwrap();
        soon(message.finish()).await.unwrap();
        peer.write_all(&frame(role, 0x82, b"more")).await.unwrap();
        let message = soon(ws.next_message()).await.unwrap().unwrap();
        let refused = soon(message.collect(3)).await.unwrap_err();
        assert!(matches!(refused, CollectError::TooLarge { limit: 3 }), "{refused}");
        let mut message = soon(ws.next_message()).await.unwrap().expect("it comes again");
        assert_eq!(soon(message.chunk()).await.unwrap().unwrap(), "more");
        drop(message);
        peer.write_all(&frame(role, 0x88, &1000u16.to_be_bytes())).await.unwrap();
        let info = soon(ws.close(CloseCode::NORMAL, "")).await.unwrap();
        assert!(info.was_clean, "{info:?}");
    }
}

/// A text that ends in the middle of a character, and a message shorter than declared: both fail the connection.
#[tokio::test(start_paused = true)]
async fn messages_that_are_finished_too_early() {
    for role in [Role::Server, Role::Client] {
        let (mut ws, mut peer) = open(role, Config::default());
        let mut message = soon(ws.start_message(MessageKind::Text)).await.unwrap();
        soon(message.write(&b"a\xe2\x82"[..])).await.unwrap();
        let error = soon(message.finish()).await.unwrap_err();
        assert!(matches!(error, WriteError::InvalidUtf8(_)), "{error}");
        assert_eq!(told(&mut peer, role).await, Some(1011));
        drop(peer);
        assert_agreed(ws, &ConnectionError::UnfinishedMessage).await;

        let (mut ws, mut peer) = open(role, Config::default());
        let mut message = soon(ws.start_message(MessageKind::Binary).length(3)).await.unwrap();
        soon(message.write("ab")).await.unwrap();
        soon(message.flush()).await.unwrap();
        let error = soon(message.finish()).await.unwrap_err();
        assert!(matches!(error, WriteError::WrongLength { declared: 3, written: 2 }), "{error}");
        // The frame cannot be completed, so that nothing can follow it.
        assert_eq!(told(&mut peer, role).await, None);
        drop(peer);
        assert_agreed(ws, &ConnectionError::UnfinishedMessage).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes() {
    for role in [Role::Server, Role::Client] {
        // While data waits that it does not read: unclean, with the peer's code.
        let (mut ws, mut peer) = open(role, Config::default());
        soon(ws.send(vec![0; 4 << 20])).await.unwrap();
        peer.write_all(&frame(role, 0x88, &4001u16.to_be_bytes())).await.unwrap();
        let error = soon(ws.closed()).await.unwrap_err();
        assert!(matches!(&error, ConnectionError::Unsent(info) if info.close_code == error.close_code()), "{error}");
        assert_eq!(u16::from(error.close_code()), 4001);
        drop(peer);
        assert_agreed(ws, &error).await;

        // In the middle of a message: its chunks, then an end that is unclean for everybody.
        let (mut ws, mut peer) = open(role, Config::default());
        let ws_closed = ws.closed();
        peer.write_all(&frame(role, 0x02, b"begun")).await.unwrap();
        peer.write_all(&frame(role, 0x88, &4001u16.to_be_bytes())).await.unwrap();
        let mut message = soon(ws.next_message()).await.unwrap().unwrap();
        assert_eq!(soon(message.chunk()).await.unwrap().unwrap(), "begun");
        let expected = soon(ws_closed).await.unwrap_err();
        for _ in 0..3 {
            let error = soon(message.chunk()).await.unwrap_err();
            assert!(matches!(&error, ReadError::Connection(ConnectionError::MessageCut(_))), "{error}");
        }
        drop(message);
        assert!(matches!(expected, ConnectionError::MessageCut(_)), "{expected}");
        assert_eq!(u16::from(expected.close_code()), 4001);
        assert_eq!(told(&mut peer, role).await, Some(4001));
        drop(peer);
        assert_agreed(ws, &expected).await;

        // Between messages: clean.
        let (mut ws, mut peer) = open(role, Config::default());
        peer.write_all(&frame(role, 0x88, &1000u16.to_be_bytes())).await.unwrap();
        for _ in 0..3 {
            assert!(soon(ws.next_message()).await.unwrap().is_none());
            assert!(matches!(soon(ws.send("x")).await, Err(WriteError::Closed)));
            assert!(soon(ws.closed()).await.unwrap().was_clean);
            assert!(matches!(soon(ws.control().ping()).await, Err(WriteError::Closed)));
        }
        assert_eq!(told(&mut peer, role).await, Some(1000));
    }
}

/// The limit of whole messages is the reader's: what it finds after a clean end does not change that end.
#[tokio::test(start_paused = true)]
async fn a_whole_message_over_the_limit_found_after_the_end() {
    for role in [Role::Server, Role::Client] {
        let (mut ws, mut peer) = open(role, Config::default().max_whole_message_size(10));
        peer.write_all(&frame(role, 0x82, &[0; 11])).await.unwrap();
        peer.write_all(&frame(role, 0x88, &1000u16.to_be_bytes())).await.unwrap();
        assert!(soon(ws.closed()).await.unwrap().was_clean);
        let error = soon(ws.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Connection(ConnectionError::MessageTooLarge { limit: 10, .. })), "{error}");
        assert!(soon(ws.next()).await.is_none());
        assert!(soon(ws.closed()).await.unwrap().was_clean);
    }
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_dropped() {
    for role in [Role::Server, Role::Client] {
        let (ws, mut peer) = open(role, Config::default());
        let closed = ws.closed();
        drop(ws);
        peer.write_all(&frame(role, 0x88, &1001u16.to_be_bytes())).await.unwrap();
        assert!(soon(closed).await.unwrap().was_clean);
        assert_eq!(told(&mut peer, role).await, Some(1001));
    }
}

#[test]
fn a_runtime_that_goes_away() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ws, _peer) = runtime.block_on(async { open(Role::Server, Config::default()) });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(assert_agreed(ws, &ConnectionError::RuntimeShutDown));
}

#[test]
fn each_limit_names_its_knob() {
    let time = Duration::from_secs(1);
    for (error, knob) in [
        (ConnectionError::MessageTooLarge { limit: 1, knob: "max_message_size" }, "max_message_size"),
        (ConnectionError::MessageTooLarge { limit: 1, knob: "max_whole_message_size" }, "max_whole_message_size"),
        (ConnectionError::CloseTimeout(time), "close_timeout"),
        (ConnectionError::KeepaliveTimeout(time), "keepalive_timeout"),
        (ConnectionError::IdleTimeout(time), "idle_timeout"),
    ] {
        let message = error.to_string();
        assert!(message.contains(&format!("`Config::{knob}`")), "{message}");
        assert!(message.contains('1'), "the limit's value: {message}");
    }
}
