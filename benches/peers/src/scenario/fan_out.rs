//! One source, many subscribers: a relay passes each message on to all of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Case, Column, Figures, Scale, Scenario, Workers, figures};
use wsstream_peers::{
    child::{Control, End, Listener, dial},
    library::{Connection, Kind, Purpose, Role},
    measure::{Cpu, peak_rss, reset_peak_rss},
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::more("speed", "GB/s delivered", 2),
    Column::less("cpu", "relay CPU s/GiB delivered", 3),
    Column::less("peak", "relay peak RSS MiB", 1).alone(),
];

const SUBSCRIBERS: usize = 64;
const MESSAGE: usize = 16 * 1024;

/// Messages that wait for a subscriber before the source has to: a batch.
const LAG: usize = 16;

pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "fan-out/64".into(),
        title: "16KiB messages from one source to 64 subscribers; two processes, the relay is the library, two-workers"
            .into(),
        case: Case::FanOut,
    }
}

pub(crate) fn run<L: Connection>(end: End, scale: Scale) -> Result<Figures> {
    match end {
        End::Listen => Workers::Two.runtime()?.block_on(async { tokio::spawn(relay::<L>()).await? }),
        End::Dial(port) => Workers::One.runtime()?.block_on(ends::<L>(port, scale)),
    }
}

async fn relay<L: Connection>() -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let mut source = L::open(listener.accept().await?, Role::Server, Purpose::Bulk, MESSAGE).await?;
    let mut queues = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let subscriber = L::open(listener.accept().await?, Role::Server, Purpose::Bulk, MESSAGE).await?;
        let (queue, messages) = mpsc::channel(LAG);
        tokio::spawn(pass_on(subscriber, messages));
        queues.push(queue);
    }
    tokio::spawn(async move {
        while let Ok(payload) = source.receive_whole().await {
            for queue in &queues {
                if queue.send(payload.clone()).await.is_err() {
                    return;
                }
            }
        }
    });

    control.signal().await?;
    control.wait().await?;
    reset_peak_rss()?;
    let before = Cpu::own()?.total();
    control.signal().await?;
    control.wait().await?;
    let used = Cpu::own()?.total() - before;
    let peak = peak_rss()? as f64 / f64::from(1 << 20);
    // Per GiB as soon as the ends say how much was delivered.
    Ok(figures([("relay_cpu", used), ("peak", peak)]))
}

/// Sends what has gathered, in one batch.
async fn pass_on<L: Connection>(mut subscriber: L, mut messages: mpsc::Receiver<Bytes>) -> Result<()> {
    while let Some(payload) = messages.recv().await {
        subscriber.feed(&L::message(Kind::Binary, payload)).await?;
        while let Ok(payload) = messages.try_recv() {
            subscriber.feed(&L::message(Kind::Binary, payload)).await?;
        }
        subscriber.flush().await?;
    }
    Ok(())
}

/// The source and the subscribers.
async fn ends<L: Connection>(port: u16, scale: Scale) -> Result<Figures> {
    let mut control = Control::dial(port).await?;
    let mut source = L::Far::open(dial(port).await?, Role::Client, Purpose::Bulk, MESSAGE).await?;
    let payload = tally::binary(MESSAGE);
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let subscriber = L::Far::open(dial(port).await?, Role::Client, Purpose::Bulk, MESSAGE).await?;
        subscribers.push((subscriber, Tally::new(payload.clone())));
    }
    control.wait().await?;

    let message = <L::Far as Connection>::message(Kind::Binary, payload);
    (source, subscribers) = deliver(source, &message, subscribers, scale.warm_up()).await?;
    let before = subscribers[0].1.bytes();
    control.signal().await?;
    control.wait().await?;
    let start = Instant::now();
    (source, subscribers) = deliver(source, &message, subscribers, scale.measured()).await?;
    let seconds = start.elapsed().as_secs_f64();
    control.signal().await?;
    let delivered = ((subscribers[0].1.bytes() - before) * SUBSCRIBERS as u64) as f64;
    for (_, tally) in &subscribers {
        tally.check()?;
    }
    drop(source);
    Ok(figures([("speed", delivered / seconds / 1e9), ("delivered", delivered / f64::from(1 << 30))]))
}

type Subscribers<F> = Vec<(F, Tally)>;

/// Sends for that long, and waits until every subscriber has all of it.
async fn deliver<F: Connection>(
    mut source: F,
    message: &F::Message,
    subscribers: Subscribers<F>,
    time: Duration,
) -> Result<(F, Subscribers<F>)> {
    let mut sent = subscribers[0].1.bytes();
    let total = Arc::new(AtomicU64::new(u64::MAX));
    let receive: Vec<_> = subscribers
        .into_iter()
        .map(|(mut subscriber, mut tally)| {
            let total = total.clone();
            tokio::spawn(async move {
                while tally.bytes() < total.load(Ordering::SeqCst) {
                    subscriber.receive(&mut tally).await?;
                }
                anyhow::Ok((subscriber, tally))
            })
        })
        .collect();
    let start = Instant::now();
    let mut last = false;
    while !last {
        last = start.elapsed() >= time;
        let batch = Purpose::Bulk.batch() / MESSAGE;
        sent += (batch * MESSAGE) as u64;
        if last {
            total.store(sent, Ordering::SeqCst);
        }
        for _ in 0..batch {
            source.feed(message).await?;
        }
        source.flush().await?;
    }
    let mut subscribers = Vec::new();
    for task in receive {
        subscribers.push(task.await??);
    }
    Ok((source, subscribers))
}
