//! What is measured.

mod deflate;
mod echo;
mod fan_out;
mod idle;
mod line;
mod memory;
mod one_message;
mod send_one;
mod transfer;
mod turns;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime::Runtime;

use wsstream_peers::{
    child::End,
    library::{Kind, Purpose, with_library},
};

/// What a run has measured, by the keys of the scenario's columns.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Says which figures a run has.
pub(crate) fn figures<const N: usize>(figures: [(&str, f64); N]) -> Figures {
    figures.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    /// Before anything counts: buffers are touched and the windows of TCP have grown.
    pub(crate) fn warm_up(self) -> Duration {
        Duration::from_millis(if self.quick { 1 } else { 30 })
    }

    /// How long is measured, where time decides.
    pub(crate) fn measured(self) -> Duration {
        Duration::from_millis(if self.quick { 3 } else { 200 })
    }

    /// Bytes of the one large message.
    pub(crate) fn one_message(self) -> u64 {
        if self.quick { 4 << 20 } else { 1 << 30 }
    }

    /// How many connections are idle.
    pub(crate) fn connections(self) -> usize {
        if self.quick { 10 } else { 1000 }
    }
}

/// Who runs the tasks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    One,
    Two,
}

impl Workers {
    fn runtime(self) -> Result<Runtime> {
        let mut builder = match self {
            Self::One => tokio::runtime::Builder::new_current_thread(),
            Self::Two => tokio::runtime::Builder::new_multi_thread(),
        };
        if self == Self::Two {
            builder.worker_threads(2);
        }
        Ok(builder.enable_all().build()?)
    }

    fn name(self) -> &'static str {
        match self {
            Self::One => "one-thread",
            Self::Two => "two-workers",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Server to client, unmasked.
    Download,
    /// Client to server, masked.
    Upload,
}

const BOTH: [Direction; 2] = [Direction::Download, Direction::Upload];

impl Direction {
    /// For the command line, and for the report.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Download => ("download", "server to client"),
            Self::Upload => ("upload", "client to server (masked)"),
        }
    }
}

/// What happens in a scenario.
#[derive(Clone, Debug)]
pub(crate) enum Case {
    Memory,
    Turns(Direction),
    Transfer(transfer::Transfer),
    Deflate(deflate::Deflate),
    OneMessage(one_message::Form),
    SendOne,
    Echo(echo::Echo),
    Idle,
    FanOut,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Better {
    More,
    Less,
}

/// One figure of a scenario.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) digits: usize,
    pub(crate) better: Better,
    /// Compared with raw TCP round by round.
    pub(crate) ratio: bool,
}

impl Column {
    const fn more(key: &'static str, title: &'static str, digits: usize) -> Self {
        Self { key, title, digits, better: Better::More, ratio: true }
    }

    const fn less(key: &'static str, title: &'static str, digits: usize) -> Self {
        Self { key, title, digits, better: Better::Less, ratio: true }
    }

    const fn alone(mut self) -> Self {
        self.ratio = false;
        self
    }
}

/// A case with its name, for the command line and the report.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) case: Case,
}

impl Scenario {
    pub(crate) fn find(name: &str) -> Result<Self> {
        all().into_iter().find(|scenario| scenario.name == name).with_context(|| format!("there is no scenario {name}"))
    }

