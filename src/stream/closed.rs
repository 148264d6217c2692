//! How a connection ended, for everybody who wants to know.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, channel::oneshot, future};

use crate::{
    close::CloseInfo,
    error::{ConnectionError, Outcome},
};

/// A future that resolves when the connection has ended and its transport has been dropped.
///
/// It needs no reader and no polling to settle, may be cloned and awaited any number of times, and does not keep the
/// connection open: it is no handle.
///
/// # Errors
/// The connection ended uncleanly: [`ConnectionError`] says why, and
/// [`close_code`](ConnectionError::close_code) what a browser would report.
///
/// # Cancel safety
/// Cancel safe: await a clone or the same one again.
///
/// ```no_run
/// # async fn example(ws: wsstream::WebSocketStream) {
/// let closed = ws.closed();
/// tokio::spawn(async move {
///     match closed.await {
///         Ok(info) => println!("closed with {} {:?}", info.close_code, info.reason),
///         Err(error) => println!("{error}"),
///     }
/// });
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Closed(future::Shared<oneshot::Receiver<Outcome>>);

impl Closed {
    pub(crate) fn new(receiver: oneshot::Receiver<Outcome>) -> Self {
        Self(receiver.shared())
    }
}

impl Future for Closed {
    type Output = Result<CloseInfo, ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A `Shared` is spent once it has resolved, and so are its later clones; this future may be awaited again.
        let unspent = self.0.clone();
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        self.0 = unspent;
        Poll::Ready(outcome.unwrap_or(Err(ConnectionError::RuntimeShutDown)))
    }
}
