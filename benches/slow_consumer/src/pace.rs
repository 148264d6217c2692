//! A consumer that takes payload at the speed it is told, and notes when it had how much.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep_until};
use wsstream_peers::{library::Consumer, tally::Tally};

use crate::{case::Speed, taken::Between};

/// It waits only where it is at least that early: timers are no finer.
const EARLY: Duration = Duration::from_millis(1);

pub(crate) struct Pace {
    tally: Tally,
    speed: watch::Receiver<Speed>,
    between: Arc<Between>,
    /// When the first piece was handed over, and what had been before: the payload since may come at the speed asked for.
    began: Option<(Instant, u64)>,
    pub(crate) log: Log,
}

impl Pace {
    /// Goes on from what the tally has counted.
    pub(crate) fn new(tally: Tally, mut log: Log, speed: watch::Receiver<Speed>, between: Arc<Between>) -> Self {
        between.consumed(tally.bytes());
        log.bytes = tally.bytes();
        Self { tally, speed, between, began: None, log }
    }
}

impl Consumer for Pace {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    async fn taken(&mut self) {
        let bytes = self.tally.bytes();
        self.between.consumed(bytes);
        let before = self.log.bytes;
        self.log.note(bytes);
        loop {
            let speed = *self.speed.borrow_and_update();
            match speed {
                Speed::Unlimited => return,
                Speed::Limited(mib) => {
                    let now = Instant::now();
                    let (start, first) = *self.began.get_or_insert((now, before));
                    let due = start + Duration::from_secs_f64((bytes - first) as f64 / f64::from(mib << 20));
                    if due > now + EARLY {
                        sleep_until(due.into()).await;
                    }
                    return;
                }
                // Until it is told otherwise; if nobody is left to do so, the run is over.
                Speed::Stopped => {
                    if self.speed.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }
}

/// When the consumer was handed something, and how much payload it had had until then: pieces may be of any size.
pub(crate) struct Log {
    entries: Vec<(Instant, u64)>,
    /// What it has had; entries are further apart.
    bytes: u64,
}

/// Between two entries.
const STEP: u64 = 64 * 1024;

/// The window over which a rate is one.
const WINDOW: Duration = Duration::from_millis(10);

/// That much of its rate before a stop, and a consumer is up to speed again.
const UP_TO_SPEED: f64 = 0.9;

impl Log {
    pub(crate) fn new() -> Self {
        // Memory that is touched now does not count as the library's later.
        let mut entries = vec![(Instant::now(), 0); 1 << 16];
        entries.clear();
        Self { entries, bytes: 0 }
    }

    fn note(&mut self, bytes: u64) {
        if self.entries.last().is_none_or(|(_, last)| self.bytes - last >= STEP) {
            self.entries.push((Instant::now(), self.bytes));
        }
        self.bytes = bytes;
    }

    /// Payload per second, from the first entry within that time to the last; 0 if there is only one.
    pub(crate) fn rate(&self, from: Instant, to: Instant) -> f64 {
        let mut within = self.entries.iter().filter(|(at, _)| (from..=to).contains(at));
        match (within.next(), within.next_back()) {
            (Some((start, first)), Some((end, last))) => (last - first) as f64 / (*end - *start).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// How long it took after that moment until the consumer had, over 10 ms, nearly this rate.
    pub(crate) fn up_to_speed(&self, resumed: Instant, rate: f64) -> Option<Duration> {
        let enough = rate * UP_TO_SPEED * WINDOW.as_secs_f64();
        let by = |moment| self.entries.partition_point(|(at, _)| *at <= moment);
        let had = |entries: usize| entries.checked_sub(1).map_or(0, |last| self.entries[last].1);
        let first = by(resumed);
        let starts = self.entries[first..].iter().copied();
        let mut starts = [(resumed, had(first))].into_iter().chain(starts);
        let (start, _) = starts.find(|(start, bytes)| (had(by(*start + WINDOW)) - bytes) as f64 >= enough)?;
        Some(start - resumed)
    }
}
