//! The process that is measured: one source comes in, every receiver is sent what it says.

mod broadcast;
mod fanout;
mod queues;

use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use wsstream_peers::{
    child::Listener,
    library::{Connection, Floor, Kind, Purpose, Role, framing::Head, with_library},
    measure::{Cpu, peak_rss, reset_peak_rss, rss},
};

use crate::{
    case::{Case, Pace},
    figures::Figures,
    load::SOCKET_BUFFER,
};

/// Tells how many messages receivers have missed so far.
type Missed = Box<dyn Fn() -> u64 + Send>;

pub(crate) async fn run(library: &str, case: Case) -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut control = listener.control().await?;
    let source = listener.accept().await?;
    let mut receivers = Vec::new();
    for _ in 0..case.receivers {
        let receiver = listener.accept().await?;
        setsockopt(&receiver, SndBuf, &SOCKET_BUFFER)?;
        receivers.push(receiver);
    }
    let before = rss()?;
    let missed = match library {
        "raw" => start::<OneByOne>(source, receivers, case).await?,
        "wsstream" => fanout::start(source, receivers, case).await?,
        name => with_library!(name, L => start::<Library<L>>(source, receivers, case).await?),
    };

    control.signal().await?;
    control.wait().await?; // warm
    reset_peak_rss()?;
    let (cpu, missed_before) = (Cpu::own()?, missed());
    control.signal().await?;
    control.wait().await?; // delivered
    let used = Cpu::own()?;
    let held = peak_rss()?.saturating_sub(before) as f64 / f64::from(1 << 20);
    Ok(Figures::from([
        ("user".into(), used.user - cpu.user),
        ("system".into(), used.system - cpu.system),
        ("held".into(), held),
        ("missed".into(), (missed() - missed_before) as f64),
    ]))
}

/// What a relay without a fan-out of its own does: a task for each receiver, and something between it and the source.
async fn start<R: Receiver>(source: TcpStream, receivers: Vec<TcpStream>, case: Case) -> Result<Missed> {
    let mut opened = Vec::new();
    for tcp in receivers {
        opened.push(R::open(tcp, case).await?);
    }
    let source = R::Source::open(source, Role::Server, Purpose::Bulk, case.message_len).await?;
    Ok(match case.pace {
        Pace::Full => queues::start(source, opened, case),
        _ => broadcast::start(source, opened, case),
    })
}

/// The end of a receiver's connection that sends.
trait Receiver: Sized + Send + 'static {
    type Source: Connection;
    type Frame: Send + Sync + 'static;

    fn open(tcp: TcpStream, case: Case) -> impl Future<Output = Result<Self>> + Send;

    /// Made once for all receivers.
    fn frame(payload: Bytes) -> Self::Frame;

    fn feed(&mut self, frame: &Arc<Self::Frame>) -> impl Future<Output = Result<()>> + Send;

    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Any of the libraries.
struct Library<L>(L);

impl<L: Connection> Receiver for Library<L> {
    type Source = L;
    type Frame = L::Message;

    async fn open(tcp: TcpStream, case: Case) -> Result<Self> {
        ensure!(L::FRAMED, "without frames there are no messages");
        Ok(Self(L::open(tcp, Role::Server, Purpose::Bulk, case.message_len).await?))
    }

    fn frame(payload: Bytes) -> L::Message {
        L::message(Kind::Binary, payload)
    }

    async fn feed(&mut self, frame: &Arc<L::Message>) -> Result<()> {
        self.0.feed(frame).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.0.flush().await
    }
}

/// The same bytes without a library, one frame after the other.
struct OneByOne(TcpStream);

impl Receiver for OneByOne {
    type Source = Floor;
    type Frame = Bytes;

    async fn open(tcp: TcpStream, _case: Case) -> Result<Self> {
        Ok(Self(tcp))
    }

    fn frame(payload: Bytes) -> Bytes {
        let head = Head::new(Some(Kind::Binary), true, payload.len() as u64, None);
        let mut frame = BytesMut::with_capacity(head.bytes().len() + payload.len());
        frame.extend_from_slice(head.bytes());
        frame.extend_from_slice(&payload);
        frame.freeze()
    }

    async fn feed(&mut self, frame: &Arc<Bytes>) -> Result<()> {
        Ok(self.0.write_all(frame).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
