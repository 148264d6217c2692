//! Every future of the API, dropped after every number of polls.

use std::{cell::RefCell, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{Sink, SinkExt};
use http::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    time::timeout,
};
use wsstream::{
    AcceptError, CloseCode, Config, Listener, Message, MessageKind, Readable, Role, Upgrade, WebSocketStream, Writable,
};

use super::{
    harness::{AN_HOUR, Cut, assert_no_task_left, poll_times, step, tasks},
    probe::probed,
    support::{
        BINARY, BOTH, CLOSE, CONTINUATION, Frame, PING, PONG, Raw, TEXT, frame, next, pair_over, pattern, within,
    },
};

const URL: &str = "ws://localhost/live";

/// A pipe through which even a header goes in pieces.
const NARROW: usize = 7;

/// What the peer says: a message for every way to read one.
fn incoming() -> Vec<Message> {
    let long = pattern(40);
    vec![
        Message::text("aé€😀 and so on"),
        Message::binary(long.clone()),
        Message::binary(long.clone()),
        Message::binary(long.clone()),
        Message::binary(long.clone()),
        Message::binary(long),
    ]
}

fn incoming_bytes(sender: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, message) in incoming().iter().enumerate() {
        let opcode = if message.is_text() { TEXT } else { BINARY };
        // In two fragments, with a ping between them.
        let (first, second) = message.as_bytes().split_at(9);
        bytes.extend(frame(sender, false, opcode, first));
        bytes.extend(frame(sender, true, PING, &[i as u8]));
        bytes.extend(frame(sender, true, CONTINUATION, second));
    }
    bytes
}

async fn read(readable: &mut Readable, cut: &Cut) -> Vec<Message> {
    let mut messages = vec![step!(cut, next(readable)).expect("a message").unwrap()];
    let mut bytes = Vec::new();

    let mut message = step!(cut, readable.next_message()).unwrap().expect("a message");
    while let Some(chunk) = step!(cut, message.chunk()).unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    drop(message);
    messages.push(Message::binary(std::mem::take(&mut bytes)));

    let mut message = step!(cut, readable.next_message()).unwrap().expect("a message");
    while let Some(chunk) = step!(cut, next(&mut message)) {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    drop(message);
    messages.push(Message::binary(std::mem::take(&mut bytes)));

    let mut message = step!(cut, readable.next_message()).unwrap().expect("a message");
    let mut buffer = [0; 11];
    while let len @ 1.. = step!(cut, message.read(&mut buffer)).unwrap() {
        bytes.extend_from_slice(&buffer[..len]);
    }
    drop(message);
    messages.push(Message::binary(std::mem::take(&mut bytes)));

    let mut message = step!(cut, readable.next_message()).unwrap().expect("a message");
    loop {
        let len = {
            let available = step!(cut, message.fill_buf()).unwrap();
            bytes.extend_from_slice(available);
            available.len()
        };
        if len == 0 {
            break;
        }
        message.consume(len);
    }
    drop(message);
    messages.push(Message::binary(std::mem::take(&mut bytes)));

    let whole = async { readable.next_message().await.unwrap().expect("a message").collect(1000).await.unwrap() };
    // `next_message` gives it again when `collect` was dropped.
    let allowance = cut.allowance();
    let message = match poll_times(allowance, probed(whole)).await {
        Some(message) => message,
        None => {
            cut.was_made.set(true);
            readable.next_message().await.unwrap().expect("a message").collect(1000).await.unwrap()
        }
    };
    messages.push(message);
    messages
}

async fn write(writable: &mut Writable, cut: &Cut) {
    let long = pattern(60);
    step!(cut, writable.send("aé€😀 and so on")).unwrap();
    step!(cut, writable.ready()).unwrap();
    step!(cut, writable.send(Bytes::from(long.clone()))).unwrap();
    step!(cut, writable.flush()).unwrap();
    let mut message = step!(cut, writable.start_message(MessageKind::Binary)).unwrap();
    for piece in long.chunks(25) {
        step!(cut, message.write(Bytes::copy_from_slice(piece))).unwrap();
    }
    step!(cut, message.flush()).unwrap();
    for piece in long.chunks(30) {
        // The mark leaves room for all of it or for nothing.
        assert_eq!(step!(cut, AsyncWriteExt::write(&mut message, piece)).unwrap(), piece.len());
    }
    step!(cut, message.shutdown()).unwrap();
    drop(message);
    let mut message = step!(cut, writable.start_message(MessageKind::Text).length(8)).unwrap();
    step!(cut, message.write(&b"in a "[..])).unwrap();
    step!(cut, message.write(&b"row"[..])).unwrap();
    // This has happened when the call returns, whatever becomes of the future.
    if poll_times(cut.allowance(), message.finish()).await.is_none() {
        cut.was_made.set(true);
    }
    step!(cut, std::future::poll_fn(|cx| Sink::poll_ready(Pin::new(&mut *writable), cx))).unwrap();
    Sink::start_send(Pin::new(&mut *writable), Message::text("sunk")).unwrap();
    step!(cut, SinkExt::flush(writable)).unwrap();
}

/// What the peer saw: data frames put together, control frames apart, for these come when they come.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    messages: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
    pings: usize,
    closes: Vec<Vec<u8>>,
}

