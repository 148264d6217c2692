//! As many messages as possible from one end of a connection to the other, both in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

use wsstream_peers::{library::Connection, tally::Tally};

/// A connection with a sender at one end and a receiver at the other.
pub(super) struct Line<L: Connection> {
    pub(super) messages: Arc<[L::Message]>,
    /// Of each of them.
    pub(super) message_len: usize,
    /// How often all of them are sent between two flushes.
    pub(super) repeats: usize,
    /// Bytes after which the sender gives way to other tasks.
    pub(super) turn: usize,
    pub(super) sender: L,
    pub(super) receiver: L,
    pub(super) tally: Tally,
}

impl<L: Connection> Line<L> {
    /// Sends for that long, and waits until all of it has been received.
    pub(super) async fn transfer(self, time: Duration) -> Result<Self> {
        let Self { messages, message_len, repeats, turn, mut sender, mut receiver, mut tally } = self;
        let batch_len = messages.len() * message_len * repeats;
        let mut sent = tally.bytes();
        let total = Arc::new(AtomicU64::new(u64::MAX));

        let (to_send, announced) = (messages.clone(), total.clone());
        let send = tokio::spawn(async move {
            let start = Instant::now();
            let mut last = false;
            let mut in_turn = 0;
            while !last {
                last = start.elapsed() >= time;
                sent += batch_len as u64;
                if last {
                    // Before the batch goes out, or the receiver could have all of it and wait for more.
                    announced.store(sent, Ordering::SeqCst);
                }
                for _ in 0..repeats {
                    for message in to_send.iter() {
                        sender.feed(message).await?;
                    }
                }
                sender.flush().await?;
                in_turn += batch_len;
                if in_turn >= turn {
                    tokio::task::yield_now().await;
                    in_turn = 0;
                }
            }
            anyhow::Ok(sender)
        });
        let receive = tokio::spawn(async move {
            while tally.bytes() < total.load(Ordering::SeqCst) {
                receiver.receive(&mut tally).await?;
            }
            anyhow::Ok((receiver, tally))
        });
        // Whichever fails first says why; the other one may wait for ever.
        let (sender, (receiver, tally)) = tokio::try_join!(flat(send), flat(receive))?;
        Ok(Self { messages, message_len, repeats, turn, sender, receiver, tally })
    }
}

async fn flat<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await?
}
