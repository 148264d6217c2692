//! One small message there and back, then the next.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Case, Column, Figures, Scale, Scenario, Workers, figures};
use wsstream_peers::{
    child::{End, Listener, connect, dial},
    library::{Connection, Kind, Purpose, Role},
    measure::{Clock, Cpu, pin_to_one_core},
    numbers::size,
    tally::{self, Tally},
};

pub(crate) const COLUMNS: &[Column] = &[
    Column::less("p50", "p50 us", 1),
    Column::less("p99", "p99 us", 1),
    Column::less("cpu", "CPU us/round trip (both ends)", 1),
    Column::more("rate", "round trips/s", 0),
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) message_len: usize,
    /// Of the one process; none if each end has a process of its own.
    pub(crate) workers: Option<Workers>,
    /// The runtime has a timer to wait for besides, as that of a program that times anything has: then each of its sleeps has
    /// an end, and costs more.
    pub(crate) is_timed: bool,
}

impl Echo {
    pub(crate) fn scenario(self) -> Scenario {
        let size = size(self.message_len);
        let (name, what) = match self.workers {
            Some(workers) => (workers.name(), format!("one process, {}", workers.name())),
            None => ("two-processes", "two processes, one thread each".to_owned()),
        };
        let (timer, timed) = if self.is_timed { ("/timer", ", a timer pending") } else { ("", "") };
        Scenario {
            name: format!("echo/{size}/{name}{timer}"),
            title: format!("echo of {size}, {what}, all on one core{timed}"),
            case: Case::Echo(self),
        }
    }
}

pub(crate) fn run<L: Connection>(echo: Echo, end: End, scale: Scale) -> Result<Figures> {
    pin_to_one_core()?;
    let len = echo.message_len;
    echo.workers.unwrap_or(Workers::One).runtime()?.block_on(async move {
        if echo.is_timed {
            tokio::spawn(tokio::time::sleep(Duration::from_secs(3600)));
        }
        match (echo.workers, end) {
            (Some(_), _) => {
                let (mut server, client) = connect::<L>(Purpose::Echo, len).await?;
                let served = tokio::spawn(async move { while server.echo().await.is_ok() {} });
                let asked = tokio::spawn(ask(client, len, scale)).await??;
                served.await?;
                Ok(asked)
            }
            (None, End::Listen) => serve::<L>(len).await,
            (None, End::Dial(port)) => {
                let client = L::open(dial(port).await?, Role::Client, Purpose::Echo, len).await?;
                ask(client, len, scale).await
            }
        }
    })
}

/// Answers until the client is gone, and says what an answer costs.
async fn serve<L: Connection>(len: usize) -> Result<Figures> {
    let mut listener = Listener::bind().await?;
    let mut server = L::open(listener.accept().await?, Role::Server, Purpose::Echo, len).await?;
    let before = Cpu::own()?.total();
    let mut answers = 0;
    while server.echo().await.is_ok() {
        answers += 1;
    }
    ensure!(answers > 0, "nothing was asked");
    Ok(figures([("cpu", (Cpu::own()?.total() - before) / f64::from(answers) * 1e6)]))
}

async fn ask<L: Connection>(mut client: L, len: usize, scale: Scale) -> Result<Figures> {
    let payload = tally::binary(len);
    let message = L::message(Kind::Binary, payload.clone());
    let mut tally = Tally::new(payload);
    let mut times = Vec::with_capacity(1 << 17);
    round_trips(&mut client, &message, &mut tally, len, scale.warm_up(), &mut times).await?;
    times.clear();
    let clock = Clock::start()?;
    round_trips(&mut client, &message, &mut tally, len, scale.measured(), &mut times).await?;
    let used = clock.elapsed()?;
    tally.check()?;

    let count = times.len() as f64;
    times.sort_unstable();
    let quantile = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    Ok(figures([
        ("p50", quantile(0.5)),
        ("p99", quantile(0.99)),
        ("cpu", used.cpu / count * 1e6),
        ("rate", count / used.seconds),
    ]))
}

/// One after the other, for that long.
async fn round_trips<L: Connection>(
    client: &mut L,
    message: &L::Message,
    tally: &mut Tally,
    len: usize,
    time: Duration,
    times: &mut Vec<Duration>,
) -> Result<()> {
    let end = Instant::now() + time;
    let mut before = Instant::now();
    while before < end {
        let answered = tally.bytes() + len as u64;
        client.send(message).await?;
        while tally.bytes() < answered {
            client.receive(tally).await?;
        }
        let now = Instant::now();
        times.push(now - before);
        before = now;
    }
    Ok(())
}
