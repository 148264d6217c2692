//! `put` and `get`.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;
use wsstream::WebSocketStream;

use crate::{
    failure::Failure,
    partial::Partial,
    protocol::Direction,
    receive::{Options, receive},
    send::{Source, send},
    transfer::{Report, run},
};

pub(crate) async fn put(file: &Path, url: &str, one_frame: bool, stop: CancellationToken) -> Result<Report, Failure> {
    let source = Source::open(file, &file.display().to_string())?;
    let ws = connect(url, Direction::Put).await?;
    let control = ws.control();
    let progress = progress_bar();
    let report = run(&control, &stop, send(source, one_frame, ws.split(), &progress)).await;
    progress.finish_and_clear();
    report
}

pub(crate) async fn get(url: &str, file: &Path, options: Options, stop: CancellationToken) -> Result<Report, Failure> {
    let partial = Partial::open(file)?;
    let ws = connect(url, Direction::Get).await?;
    let control = ws.control();
    let progress = progress_bar();
    let report = run(&control, &stop, receive(partial, options, ws.split(), &progress)).await;
    progress.finish_and_clear();
    report
}

async fn connect(url: &str, direction: Direction) -> Result<WebSocketStream, Failure> {
    let connecting = WebSocketStream::connect(url).protocols([direction.protocol()]);
    connecting.await.map_err(|error| Failure::connect(&error))
}

/// On a terminal only.
fn progress_bar() -> ProgressBar {
    let template = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
    // The template is the one above; a bar in the default style would do as well.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}
