//! The halves of two connected ends, used in any order and left at any moment, in virtual time.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use futures::{
    Sink, StreamExt,
    future::{join, join_all, poll_fn},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufStream, duplex},
    runtime::Builder,
    sync::{Barrier, watch},
    time::{Instant, sleep, timeout},
};

use super::input::Input;
use crate::{
    CloseCode, Compression, Config, Control, Message, MessageKind, Negotiated, Readable, Role, WebSocketStream,
    Writable,
};

/// Operations of one half, so that one run takes milliseconds.
const MOST_OPS: usize = 25;

/// Pieces that all that is sent takes on its way, at most, for the same reason.
const MOST_PIECES: usize = 2000;

/// More than a writer may write before it gives way.
const LONG: usize = 1_700_000;

/// A half that has been woken and does not come is waited for, until the driver takes over.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a future is awaited. What is called off or kept is a future that has been polled so many times.
#[derive(Clone, Copy)]
enum Manner {
    ToTheEnd,
    /// It is dropped, and made anew after a while, a few times.
    Dropped(usize),
    /// It is not polled for so many milliseconds.
    Kept(usize, u64),
}

enum Write {
    Send(MessageKind, usize, Manner),
    /// As a sink, which need not be flushed.
    Feed(MessageKind, usize, Manner, bool),
    /// In chunks of these lengths, which may be declared, and are flushed one by one or not.
    Chunks {
        kind: MessageKind,
        lens: Vec<usize>,
        is_declared: bool,
        flushes: bool,
        manner: Manner,
    },
    Flush(Manner),
    Ping,
    Pause(u64),
}

enum Read {
    Whole(Manner),
    /// So many chunks, at most; the rest of the message is skipped.
    Chunks(usize, Manner),
    Collect,
    Pause(u64),
}

/// What goes one way: messages by their length, and how many have been taken.
struct Direction {
    sent: Mutex<Vec<(MessageKind, usize)>>,
    taken: watch::Sender<usize>,
}

impl Direction {
    fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    fn message(&self, number: usize) -> Option<(MessageKind, usize)> {
        self.sent.lock().unwrap().get(number).copied()
    }
}

/// Everything that the halves have in common.
struct World {
    /// From the client, and from the server.
    directions: [Direction; 2],
    /// How long all of them have slept, in milliseconds.
    slept: AtomicU64,
    /// How often the driver had to wait for a half that did not come.
    kept: AtomicU64,
    /// Writers that are done.
    done: Barrier,
    /// The connection is closed when everything has been taken, and not as soon as it has been sent.
    closes_late: bool,
}

impl World {
    async fn sleep(&self, millis: u64) {
        // A timer goes off at the next whole one.
        self.slept.fetch_add(millis + 1, Relaxed);
        sleep(Duration::from_millis(millis)).await;
    }

    /// A half that has registered a waker turns to something else, and nobody is told.
    fn keeps(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    /// Time passes only while somebody sleeps, or is waited for.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.slept.load(Relaxed)) + PATIENCE * self.kept.load(Relaxed) as u32
    }
}

/// Awaits a future, which the last expression makes, in the given manner. Futures say so when they are dropped; others do not.
macro_rules! awaited {
    ($world:expr, $manner:expr, $is_silent:expr, $future:expr) => {
        match $manner {
            Manner::ToTheEnd => $future.await,
            Manner::Dropped(polls) => 'done: {
                for _ in 0..3 {
                    if let Some(output) = poll_times(polls, pin!($future)).await {
                        break 'done output;
                    }
                    if $is_silent {
                        $world.keeps();
                    }
                    $world.sleep(1).await;
                }
                $future.await
            }
            Manner::Kept(polls, millis) => {
                let mut future = pin!($future);
                match poll_times(polls, future.as_mut()).await {
                    Some(output) => output,
                    None => {
                        $world.keeps();
                        $world.sleep(millis).await;
                        future.await
                    }
                }
            }
        }
    };
}

