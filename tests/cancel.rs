//! Every future may be dropped after any number of polls: no byte is lost, sent twice or torn.
//!
//! Each future is polled `k` times, dropped, and made anew, until one completes, over pipes that hold a few bytes; what
//! arrives at both ends must be what would have arrived otherwise.

mod support;

use std::pin::Pin;

use bytes::Bytes;
use futures::{Sink, SinkExt};
use support::{
    BINARY, BOTH, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, frame, next, other, pair_over, pattern, poll_times,
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use wsstream::{CloseCode, Config, Message, MessageKind, Readable, Role, Writable};

/// How often a future is polled before it is dropped; the last stands for not at all.
const POLLS: [usize; 6] = [1, 2, 3, 4, 7, usize::MAX];

/// Evaluates to what the future resolves to, having been dropped and made anew as often as it takes.
macro_rules! cancelled {
    ($k:expr, $future:expr) => {
        loop {
            if let Some(output) = poll_times($k, $future).await {
                break output;
            }
            tokio::task::yield_now().await;
        }
    };
}

/// What the peer says, and what a reader must make of it.
fn script(sender: Role) -> (Vec<u8>, Vec<Message>) {
    let long = pattern(400);
    let text = "aé€😀 and so on";
    let bytes = [
        frame(sender, true, TEXT, text.as_bytes()),
        // A message in fragments, cut within characters, and pings between them.
        frame(sender, false, TEXT, &text.as_bytes()[..2]),
        frame(sender, true, PING, b"first"),
        frame(sender, false, CONTINUATION, b""),
        frame(sender, false, CONTINUATION, &text.as_bytes()[2..5]),
        frame(sender, true, PING, b"second"),
        frame(sender, true, CONTINUATION, &text.as_bytes()[5..]),
        frame(sender, true, BINARY, b""),
        frame(sender, true, BINARY, &long),
        frame(sender, true, BINARY, &long),
        frame(sender, true, BINARY, &long),
        frame(sender, true, TEXT, b"the end"),
    ];
    let messages = [
        Message::text(text),
        Message::text(text),
        Message::binary(""),
        Message::binary(long.clone()),
        Message::binary(long.clone()),
        Message::binary(long),
        Message::text("the end"),
    ];
    (bytes.concat(), messages.into())
}

async fn collect(readable: &mut Readable) -> Message {
    readable.next_message().await.unwrap().expect("a message").collect(1000).await.unwrap()
}

/// Reads the script's messages, one after the other in every way there is.
async fn read(mut readable: Readable, k: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for way in 0..7 {
        if way == 2 || way == 5 {
            messages.push(cancelled!(k, next(&mut readable)).expect("a message").unwrap());
            continue;
        }
        if way == 6 {
            messages.push(cancelled!(k, collect(&mut readable)));
            continue;
        }
        let mut message = cancelled!(k, readable.next_message()).unwrap().expect("a message");
        let kind = message.kind();
        let mut bytes = Vec::new();
        match way {
            0 => {
                while let Some(chunk) = cancelled!(k, message.chunk()).unwrap() {
                    bytes.extend_from_slice(&chunk);
                }
            }
            1 => {
                while let Some(chunk) = cancelled!(k, next(&mut message)) {
                    bytes.extend_from_slice(&chunk.unwrap());
                }
            }
            3 => loop {
                let mut buffer = [0; 3];
                match cancelled!(k, message.read(&mut buffer)).unwrap() {
                    0 => break,
                    len => bytes.extend_from_slice(&buffer[..len]),
                }
            },
            // Bit by bit, and the rest at once.
            _ => {
                let first = cancelled!(k, message.chunk()).unwrap().expect("a chunk");
                bytes.extend_from_slice(&first);
                let rest = match poll_times(k, message.collect(1000)).await {
                    Some(rest) => rest.unwrap(),
                    None => cancelled!(k, collect(&mut readable)),
                };
                bytes.extend_from_slice(rest.as_bytes());
            }
        }
        messages.push(match kind {
            MessageKind::Text => Message::text_from_utf8(bytes).unwrap(),
            MessageKind::Binary => Message::binary(bytes),
        });
    }
    assert!(cancelled!(k, readable.next_message()).unwrap().is_none());
    messages
}

/// Writes in every way there is; what the peer must receive.
async fn write(writable: &mut Writable, k: usize) -> Vec<(u8, Vec<u8>)> {
    let (long, text) = (pattern(300), "aé€😀 and so on");
    cancelled!(k, writable.send(text)).unwrap();
    cancelled!(k, writable.ready()).unwrap();
    cancelled!(k, writable.send(Bytes::from(long.clone()))).unwrap();
    cancelled!(k, writable.flush()).unwrap();
    assert_eq!(writable.buffered_amount(), 0);

    let mut message = cancelled!(k, writable.start_message(MessageKind::Binary)).unwrap();
    for piece in long.chunks(70) {
        cancelled!(k, message.write(Bytes::copy_from_slice(piece))).unwrap();
    }
    cancelled!(k, message.flush()).unwrap();
    let mut at = 0;
    while at < long.len() {
        // `AsyncWrite`, piece by piece; `MessageWriter::write` takes whole `Bytes`.
        let end = long.len().min(at + 50);
        at += cancelled!(k, AsyncWriteExt::write(&mut message, &long[at..end])).unwrap();
    }
    message.finish().await.unwrap();

    // A ping that nobody waits for any more goes out all the same.
    let control = writable.control();
    let _ = poll_times(k, control.ping()).await;

    let mut message = cancelled!(k, writable.start_message(MessageKind::Text).length(text.len() as u64)).unwrap();
    // Within a character.
    for piece in [&text[..1], &text[1..]] {
        cancelled!(k, message.write(Bytes::copy_from_slice(piece.as_bytes()))).unwrap();
    }
    cancelled!(k, message.shutdown()).unwrap();
    drop(message);

    cancelled!(k, std::future::poll_fn(|cx| Sink::poll_ready(Pin::new(&mut *writable), cx))).unwrap();
    Sink::start_send(Pin::new(&mut *writable), Message::text("sunk")).unwrap();
    cancelled!(k, SinkExt::flush(writable)).unwrap();

    let twice = [&long[..], &long].concat();
    vec![(TEXT, text.into()), (BINARY, long), (BINARY, twice), (TEXT, text.into()), (TEXT, b"sunk".to_vec())]
}

/// What the peer saw.
#[derive(Default)]
struct Seen {
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    closes: Vec<Vec<u8>>,
}

/// Writes the script, answers pings and the Close frame, and reads to the end.
async fn peer(peer: Raw, script: Vec<u8>) -> Seen {
    let role = peer.role;
    let (read, mut write) = tokio::io::split(peer.io);
    let (answer, mut answers) = mpsc::unbounded_channel::<Vec<u8>>();
    let writer = tokio::spawn(async move {
        write.write_all(&script).await.unwrap();
        while let Some(answer) = answers.recv().await {
            write.write_all(&answer).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut answer = Some(answer);
    let mut reader = Raw::new(tokio::io::join(read, tokio::io::sink()), role);
    let mut seen = Seen::default();
    while let Some(got) = reader.frame().await {
        assert!(seen.closes.is_empty(), "nothing follows a Close frame");
        match got.opcode {
            PONG => seen.pongs.push(got.payload),
            PING => drop(answer.as_ref().unwrap().send(frame(role, true, PONG, &got.payload))),
            CLOSE => {
                answer.take().unwrap().send(frame(role, true, CLOSE, &got.payload)).unwrap();
                seen.closes.push(got.payload);
            }
            opcode => {
                if opcode != CONTINUATION {
                    seen.messages.push((opcode, Vec::new()));
                }
                seen.messages.last_mut().expect("a message to continue").1.extend(got.payload);
            }
        }
    }
    writer.await.unwrap();
    seen
}

async fn session(role: Role, capacity: usize, k: usize) {
    let config = Config::default().write_high_water_mark(100).read_high_water_mark(100);
    let (ws, raw) = pair_over(role, config, capacity);
    let (readable, mut writable) = ws.split();
    let closed = readable.closed();
    let (bytes, expected) = script(other(role));
    let peer = tokio::spawn(peer(raw, bytes));
    let reading = tokio::spawn(read(readable, k));
    let writing = tokio::spawn(async move {
        let sent = write(&mut writable, k).await;
        let info = cancelled!(k, writable.close(CloseCode::NORMAL, "done")).unwrap();
        assert_eq!((info.close_code, info.reason.as_str()), (CloseCode::NORMAL, "done"));
        sent
    });
    let sent = within(writing).await.expect("writing");
    assert_eq!(within(reading).await.expect("reading"), expected);
    within(closed).await.unwrap();
    let seen = within(peer).await.expect("the peer");
    assert!(seen.messages == sent, "{role:?}, {capacity} B, {k} polls");
    assert_eq!(seen.pongs, [&b"first"[..], b"second"]);
    assert_eq!(seen.closes, [[&[0x03, 0xe8], &b"done"[..]].concat()]);
}

#[tokio::test]
async fn nothing_is_lost_when_futures_are_dropped_after_any_number_of_polls() {
    for role in BOTH {
        for capacity in 1..=7 {
            for k in POLLS {
                session(role, capacity, k).await;
            }
        }
    }
}
