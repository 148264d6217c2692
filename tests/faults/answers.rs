//! Faults of the transport while each message is answered as it comes: an answer is written by who sends it.

use std::{
    io,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufStream, ReadBuf},
    time::timeout,
};
use wsstream::{CloseCode, CloseInfo, Config, ConnectionError, Message, Negotiated, Role, WebSocketStream};

use super::{
    faulty::{BENIGN, FATAL, Fault, Faulty},
    harness::AN_HOUR,
    support::{BINARY, BOTH, WIDE, frame, next, other, pattern},
    transfer::{Io, decode},
};

#[derive(Clone, Copy, Debug)]
struct Run {
    /// Of the near end, which answers, and whose transport has the fault.
    role: Role,
    /// What is written waits for a flush, as with TLS.
    buffered: bool,
    fault: Fault,
    n: usize,
}

/// Small ones, and one that is not copied to its header.
fn questions() -> Vec<Message> {
    [20, 0, 1000, 10_000, 21].map(|len| Message::binary(pattern(len))).into()
}

/// Sends back what it receives: how many times, and how it ended.
async fn answer(mut ws: WebSocketStream) -> (usize, Result<CloseInfo, ConnectionError>) {
    let mut answered = 0;
    while let Some(Ok(message)) = next(&mut ws).await {
        if ws.send(message).await.is_err() {
            break;
        }
        answered += 1;
    }
    (answered, ws.closed().await)
}

/// Asks one thing after the other; the answers.
async fn ask(mut ws: WebSocketStream) -> Vec<Message> {
    let mut answers = Vec::new();
    for question in questions() {
        if ws.send(question).await.is_err() {
            break;
        }
        let Some(Ok(answer)) = next(&mut ws).await else { break };
        answers.push(answer);
    }
    let _ = ws.close(CloseCode::NORMAL, "").await;
    answers
}

async fn run(run: Run) -> bool {
    let (near, far) = tokio::io::duplex(WIDE);
    let near: Box<dyn Io> =
        if run.buffered { Box::new(BufStream::with_capacity(40, 40, near)) } else { Box::new(near) };
    let (near, record) = Faulty::new(near, run.fault, run.n);
    let near = WebSocketStream::from_upgraded(near, "", run.role, Negotiated::default(), Config::default());
    let far = WebSocketStream::from_upgraded(far, "", other(run.role), Negotiated::default(), Config::default());
    let both = async { tokio::join!(answer(near), ask(far)) };
    let Ok(((answered, closed), answers)) = timeout(AN_HOUR, both).await else { panic!("it hangs: {run:?}") };
    let record = record.lock().unwrap();
    let (went, ..) = decode(run.role, &record.written);
    assert!(questions().starts_with(&went), "nothing is torn or sent twice: {run:?}");
    assert!(questions().starts_with(&answers) && answers.len() <= answered, "{run:?}");
    if BENIGN.contains(&run.fault) || !record.has_struck() {
        assert_eq!(answers.len(), questions().len(), "{run:?}");
        assert!(closed.is_ok(), "{run:?}: {closed:?}");
    }
    record.has_struck()
}

#[tokio::test(start_paused = true)]
async fn an_answer_survives_whatever_a_slow_transport_takes_of_it_and_no_fault_tears_it() {
    for role in BOTH {
        for buffered in [false, true] {
            for fault in FATAL.into_iter().chain(BENIGN) {
                for n in 0.. {
                    if !run(Run { role, buffered, fault, n }).await {
                        assert!(n > 20, "there are that many operations: {n}");
                        break;
                    }
                }
            }
        }
    }
}

/// Brings one message after each write, and wakes whoever writes while it is being asked.
struct Restless {
    input: Vec<u8>,
    refuses: bool,
}

impl AsyncRead for Restless {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(&std::mem::take(&mut self.input));
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Restless {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        cx.waker().wake_by_ref();
        self.refuses = !self.refuses;
        if self.refuses {
            return Poll::Pending;
        }
        self.input = frame(Role::Client, true, BINARY, b"?");
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_transport_may_wake_while_it_is_given_an_answer() {
    // The lock that who is woken takes was once held meanwhile. What hangs in a lock is not ended by any timer of its thread.
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let transport = Restless { input: Vec::new(), refuses: false };
            let mut ws =
                WebSocketStream::from_upgraded(transport, "", Role::Server, Negotiated::default(), Config::default());
            ws.send("begin").await.unwrap();
            // A writer that has waited is looked for by who is woken.
            ws.flush().await.unwrap();
            for _ in 0..10 {
                let message = next(&mut ws).await.unwrap().unwrap();
                assert_eq!(message.as_bytes(), b"?");
                ws.send("!").await.unwrap();
            }
        });
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("it does not hang");
}