/// Polls a future at most so many times, each time it is woken; `None` if it was not enough.
async fn poll_times<F: Future>(most: usize, mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Some bytes of configuration, then what the halves do in turn: the writer and the reader of the client and of the server.
///
/// What must hold: everything arrives, once, whole, in order; nobody waits for what is there; both ends close cleanly.
pub fn halves(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let marks = input.byte();
    let mut config = Config::default()
        .ping_interval(None)
        .keepalive_timeout(None)
        .read_high_water_mark(64 << (marks & 15))
        .write_high_water_mark(64 << (marks >> 4))
        .max_frame_payload(125 << (input.byte() & 15));
    let mut negotiated = Negotiated::default();
    if flags & 1 != 0 {
        config = config.compression(Compression::default().level(1));
        negotiated = negotiated.with_extensions("permessage-deflate").unwrap();
    }
    let capacity = input.size().max(1) << if flags & 2 != 0 { 8 } else { 0 };
    // Nobody keeps anything to himself, so that no time may be lost.
    let is_prompt = flags & 32 != 0;
    let mut left = capacity * MOST_PIECES;
    let mut writes = [Vec::new(), Vec::new()];
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..MOST_OPS {
        for end in 0..2 {
            if !input.is_empty() {
                writes[end].push(write(&mut input, is_prompt, &mut left));
                reads[end].push(read(&mut input, is_prompt));
            }
        }
    }

    let world = Arc::new(World {
        directions: [0; 2].map(|_| Direction { sent: Mutex::default(), taken: watch::Sender::new(0) }),
        slept: AtomicU64::new(0),
        kept: AtomicU64::new(0),
        done: Barrier::new(2),
        closes_late: flags & 4 != 0,
    });
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (client, server) = duplex(capacity);
        let start = |transport, role| start(transport, role, &negotiated, &config, flags & 8 != 0);
        let ends = [start(client, Role::Client), start(server, Role::Server)];
        let begin = Instant::now();
        let ran = ends.into_iter().zip(writes).zip(reads).enumerate().map(|(end, ((ws, writes), reads))| {
            let (readable, writable) = ws.split();
            let write = write_all(end, writable, writes, world.clone());
            let read = read_all(end, readable, reads, world.clone());
            async move {
                // Two tasks, or one that is woken for both.
                if flags & 16 != 0 {
                    tokio::spawn(join(write, read)).await.unwrap();
                } else {
                    let (write, read) = (tokio::spawn(write), tokio::spawn(read));
                    write.await.unwrap();
                    read.await.unwrap();
                }
            }
        });
        let ran = timeout(Duration::from_secs(3600), join_all(ran)).await;
        ran.expect("somebody waits for ever");
        let took = begin.elapsed();
        assert!(took <= world.longest(), "{took:?}, of which {:?} were waited for", world.longest());
    });
}

fn start<T>(transport: T, role: Role, negotiated: &Negotiated, config: &Config, is_buffered: bool) -> WebSocketStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (leftover, negotiated, config) = (BytesMut::new(), negotiated.clone(), config.clone());
    if is_buffered {
        // What is written has to be flushed.
        let transport = BufStream::with_capacity(64, 64, transport);
        WebSocketStream::start(transport, leftover, role, negotiated, config)
    } else {
        WebSocketStream::start(transport, leftover, role, negotiated, config)
    }
}

async fn write_all(end: usize, mut writable: Writable, ops: Vec<Write>, world: Arc<World>) {
    let direction = &world.directions[end];
    let mut pings = Vec::new();
    for op in ops {
        let number = direction.sent();
        match op {
            Write::Send(kind, len, manner) => {
                awaited!(world, manner, false, writable.send(message(kind, number, len))).unwrap();
                direction.sent.lock().unwrap().push((kind, len));
            }
            Write::Feed(kind, len, manner, flushes) => {
                let mut writable = Pin::new(&mut writable);
                awaited!(world, manner, true, poll_fn(|cx| writable.as_mut().poll_ready(cx))).unwrap();
                writable.as_mut().start_send(message(kind, number, len)).unwrap();
                direction.sent.lock().unwrap().push((kind, len));
                if flushes {
                    poll_fn(|cx| writable.as_mut().poll_flush(cx)).await.unwrap();
                }
            }
            Write::Chunks { kind, lens, is_declared, flushes, manner } => {
                let len = lens.iter().sum();
                let start = writable.start_message(kind);
                let start = if is_declared { start.length(len as u64) } else { start };
                let mut writer = start.await.unwrap();
                direction.sent.lock().unwrap().push((kind, len));
                let mut at = 0;
                for len in lens {
                    let chunk = payload(number, at, len);
                    awaited!(world, manner, false, writer.write(chunk.clone())).unwrap();
                    at += len;
                    if flushes {
                        awaited!(world, manner, false, writer.flush()).unwrap();
                    }
                }
                writer.finish().await.unwrap();
            }
            Write::Flush(manner) => awaited!(world, manner, false, writable.flush()).unwrap(),
            Write::Ping => pings.push(tokio::spawn(ping(writable.control()))),
            Write::Pause(millis) => world.sleep(millis).await,
        }
    }
    writable.flush().await.unwrap();
    if world.closes_late {
        let sent = direction.sent();
        direction.taken.subscribe().wait_for(|taken| *taken == sent).await.unwrap();
    }
    // One of them closes.
    let info = if world.done.wait().await.is_leader() {
        writable.close(CloseCode::NORMAL, "").await.unwrap()
    } else {
        writable.closed().await.unwrap()
    };
    assert!(info.was_clean);
    for ping in pings {
        ping.await.unwrap();
    }
}

