//! Messages in one direction, as many as possible, both ends in one process: bulk, text, small messages.

use anyhow::Result;

use super::{Case, Column, Direction, Figures, Scale, Scenario, Workers, figures, line::Line};
use wsstream_peers::{
    child::connect,
    library::{Connection, Kind, Purpose},
    measure::Clock,
    numbers::size,
    tally::{self, Tally},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) purpose: Purpose,
    pub(crate) direction: Direction,
    pub(crate) message_len: usize,
    pub(crate) kind: Kind,
    pub(crate) workers: Workers,
    /// The sender lets other tasks have a turn after 512 KiB, whatever its library does.
    pub(crate) gives_way: bool,
}

/// What is sent between two turns of others, where the sender gives way.
const TURN: usize = 512 * 1024;

const BULK: &[Column] = &[Column::more("speed", "GB/s", 2), Column::less("cpu", "CPU s/GiB (both ends)", 3)];
const SMALL: &[Column] = &[Column::more("rate", "messages/s", 0), Column::less("cpu", "CPU ns/message (both ends)", 1)];

impl Transfer {
    pub(crate) fn scenario(self) -> Scenario {
        let group = match (self.purpose, self.kind) {
            (Purpose::Small, _) => "small",
            (Purpose::DefaultFrames, _) => "default-frames",
            (_, Kind::Text) => "text",
            (_, Kind::Binary) => "bulk",
        };
        let (direction, what) = self.direction.names();
        let (size, workers) = (size(self.message_len), self.workers.name());
        let flushed = size_of_batch(self.purpose);
        let (way, gives_way) = if self.gives_way { ("/giving-way", ", the sender gives way") } else { ("", "") };
        Scenario {
            name: format!("{group}/{direction}/{size}/{workers}{way}"),
            title: format!(
                "{group}: {size} messages {what}, flushed every {flushed}, one process, {workers}{gives_way}"
            ),
            case: Case::Transfer(self),
        }
    }

    pub(crate) fn columns(&self) -> &'static [Column] {
        if self.purpose == Purpose::Small { SMALL } else { BULK }
    }
}

fn size_of_batch(purpose: Purpose) -> String {
    size(purpose.batch())
}

pub(crate) fn run<L: Connection>(case: &Transfer, scale: Scale) -> Result<Figures> {
    let case = *case;
    case.workers.runtime()?.block_on(async move {
        let payload = match case.kind {
            Kind::Binary => tally::binary(case.message_len),
            Kind::Text => tally::text(case.message_len),
        };
        let (server, client) = connect::<L>(case.purpose, case.message_len).await?;
        let (sender, receiver) = match case.direction {
            Direction::Download => (server, client),
            Direction::Upload => (client, server),
        };
        let mut line = Line {
            messages: [L::message(case.kind, payload.clone())].into(),
            message_len: case.message_len,
            repeats: (case.purpose.batch() / case.message_len).max(1),
            turn: if case.gives_way { TURN } else { usize::MAX },
            sender,
            receiver,
            tally: Tally::new(payload),
        };
        line = line.transfer(scale.warm_up()).await?;
        let before = line.tally.bytes();
        let clock = Clock::start()?;
        line = line.transfer(scale.measured()).await?;
        let used = clock.elapsed()?;
        line.tally.check()?;

        let bytes = (line.tally.bytes() - before) as f64;
        let messages = bytes / case.message_len as f64;
        Ok(match case.purpose {
            Purpose::Small => figures([("rate", messages / used.seconds), ("cpu", used.cpu / messages * 1e9)]),
            _ => figures([("speed", bytes / used.seconds / 1e9), ("cpu", used.cpu / bytes * f64::from(1 << 30))]),
        })
    })
}
