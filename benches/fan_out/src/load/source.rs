//! Who publishes: numbered messages, at the pace of the case.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::runtime::{Builder, Runtime};
use wsstream_peers::{
    child,
    library::{Connection, Floor, Kind, Purpose, Role},
    tally,
};

use crate::case::Case;

/// Each message begins with its number.
pub(super) const NUMBER: usize = size_of::<u64>();

pub(super) struct Source {
    /// Its own, on whose thread it may sleep: tokio's timers are too coarse.
    runtime: Runtime,
    connection: Floor,
    case: Case,
    pattern: Bytes,
    next: u64,
}

impl Source {
    pub(super) fn dial(port: u16, case: Case) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(async {
            let tcp = child::dial(port).await?;
            Floor::open(tcp, Role::Client, Purpose::Bulk, case.message_len).await
        })?;
        Ok(Self { runtime, connection, case, pattern: tally::binary(case.message_len), next: 0 })
    }

    /// What follows the number in every message, at the same places.
    pub(super) fn pattern(&self) -> Bytes {
        self.pattern.clone()
    }

    /// For that long; the number of the last message is told before it is sent.
    pub(super) fn publish(mut self, time: Duration, last: &AtomicU64) -> Result<Self> {
        let (burst, period) = self.case.rhythm();
        let start = Instant::now();
        let mut due = start;
        loop {
            let is_last = start.elapsed() >= time;
            if is_last {
                last.store(self.next + burst as u64 - 1, SeqCst);
            }
            self.send(burst)?;
            if is_last {
                return Ok(self);
            }
            due += period;
            match due.checked_duration_since(Instant::now()) {
                Some(early) => std::thread::sleep(early),
                // What was missed is not made up for: that would be another pace.
                None => due = Instant::now(),
            }
        }
    }

    fn send(&mut self, count: usize) -> Result<()> {
        self.runtime.block_on(async {
            for _ in 0..count {
                let mut payload = BytesMut::from(&self.pattern[..]);
                payload[..NUMBER].copy_from_slice(&self.next.to_be_bytes());
                self.next += 1;
                self.connection.feed(&(Kind::Binary, payload.freeze())).await?;
            }
            self.connection.flush().await
        })
    }
}
