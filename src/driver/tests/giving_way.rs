//! A writer that never has to wait gives way when its turn is over: what it has written by then, and what becomes of the rest.

use futures::{FutureExt, Sink, future::poll_fn};
use tokio::io::AsyncReadExt;

use super::*;
use crate::{Message, driver::read_buffer::READ_BUFFER};

const KIB: usize = 1024;

/// What a writer on one thread writes before others get their turn.
const TURN: usize = 3 * READ_BUFFER;

/// A message of several turns: its frames on the wire have a length that is no multiple of theirs.
const LONG: usize = 3 << 20;

/// A server, and the far end of its transport, which takes everything.
fn server() -> (WebSocketStream, DuplexStream) {
    start(Role::Server, config())
}

fn start(role: Role, config: Config) -> (WebSocketStream, DuplexStream) {
    let (near, far) = duplex(16 << 20);
    (WebSocketStream::start(near, BytesMut::new(), role, Negotiated::default(), config), far)
}

/// How much has been written by now.
fn arrived(far: &mut DuplexStream) -> usize {
    let mut bytes = vec![0; 16 << 20];
    far.read(&mut bytes).now_or_never().map_or(0, Result::unwrap)
}

/// The wire length of a message.
fn wire(len: usize) -> usize {
    let frame = 64 * KIB;
    let header = |payload| if payload > 0xFFFF { 10 } else { 4 };
    let last = match len % frame {
        0 => 0,
        rest => header(rest),
    };
    len + len / frame * header(frame) + last
}

