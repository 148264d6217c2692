//! What is measured: how large the messages are, and how fast their consumer is.

use std::time::Duration;

use anyhow::{Context, Result};
use wsstream_peers::{library::Purpose, numbers::size};

/// One piece of the message without an end, a frame of its own.
pub(crate) const PIECE: usize = 64 * 1024;

/// The size of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Of(usize),
    /// One message that has no end, in fragments of 64 KiB.
    Endless,
}

impl Size {
    pub(crate) const ALL: [Self; 4] = [Self::Of(1 << 10), Self::Of(64 << 10), Self::Of(1 << 20), Self::Endless];

    /// For the command line and the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Of(len) => size(len),
            Self::Endless => "endless".into(),
        }
    }

    /// For people.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Of(len @ 0..0x10_0000) => format!("messages of {} KiB", len >> 10),
            Self::Of(len) => format!("messages of {} MiB", len >> 20),
            Self::Endless => "one endless message".into(),
        }
    }

    /// How much is made up, to be sent over and over.
    pub(crate) fn pattern_len(self) -> usize {
        match self {
            Self::Of(len) => len,
            Self::Endless => PIECE,
        }
    }

    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Of(0..0x1_0000) => Purpose::Small,
            Self::Of(_) => Purpose::Bulk,
            Self::Endless => Purpose::OneMessage,
        }
    }
}

/// How fast the consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// It takes what it is given.
    Unlimited,
    /// MiB/s.
    Limited(u32),
    /// It has been running without a limit, and takes nothing any more; later it goes on.
    Stopped,
}

impl Speed {
    pub(crate) const ALL: [Self; 5] =
        [Self::Unlimited, Self::Limited(100), Self::Limited(10), Self::Limited(1), Self::Stopped];

    /// For the command line and the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Unlimited => "unlimited".into(),
            Self::Limited(mib) => mib.to_string(),
            Self::Stopped => "stopped".into(),
        }
    }

    /// For people.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Limited(mib) => format!("{mib} MiB/s"),
            _ => self.name(),
        }
    }
}

/// How long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    /// At full speed, before anything counts.
    pub(crate) fn warm_up(self) -> Duration {
        self.millis(150)
    }

    /// How long is measured. At 1 MiB/s, a message of 1 MiB takes a second.
    pub(crate) fn measured(self, speed: Speed) -> Duration {
        self.millis(match speed {
            Speed::Limited(10) => 600,
            Speed::Limited(1) => 1150,
            _ => 400,
        })
    }

    /// At full speed again, after a stop.
    pub(crate) fn resumed(self) -> Duration {
        self.millis(200)
    }

    /// A run ends when the receiver has taken that much more than its consumer: it would go on for as long as there is
    /// memory.
    pub(crate) fn most_beyond(self) -> u64 {
        if self.quick { 8 << 20 } else { 128 << 20 }
    }

    fn millis(self, millis: u64) -> Duration {
        Duration::from_millis(if self.quick { millis / 20 } else { millis })
    }
}

/// One cell of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) size: Size,
    pub(crate) speed: Speed,
}

impl Case {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Size::ALL.into_iter().flat_map(|size| Speed::ALL.into_iter().map(move |speed| Self { size, speed }))
    }

    pub(crate) fn find(name: &str) -> Result<Self> {
        Self::all().find(|case| case.name() == name).with_context(|| format!("there is no case {name}"))
    }

    pub(crate) fn name(self) -> String {
        format!("{}/{}", self.size.name(), self.speed.name())
    }
}
