//! The other process: the source and the receivers, by hand, so that they cost as little as may be and the same for all.

mod receiver;
mod source;

use std::{
    cell::RefCell,
    net::Ipv4Addr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use tokio::{runtime::Builder, task::LocalSet};
use wsstream_peers::{child::Control, measure::socket};

use self::{receiver::Receiver, source::Source};
use crate::{case::Case, figures::Figures};

/// Of receivers' connections, at both ends: a few messages, as there may be a thousand of them.
pub(crate) const SOCKET_BUFFER: usize = 128 << 10;

/// What one read takes.
const READ: usize = 256 << 10;

pub(crate) fn run(port: u16, case: Case, warm_up: Duration, measured: Duration) -> Result<Figures> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut control = runtime.block_on(Control::dial(port))?;
    let source = Source::dial(port, case)?;
    let (_source, figures) = runtime.block_on(async {
        let mut receivers = Vec::new();
        let mut stopped = Vec::new();
        for at in 0..case.receivers {
            let socket = socket()?;
            setsockopt(&socket, RcvBuf, &SOCKET_BUFFER)?;
            let tcp = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
            if at < case.readers() {
                receivers.push(Receiver::new(tcp, source.pattern()));
            } else {
                stopped.push(tcp);
            }
        }
        control.wait().await?;
        let (source, receivers, _) = deliver(source, receivers, warm_up).await?;
        control.signal().await?;
        control.wait().await?;
        let before: u64 = receivers.iter().map(Receiver::messages).sum();
        let (source, receivers, seconds) = deliver(source, receivers, measured).await?;
        control.signal().await?;
        let delivered = receivers.iter().map(Receiver::messages).sum::<u64>() - before;
        let lost: u64 = receivers.iter().map(Receiver::lost).sum();
        let figures = [("delivered", delivered as f64), ("lost", lost as f64), ("seconds", seconds)];
        anyhow::Ok((source, figures))
    })?;
    Ok(figures.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Publishes for that long, and waits until every receiver has the last message.
async fn deliver(source: Source, receivers: Vec<Receiver>, time: Duration) -> Result<(Source, Vec<Receiver>, f64)> {
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let start = Instant::now();
    // On a thread of its own: what keeps the pace must not wait for those who read.
    let publishes = std::thread::spawn({
        let last = last.clone();
        move || source.publish(time, &last)
    });
    let buffer = Rc::new(RefCell::new(vec![0; READ]));
    let local = LocalSet::new();
    let tasks: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            let (last, buffer) = (last.clone(), buffer.clone());
            local.spawn_local(async move {
                while receiver.due() <= last.load(SeqCst) {
                    receiver.read(&buffer).await?;
                }
                anyhow::Ok(receiver)
            })
        })
        .collect();
    let mut receivers = Vec::new();
    local
        .run_until(async {
            for task in tasks {
                receivers.push(task.await??);
            }
            anyhow::Ok(())
        })
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    let source = publishes.join().expect("the source does not panic")?;
    Ok((source, receivers, seconds))
}
