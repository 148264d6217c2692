//! Inside a run: a fresh process, or two of them that talk to each other.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    library::{Connection, Purpose, Role},
    measure::tune,
};

/// After this, a run has failed: one that hangs must not hang the others.
const LONGEST: Duration = Duration::from_secs(120);

/// A process that was suspended has measured nothing: it ends, and is started again.
pub(crate) fn watch() {
    const LOOK: Duration = Duration::from_millis(250);
    for _ in 0..LONGEST.as_millis() / LOOK.as_millis() {
        let before = Instant::now();
        std::thread::sleep(LOOK);
        if before.elapsed() > 5 * LOOK {
            eprintln!("suspended for {:?}", before.elapsed());
            std::process::exit(3);
        }
    }
    eprintln!("took more than {LONGEST:?}");
    std::process::exit(2);
}

/// Which process of a run this is. The only one, if there is one, listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The one whose library is measured, where that is only one end.
    Listen,
    Dial(u16),
}

/// Both ends of a connection, in this process: server and client.
pub(crate) async fn connect<L: Connection>(purpose: Purpose, message_len: usize) -> Result<(L, L)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (client, (server, _)) = (client?, server?);
    tune(&server)?;
    tune(&client)?;
    let server = L::open(server, Role::Server, purpose, message_len).await?;
    let client = L::open(client, Role::Client, purpose, message_len).await?;
    Ok((server, client))
}

/// Where the other process dials.
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Says on stdout which port it is.
    pub(crate) async fn bind() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?.port())?;
        stdout.flush()?;
        Ok(Self(listener))
    }

    pub(crate) async fn control(&mut self) -> Result<Control> {
        Ok(Control(self.accept().await?))
    }

    pub(crate) async fn accept(&mut self) -> Result<TcpStream> {
        let (tcp, _) = self.0.accept().await?;
        tune(&tcp)?;
        Ok(tcp)
    }
}

/// Connects to the other process.
pub(crate) async fn dial(port: u16) -> Result<TcpStream> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tune(&tcp)?;
    Ok(tcp)
}

/// A connection of its own by which two processes tell each other how far they are.
pub(crate) struct Control(TcpStream);

impl Control {
    pub(crate) async fn dial(port: u16) -> Result<Self> {
        Ok(Self(dial(port).await?))
    }

    pub(crate) async fn signal(&mut self) -> Result<()> {
        Ok(self.0.write_all(b".").await?)
    }

    /// Until the other one has signalled.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        self.0.read_u8().await?;
        Ok(())
    }
}
