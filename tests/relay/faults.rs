//! Transports that fail, stall, or give one byte, at every operation: what was cut never looks whole, and the relay ends.

use std::time::Duration;

use tokio::{
    io::{DuplexStream, duplex},
    join,
    time::timeout,
};
use wsstream::{CloseCode, Config, Message, Relayed, Role, WebSocketStream, relay};

use crate::{
    faulty::{BENIGN, FATAL, Fault, Faulty, Recorded},
    negotiated,
    support::{next, other, pattern},
};

/// Longer than any time of the library, and than several in a row.
const LONG: Duration = Duration::from_secs(300);

fn messages() -> Vec<Message> {
    vec![Message::text("größe"), Message::binary(pattern(3000)), Message::text("x".repeat(40_000)), Message::binary("")]
}

/// A connection of the relay that suffers a fault, and its peer.
fn side(role: Role, deflate: bool, fault: Fault, n: usize) -> (WebSocketStream, WebSocketStream, Recorded) {
    let (near, far): (DuplexStream, DuplexStream) = duplex(2000);
    let (near, record) = Faulty::new(near, fault, n);
    let open = |role| negotiated(deflate).with_url(format!("{role:?}"));
    let near = WebSocketStream::from_upgraded(near, "", role, open(role), Config::default());
    (near, WebSocketStream::from_upgraded(far, "", other(role), open(role), Config::default()), record)
}

/// Sends all messages, then reads until the end; a peer that `closes` does so when it has everything.
async fn peer(ws: WebSocketStream, closes: bool) -> Vec<Message> {
    let (mut readable, mut writable) = ws.split();
    let control = writable.control();
    let send = async {
        for message in messages() {
            if writable.send(message).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut received = Vec::new();
        while let Some(Ok(message)) = next(&mut readable).await {
            received.push(message);
            if closes && received.len() == messages().len() {
                // Once polled, it is closing.
                let _ = futures::FutureExt::now_or_never(control.close(CloseCode::NORMAL, "done"));
            }
        }
        received
    };
    join!(send, read).1
}

/// Whether the fault struck.
async fn run(fault: Fault, n: usize, on_first: bool, deflate: bool) -> bool {
    let never = usize::MAX;
    let (first, left, first_record) = side(Role::Server, deflate, fault, if on_first { n } else { never });
    let (second, right, second_record) = side(Role::Client, deflate, fault, if on_first { never } else { n });
    let all = async { join!(relay(first, second), peer(left, true), peer(right, false)) };
    let what = format!("{fault:?} at {n}, first: {on_first}, deflate: {deflate}");
    let ended = timeout(LONG, all).await;
    let (relayed, from_right, from_left): (Relayed, _, _) = ended.unwrap_or_else(|_| panic!("it hangs: {what}"));
    for received in [&from_right, &from_left] {
        assert!(messages().starts_with(received), "{what}: {} messages", received.len());
    }
    let struck = if on_first { &first_record } else { &second_record }.lock().unwrap().has_struck();
    if BENIGN.contains(&fault) || !struck {
        assert_eq!((from_right.len(), from_left.len()), (4, 4), "{what}");
        assert_eq!(relayed.second.unwrap().reason, "done", "{what}");
        assert_eq!((relayed.forth.messages, relayed.back.messages), (4, 4), "{what}");
    }
    // Whatever a receiver has, the relay knows that it carried it.
    assert!(relayed.forth.messages >= from_left.len() as u64 && relayed.back.messages >= from_right.len() as u64);
    struck
}

async fn at_every_operation(faults: &[Fault], deflate: bool) {
    for &fault in faults {
        for on_first in [false, true] {
            let mut n = 0;
            while run(fault, n, on_first, deflate).await {
                n += 1;
            }
            assert!(n > 10, "there is something that can fail: {n}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_fault_at_every_operation() {
    at_every_operation(&FATAL, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_fatal_fault_at_every_operation_with_compression() {
    at_every_operation(&FATAL, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_none_at_every_operation() {
    for deflate in [false, true] {
        at_every_operation(&BENIGN, deflate).await;
    }
}
