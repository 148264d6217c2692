//! `view`: takes a stream, measures it, and writes it to a file or to standard output.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use url::Url;
use wsstream::{CloseCode, Config, Control, ReadError, Readable, TcpOptions, WebSocketStream};

use crate::{
    failure::{Failure, Trouble},
    frame::{HEADER, Header, not_a_frame},
    meter::{Meter, Report},
    request::{Begin, Policy, VIEW},
    size::parse_size,
};

/// What a viewer that is slow on purpose lets pile up at its own end: more would hide it from the relay.
const SLOW_BUFFER: usize = 64 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// ws://host:port/CHANNEL
    url: String,
    /// Take at most this much per second, 100KiB for example.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    limit_rate: Option<u64>,
    /// Write what comes to a file; - for standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the relay is to do when this lags.
    #[arg(long, value_enum)]
    lag: Option<Policy>,
    /// By how much this may lag, 1MiB if nothing is said.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    budget: Option<u64>,
    /// Where to begin.
    #[arg(long, value_enum)]
    start: Option<Begin>,
    /// Print what was seen as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// With what is asked for in the query.
    fn url(&self) -> Result<Url, Failure> {
        let mut url = Url::parse(&self.url).map_err(|error| {
            Failure::bad_request(format!("{:?} is no URL ({error}); use one like ws://host:port/CHANNEL", self.url))
        })?;
        let begin = self.start.map(|start| if start == Begin::Key { "key" } else { "now" }.to_owned());
        let budget = self.budget.map(|budget| budget.to_string());
        for (key, value) in [("lag", self.lag.map(Policy::name)), ("budget", budget), ("start", begin)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, &value);
            }
        }
        Ok(url)
    }

    /// Whether standard output is taken.
    pub(crate) fn is_to_stdout(&self) -> bool {
        self.out.as_ref().is_some_and(|out| out.as_os_str() == "-")
    }
}

/// Where frames go.
pub(crate) struct Output {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    name: String,
}

impl Output {
    async fn open(options: &Options) -> Result<Option<Self>, Failure> {
        let Some(path) = &options.out else { return Ok(None) };
        if options.is_to_stdout() {
            return Ok(Some(Self { writer: Box::pin(tokio::io::stdout()), name: "standard output".to_owned() }));
        }
        let name = path.display().to_string();
        let file = File::create(path).await.map_err(|error| Failure::io(&format!("opening {name}"), &error))?;
        Ok(Some(Self { writer: Box::pin(file), name }))
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        self.writer.write_all(chunk).await.map_err(|error| self.failed(&error))
    }

    /// To be done after each frame: standard output would keep the rest of a line.
    async fn flush(&mut self) -> Result<(), Stopped> {
        self.writer.flush().await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Stopped {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stopped::Enough,
            _ => Failure::io(&format!("writing to {}", self.name), error).into(),
        }
    }
}

/// Slow on purpose.
pub(crate) struct Pace {
    bytes_per_second: u64,
    started: Instant,
    taken: u64,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, started: Instant::now(), taken: 0 }
    }

    async fn take(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        sleep_until(self.started + Duration::from_secs_f64(self.taken as f64 / self.bytes_per_second as f64)).await;
    }
}

/// Connects as a viewer. `is_slow`: with small buffers at this end.
pub(crate) async fn connect(url: &Url, is_slow: bool) -> Result<WebSocketStream, Failure> {
    let (mut config, mut tcp) = (Config::default(), TcpOptions::default());
    if is_slow {
        config = config.read_high_water_mark(SLOW_BUFFER);
        tcp = tcp.receive_buffer_size(SLOW_BUFFER);
    }
    let connect = WebSocketStream::connect(url).protocols([VIEW]).config(config).tcp(tcp);
    connect.await.map_err(|error| Failure::connect(&error))
}

/// Why watching stopped before the end.
pub(crate) enum Stopped {
    /// Who reads what is written has gone, a player for example: that is an end like another.
    Enough,
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Stopped {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

/// Takes frames until the connection ends.
pub(crate) async fn watch(
    readable: &mut Readable,
    out: &mut Option<Output>,
    pace: &mut Option<Pace>,
    meter: &Mutex<Meter>,
) -> Result<(), Stopped> {
    while let Some(mut message) = readable.next_message().await? {
        let mut header = [0; HEADER];
        if let Err(error) = message.read_exact(&mut header).await {
            let is_cut = error.get_ref().is_some_and(|cause| cause.is::<ReadError>());
            return Err(if is_cut { Trouble::Connection.into() } else { not_a_frame().into() });
        }
        let header = Header::parse(&header)?;
        let mut bytes = 0;
        while let Some(chunk) = message.chunk().await? {
            bytes += chunk.len() as u64;
            if let Some(out) = out {
                out.write(&chunk).await?;
            }
            if let Some(pace) = pace {
                pace.take(chunk.len()).await;
            }
        }
        if let Some(out) = out {
            out.flush().await?;
        }
        meter.lock().unwrap_or_else(PoisonError::into_inner).frame(&header, bytes);
    }
    Ok(())
}

/// Views until the stream or `stop` ends it. What was seen, and how it ended.
pub(crate) async fn view(options: &Options, stop: CancellationToken) -> Result<(Report, Result<(), Failure>), Failure> {
    let url = options.url()?;
    let mut out = Output::open(options).await?;
    let ws = tokio::select! {
        ws = connect(&url, options.limit_rate.is_some()) => ws?,
        () = stop.cancelled() => return Ok((Meter::new().report(), Ok(()))),
    };
    let control = ws.control();
    let (mut readable, _writable) = ws.split();
    tracing::info!("viewing");
    let mut pace = options.limit_rate.map(Pace::new);
    let meter = Mutex::new(Meter::new());
    let progress = status_line();
    progress.set_message("waiting for the stream");
    let ended = tokio::select! {
        ended = watch(&mut readable, &mut out, &mut pace, &meter) => match ended {
            Ok(()) => closed(&control).await,
            Err(Stopped::Enough) => leave(readable, &control).await,
            Err(Stopped::Trouble(trouble)) => Err(trouble.settle(&control).await),
        },
        never = show(&progress, &meter) => never,
        () = stop.cancelled() => leave(readable, &control).await,
    };
    progress.finish_and_clear();
    let report = meter.into_inner().unwrap_or_else(PoisonError::into_inner).report();
    Ok((report, ended))
}

/// How a stream ended that has been seen to the end.
pub(crate) async fn closed(control: &Control) -> Result<(), Failure> {
    match control.closed().await {
        Ok(info) if info.close_code == CloseCode::NORMAL => Ok(()),
        outcome => Err(Failure::closed(outcome)),
    }
}

/// Ends it from this end, whatever is on its way.
async fn leave(readable: Readable, control: &Control) -> Result<(), Failure> {
    let left = readable.cancel(CloseCode::NORMAL, "seen enough");
    if let Err(error) = left {
        tracing::debug!(%error, "the relay could not be told");
    }
    // It has ended either way, in good order or not.
    let _ = control.closed().await;
    Ok(())
}

async fn show(progress: &ProgressBar, meter: &Mutex<Meter>) -> ! {
    let mut clock = tokio::time::interval(Duration::from_millis(200));
    loop {
        clock.tick().await;
        let report = meter.lock().unwrap_or_else(PoisonError::into_inner).report();
        if report.frames > 0 {
            progress.set_message(report.describe());
        }
    }
}

/// A line on a terminal, and nothing where there is none.
pub(crate) fn status_line() -> ProgressBar {
    // The template is a constant; a bar in the default style would do as well.
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style)
}
