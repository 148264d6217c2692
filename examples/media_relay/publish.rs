//! `publish`: frames of a camera that is none, or a file or standard input in pieces.

use std::{path::PathBuf, pin::Pin, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use indicatif::{HumanBytes, ProgressBar};
use rand::Rng;
use serde::Serialize;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use wsstream::{CloseCode, Config, Message, TcpOptions, WebSocketStream};

use crate::{
    failure::{Failure, Trouble},
    frame::{HEADER, Numbering},
    request::PUBLISH,
    view::status_line,
};

/// Of a file, in one message. Small enough to be fresh, and large enough to cost little.
const PIECE: usize = 64 * 1024;

/// What may wait in the connection, and in the system, when the relay lags. A camera rather skips pictures than to send
/// old ones.
const UNSENT: u32 = 128 * 1024;

/// How many times as large as another a key frame is.
const KEY_FACTOR: u64 = 4;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CameraOptions {
    /// Frames per second.
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) fps: u32,
    /// Bits per second, 800k or 8M for example.
    #[arg(long, value_name = "BITS", default_value = "8M", value_parser = parse_bitrate)]
    pub(crate) bitrate: u64,
    /// Every so many frames comes a key frame, four times as large as the others. Default: one a second.
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) key_every: Option<u32>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// ws://host:port/CHANNEL
    url: String,
    /// A file in any format that can be joined in the middle, MPEG-TS for example; - for standard input.
    #[arg(default_value = "-", conflicts_with = "camera")]
    source: PathBuf,
    /// Publish noise instead, at the rate of a camera.
    #[arg(long)]
    camera: bool,
    /// Read at most this much per second, 1MiB for example: a file is published as fast as it can be otherwise.
    #[arg(long, value_name = "BYTES", value_parser = crate::size::parse_size, conflicts_with = "camera")]
    limit_rate: Option<u64>,
    /// Print what was done as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten, next_help_heading = "With --camera")]
    camera_options: CameraOptions,
    /// End after so many frames.
    #[arg(long, value_name = "NUMBER", requires = "camera", help_heading = "With --camera")]
    frames: Option<u64>,
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) frames: u64,
    /// Of frames, without their headers.
    pub(crate) bytes: u64,
    /// Pictures that the camera has not made because the relay, or this program, was too slow.
    pub(crate) skipped: u64,
}

impl Options {
    /// What to publish.
    pub(crate) async fn open(&self) -> Result<Source, Failure> {
        if self.camera {
            return Ok(Source::Camera(Camera::new(&self.camera_options, self.frames)));
        }
        let reader: Pin<Box<dyn AsyncRead + Send>> = if self.source.as_os_str() == "-" {
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                let message = "nothing to publish; pipe something in, name a file, or use --camera";
                return Err(Failure::bad_request(message));
            }
            Box::pin(tokio::io::stdin())
        } else {
            let opened = File::open(&self.source).await;
            Box::pin(opened.map_err(|error| Failure::io(&format!("opening {}", self.source.display()), &error))?)
        };
        Ok(Source::Input(Input { reader, rate: self.limit_rate, started: None, read: 0 }))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Where frames come from.
pub(crate) enum Source {
    Camera(Camera),
    Input(Input),
}

impl Source {
    async fn next(&mut self, numbering: &mut Numbering, report: &mut Report) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Camera(camera) => Ok(camera.next(numbering, report).await),
            Self::Input(input) => input.next(numbering).await,
        }
    }
}

pub(crate) struct Camera {
    clock: Interval,
    last: Option<Instant>,
    noise: Bytes,
    key_every: u64,
    key_size: usize,
    size: usize,
    made: u64,
    frames: Option<u64>,
}

impl Camera {
    pub(crate) fn new(options: &CameraOptions, frames: Option<u64>) -> Self {
        let key_every = u64::from(options.key_every.unwrap_or(options.fps));
        let mean = options.bitrate as f64 / 8.0 / f64::from(options.fps);
        let size = (mean * key_every as f64 / (key_every + KEY_FACTOR - 1) as f64) as usize;
        let key_size = size * KEY_FACTOR as usize;
        let mut noise = vec![0; key_size];
        rand::rng().fill_bytes(&mut noise);
        let mut clock = interval(Duration::from_secs(1) / options.fps);
        // Time that was missed is missed: what a camera did not see it cannot send.
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { clock, last: None, noise: noise.into(), key_every, key_size, size, made: 0, frames }
    }

