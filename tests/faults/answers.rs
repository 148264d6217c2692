//! Faults of the transport while each message is answered as it comes: an answer goes to the transport from where it was
//! made, past everything in which it would wait.

use tokio::{io::BufStream, time::timeout};
use wsstream::{CloseCode, CloseInfo, Config, ConnectionError, Message, Negotiated, Role, WebSocketStream};

use super::{
    faulty::{BENIGN, FATAL, Fault, Faulty},
    harness::AN_HOUR,
    support::{BOTH, WIDE, next, other, pattern},
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
