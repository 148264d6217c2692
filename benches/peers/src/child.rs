//! Inside a run: a fresh process, or two of them that talk to each other.

use std::{
    io::Write,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    library::{Connection, Purpose, Role},
    measure::socket,
};

/// After this, a run has failed: one that hangs must not hang the others.
const LONGEST: Duration = Duration::from_secs(120);

/// How often the watch looks.
const LOOK: Duration = Duration::from_millis(250);

/// A process that was suspended has measured nothing: it ends without figures, and the run is tried again.
pub struct Watch(Mutex<Instant>);

impl Watch {
    pub fn start() -> Arc<Self> {
        let watch = Arc::new(Self(Mutex::new(Instant::now())));
        let looks = watch.clone();
        std::thread::spawn(move || {
            for _ in 0..LONGEST.as_millis() / LOOK.as_millis() {
                std::thread::sleep(LOOK);
                looks.look();
            }
            eprintln!("took more than {LONGEST:?}");
            std::process::exit(2);
        });
        watch
    }

    /// Says what was measured, in JSON, and ends the process. Without tearing down: nothing is measured any more, and a
    /// runtime waits for its tasks.
    pub fn finish<T>(&self, figures: &impl Serialize) -> Result<T> {
        self.look(); // the run may be over before the thread looks again
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", serde_json::to_string(figures)?)?;
        stdout.flush()?;
        std::process::exit(0);
    }

    /// Ends the process if nobody could look for a while.
    fn look(&self) {
        let mut looked = self.0.lock().expect("nobody panics here");
        if looked.elapsed() > 5 * LOOK {
            eprintln!("suspended for {:?}", looked.elapsed());
            std::process::exit(3);
        }
        *looked = Instant::now();
    }
}

/// Which process of a run this is. The only one, if there is one, listens.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The one whose library is measured, where that is only one end.
    Listen,
    Dial(u16),
}

/// What is accepted has the settings of the listening socket.
fn listen() -> Result<TcpListener> {
    let socket = socket()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.listen(1024)?)
}

/// Both ends of a TCP connection, in this process: server and client.
pub async fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = listen()?;
    let port = listener.local_addr()?.port();
    let (client, accepted) = tokio::join!(dial(port), listener.accept());
    let (client, (server, _)) = (client?, accepted?);
    server.set_nodelay(true)?;
    Ok((server, client))
}

/// Both ends of a connection, in this process: server and client.
pub async fn connect<L: Connection>(purpose: Purpose, message_len: usize) -> Result<(L, L)> {
    let (server, client) = pair().await?;
    let server = L::open(server, Role::Server, purpose, message_len).await?;
    let client = L::open(client, Role::Client, purpose, message_len).await?;
    Ok((server, client))
}

/// Where the other process dials.
pub struct Listener(TcpListener);

impl Listener {
    /// Says on stdout which port it is.
    pub async fn bind() -> Result<Self> {
        let listener = listen()?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?.port())?;
        stdout.flush()?;
        Ok(Self(listener))
    }

    pub async fn control(&mut self) -> Result<Control> {
        Ok(Control(self.accept().await?))
    }

    pub async fn accept(&mut self) -> Result<TcpStream> {
        let (tcp, _) = self.0.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }
}

/// Connects to the other process.
pub async fn dial(port: u16) -> Result<TcpStream> {
    Ok(socket()?.connect((Ipv4Addr::LOCALHOST, port).into()).await?)
}

/// A connection of its own by which two processes tell each other how far they are.
pub struct Control(TcpStream);

impl Control {
    pub async fn dial(port: u16) -> Result<Self> {
        Ok(Self(dial(port).await?))
    }

    pub async fn signal(&mut self) -> Result<()> {
        Ok(self.0.write_all(b".").await?)
    }

    /// Until the other one has signalled.
    pub async fn wait(&mut self) -> Result<()> {
        self.0.read_u8().await?;
        Ok(())
    }
}
