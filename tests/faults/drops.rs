//! Every handle, dropped at every point of a session: what the peer sees, and how the connection ends.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use wsstream::{
    CloseCode, Closed, Config, ConnectionError, Control, MessageKind, Negotiated, Readable, Role, WebSocketStream,
    Writable, WriteError,
};

use super::{
    harness::{AN_HOUR, assert_no_task_left, tasks},
    probe::probed,
    support::{BINARY, BOTH, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, WIDE, other, pair, pair_over, settle, within},
};

/// The handles of a connection, each until it is dropped.
struct Handles {
    readable: Option<Readable>,
    writable: Option<Writable>,
    control: Option<Control>,
    closed: Option<Closed>,
    /// What the application has read and has had accepted.
    read: usize,
    written: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Readable,
    Writable,
    Control,
    Closed,
    All,
}

const ALL: [Which; 5] = [Which::Readable, Which::Writable, Which::Control, Which::Closed, Which::All];

const STEPS: usize = 8;

impl Handles {
    fn new(ws: WebSocketStream) -> Self {
        let (control, closed) = (ws.control(), ws.closed());
        let (readable, writable) = ws.split();
        let (control, closed) = (Some(control), Some(closed));
        Self { readable: Some(readable), writable: Some(writable), control, closed, read: 0, written: 0 }
    }

    fn drop(&mut self, which: Which) {
        match which {
            Which::Readable => self.readable = None,
            Which::Writable => self.writable = None,
            Which::Control => self.control = None,
            Which::Closed => self.closed = None,
            Which::All => {
                (self.readable, self.writable, self.control, self.closed) = (None, None, None, None);
            }
        }
    }

    /// One step of the session, as far as its handle is there.
    async fn step(&mut self, step: usize, peer: &mut Raw) {
        match (step % 4, &mut self.readable, &mut self.writable) {
            (0, ..) => {
                peer.send(TEXT, b"first").await;
                peer.send(BINARY, &[1; 500]).await;
            }
            (1, _, Some(writable)) => {
                within(writable.send("a message")).await.unwrap();
                self.written += 1;
            }
            (2, Some(readable), _) => {
                // One whole, of one the beginning.
                let message = within(readable.next_message()).await.unwrap().expect("a message");
                assert_eq!(within(message.collect(100)).await.unwrap().as_text(), Some("first"));
                let mut message = within(readable.next_message()).await.unwrap().expect("a message");
                assert!(within(message.chunk()).await.unwrap().is_some());
                self.read += 1;
            }
            (3, _, Some(writable)) => {
                let mut message = within(writable.start_message(MessageKind::Text)).await.unwrap();
                within(message.write("a mes")).await.unwrap();
                within(message.write("sage")).await.unwrap();
                within(message.finish()).await.unwrap();
                self.written += 1;
            }
            _ => {}
        }
    }
}

/// Everything accepted comes, each message whole.
async fn expect_messages(peer: &mut Raw, count: usize) {
    for _ in 0..count {
        assert_eq!(peer.message().await, (TEXT, b"a message".to_vec()));
    }
}

async fn expect_pong(peer: &mut Raw) {
    peer.send(PING, b"are you there?").await;
    assert_eq!(peer.expect(PONG).await, b"are you there?");
}

#[tokio::test(start_paused = true)]
async fn a_handle_dropped_at_any_point_of_a_session() {
    for role in BOTH {
        for which in ALL {
            for at in 0..=STEPS {
                let before = tasks();
                let (ws, mut peer) = pair(role);
                let closed = ws.closed();
                let mut handles = Handles::new(ws);
                for step in 0..STEPS {
                    if step == at {
                        handles.drop(which);
                    }
                    if step >= at && which == Which::All {
                        break;
                    }
                    handles.step(step, &mut peer).await;
                }
                if at == STEPS {
                    handles.drop(which);
                }
                // Whoever is left goes on, and pings are answered, whether anybody reads or not.
                expect_messages(&mut peer, handles.written).await;
                if which != Which::All {
                    expect_pong(&mut peer).await;
                    if which != Which::Readable {
                        assert_eq!(handles.read, 2, "{which:?} at {at}");
                    }
                }
                // The last handle closes with 1001 in the background.
                drop(handles);
                assert_eq!(peer.expect_close().await, Some((1001, "".into())), "{role:?}, {which:?} at {at}");
                peer.send_close(1001, "").await;
                drop(peer);
                let info = within(closed).await.unwrap();
                assert_eq!((info.close_code, info.was_clean), (CloseCode::GOING_AWAY, true));
                assert_no_task_left(before).await;
            }
        }
    }
}

/// Two are dropped, one after the other, in every order; what is left keeps the connection open.
#[tokio::test(start_paused = true)]
async fn the_last_of_readable_writable_and_control_closes() {
    for role in BOTH {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let (ws, mut peer) = pair(role);
            let mut handles = Handles::new(ws);
            for which in &order[..2] {
                handles.drop(ALL[*which]);
                settle().await;
                expect_pong(&mut peer).await;
                peer.send(BINARY, &[0; 1000]).await;
            }
            peer.expect_silence().await;
            handles.drop(ALL[order[2]]);
            assert_eq!(peer.expect_close().await, Some((1001, "".into())), "{order:?}");
        }
    }
}

