//! `put` and `get`, which go on by themselves when the connection is lost.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wsstream::{Retry, WebSocketStream};

use crate::{
    failure::Failure,
    partial::Partial,
    protocol::Direction,
    receive::{Options, receive},
    send::{Source, send},
    transfer::{Report, run},
};

/// Where to, and how long to wait for a server that has gone away.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) retry_for: Duration,
}

/// Between tries that come to nothing although there is a server.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn put(
    file: &Path,
    server: Server,
    one_frame: bool,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    let open = || Source::open(file, &file.display().to_string());
    open()?;
    let progress = progress_bar();
    let transfer = async |ws: WebSocketStream| {
        let (source, control) = (open()?, ws.control());
        run(&control, &stop, send(source, one_frame, ws.split(), &progress)).await
    };
    let report = server.persist(Direction::Put, &stop, &progress, transfer).await;
    progress.finish_and_clear();
    report
}

pub(crate) async fn get(
    server: Server,
    file: &Path,
    options: Options,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    drop(Partial::open(file)?);
    let progress = progress_bar();
    let transfer = async |ws: WebSocketStream| {
        let (partial, control) = (Partial::open(file)?, ws.control());
        run(&control, &stop, receive(partial, options, ws.split(), &progress)).await
    };
    let report = server.persist(Direction::Get, &stop, &progress, transfer).await;
    progress.finish_and_clear();
    report
}

impl Server {
    /// Transfers over one connection after the other, until it is done or nothing has moved for `retry_for`.
    async fn persist(
        &self,
        direction: Direction,
        stop: &CancellationToken,
        progress: &ProgressBar,
        transfer: impl AsyncFn(WebSocketStream) -> Result<Report, Failure>,
    ) -> Result<Report, Failure> {
        // A server that is not there to begin with is said at once: the URL may be wrong.
        let mut ws = self.connect(direction).await.map_err(|error| Failure::connect(&error))?;
        let (mut reached, mut moved) = (0, Instant::now());
        loop {
            let failure = match transfer(ws).await {
                Err(failure) if failure.can_resume => failure,
                result => return result,
            };
            let has_moved = progress.position() > reached;
            if has_moved {
                (reached, moved) = (progress.position(), Instant::now());
            }
            let left = self.retry_for.saturating_sub(moved.elapsed());
            if left.is_zero() {
                return Err(failure);
            }
            tracing::warn!("{failure}; waiting for the server for {left:.0?}");
            progress.println("the connection is lost; waiting for the server");
            ws = tokio::select! {
                ws = self.reconnect(direction, has_moved, Instant::now() + left) => ws?,
                () = stop.cancelled() => return Err(Failure::interrupted()),
            };
        }
    }

    async fn reconnect(
        &self,
        direction: Direction,
        at_once: bool,
        deadline: Instant,
    ) -> Result<WebSocketStream, Failure> {
        if !at_once {
            sleep(PAUSE).await;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let retry = Retry::default().max_delay(Duration::from_secs(2)).max_tries(usize::MAX).max_time(left);
            let error = match self.connect(direction).retry(retry).await {
                Ok(ws) => return Ok(ws),
                Err(error) => error,
            };
            // A server that lives on may not have noticed that the last connection is gone.
            let is_busy = error.response().is_some_and(|response| response.status() == StatusCode::CONFLICT);
            if !is_busy || left < PAUSE {
                return Err(if error.is_transient() { Failure::no_server(&error) } else { Failure::connect(&error) });
            }
            sleep(PAUSE).await;
        }
    }

    fn connect(&self, direction: Direction) -> wsstream::Connect {
        WebSocketStream::connect(&self.url).protocols([direction.protocol()])
    }
}

/// On a terminal only.
fn progress_bar() -> ProgressBar {
    let template = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
    // The template is the one above; a bar in the default style would do as well.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}
