//! Many connections that are silent: what each of them costs a server in memory, before and after its first message.

use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Case, Column, Figures, Scale, Scenario, Workers, figures};
use wsstream_peers::{
    child::{Control, End, Listener, dial},
    library::{Connection, Kind, Purpose, Role},
    measure::rss,
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] =
    &[Column::less("before", "RSS bytes/connection, idle", 0), Column::less("after", "after one 4 KiB echo each", 0)];

const MESSAGE: usize = 4096;

/// Everything that has to happen has happened by then.
const SETTLED: Duration = Duration::from_millis(50);

pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "idle/1000".into(),
        title: "1000 idle connections; two processes, the server is the library (its figures), one thread".into(),
        case: Case::Idle,
    }
}

pub(crate) fn run<L: Connection>(end: End, scale: Scale) -> Result<Figures> {
    let (_, allowed) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, allowed, allowed)?;
    Workers::One.runtime()?.block_on(async {
        match end {
            End::Listen => serve::<L>(scale.connections()).await,
            End::Dial(port) => ask::<L>(port, scale.connections()).await,
        }
    })
}

async fn serve<L: Connection>(connections: usize) -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let nothing = rss()?;
    for _ in 0..connections {
        let tcp = listener.accept().await?;
        tokio::spawn(async move {
            let Ok(mut connection) = L::open(tcp, Role::Server, Purpose::Idle, MESSAGE).await else { return };
            while connection.echo().await.is_ok() {}
        });
    }
    tokio::time::sleep(SETTLED).await;
    let idle = rss()?;
    control.signal().await?;
    control.wait().await?;
    tokio::time::sleep(SETTLED).await;
    let used = rss()?;
    control.signal().await?;
    let each = |rss: u64| rss.saturating_sub(nothing) as f64 / connections as f64;
    Ok(figures([("before", each(idle)), ("after", each(used))]))
}

async fn ask<L: Connection>(port: u16, connections: usize) -> Result<Figures> {
    let mut control = Control::dial(port).await?;
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(L::Far::open(dial(port).await?, Role::Client, Purpose::Idle, MESSAGE).await?);
    }
    control.wait().await?;
    let payload = tally::binary(MESSAGE);
    let message = <L::Far as Connection>::message(Kind::Binary, payload.clone());
    for client in &mut clients {
        let mut tally = Tally::new(payload.clone());
        client.feed(&message).await?;
        client.flush().await?;
        while tally.bytes() < MESSAGE as u64 {
            client.receive(&mut tally).await?;
        }
        tally.check()?;
    }
    control.signal().await?;
    control.wait().await?;
    Ok(Figures::new())
}