/// A peer that answers nothing, and reads nothing.
#[tokio::test(start_paused = true)]
async fn closed_settles_in_bounded_time_whatever_is_dropped_when() {
    for role in BOTH {
        for which in ALL {
            for accepted in [0, 10, 100_000] {
                let before = tasks();
                let (ws, peer) = pair_over(role, Config::default(), 64);
                let closed = ws.closed();
                let mut handles = Handles::new(ws);
                within(handles.writable.as_mut().unwrap().send(vec![0; accepted])).await.unwrap();
                handles.drop(which);
                let begin = Instant::now();
                // Still open: the peer is silent, which ends it as well.
                let end = timeout(AN_HOUR, closed.clone()).await.expect("it ends");
                let time = begin.elapsed();
                match which {
                    Which::All => {
                        assert!(matches!(end, Err(ConnectionError::CloseTimeout(_))), "{end:?}");
                        assert!(time <= Duration::from_secs(11), "{time:?}");
                    }
                    _ => {
                        assert!(matches!(end, Err(ConnectionError::KeepaliveTimeout(_))), "{end:?}");
                        assert!(time <= Duration::from_secs(121), "{time:?}");
                    }
                }
                drop((handles, peer));
                assert_no_task_left(before).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_reader_dropped_at_any_chunk_skips_the_rest() {
    for role in BOTH {
        for chunks in 0..=5 {
            let (ws, mut peer) = pair(role);
            let (mut readable, _writable) = ws.split();
            let reading = async {
                let mut message = probed(readable.next_message()).await.unwrap().expect("a message");
                for i in 0..chunks {
                    assert_eq!(probed(message.chunk()).await.unwrap().unwrap(), [i as u8; 10][..]);
                }
                drop(message);
                let message = probed(readable.next_message()).await.unwrap().expect("a message");
                assert_eq!(probed(message.collect(100)).await.unwrap().as_text(), Some("the next one"));
            };
            let writing = async {
                for i in 0..5 {
                    let opcode = if i == 0 { BINARY } else { CONTINUATION };
                    peer.send_part(i == 4, opcode, &[i as u8; 10]).await;
                    settle().await;
                }
                peer.send(TEXT, b"the next one").await;
            };
            within(async { tokio::join!(reading, writing) }).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_writer_dropped_after_any_number_of_writes_fails_the_connection() {
    for role in BOTH {
        for (writes, room) in (0..=5).flat_map(|writes| [(writes, WIDE), (writes, 16)]) {
            let before = tasks();
            let (ws, mut peer) = pair_over(role, Config::default(), room);
            let (mut readable, mut writable) = ws.split();
            within(writable.send("whole")).await.unwrap();
            let mut message = within(writable.start_message(MessageKind::Binary)).await.unwrap();
            for _ in 0..writes {
                within(message.write(&b"0123456789"[..])).await.unwrap();
            }
            drop(message);
            assert!(matches!(within(writable.send("late")).await, Err(WriteError::Closed | WriteError::Connection(_))));
            // Messages that were whole may come or not; that one does not end.
            let mut whole = 0;
            loop {
                let frame = peer.frame().await.expect("a Close frame comes");
                match frame.opcode {
                    CLOSE => {
                        assert_eq!(frame.payload[..2], 1011u16.to_be_bytes(), "{role:?}, {writes} writes");
                        break;
                    }
                    TEXT => whole += usize::from(frame.fin),
                    _ => assert!(!frame.fin, "{frame:?}"),
                }
            }
            assert!(whole <= 1);
            drop(peer);
            let error = within(readable.closed()).await.unwrap_err();
            assert!(matches!(error, ConnectionError::UnfinishedMessage), "{error:?}");
            let read = within(readable.next_message()).await.map(|message| message.is_some()).unwrap_err();
            assert_eq!(read.to_string(), error.to_string());
            drop((readable, writable));
            assert_no_task_left(before).await;
        }
    }
}

/// The peer's application sees an error as well: another end of this library.
#[tokio::test(start_paused = true)]
async fn an_unfinished_message_is_an_error_at_the_far_end_too() {
    for role in BOTH {
        // With nothing written there is nothing that could be cut: only the close code tells.
        for writes in 1..=3 {
            let (near, far) = tokio::io::duplex(16);
            let open =
                |io, role: Role| WebSocketStream::from_upgraded(io, "", role, Negotiated::default(), Config::default());
            let (mut near, mut far) = (open(near, role), open(far, other(role)));
            let mut message = within(near.start_message(MessageKind::Binary)).await.unwrap();
            for _ in 0..writes {
                within(message.write(&b"0123456789"[..])).await.unwrap();
                within(tokio::io::AsyncWriteExt::flush(&mut message)).await.unwrap();
            }
            drop(message);
            let mut received = Vec::new();
            let error = loop {
                match within(far.next_message()).await {
                    Ok(Some(mut message)) => loop {
                        match within(message.chunk()).await {
                            Ok(Some(chunk)) => received.extend_from_slice(&chunk),
                            Ok(None) => panic!("what was cut looks finished"),
                            Err(_) => break,
                        }
                    },
                    Ok(None) => panic!("a clean end"),
                    Err(error) => break error,
                }
            };
            assert_eq!(received.len(), writes * 10);
            let end = within(far.closed()).await.unwrap_err();
            assert!(matches!(&end, ConnectionError::MessageCut(info) if u16::from(info.close_code) == 1011), "{end:?}");
            assert_eq!(error.to_string(), end.to_string());
            assert!(matches!(within(near.closed()).await, Err(ConnectionError::UnfinishedMessage)));
        }
    }
}
