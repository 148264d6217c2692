//! `demo`: a relay in a process of its own, a camera, and viewers of which some are slow and some take nothing.

use std::{
    env, io,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use url::Url;
use wsstream::Control;

use crate::{
    failure::Failure,
    memory::peak_rss_kib,
    meter::{Meter, latencies, quantile_ms},
    publish::{Camera, CameraOptions, Source, publish},
    request::Policy,
    server::Event,
    size::parse_size,
    table::Table,
    view::{Pace, connect, watch},
};

/// All but `wait`: one viewer with that would stop the others, which is what is to be shown that it does not.
const POLICIES: [Policy; 4] = [Policy::SkipToKey, Policy::DropOldest, Policy::DropNewest, Policy::Disconnect];

/// Far longer than the rest of a stream takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    viewers: u32,
    /// Viewers that take too little. Default: one in six.
    #[arg(long, value_name = "NUMBER")]
    slow: Option<u32>,
    /// Viewers that take nothing. Default: one in twelve.
    #[arg(long, value_name = "NUMBER")]
    stopped: Option<u32>,
    /// What a slow viewer takes per second. Default: a quarter of the bitrate.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    slow_rate: Option<u64>,
    /// By how much a viewer may lag.
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    budget: u64,
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    #[command(flatten)]
    camera: CameraOptions,
    /// Print the summary as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a viewer takes what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Fast,
    Slow,
    Stopped,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Stopped => "stopped",
        }
    }
}

/// What came of it, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Demo {
    pub(crate) seconds: u32,
    pub(crate) fps: u32,
    pub(crate) bits_per_second: u64,
    pub(crate) budget: u64,
    pub(crate) viewers: usize,
    pub(crate) published_frames: u64,
    /// That the camera could not make in time.
    pub(crate) skipped_frames: u64,
    /// A row for each policy and kind of viewer.
    pub(crate) policies: Vec<Row>,
    pub(crate) fast_missed_frames: u64,
    pub(crate) fast_latency_p50_ms: Option<f64>,
    pub(crate) fast_latency_p99_ms: Option<f64>,
    pub(crate) relay_peak_rss_kib: Option<u64>,
}

/// Viewers of one kind with one policy.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) lag: Policy,
    pub(crate) kind: Kind,
    pub(crate) viewers: usize,
    /// That they have taken.
    pub(crate) delivered_frames: u64,
    /// That the relay has dropped for them.
    pub(crate) dropped_frames: u64,
    /// Neither: on their way when it ended, or published after they were closed.
    pub(crate) rest_frames: u64,
    /// How many were closed because they lagged.
    pub(crate) disconnected: usize,
    pub(crate) latency_p50_ms: Option<f64>,
    pub(crate) latency_p99_ms: Option<f64>,
}

impl Demo {
    /// Whether it went as it should.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.fast_missed_frames {
            0 => Ok(()),
            missed => Err(Failure::bad_request(format!(
                "fast viewers missed {missed} frames; this machine is too busy, or too slow: try fewer --viewers, \
                 a lower --bitrate or a larger --budget"
            ))),
        }
    }
}

/// A viewer that runs as a task.
pub(crate) struct Viewer {
    pub(crate) lag: Policy,
    pub(crate) kind: Kind,
    meter: Arc<Mutex<Meter>>,
    control: Control,
    task: JoinHandle<()>,
}

