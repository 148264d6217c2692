//! What a process has taken from a socket beyond what its consumer has had. The kernel says so, whatever a library does.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{getsockopt_impl, libc, sockopt_impl, sys::socket::getsockopt};
use tokio::{net::TcpStream, sync::Notify};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Where `struct tcp_info` says how much has come, in bytes: its last field, as far as it is asked for here.
const BYTES_RECEIVED: usize = 128;

sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u8; BYTES_RECEIVED + 8]);

/// The receiving end of a connection, whoever reads it.
pub(crate) struct Socket(OwnedFd);

impl Socket {
    pub(crate) fn of(tcp: &TcpStream) -> Result<Self> {
        Ok(Self(tcp.as_fd().try_clone_to_owned()?))
    }

    /// Bytes that this process has read from it: what has come, without what lies in the kernel.
    pub(crate) fn taken(&self) -> Result<u64> {
        let info = getsockopt(&self.0, TcpInfo)?;
        let received = info[BYTES_RECEIVED..].first_chunk().context("a tcp_info without bytes_received")?;
        Ok(u64::from_ne_bytes(*received).saturating_sub(rustix::io::ioctl_fionread(&self.0)?))
    }
}

/// What lies between a socket and the consumer, looked at every millisecond by a thread of its own.
#[derive(Default)]
pub(crate) struct Between {
    /// Payload that the consumer has been handed.
    consumed: AtomicU64,
    now: AtomicU64,
    /// The most there was since the last reset.
    most: AtomicU64,
    too_much: Notify,
}

impl Between {
    /// `wire` is what a byte of payload takes on the wire. Says when there is more than `limit`.
    pub(crate) fn watch(socket: Socket, wire: f64, limit: u64) -> Arc<Self> {
        let between = Arc::new(Self::default());
        let watched = between.clone();
        std::thread::spawn(move || {
            while let Ok(taken) = socket.taken() {
                // Consumed is read last, so that what was consumed meanwhile is not said to lie here.
                let consumed = (watched.consumed.load(Relaxed) as f64 * wire) as u64;
                let now = taken.saturating_sub(consumed);
                watched.now.store(now, Relaxed);
                watched.most.fetch_max(now, Relaxed);
                if now > limit {
                    watched.too_much.notify_one();
                }
                std::thread::sleep(LOOK);
            }
        });
        between
    }

    pub(crate) fn consumed(&self, bytes: u64) {
        self.consumed.store(bytes, Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.most.store(0, Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    pub(crate) fn most(&self) -> u64 {
        self.most.load(Relaxed)
    }

    pub(crate) async fn too_much(&self) {
        self.too_much.notified().await;
    }
}