    async fn next(&mut self, numbering: &mut Numbering, report: &mut Report) -> Option<Bytes> {
        if self.frames == Some(self.made) {
            return None;
        }
        let tick = self.clock.tick().await;
        if let Some(last) = self.last.replace(tick) {
            let periods = (tick - last).as_secs_f64() / self.clock.period().as_secs_f64();
            report.skipped += (periods.round() as u64).saturating_sub(1);
        }
        let is_key = self.made.is_multiple_of(self.key_every);
        self.made += 1;
        let payload = &self.noise[..if is_key { self.key_size } else { self.size }];
        let mut frame = BytesMut::with_capacity(HEADER + payload.len());
        frame.put_slice(&numbering.next(is_key).to_bytes());
        frame.put_slice(payload);
        Some(frame.freeze())
    }
}

pub(crate) struct Input {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    rate: Option<u64>,
    started: Option<Instant>,
    read: u64,
}

impl Input {
    /// What there is, up to a piece: what comes slowly does not wait for more. Each is a key, since nothing is known of
    /// the format but that it can be joined anywhere.
    async fn next(&mut self, numbering: &mut Numbering) -> Result<Option<Bytes>, Failure> {
        let started = *self.started.get_or_insert_with(Instant::now);
        if let Some(rate) = self.rate {
            sleep_until(started + Duration::from_secs_f64(self.read as f64 / rate as f64)).await;
        }
        let mut frame = BytesMut::zeroed(HEADER);
        frame.reserve(PIECE);
        let read = (&mut self.reader).take(PIECE as u64).read_buf(&mut frame).await;
        let len = read.map_err(|error| Failure::io("reading what is to be published", &error))?;
        self.read += len as u64;
        frame[..HEADER].copy_from_slice(&numbering.next(true).to_bytes());
        Ok((len > 0).then(|| frame.freeze()))
    }
}

/// Publishes until the source or `stop` ends it.
pub(crate) async fn publish(url: &str, mut source: Source, stop: CancellationToken) -> Result<Report, Failure> {
    let connect = WebSocketStream::connect(url)
        .protocols([PUBLISH])
        .config(Config::default().write_high_water_mark(UNSENT as usize))
        .tcp(TcpOptions::default().notsent_lowat(UNSENT));
    let ws = tokio::select! {
        ws = connect => ws.map_err(|error| Failure::connect(&error))?,
        () = stop.cancelled() => return Ok(Report::default()),
    };
    // The relay has nothing to say.
    let (_, mut writable) = ws.split();
    let control = writable.control();
    tracing::info!("publishing");

    let progress = status_line();
    let mut report = Report::default();
    let feeding = feed(&mut source, async |frame| writable.send(Message::binary(frame)).await, &mut report, &progress);
    let fed = tokio::select! {
        fed = feeding => fed,
        _ = control.closed() => Err(Trouble::Connection),
        // Between two frames: one that is being sent is sent whole or not at all.
        () = stop.cancelled() => Ok(()),
    };
    progress.finish_and_clear();
    if let Err(trouble) = fed {
        return Err(trouble.settle(&control).await);
    }
    match control.close(CloseCode::NORMAL, "the end of the stream").await {
        Ok(info) if info.close_code == CloseCode::NORMAL => Ok(report),
        _ => Err(Failure::closed(control.closed().await)),
    }
}

async fn feed(
    source: &mut Source,
    mut send: impl AsyncFnMut(Bytes) -> Result<(), wsstream::WriteError>,
    report: &mut Report,
    progress: &ProgressBar,
) -> Result<(), Trouble> {
    let mut numbering = Numbering::new();
    while let Some(frame) = source.next(&mut numbering, report).await? {
        let len = (frame.len() - HEADER) as u64;
        send(frame).await?;
        report.frames += 1;
        report.bytes += len;
        progress.set_message(format!(
            "published {} frames, {}, {} skipped",
            report.frames,
            HumanBytes(report.bytes),
            report.skipped
        ));
    }
    Ok(())
}

/// Bits per second: 800k, 8M, 8Mbit, 1G.
pub(crate) fn parse_bitrate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("bit").unwrap_or(text);
    let (number, factor) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 1_000),
        Some(b'M') => (&number[..number.len() - 1], 1_000_000),
        Some(b'G') => (&number[..number.len() - 1], 1_000_000_000),
        _ => (number, 1),
    };
    let bits = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bits {
        Some(bits @ 1_000..=10_000_000_000) => Ok(bits),
        _ => Err("give a whole number from 1k to 10G, 800k or 8M for example".to_owned()),
    }
}