impl Viewer {
    async fn start(url: &Url, lag: Policy, kind: Kind, options: &Options) -> Result<Self, Failure> {
        let mut url = url.clone();
        let (policy, budget) = (lag.name(), options.budget.to_string());
        url.query_pairs_mut().extend_pairs([("lag", &*policy), ("budget", &budget), ("label", kind.name())]);
        let ws = connect(&url, kind != Kind::Fast).await?;
        let slow_rate = options.slow_rate.unwrap_or(options.camera.bitrate / 8 / 4);
        let meter = Arc::new(Mutex::new(Meter::new()));
        let control = ws.control();
        let task = tokio::spawn({
            let (meter, control) = (meter.clone(), control.clone());
            async move {
                let (mut readable, _writable) = ws.split();
                let mut pace = (kind == Kind::Slow).then(|| Pace::new(slow_rate));
                if kind != Kind::Stopped {
                    // What it has missed is counted, whatever the reason.
                    let _ = watch(&mut readable, &mut None, &mut pace, &meter).await;
                }
                let _ = control.closed().await;
            }
        });
        Ok(Self { lag, kind, meter, control, task })
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who views: the policies by turns, among the viewers of each kind.
fn cast(options: &Options) -> Result<Vec<(Policy, Kind)>, Failure> {
    let slow = options.slow.unwrap_or(options.viewers / 6);
    let stopped = options.stopped.unwrap_or(options.viewers / 12);
    let fast = options.viewers.checked_sub(slow).and_then(|rest| rest.checked_sub(stopped)).unwrap_or(0);
    if fast == 0 {
        return Err(Failure::bad_request("no fast viewer is left; raise --viewers, or lower --slow or --stopped"));
    }
    let kinds = [(Kind::Fast, fast), (Kind::Slow, slow), (Kind::Stopped, stopped)];
    let by_turns = |(kind, number)| POLICIES.into_iter().cycle().take(number as usize).map(move |lag| (lag, kind));
    Ok(kinds.into_iter().flat_map(by_turns).collect())
}

/// Runs it, with a live table if there is a terminal.
pub(crate) async fn demo(options: &Options) -> Result<Demo, Failure> {
    let cast = cast(options)?;
    let mut relay = Relay::start(options).await?;
    let mut viewers = Vec::with_capacity(cast.len());
    for (lag, kind) in cast {
        viewers.push(Viewer::start(&relay.url, lag, kind, options).await?);
    }

    let frames = u64::from(options.camera.fps) * u64::from(options.seconds);
    let camera = Source::Camera(Camera::new(&options.camera, Some(frames)));
    let table = Table::new();
    let published = tokio::select! {
        published = publish(relay.url.as_str(), camera, CancellationToken::new()) => published?,
        never = table.show(&viewers, || relay.peak_rss_kib()) => never,
    };
    table.clear();

    // Who is fast gets everything; for the others it would take too long.
    let is_fast = |viewer: &&mut Viewer| viewer.kind == Kind::Fast;
    for viewer in viewers.iter_mut().filter(is_fast) {
        let _ = timeout(PATIENCE, &mut viewer.task).await;
    }
    viewers.iter().for_each(|viewer| viewer.control.abort());
    let relay_peak_rss_kib = relay.peak_rss_kib();
    let left = relay.left(viewers.len()).await?;

    let rows = rows(&viewers, &left, published.frames);
    let fast = || rows.iter().filter(|row| row.kind == Kind::Fast);
    let expected: u64 = fast().map(|row| row.viewers as u64 * published.frames).sum();
    let delivered: u64 = fast().map(|row| row.delivered_frames).sum();
    let mut latency = latencies();
    for viewer in viewers.iter().filter(|viewer| viewer.kind == Kind::Fast) {
        add(&mut latency, &viewer.meter());
    }
    Ok(Demo {
        seconds: options.seconds,
        fps: options.camera.fps,
        bits_per_second: options.camera.bitrate,
        budget: options.budget,
        viewers: viewers.len(),
        published_frames: published.frames,
        skipped_frames: published.skipped,
        fast_missed_frames: expected.saturating_sub(delivered),
        fast_latency_p50_ms: quantile_ms(&latency, 0.5),
        fast_latency_p99_ms: quantile_ms(&latency, 0.99),
        policies: rows,
        relay_peak_rss_kib,
    })
}

/// Both have the same bounds.
pub(crate) fn add(latency: &mut hdrhistogram::Histogram<u64>, meter: &Meter) {
    if let Err(error) = latency.add(&meter.latency) {
        tracing::error!(%error, "latencies are not counted");
    }
}

/// The viewers by policy and kind.
pub(crate) fn groups(viewers: &[Viewer]) -> impl Iterator<Item = (Policy, Kind, Vec<&Viewer>)> {
    let kinds = [Kind::Fast, Kind::Slow, Kind::Stopped];
    let groups = POLICIES.into_iter().flat_map(move |lag| kinds.map(|kind| (lag, kind)));
    groups.filter_map(|(lag, kind)| {
        let group: Vec<_> = viewers.iter().filter(|viewer| (viewer.lag, viewer.kind) == (lag, kind)).collect();
        (!group.is_empty()).then_some((lag, kind, group))
    })
}

fn rows(viewers: &[Viewer], left: &[Left], published: u64) -> Vec<Row> {
    let row = |(lag, kind, group): (Policy, Kind, Vec<&Viewer>)| {
        let mut latency = latencies();
        group.iter().for_each(|viewer| add(&mut latency, &viewer.meter()));
        let delivered_frames = group.iter().map(|viewer| viewer.meter().frames).sum();
        let left = || left.iter().filter(|left| left.lag == lag && left.kind == kind.name());
        let dropped_frames = left().map(|left| left.dropped_frames).sum();
        Row {
            lag,
            kind,
            viewers: group.len(),
            delivered_frames,
            dropped_frames,
            rest_frames: (group.len() as u64 * published).saturating_sub(delivered_frames + dropped_frames),
            disconnected: left().filter(|left| left.is_disconnected).count(),
            latency_p50_ms: quantile_ms(&latency, 0.5),
            latency_p99_ms: quantile_ms(&latency, 0.99),
        }
    };
    groups(viewers).map(row).collect()
}

/// A viewer that has ended, as the relay saw it.
struct Left {
    lag: Policy,
    kind: String,
    dropped_frames: u64,
    is_disconnected: bool,
}

/// A relay in a process of its own, so that its memory is its own; killed when dropped.
struct Relay {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    url: Url,
}

impl Relay {
    async fn start(options: &Options) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("starting the relay", &error);
        let program = env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--max-budget", &options.budget.to_string()]);
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut events = BufReader::new(stdout).lines();
        match next_event(&mut events).await? {
            Event::Listening { address } => Ok(Self { child, events, url: url(address)? }),
            event => Err(Failure::protocol(&format!("the relay began with {event:?}"))),
        }
    }

    fn peak_rss_kib(&self) -> Option<u64> {
        peak_rss_kib(&self.child.id()?.to_string())
    }

    /// Waits until so many viewers have ended.
    async fn left(&mut self, number: usize) -> Result<Vec<Left>, Failure> {
        let mut all = Vec::with_capacity(number);
        while all.len() < number {
            if let Event::Left { label, lag, dropped_frames, is_disconnected, .. } =
                next_event(&mut self.events).await?
            {
                all.push(Left { lag, kind: label, dropped_frames, is_disconnected });
            }
        }
        Ok(all)
    }
}

fn url(address: SocketAddr) -> Result<Url, Failure> {
    Url::parse(&format!("ws://{address}/demo")).map_err(|error| Failure::protocol(&error.to_string()))
}

async fn next_event(events: &mut Lines<BufReader<ChildStdout>>) -> Result<Event, Failure> {
    let line = events.next_line().await.map_err(|error| Failure::io("listening to the relay", &error))?;
    let line = line.ok_or_else(|| Failure::bad_request("the relay has ended; its own message says why"))?;
    serde_json::from_str(&line).map_err(|error| Failure::protocol(&error.to_string()))
}
