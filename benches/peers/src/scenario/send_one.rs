//! One message of 1 GiB, sent by a client, which has to mask it: how much memory that takes besides the message.

use anyhow::Result;
use bytes::Bytes;

use super::{Case, Column, Figures, Scale, Scenario, Workers, figures};
use wsstream_peers::{
    child::{Control, End, Listener},
    library::{Connection, Kind, Purpose, Role},
    measure::{Clock, Elapsed, peak_rss, reset_peak_rss, rss},
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::less("kept", "sender peak RSS above the message, MiB: a `Bytes` that is kept", 1).alone(),
    Column::less("given", "the same: a buffer that is given away", 1).alone(),
    Column::less("seconds", "seconds (kept)", 2),
    Column::less("cpu", "sender CPU s (kept)", 2),
];

/// The message is this, many times over.
const BLOCK: usize = 256 * 1024;

pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "one-message/send".into(),
        title: "one message of 1 GiB sent by a client (masked); two processes, the sender is the library".into(),
        case: Case::SendOne,
    }
}

pub(crate) fn run<L: Connection>(end: End, scale: Scale) -> Result<Figures> {
    Workers::One.runtime()?.block_on(async {
        match end {
            End::Listen => send::<L>(scale).await,
            End::Dial(port) => receive::<L>(port, scale).await,
        }
    })
}

async fn send<L: Connection>(scale: Scale) -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let payload = Bytes::from(tally::binary(BLOCK).repeat(scale.one_message() as usize / BLOCK));

    let mut connection = L::open(listener.accept().await?, Role::Client, Purpose::OneMessage, BLOCK).await?;
    let message = L::message(Kind::Binary, payload.clone());
    let (kept, used) = watch(&mut control, async {
        connection.feed(&message).await?;
        connection.flush().await?;
        Ok(connection)
    })
    .await?;
    drop(message);

    // A new connection: one that has kept what it allocated would need nothing more.
    let mut connection = L::open(listener.accept().await?, Role::Client, Purpose::OneMessage, BLOCK).await?;
    let payload = Vec::from(payload);
    let (given, _) = watch(&mut control, async {
        connection.send_once(payload).await?;
        Ok(connection)
    })
    .await?;
    Ok(figures([("kept", kept), ("given", given), ("seconds", used.seconds), ("cpu", used.cpu)]))
}

/// How far memory rises while a message is sent and received, in MiB, and what that takes.
async fn watch<L>(control: &mut Control, send: impl Future<Output = Result<L>>) -> Result<(f64, Elapsed)> {
    let before = rss()?;
    reset_peak_rss()?;
    let clock = Clock::start()?;
    let _connection = send.await?;
    control.wait().await?;
    let used = clock.elapsed()?;
    let above = peak_rss()?.saturating_sub(before);
    Ok((above as f64 / f64::from(1 << 20), used))
}

async fn receive<L: Connection>(port: u16, scale: Scale) -> Result<Figures> {
    let mut control = Control::dial(port).await?;
    for _ in ["kept", "given"] {
        let tcp = wsstream_peers::child::dial(port).await?;
        let mut connection = L::Far::open(tcp, Role::Server, Purpose::OneMessage, BLOCK).await?;
        let mut tally = Tally::new(tally::binary(BLOCK));
        while tally.bytes() < scale.one_message() {
            connection.receive(&mut tally).await?;
        }
        tally.check()?;
        control.signal().await?;
    }
    Ok(Figures::new())
}