async fn ready(ws: &mut WebSocketStream) {
    poll_fn(|cx| Pin::new(&mut *ws).poll_ready(cx)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_in_the_middle_of_a_message() {
    let (mut ws, mut far) = server();
    ws.send(vec![7; LONG]).now_or_never().unwrap().unwrap();
    assert_eq!(arrived(&mut far), 0, "nobody has had a turn");
    for turn in 0..wire(LONG) / TURN {
        assert!(ws.flush().now_or_never().is_none());
        assert_eq!(arrived(&mut far), TURN, "turn {turn}");
    }
    ws.flush().now_or_never().expect("this turn is not over").unwrap();
    assert_eq!(arrived(&mut far), wire(LONG) % TURN);

    // The part of a turn counts for the next one, as long as nobody had to wait.
    ws.send(vec![7; LONG]).now_or_never().unwrap().unwrap();
    assert!(ws.flush().now_or_never().is_none());
    assert_eq!(arrived(&mut far), TURN - wire(LONG) % TURN);
    soon(ws.flush()).await.unwrap();
    assert_eq!(arrived(&mut far), 2 * wire(LONG) - (wire(LONG) / TURN + 1) * TURN);
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_up_to_a_mebibyte_is_a_turn() {
    let mib = 1024 * KIB;
    for role in [Role::Server, Role::Client] {
        let header = if role == Role::Client { 14 } else { 10 };
        let turns = [
            (TURN - 10, TURN - 10 + header),
            (900 * KIB, 900 * KIB + header),
            (mib, mib + header),
            (mib + 5, TURN),
            (usize::MAX, TURN),
        ];
        for (frame, turn) in turns {
            let (mut ws, mut far) = start(role, config().max_frame_payload(frame));
            ws.send(vec![7; LONG]).now_or_never().unwrap().unwrap();
            for _ in 0..2 {
                assert!(ws.flush().now_or_never().is_none());
                assert_eq!(arrived(&mut far), turn, "{role:?}, frames of {frame}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_writer_has_left_that_does_not_come_back_is_the_drivers() {
    let (mut ws, mut far) = server();
    let mut came = vec![0; wire(LONG)];
    for _ in 0..3 {
        // Asked by a future, which is dropped.
        ws.send(vec![7; LONG]).now_or_never().unwrap().unwrap();
        assert!(ws.flush().now_or_never().is_none());
        let begin = tokio::time::Instant::now();
        soon(far.read_exact(&mut came)).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);

        // As a sink, which is then given something else.
        Pin::new(&mut ws).start_send(Message::binary(vec![7; LONG])).unwrap();
        assert!(ready(&mut ws).now_or_never().is_none());
        ws.control().ping().now_or_never();
        let begin = tokio::time::Instant::now();
        soon(far.read_exact(&mut came)).await.unwrap();
        let mut ping = [0; 10];
        soon(far.read_exact(&mut ping)).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);

        // As a sink, of which nothing more is heard.
        Pin::new(&mut ws).start_send(Message::binary(vec![7; LONG])).unwrap();
        assert!(ready(&mut ws).now_or_never().is_none());
        let begin = tokio::time::Instant::now();
        soon(far.read_exact(&mut came)).await.unwrap();
        assert!(begin.elapsed() <= Duration::from_millis(500));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_has_given_way_and_does_something_else_has_the_driver_write() {
    // What is left may be more than half the high-water mark, at which a writer that waits is woken, or less.
    for len in [LONG, TURN + 50 * KIB, TURN, LONG, TURN + 50 * KIB] {
        let (mut ws, mut far) = server();
        for _ in 0..3 {
            Pin::new(&mut ws).start_send(Message::binary(vec![7; len])).unwrap();
            assert!(ready(&mut ws).now_or_never().is_none());
            Pin::new(&mut ws).start_send(Message::binary("!")).unwrap();
            poll_fn(|cx| Pin::new(&mut ws).poll_flush(cx)).now_or_never().expect("it does not wait").unwrap();
            let begin = tokio::time::Instant::now();
            let mut came = vec![0; wire(len) + 3];
            soon(far.read_exact(&mut came)).await.unwrap();
            assert_eq!(begin.elapsed(), Duration::ZERO, "{len} bytes");
            assert_eq!(came[wire(len)..], *b"\x82\x01!");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_after_a_turn_that_has_read_and_did_not_come_to_an_end_of_that() {
    let ping = [0x89, 0x80, 0, 0, 0, 0]; // masked, with a mask of 0
    let len = TURN + 50 * KIB;
    let (mut ws, mut far) = server();
    for _ in 0..3 {
        far.write_all(&ping).await.unwrap();
        Pin::new(&mut ws).start_send(Message::binary(vec![7; len])).unwrap();
        assert!(ready(&mut ws).now_or_never().is_none(), "its turn is over");
        ready(&mut ws).now_or_never().expect("it has room again, and writes nothing more");
        let mut came = vec![0; wire(len) + 2];
        let begin = tokio::time::Instant::now();
        soon(far.read_exact(&mut came)).await.unwrap();
        far.write_all(&ping).await.unwrap();
        soon(far.read_exact(&mut came[..2])).await.unwrap();
        assert_eq!((begin.elapsed(), &came[..2]), (Duration::ZERO, &[0x8A, 0][..]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_comes_while_the_writer_gives_way_follows_all_of_its_message() {
    for is_dropped in [true, false] {
        let (mut ws, mut far) = server();
        ws.send(vec![7; LONG]).now_or_never().unwrap().unwrap();
        let (control, mut came) = (ws.control(), vec![0; wire(LONG) + 4]);
        let mut flushing = Box::pin(ws.flush());
        assert!((&mut flushing).now_or_never().is_none());
        let closing = tokio::spawn(async move { control.close(CloseCode::NORMAL, "").await });
        tokio::task::yield_now().await;
        if is_dropped {
            drop(flushing);
        } else {
            soon(flushing).await.unwrap();
        }
        soon(far.read_exact(&mut came)).await.unwrap();
        assert_eq!(came[wire(LONG)..], [0x88, 2, 0x03, 0xE8]);
        far.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]).await.unwrap();
        drop(far);
        assert!(soon(closing).await.unwrap().unwrap().was_clean);
    }
}

#[test]
fn a_writer_gives_way_after_less_on_one_thread_than_on_several() {
    let turns = |role| {
        [100, 64 * KIB, 256 * KIB, 2048 * KIB].map(|written| {
            let mut outbound = Outbound::new(role, &config(), None);
            let mut turn = || {
                let mut sum = 0;
                loop {
                    let most = outbound.left_of_turn();
                    let len = written.min(most);
                    outbound.has_written(len, len == most);
                    sum += len;
                    if len == most {
                        return sum;
                    }
                }
            };
            let len = turn();
            assert_eq!(turn(), len, "each turn begins anew");
            len
        })
    };
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let one = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for role in [Role::Server, Role::Client] {
        assert_eq!(turns(role), [TURN; 4]);
        assert_eq!(one.block_on(async { turns(role) }), [TURN; 4]);
        let turns = several.block_on(async { turns(role) });
        assert_eq!(turns, [8 << 20, 8 << 20, 8 << 20, 4 * READ_BUFFER], "but for much at once");
    }
}
