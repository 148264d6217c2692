//! One message of 1 GiB, received: two processes, and only the receiver is the library.

use anyhow::Result;

use super::{Case, Column, Figures, Scale, Scenario, Workers, figures};
use wsstream_peers::{
    child::{Control, End, Listener},
    library::{Connection, Purpose, Role, framing::Prepared},
    measure::{Clock, peak_rss, reset_peak_rss},
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::less("seconds", "seconds", 2),
    Column::less("cpu", "receiver CPU s", 2),
    Column::less("peak", "receiver peak RSS MiB", 1).alone(),
];

/// The message is this, many times over.
const BLOCK: usize = 256 * 1024;

/// How the message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Frame,
    MaskedFrame,
    Fragments,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Frame, Self::MaskedFrame, Self::Fragments];

    pub(crate) fn scenario(self) -> Scenario {
        let (name, what) = match self {
            Self::Frame => ("frame", "one frame, server to client"),
            Self::MaskedFrame => ("masked-frame", "one masked frame, client to server"),
            Self::Fragments => ("fragments", "64 KiB frames, server to client"),
        };
        Scenario {
            name: format!("one-message/{name}"),
            title: format!("one message of 1 GiB as {what}; two processes, the receiver is the library"),
            case: Case::OneMessage(self),
        }
    }
}

pub(crate) fn run<L: Connection>(form: Form, end: End, scale: Scale) -> Result<Figures> {
    Workers::One.runtime()?.block_on(async {
        match end {
            End::Listen => receive::<L>(form, scale).await,
            End::Dial(port) => send::<L>(form, port, scale).await,
        }
    })
}

async fn receive<L: Connection>(form: Form, scale: Scale) -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let role = if form == Form::MaskedFrame { Role::Server } else { Role::Client };
    let mut connection = L::open(listener.accept().await?, role, Purpose::OneMessage, BLOCK).await?;
    let mut tally = Tally::new(tally::binary(BLOCK));
    reset_peak_rss()?;
    control.signal().await?;
    let clock = Clock::start()?;
    while tally.bytes() < scale.one_message() {
        connection.receive(&mut tally).await?;
    }
    let used = clock.elapsed()?;
    tally.check()?;
    let peak = peak_rss()? as f64 / f64::from(1 << 20);
    control.signal().await?;
    Ok(figures([("seconds", used.seconds), ("cpu", used.cpu), ("peak", peak)]))
}

async fn send<L: Connection>(form: Form, port: u16, scale: Scale) -> Result<Figures> {
    let mut control = Control::dial(port).await?;
    let mut tcp = wsstream_peers::child::dial(port).await?;
    let pattern = tally::binary(BLOCK);
    let prepared = match form {
        _ if !L::FRAMED => Prepared::raw(&pattern, scale.one_message()),
        Form::Frame => Prepared::one_frame(&pattern, scale.one_message(), None),
        Form::MaskedFrame => Prepared::one_frame(&pattern, scale.one_message(), Some(rand::random())),
        Form::Fragments => Prepared::fragments(&pattern, scale.one_message()),
    };
    control.wait().await?;
    prepared.write(&mut tcp).await?;
    control.wait().await?;
    Ok(Figures::new())
}