/// Answered, or overtaken by the end.
async fn ping(control: Control) {
    let _ = control.ping().await;
}

async fn read_all(end: usize, mut readable: Readable, ops: Vec<Read>, world: Arc<World>) {
    let direction = &world.directions[1 - end];
    let mut taken = 0;
    for op in ops {
        let is_there = match op {
            Read::Whole(manner) => match awaited!(world, manner, true, readable.next()) {
                Some(message) => {
                    check(direction, taken, &message.unwrap());
                    true
                }
                None => false,
            },
            Read::Chunks(most, manner) => match awaited!(world, manner, false, readable.next_message()).unwrap() {
                Some(mut reader) => {
                    let mut at = 0;
                    for _ in 0..most {
                        let Some(chunk) = awaited!(world, manner, false, reader.chunk()).unwrap() else {
                            assert_eq!(direction.message(taken), Some((reader.kind(), at)));
                            break;
                        };
                        assert_eq!(chunk, payload(taken, at, chunk.len()), "message {taken} at {at}");
                        at += chunk.len();
                    }
                    true
                }
                None => false,
            },
            Read::Collect => match readable.next_message().await.unwrap() {
                Some(reader) => {
                    check(direction, taken, &reader.collect(usize::MAX).await.unwrap());
                    true
                }
                None => false,
            },
            Read::Pause(millis) => {
                world.sleep(millis).await;
                false
            }
        };
        taken += usize::from(is_there);
        direction.taken.send_replace(taken);
    }
    while let Some(message) = readable.next().await {
        check(direction, taken, &message.unwrap());
        taken += 1;
        direction.taken.send_replace(taken);
    }
    assert_eq!(direction.sent(), taken, "all of it has come");
}

fn check(direction: &Direction, number: usize, message: &Message) {
    assert_eq!(message.as_bytes(), payload(number, 0, message.len()), "message {number}");
    assert_eq!(direction.message(number), Some((message.kind(), message.len())));
}

/// Different at each place of each message; ASCII, so that it may be text.
fn payload(number: usize, at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|at| ((number * 31 + at + at / 127) % 127) as u8).collect()
}

fn message(kind: MessageKind, number: usize, len: usize) -> Message {
    let payload = payload(number, 0, len);
    match kind {
        MessageKind::Binary => Message::binary(payload),
        MessageKind::Text => Message::text_from_utf8(payload).unwrap(),
    }
}

fn manner(input: &mut Input<'_>, is_prompt: bool) -> Manner {
    let byte = input.byte();
    let polls = 1 + usize::from(byte >> 2 & 3);
    match byte & 3 {
        2 => Manner::Dropped(polls),
        3 if !is_prompt => Manner::Kept(polls, u64::from(byte >> 4 & 3)),
        _ => Manner::ToTheEnd,
    }
}

/// The same for what says nothing when it is dropped.
fn silent_manner(input: &mut Input<'_>, is_prompt: bool) -> Manner {
    let manner = manner(input, is_prompt);
    if is_prompt { Manner::ToTheEnd } else { manner }
}

fn write(input: &mut Input<'_>, is_prompt: bool, left: &mut usize) -> Write {
    let what = input.byte();
    let flag = what & 128 != 0;
    let kind = if what & 64 != 0 { MessageKind::Text } else { MessageKind::Binary };
    let mut len = |input: &mut Input<'_>| {
        let len = if flag && what & 32 != 0 { LONG } else { input.size() }.min(*left);
        *left -= len;
        len
    };
    match what & 15 {
        0..=4 => Write::Send(kind, len(input), manner(input, is_prompt)),
        5..=7 => Write::Feed(kind, len(input), silent_manner(input, is_prompt), flag),
        8..=10 => {
            let count = input.byte() % 4;
            let lens = (0..count).map(|_| len(input)).collect();
            let manner = manner(input, is_prompt);
            Write::Chunks { kind, lens, is_declared: what & 16 != 0, flushes: flag, manner }
        }
        11 | 12 => Write::Flush(manner(input, is_prompt)),
        13 => Write::Ping,
        _ => Write::Pause(u64::from(what >> 4 & 3)),
    }
}

fn read(input: &mut Input<'_>, is_prompt: bool) -> Read {
    let what = input.byte();
    match what & 7 {
        0..=2 => Read::Whole(silent_manner(input, is_prompt)),
        3 | 4 => Read::Chunks(usize::from(what >> 3), manner(input, is_prompt)),
        5 => Read::Collect,
        _ => Read::Pause(u64::from(what >> 4 & 3)),
    }
}