    /// The figures of its table, the most important first.
    pub(crate) fn columns(&self) -> &'static [Column] {
        match &self.case {
            Case::Memory => memory::COLUMNS,
            Case::Turns(_) => turns::COLUMNS,
            Case::Transfer(transfer) => transfer.columns(),
            Case::Deflate(_) => deflate::COLUMNS,
            Case::OneMessage(_) => one_message::COLUMNS,
            Case::SendOne => send_one::COLUMNS,
            Case::Echo(_) => echo::COLUMNS,
            Case::Idle => idle::COLUMNS,
            Case::FanOut => fan_out::COLUMNS,
        }
    }

    /// Whether the library takes part: not all can compress. Reading chunks or whole messages is one thing to a sender, to a relay and to a
    /// connection that is silent.
    pub(crate) fn takes(&self, library: &str) -> bool {
        match self.case {
            Case::Memory | Case::Turns(_) => library == "raw",
            Case::Transfer(transfer) if transfer.purpose == Purpose::DefaultFrames => {
                ["raw", "wsstream", "wsstream-whole"].contains(&library)
            }
            Case::Deflate(_) => ["floor", "wsstream", "wsstream-whole", "yawc", "sockudo-ws"].contains(&library),
            Case::SendOne | Case::Idle | Case::FanOut => library != "wsstream-whole",
            _ => true,
        }
    }

    /// How often it runs. The memory that sending takes does not depend on luck, and one of the libraries may take half a
    /// minute for each 1 GiB.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        match self.case {
            Case::SendOne => 1,
            _ => rounds,
        }
    }

    /// Whether a run takes two processes.
    pub(crate) fn is_pair(&self) -> bool {
        match &self.case {
            Case::Memory | Case::Turns(_) | Case::Transfer(_) | Case::Deflate(_) => false,
            Case::Echo(echo) => echo.workers.is_none(),
            Case::OneMessage(_) | Case::SendOne | Case::Idle | Case::FanOut => true,
        }
    }

    /// Runs it once, in this process.
    pub(crate) fn run(&self, library: &str, end: End, scale: Scale) -> Result<Figures> {
        if let (Case::Deflate(case), "floor") = (&self.case, library) {
            return deflate::alone(*case, scale);
        }
        with_library!(library, L => match &self.case {
            Case::Memory => memory::run(scale),
            Case::Turns(direction) => turns::run(*direction, scale),
            Case::Transfer(transfer) => transfer::run::<L>(transfer, scale),
            Case::Deflate(case) => deflate::run::<L>(*case, scale),
            Case::OneMessage(form) => one_message::run::<L>(*form, end, scale),
            Case::SendOne => send_one::run::<L>(end, scale),
            Case::Echo(echo) => echo::run::<L>(*echo, end, scale),
            Case::Idle => idle::run::<L>(end, scale),
            Case::FanOut => fan_out::run::<L>(end, scale),
        })
    }
}

/// Every scenario, in the order of the report.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = vec![Scenario {
        name: "memory".into(),
        title: "What memory allows: one thread, 256 KiB at a time".into(),
        case: Case::Memory,
    }];
    all.extend(BOTH.map(turns::scenario));
    let each = |purpose, directions: &[Direction], sizes: &[usize], kind: Kind, gives_way| {
        let mut scenarios = Vec::new();
        for &direction in directions {
            for &message_len in sizes {
                for workers in [Workers::One, Workers::Two] {
                    let case = transfer::Transfer { purpose, direction, message_len, kind, workers, gives_way };
                    scenarios.push(case.scenario());
                }
            }
        }
        scenarios
    };
    all.extend(each(Purpose::Bulk, &BOTH, &[64 << 10, 100 << 10, 1 << 20], Kind::Binary, false));
    all.extend(each(Purpose::Bulk, &BOTH, &[64 << 10], Kind::Binary, true));
    all.extend(each(Purpose::DefaultFrames, &BOTH, &[100 << 10, 1 << 20], Kind::Binary, false));
    all.extend(each(Purpose::Bulk, &BOTH[..1], &[64 << 10], Kind::Text, false));
    all.extend(one_message::Form::ALL.map(one_message::Form::scenario));
    all.push(send_one::scenario());
    all.extend(each(Purpose::Small, &BOTH, &[16, 125, 1 << 10], Kind::Binary, false));
    for message_len in [32, 4 << 10] {
        for workers in [Some(Workers::One), Some(Workers::Two), None] {
            all.push(echo::Echo { message_len, workers, is_timed: false }.scenario());
        }
        all.push(echo::Echo { message_len, workers: Some(Workers::One), is_timed: true }.scenario());
    }
    all.push(idle::scenario());
    all.push(fan_out::scenario());
    all.extend(deflate::Deflate::all().map(deflate::Deflate::scenario));
    all
}