async fn peer(raw: Raw) -> Seen {
    let role = raw.role;
    let (read, mut write) = tokio::io::split(raw.io);
    let mut reader = Raw::new(tokio::io::join(read, tokio::io::sink()), role);
    let seen = RefCell::new(Seen::default());
    let (answer, mut answers) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let reading = async move {
        let mut answer = Some(answer);
        while let Some(Frame { opcode, payload, .. }) = reader.frame().await {
            let mut seen = seen.borrow_mut();
            match opcode {
                PING => {
                    seen.pings += usize::from(answer.as_ref().unwrap().send(frame(role, true, PONG, &payload)).is_ok())
                }
                PONG => seen.pongs.push(payload),
                CLOSE => {
                    let _ = answer.take().expect("one Close frame").send(frame(role, true, CLOSE, &payload));
                    seen.closes.push(payload);
                }
                CONTINUATION => seen.messages.last_mut().expect("a message to continue").1.extend(payload),
                _ => seen.messages.push((opcode, payload)),
            }
        }
        seen.into_inner()
    };
    let writing = async move {
        write.write_all(&incoming_bytes(role)).await.unwrap();
        while let Some(answer) = answers.recv().await {
            write.write_all(&answer).await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    tokio::join!(reading, writing).0
}

/// A session whose reader, writer and control each have a future cut; what both ends got.
async fn session(role: Role, [reads, writes, controls]: [&Cut; 3]) -> (Vec<Message>, Seen) {
    let config = Config::default().write_high_water_mark(40).read_high_water_mark(40);
    let (ws, raw) = pair_over(role, config, NARROW);
    let (mut readable, mut writable) = ws.split();
    let control = writable.control();
    let near = async {
        let controlling = async {
            step!(controls, control.ping()).unwrap();
        };
        let (received, (), ()) = tokio::join!(read(&mut readable, reads), write(&mut writable, writes), controlling);
        let info = step!(controls, writable.close(CloseCode::NORMAL, "done")).unwrap();
        assert!(info.was_clean);
        step!(controls, control.close(CloseCode::NORMAL, "again")).unwrap();
        step!(controls, control.closed()).unwrap();
        step!(controls, SinkExt::close(&mut writable)).unwrap();
        assert!(step!(reads, readable.next_message()).unwrap().is_none());
        received
    };
    let both = async { tokio::join!(near, peer(raw)) };
    timeout(AN_HOUR, both).await.unwrap_or_else(|_| panic!("it hangs: {role:?} {reads:?} {writes:?} {controls:?}"))
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_after_any_number_of_polls_changes_nothing() {
    for role in BOTH {
        let counts = [Cut::none(), Cut::none(), Cut::none()];
        let (received, expected) = session(role, counts.each_ref()).await;
        assert_eq!(received, incoming());
        let steps = counts.map(|count| count.steps());
        let mut most_polls = 0;
        for (who, steps) in steps.into_iter().enumerate() {
            for step in 0..steps {
                for polls in 0.. {
                    let mut cuts = [Cut::none(), Cut::none(), Cut::none()];
                    cuts[who] = Cut::new(step, polls);
                    let (received, mut seen) = session(role, cuts.each_ref()).await;
                    let place = format!("{role:?}, {who}, step {step}, {polls} polls");
                    assert!(received == incoming(), "{place}");
                    // A ping that nobody waits for any more goes out all the same.
                    assert!((1..=2).contains(&seen.pings), "{place}");
                    seen.pings = expected.pings;
                    assert!(seen == expected, "{place}: {seen:?}");
                    if !cuts[who].was_made.get() {
                        break;
                    }
                    most_polls = most_polls.max(polls);
                }
            }
        }
        assert!(most_polls >= 3, "futures were dropped in their midst: {most_polls}");
    }
}

// ---- opening ----

/// After a handshake was dropped: the peer sees the end of the transport, and no task is left.
async fn assert_gone(mut far: DuplexStream, before: usize) {
    let mut rest = Vec::new();
    within(far.read_to_end(&mut rest)).await.unwrap();
    assert_no_task_left(before).await;
}

async fn feed(mut far: DuplexStream, bytes: &[u8]) -> DuplexStream {
    let _ = far.write_all(bytes).await;
    far
}

const REQUEST: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn connect_dropped_after_any_number_of_polls_leaves_nothing() {
    for polls in 0.. {
        let before = tasks();
        let (near, far) = tokio::io::duplex(NARROW);
        let server = tokio::spawn(async move { WebSocketStream::accept(far).await?.accept().await });
        let connect = WebSocketStream::connect_over(URL, near).into_future();
        let opened = poll_times(polls, probed(connect)).await;
        let is_open = opened.is_some();
        drop(opened);
        // The server fails, or has a connection that was lost, or closed by a client that got as far as that.
        if let Ok(ws) = within(server).await.unwrap() {
            let end = within(ws.closed()).await;
            assert_eq!(end.is_ok(), is_open, "{polls} polls: {end:?}");
        } else {
            assert!(!is_open);
        }
        assert_no_task_left(before).await;
        if is_open {
            assert!(polls > 10, "the handshake takes that many polls: {polls}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn accept_dropped_after_any_number_of_polls_leaves_nothing() {
    for polls in 0.. {
        let before = tasks();
        let (near, far) = tokio::io::duplex(NARROW);
        let far = tokio::spawn(feed(far, REQUEST));
        let upgrade = poll_times(polls, probed(WebSocketStream::accept(near).into_future())).await;
        let is_read = upgrade.is_some();
        drop(upgrade);
        assert_gone(within(far).await.unwrap(), before).await;
        if is_read {
            assert!(polls > 5, "reading takes that many polls: {polls}");
            break;
        }
    }
}

/// A request that has been read, and the client's end.
async fn upgrade() -> (Upgrade<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(NARROW);
    let far = tokio::spawn(feed(far, REQUEST));
    let upgrade = within(WebSocketStream::accept(near).into_future()).await.unwrap();
    (upgrade, far.await.unwrap())
}

/// The answer to a request is given for each number of polls until it is complete.
async fn answer<R, F>(answer: impl Fn(Upgrade<DuplexStream>) -> F, whole_answer: &[u8])
where
    F: Future<Output = Result<R, AcceptError>>,
{
    for polls in 0.. {
        let before = tasks();
        let (upgrade, mut far) = upgrade().await;
        let reading = tokio::spawn(async move {
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let answered = poll_times(polls, probed(answer(upgrade))).await;
        let is_answered = answered.is_some();
        drop(answered);
        let got = within(reading).await.unwrap();
        assert!(!is_answered || got.starts_with(whole_answer), "{}", got.escape_ascii());
        assert_no_task_left(before).await;
        if is_answered {
            assert!(polls > 5, "answering takes that many polls: {polls}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_dropped_after_any_number_of_polls_leaves_nothing() {
    answer(|upgrade| upgrade.accept().into_future(), b"HTTP/1.1 101 ").await;
    answer(|upgrade| upgrade.reject(StatusCode::NOT_FOUND).into_future(), b"HTTP/1.1 404 ").await;
    // An undecided upgrade is as little.
    let before = tasks();
    let (upgrade, far) = upgrade().await;
    drop(upgrade);
    assert_gone(far, before).await;
}

/// In real time, for these are sockets.
#[tokio::test]
async fn a_listener_whose_accept_is_dropped_after_any_number_of_polls_loses_no_connection() {
    const CLIENTS: usize = 20;
    for polls in 1..5 {
        let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|i| {
                let connect = WebSocketStream::connect(format!("{url}{i}")).into_future();
                tokio::spawn(async move {
                    let mut ws = connect.await.unwrap();
                    ws.close(CloseCode::NORMAL, "").await.unwrap();
                })
            })
            .collect();
        let mut paths = Vec::new();
        while paths.len() < CLIENTS {
            let Some(upgrade) = within(poll_times(polls, probed(listener.accept()))).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let upgrade = upgrade.unwrap();
            paths.push(upgrade.uri().path()[1..].parse::<usize>().unwrap());
            let ws = within(upgrade.accept().into_future()).await.unwrap();
            tokio::spawn(async move {
                let (mut readable, _writable) = ws.split();
                while readable.next_message().await.unwrap().is_some() {}
            });
        }
        for client in clients {
            within(client).await.unwrap();
        }
        paths.sort_unstable();
        assert_eq!(paths, (0..CLIENTS).collect::<Vec<_>>());
    }
}

/// The server's end would wait for an hour.
#[tokio::test]
async fn connect_over_tcp_dropped_after_any_number_of_polls_closes_its_socket() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let before = tasks();
    for polls in 1.. {
        let listener = listener.clone();
        let server = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let config = Config::default().handshake_timeout(AN_HOUR);
            let upgrade = WebSocketStream::accept(tcp).config(config).await?;
            let _ = upgrade.accept().await?.closed().await;
            Ok::<_, AcceptError>(())
        });
        let is_open = poll_times(polls, probed(WebSocketStream::connect(&url).into_future())).await.is_some();
        let served = within(server).await.unwrap();
        assert!(served.is_ok() || !is_open, "{served:?}");
        assert_no_task_left(before).await;
        if is_open {
            assert!(polls > 2, "the handshake takes that many polls: {polls}");
            break;
        }
    }
}
