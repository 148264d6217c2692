//! The same messages for everybody.

use futures::future::join_all;
use wsstream::{
    CloseCode, Compression, Listener, Message, MessageKind, Role, WebSocketStream, WriteError,
    fanout::{Fanout, FanoutMessage, Lag, ReceiverEnd, ReceiverOptions},
};

use crate::{
    messages, pair,
    support::{WIDE, next, within},
};

/// Every kind of connection there is.
const KINDS: [(Role, Option<&str>); 7] = [
    (Role::Server, None),
    (Role::Server, Some("")),
    (Role::Server, Some("; server_no_context_takeover")),
    (Role::Server, Some("; server_max_window_bits=9")),
    (Role::Client, None),
    (Role::Client, Some("")),
    (Role::Client, Some("; client_no_context_takeover")),
];

async fn write_in_chunks(mut to: FanoutMessage<'_>, message: &Message) {
    for chunk in message.as_bytes().chunks(7001) {
        to.write(chunk.to_vec()).await.unwrap();
    }
    to.finish().await.unwrap();
}

/// Publishes everything twice, whole and in chunks.
async fn publish_all(fanout: &mut Fanout) {
    for (at, message) in messages().into_iter().enumerate() {
        if at % 2 == 0 {
            fanout.publish(message.clone()).await;
        } else {
            fanout.publish_key(message.clone()).await;
        }
        write_in_chunks(fanout.start_message(message.kind()).await, &message).await;
    }
}

async fn expect_all(ws: &mut (impl futures::Stream<Item = Result<Message, wsstream::ReadError>> + Unpin), what: &str) {
    for (at, expected) in messages().into_iter().enumerate() {
        for way in ["whole", "in chunks"] {
            let message = next(ws).await.unwrap_or_else(|| panic!("{what}: {at}")).unwrap();
            assert!(message == expected, "{what}: message {at}, {way}: {} bytes", message.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_everything_with_and_without_compression_in_both_roles() {
    for compression in
        [None, Some(Compression::default().min_size(100)), Some(Compression::default().send_window_bits(9))]
    {
        for capacity in [100, WIDE] {
            let mut fanout = Fanout::new();
            if let Some(compression) = compression {
                fanout = fanout.compression(compression);
            }
            let (mut receivers, mut viewers) = (Vec::new(), Vec::new());
            for (role, deflate) in KINDS {
                let (near, mut far) = pair(role, deflate, capacity);
                // Waited for, and without a budget that would hold everything.
                let options = ReceiverOptions::default().budget(50_000).lag(Lag::Wait);
                receivers.push(tokio::spawn(fanout.audience().join(near.split().1, options)));
                viewers.push(tokio::spawn(async move {
                    expect_all(&mut far, &format!("{role:?} {deflate:?} {compression:?}")).await;
                    assert!(next(&mut far).await.is_none());
                    far.closed().await.unwrap()
                }));
            }
            within(publish_all(&mut fanout)).await;
            fanout.close(CloseCode::try_from(4000).unwrap(), "over").unwrap();
            for viewer in viewers {
                let info = within(viewer).await.unwrap();
                assert_eq!((u16::from(info.close_code), info.reason.as_str()), (4000, "over"));
            }
            let bytes: usize = messages().iter().map(Message::len).sum();
            for receiver in receivers {
                let received = within(receiver).await.unwrap();
                assert!(matches!(received.end, ReceiverEnd::Source), "{:?}", received.end);
                assert_eq!((received.stats.sent_messages, received.stats.sent_bytes), (14, 2 * bytes as u64));
                assert_eq!((received.stats.dropped_messages, received.stats.lag_bytes), (0, 0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_on_its_way_before_its_message_is_in() {
    for (role, deflate) in KINDS {
        let mut fanout = Fanout::new().compression(Compression::default());
        let (near, mut far) = pair(role, deflate, WIDE);
        tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default()));
        let begin = tokio::time::Instant::now();
        let mut message = fanout.start_message(MessageKind::Text).await;
        within(message.write("0 and so on\n")).await.unwrap();
        let mut reader = within(far.next_message()).await.unwrap().unwrap();
        for at in 0..50 {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                line.extend_from_slice(&within(reader.chunk()).await.unwrap().unwrap());
            }
            assert_eq!(String::from_utf8(line).unwrap(), format!("{at} and so on\n"), "{role:?} {deflate:?}");
            within(message.write(format!("{} and so on\n", at + 1))).await.unwrap();
        }
        assert_eq!(begin.elapsed(), std::time::Duration::ZERO, "nothing waited for the clock");
    }
}

#[tokio::test]
async fn text_is_checked_across_chunks() {
    let mut fanout = Fanout::new();
    let (near, mut far) = pair(Role::Server, None, WIDE);
    tokio::spawn(fanout.audience().join(near.split().1, ReceiverOptions::default()));
    let mut message = fanout.start_message(MessageKind::Text).await;
    message.write(&b"gr\xC3"[..]).await.unwrap();
    assert!(matches!(message.write(&b"\xC3"[..]).await, Err(WriteError::InvalidUtf8(_))));
    message.write(&b"\xB6\xC3\x9Fe"[..]).await.unwrap();
    message.finish().await.unwrap();
    assert_eq!(within(next(&mut far)).await.unwrap().unwrap().as_text(), Some("größe"));
    let mut message = fanout.start_message(MessageKind::Text).await;
    message.write(&b"half: \xC3"[..]).await.unwrap();
    assert!(matches!(message.finish().await, Err(WriteError::InvalidUtf8(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_loopback() {
    let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut fanout = Fanout::new();
    let (mut viewers, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let url = url.clone();
        viewers.push(tokio::spawn(async move {
            let mut ws = WebSocketStream::connect(url).await.unwrap();
            expect_all(&mut ws, "over loopback").await;
            assert!(next(&mut ws).await.is_none());
        }));
        let (_, writable) = within(listener.accept()).await.unwrap().accept().await.unwrap().split();
        receivers.push(tokio::spawn(fanout.audience().join(writable, ReceiverOptions::default().budget(300_000))));
    }
    within(publish_all(&mut fanout)).await;
    assert_eq!(fanout.stats().messages, 14);
    fanout.close(CloseCode::NORMAL, "").unwrap();
    for viewer in join_all(viewers).await {
        viewer.unwrap();
    }
    for received in join_all(receivers).await {
        assert_eq!(received.unwrap().stats.sent_messages, 14);
    }
}
