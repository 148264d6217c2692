//! Connections that are closed together.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{sync::watch, time::sleep};

use crate::{
    close::{CloseCode, CloseFrame},
    error::ConnectionError,
    stream::{WeakControl, WebSocketStream},
};

/// What peers read as the reason of 1001.
const REASON: &str = "shutting down";

/// A set of living connections, to close them together when the server goes down: a cheap, cloneable handle.
///
/// A [`Listener`](crate::Listener) has one, [`Listener::connections`](crate::Listener::connections), of all connections
/// that it has given out. Connections over other transports, or from an HTTP server, join one by
/// [`AcceptUpgrade::connections`](crate::AcceptUpgrade::connections).
///
/// A connection belongs to the set until it has ended. The set does not keep it open.
///
/// # Dropping
/// Has no effect on the connections.
///
/// ```
/// use std::time::Duration;
/// use wsstream::{CloseCode, Connections, WebSocketStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connections = Connections::new();
/// let (near, far) = tokio::io::duplex(4096);
/// let accept = async { WebSocketStream::accept(far).await?.accept().connections(&connections).await };
/// let (client, server) =
///     tokio::join!(WebSocketStream::connect_over("ws://localhost/", near).into_future(), accept);
/// assert_eq!(connections.len(), 1);
///
/// let report = connections.shutdown(Duration::from_secs(10)).await;
/// assert_eq!((report.clean, report.unclean, report.aborted), (1, 0, 0));
/// assert_eq!(client?.closed().await?.close_code, CloseCode::GOING_AWAY);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<watch::Sender<Members>>);

#[derive(Debug, Default)]
struct Members {
    /// Those that have ended go when the list is full.
    open: Vec<WeakControl>,
    /// How many are being answered.
    opening: usize,
    is_shut_down: bool,
}

/// How the connections ended that were alive when a shutdown began, or were being accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Close frames went both ways, and nothing that was accepted was left unsent.
    pub clean: usize,
    /// They ended by themselves in time, but not so: the peer had gone, or did not answer within
    /// [`Config::close_timeout`](crate::Config::close_timeout).
    pub unclean: usize,
    /// They were still closing when the time was up.
    pub aborted: usize,
}

impl Connections {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections are alive, those that are closing included. They are counted one by one.
    pub fn len(&self) -> usize {
        self.0.borrow().open.iter().filter(|control| !control.is_over()).count()
    }

    /// Whether no connection is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes all connections, for good.
    ///
    /// Each sends what it has accepted, then a Close frame with 1001 (a message that is being written is cut), and waits
    /// for the peer's. What has been received stays readable. Those that have not ended when the time is up are aborted.
    /// Applications see their connections end and need do nothing.
    ///
    /// Upgrades that are accepted from now on are refused with status 503. A listener whose set this is accepts no more:
    /// [`Listener::accept`](crate::Listener::accept) returns an error.
    ///
    /// # Cancel safety
    /// Cancel safe: the connections go on closing, within their [`Config::close_timeout`](crate::Config::close_timeout),
    /// and none is aborted. The next call waits for those that are left, and counts them all.
    pub async fn shutdown(&self, time: Duration) -> ShutdownReport {
        self.0.send_modify(|members| {
            members.prune();
            members.is_shut_down = true;
        });
        self.open().iter().for_each(say_goodbye);
        let mut time_is_up = pin!(sleep(time));
        tokio::select! {
            // Those that are being answered find out by themselves.
            _ = async { self.0.subscribe().wait_for(|members| members.opening == 0).await.is_ok() } => {}
            () = &mut time_is_up => {}
        }
        let open = self.open();
        let mut endings: FuturesUnordered<_> = open.iter().map(WeakControl::closed).collect();
        let mut report = ShutdownReport::default();
        let mut were_aborted = false;
        loop {
            tokio::select! {
                biased;
                ended = endings.next() => match ended {
                    None => break,
                    Some(Ok(_)) => report.clean += 1,
                    Some(Err(ConnectionError::Aborted)) if were_aborted => report.aborted += 1,
                    Some(Err(_)) => report.unclean += 1,
                },
                () = &mut time_is_up, if !were_aborted => {
                    were_aborted = true;
                    open.iter().for_each(WeakControl::abort);
                }
            }
        }
        self.0.send_if_modified(|members| {
            members.forget_ended();
            false
        });
        report
    }

    /// Resolves when a shutdown has begun.
    pub(crate) async fn shutdown_begins(&self) {
        let _ = self.0.subscribe().wait_for(|members| members.is_shut_down).await;
    }

    /// A place for a connection that is about to be accepted; `None` if there are to be no more.
    pub(crate) fn admit(&self) -> Option<Admission> {
        let mut admission = None;
        self.0.send_if_modified(|members| {
            if !members.is_shut_down {
                members.opening += 1;
                admission = Some(Admission(self.clone()));
            }
            false
        });
        admission
    }

    fn open(&self) -> Vec<WeakControl> {
        self.0.borrow().open.clone()
    }
}

fn say_goodbye(control: &WeakControl) {
    control.close(CloseFrame::truncated(CloseCode::GOING_AWAY, REASON));
}

impl Members {
    /// Not during a shutdown, which counts those that have ended meanwhile.
    fn prune(&mut self) {
        if !self.is_shut_down {
            self.forget_ended();
        }
    }

    fn forget_ended(&mut self) {
        self.open.retain(|control| !control.is_over());
    }

    fn push(&mut self, control: WeakControl) {
        if self.open.len() == self.open.capacity() {
            self.prune();
            // As much room as is in use, so that looking at all costs next to nothing for each.
            self.open.reserve(self.open.len() + 1);
        }
        self.open.push(control);
    }
}

/// A connection that is being accepted, which a shutdown waits for.
#[derive(Debug)]
pub(crate) struct Admission(Connections);

impl Admission {
    pub(crate) fn open(self, ws: &WebSocketStream) {
        let control = ws.weak_control();
        self.0.0.send_if_modified(|members| {
            members.push(control.clone());
            false
        });
        if self.0.0.borrow().is_shut_down {
            say_goodbye(&control);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.0.send_modify(|members| members.opening -= 1);
    }
}
