//! What a process has used, and what the machine was doing besides.

use std::{ffi::OsString, fs, time::Instant};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        socket::{getsockopt, setsockopt, sockopt::TcpCongestion},
        time::TimeVal,
    },
    unistd::Pid,
};
use tokio::net::TcpSocket;

/// Seconds of user and of system time.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    /// Of this process, all threads.
    pub fn own() -> Result<Self> {
        Self::of(UsageWho::RUSAGE_SELF)
    }

    /// Of the processes that it started and that have ended.
    pub fn children() -> Result<Self> {
        Self::of(UsageWho::RUSAGE_CHILDREN)
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }

    fn of(who: UsageWho) -> Result<Self> {
        let usage = getrusage(who)?;
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(Self { user: seconds(usage.user_time()), system: seconds(usage.system_time()) })
    }
}

/// Wall and CPU time of this process from here on.
pub struct Clock {
    start: Instant,
    cpu: Cpu,
}

/// Wall and CPU time, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    pub seconds: f64,
    pub cpu: f64,
}

impl Clock {
    pub fn start() -> Result<Self> {
        Ok(Self { cpu: Cpu::own()?, start: Instant::now() })
    }

    pub fn elapsed(&self) -> Result<Elapsed> {
        let seconds = self.start.elapsed().as_secs_f64();
        Ok(Elapsed { seconds, cpu: Cpu::own()?.total() - self.cpu.total() })
    }
}

/// The most memory this process has held since it began, or since [`reset_peak_rss`]. Not `ru_maxrss`, which is
/// inherited over `exec`.
pub fn peak_rss() -> Result<u64> {
    kib(&fs::read_to_string("/proc/self/status")?, "VmHWM:")
}

/// What it holds now counts as the most from here on.
pub fn reset_peak_rss() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// The memory that this process holds, counted page by page: the kernel's running total is off by up to a hundred pages.
pub fn rss() -> Result<u64> {
    kib(&fs::read_to_string("/proc/self/smaps_rollup")?, "Rss:")
}

fn kib(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// The congestion control asked for. The default may be BBR, which paces loopback and makes figures jump by four times.
const CONGESTION: &str = "cubic";

/// The size of the socket's buffers asked for. Left alone, the kernel grows the receive buffer to a size that is another one
/// for each connection, and raw TCP is up to twice as fast with one size as with another. The environment may set another one,
/// in bytes, or `kernel` to leave it alone: whoever is started by this process has it too.
const SOCKET_BUFFER: u32 = 1 << 20;

fn socket_buffer() -> Result<Option<u32>> {
    match std::env::var("SOCKET_BUFFER") {
        Ok(kernel) if kernel == "kernel" => Ok(None),
        Ok(bytes) => Ok(Some(bytes.parse().context("SOCKET_BUFFER is a number of bytes, or `kernel`")?)),
        Err(_) => Ok(Some(SOCKET_BUFFER)),
    }
}

/// A socket as every benchmark uses it. A kernel without that congestion control or with lower limits for buffers gives what
/// it has, which [`socket_settings`] tells the report.
pub fn socket() -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    if let Some(bytes) = socket_buffer()? {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    let _ = setsockopt(&socket, TcpCongestion, &OsString::from(CONGESTION));
    Ok(socket)
}

/// What sockets are really set to.
pub fn socket_settings() -> Result<String> {
    let socket = socket()?;
    let congestion = getsockopt(&socket, TcpCongestion)?;
    let congestion = congestion.to_string_lossy();
    let congestion = congestion.trim_end_matches('\0');
    let (receive, send) = (socket.recv_buffer_size()? / 1024, socket.send_buffer_size()? / 1024);
    let grows = if socket_buffer()?.is_none() { " at first, as the kernel grows them" } else { "" };
    Ok(format!(
        "congestion control {congestion}, socket buffers of {receive} KiB to receive and {send} KiB to send{grows}"
    ))
}

/// Keeps this process on one core, the last that it may use: round trips over two cores of a virtual machine time how
/// long it takes to wake one up.
pub fn pin_to_one_core() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|&core| allowed.is_set(core).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no core to run on")?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

/// How many cores processes that are none of ours keep busy.
pub struct OtherProcesses {
    start: Instant,
    busy: f64,
    own: f64,
}

impl OtherProcesses {
    pub fn start() -> Result<Self> {
        Ok(Self { start: Instant::now(), busy: busy()?, own: own()? })
    }

    /// On average, since the start. All processes started since must have been waited for.
    pub fn cores(&self) -> Result<f64> {
        let theirs = (busy()? - self.busy) - (own()? - self.own);
        Ok((theirs / self.start.elapsed().as_secs_f64()).max(0.0))
    }
}

fn own() -> Result<f64> {
    Ok(Cpu::own()?.total() + Cpu::children()?.total())
}

/// Seconds that all cores have worked since the machine was started.
fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; a tick is a hundredth of a second in all of /proc.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&at| ticks.get(at)).sum();
    Ok(busy as f64 / 100.0)
}
