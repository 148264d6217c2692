//! What is measured.

use std::time::Duration;

/// How fast the source publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So that this much is delivered to all receivers together, a second, unless that is more than so many messages: nobody
    /// is ever behind, and every library does the same work.
    Steady { bytes: usize, messages: usize },
    /// So many messages at once, at the same rate.
    Bursts { bytes: usize, burst: usize },
    /// As fast as the slowest receiver that is waited for: all of them are behind.
    Full,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) receivers: usize,
    /// How many of them never read: the last ones.
    pub(crate) stopped: usize,
    pub(crate) message_len: usize,
    pub(crate) pace: Pace,
}

/// What a receiver may lag by before it misses messages, or the source has to wait for it: the default of `ReceiverOptions`.
pub(crate) const BUDGET: usize = 1 << 20;

/// Delivered each second where the source is paced: what the slowest library can do on two cores that it shares with the
/// receivers, with something to spare.
const RATE: usize = 400_000_000;

const fn steady(name: &'static str, receivers: usize, message_len: usize) -> Case {
    let pace = Pace::Steady { bytes: RATE, messages: 5_000 };
    Case { name, receivers, stopped: 0, message_len, pace }
}

const fn stopped(name: &'static str, pace: Pace) -> Case {
    Case { name, receivers: 500, stopped: 10, message_len: 16 << 10, pace }
}

pub(crate) const CASES: [Case; 7] = [
    steady("receivers/1", 1, 16 << 10),
    steady("receivers/10", 10, 16 << 10),
    steady("receivers/100", 100, 16 << 10),
    steady("receivers/1000", 1000, 16 << 10),
    stopped("stopped/steady", Pace::Steady { bytes: RATE, messages: 5_000 }),
    stopped("stopped/bursts", Pace::Bursts { bytes: RATE, burst: 4 }),
    stopped("stopped/full", Pace::Full),
];

impl Case {
    pub(crate) fn find(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
    }

    /// Receivers that read.
    pub(crate) fn readers(&self) -> usize {
        self.receivers - self.stopped
    }

    /// Messages that a receiver may lag by.
    pub(crate) fn lag(&self) -> usize {
        BUDGET / self.message_len
    }

    /// Messages between two pauses of the source, and the time from one pause to the next.
    pub(crate) fn rhythm(&self) -> (usize, Duration) {
        let seconds = |bytes: usize, messages: usize| {
            let delivered = self.message_len * self.readers() * messages;
            Duration::from_secs_f64(delivered as f64 / bytes as f64)
        };
        match self.pace {
            Pace::Steady { bytes, messages } => (1, seconds(bytes, 1).max(Duration::from_secs(1) / messages as u32)),
            Pace::Bursts { bytes, burst } => (burst, seconds(bytes, burst)),
            Pace::Full => (16, Duration::ZERO),
        }
    }

    /// What the table says of it.
    pub(crate) fn title(&self) -> String {
        let stopped = match self.stopped {
            0 => String::new(),
            stopped => format!(", {stopped} of which never read"),
        };
        let (burst, time) = self.rhythm();
        let pace = match self.pace {
            Pace::Full => "as fast as those who read".to_owned(),
            _ => format!("{burst} every {:.1} ms", time.as_secs_f64() * 1e3),
        };
        format!("{} receivers{stopped}; messages of {} KiB, {pace}", self.receivers, self.message_len >> 10)
    }
}
