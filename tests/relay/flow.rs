//! What is carried: every message as it was, chunk by chunk.

use tokio::{join, time::Instant};
use wsstream::{CloseCode, Listener, Message, MessageKind, RelaySide, WebSocketStream, relay};

use crate::{
    ROLES, between, side,
    support::{BINARY, CONTINUATION, TEXT, WIDE, header, next, pattern, within},
};

fn messages() -> Vec<Message> {
    vec![
        Message::text("hello"),
        Message::binary(""),
        Message::text(""),
        Message::binary(pattern(100_000)),
        Message::text("größer ".repeat(30_000)),
        Message::binary(pattern(1)),
        Message::binary(vec![0; 1 << 20]),
        Message::text("last"),
    ]
}

/// Half of them whole, half of them in pieces.
async fn send_all(ws: &mut wsstream::Writable) {
    for (at, message) in messages().into_iter().enumerate() {
        if at % 2 == 0 {
            ws.send(message).await.unwrap();
            continue;
        }
        let mut writer = ws.start_message(message.kind()).await.unwrap();
        for piece in message.as_bytes().chunks(4000) {
            writer.write(piece.to_vec()).await.unwrap();
        }
        writer.finish().await.unwrap();
    }
}

async fn expect_all(ws: &mut wsstream::Readable) {
    for (at, expected) in messages().into_iter().enumerate() {
        let message = next(ws).await.unwrap().unwrap();
        assert!(message == expected, "message {at}: {:?} of {} bytes", message.kind(), message.len());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_go_both_ways_as_they_are_with_and_without_compression_on_either_side() {
    for roles in ROLES {
        for (left_deflates, right_deflates) in [(false, false), (true, false), (false, true), (true, true)] {
            for capacity in [100, WIDE] {
                let (first, left) = side(roles.0, left_deflates, capacity);
                let (second, right) = side(roles.1, right_deflates, capacity);
                let relayed = tokio::spawn(relay(first, second));
                let ((mut from_left, mut to_left), (mut from_right, mut to_right)) = (left.split(), right.split());
                within(async {
                    join!(
                        send_all(&mut to_left),
                        send_all(&mut to_right),
                        expect_all(&mut from_left),
                        expect_all(&mut from_right)
                    )
                })
                .await;
                let close = to_left.close(CloseCode::try_from(4000).unwrap(), "done");
                let (info, end) = within(async { join!(close, next(&mut from_right)) }).await;
                assert!(end.is_none() && info.unwrap().was_clean);
                let relayed = within(relayed).await.unwrap();
                let bytes: usize = messages().iter().map(Message::len).sum();
                for carried in [relayed.forth, relayed.back] {
                    assert_eq!((carried.messages, carried.bytes), (8, bytes as u64));
                }
                assert_eq!(relayed.ended_by, RelaySide::First);
                assert_eq!((relayed.first.unwrap().reason, relayed.second.unwrap().was_clean), ("done".into(), true));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_on_its_way_before_its_message_is_in() {
    for roles in ROLES {
        let (mut left, _relayed, mut right) = between(roles, WIDE);
        let begin = Instant::now();
        left.write(&header(left.role, true, BINARY, 1 << 40)).await;
        for at in 0..100 {
            let chunk = pattern(1 + at * 100);
            left.write(&chunk).await;
            let frame = right.frame().await.unwrap();
            assert_eq!((frame.fin, frame.opcode), (false, if at == 0 { BINARY } else { CONTINUATION }));
            assert!(frame.payload == chunk, "{at}");
        }
        assert_eq!(begin.elapsed(), std::time::Duration::ZERO, "nothing waited for the clock");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_compressed_on_its_way_is_readable_before_the_next_comes() {
    for roles in ROLES {
        for left_deflates in [false, true] {
            let ((first, mut left), (second, mut right)) =
                (side(roles.0, left_deflates, WIDE), side(roles.1, true, WIDE));
            tokio::spawn(relay(first, second));
            let begin = Instant::now();
            let mut writer = within(left.start_message(MessageKind::Text).into_future()).await.unwrap();
            let text = |at: usize| format!("line {at}, which is much like the others\n");
            within(writer.write(text(0))).await.unwrap();
            within(writer.flush()).await.unwrap();
            let mut reader = within(right.next_message()).await.unwrap().unwrap();
            for at in 1..100 {
                let mut line = Vec::new();
                while !line.ends_with(b"\n") {
                    line.extend_from_slice(&within(reader.chunk()).await.unwrap().unwrap());
                }
                assert_eq!(String::from_utf8(line).unwrap(), text(at - 1));
                within(writer.write(text(at))).await.unwrap();
                within(writer.flush()).await.unwrap();
            }
            assert_eq!(begin.elapsed(), std::time::Duration::ZERO, "nothing waited for the clock");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn text_split_at_every_byte_stays_text() {
    let text = "a ß € 𝄞 e\u{301} \u{10ffff}";
    for roles in ROLES {
        let (mut left, _relayed, mut right) = between(roles, WIDE);
        for split in 0..=text.len() {
            let (begin, end) = text.as_bytes().split_at(split);
            // In two frames, and in one frame that arrives in two parts.
            left.send_part(false, TEXT, begin).await;
            crate::support::settle().await;
            left.send_part(true, CONTINUATION, end).await;
            assert_eq!(right.message().await, (TEXT, text.as_bytes().to_vec()), "split at {split}");
            left.write(&[&header(left.role, true, TEXT, text.len() as u64), begin].concat()).await;
            crate::support::settle().await;
            left.write(end).await;
            assert_eq!(right.message().await, (TEXT, text.as_bytes().to_vec()), "split at {split}");
        }
    }
}

#[tokio::test]
async fn over_loopback() {
    let mut origin = Listener::bind("127.0.0.1:0").await.unwrap();
    let mut proxy = Listener::bind("127.0.0.1:0").await.unwrap();
    let (origin_url, url) =
        (format!("ws://{}", origin.local_addr().unwrap()), format!("ws://{}", proxy.local_addr().unwrap()));
    let echo = tokio::spawn(async move {
        let ws = origin.accept().await.unwrap().accept().await.unwrap();
        let (mut readable, mut writable) = ws.split();
        while let Some(mut message) = readable.next_message().await.unwrap() {
            let mut echo = writable.start_message(message.kind()).await.unwrap();
            while let Some(chunk) = message.chunk().await.unwrap() {
                echo.write(chunk).await.unwrap();
            }
            echo.finish().await.unwrap();
        }
    });
    let relayed = tokio::spawn(async move {
        let client = proxy.accept().await.unwrap().accept().await.unwrap();
        relay(client, WebSocketStream::connect(origin_url).await.unwrap()).await
    });
    let (mut readable, mut writable) = within(WebSocketStream::connect(url).into_future()).await.unwrap().split();
    within(async { join!(send_all(&mut writable), expect_all(&mut readable)) }).await;
    within(writable.close(CloseCode::NORMAL, "")).await.unwrap();
    let relayed = within(relayed).await.unwrap();
    assert_eq!((relayed.forth, relayed.ended_by), (relayed.back, RelaySide::First));
    assert_eq!(relayed.second.unwrap().close_code, CloseCode::NORMAL);
    within(echo).await.unwrap();
}
