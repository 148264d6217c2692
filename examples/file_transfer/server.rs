//! `serve`: a folder that files are put to and got from.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::StatusCode;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wsstream::{AcceptError, Listener, Upgrade};

use crate::{
    failure::Failure,
    names::resolve,
    partial::Partial,
    protocol::Direction,
    receive::{Options, receive},
    send::{Source, send},
    transfer::{in_background, run},
};

/// Transfers at a time; each has a few buffers and a thread for the disk and the hash.
const MAX_TRANSFERS: usize = 64;

/// Serves `folder` until `stop`, and then ends the transfers that are going on.
pub(crate) async fn serve(
    folder: PathBuf,
    listen: SocketAddr,
    limit_rate: Option<u64>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let root = folder
        .canonicalize()
        .map_err(|error| Failure::io(&format!("opening the folder {}", folder.display()), &error))?;
    if !root.is_dir() {
        return Err(Failure::bad_request(format!("{} is not a folder; name one to serve", folder.display())));
    }
    let listening = async {
        let listener = Listener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, io::Error>((listener, address))
    };
    let (mut listener, address) = listening.await.map_err(|error| {
        Failure::bad_request(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
    })?;
    // Whoever started this may not read what it says.
    let _ = writeln!(io::stdout(), "listening on {address}");

    let root = Arc::<Path>::from(root);
    let mut transfers = JoinSet::new();
    loop {
        tokio::select! {
            upgrade = listener.accept() => match upgrade {
                Ok(upgrade) => {
                    let is_busy = transfers.len() >= MAX_TRANSFERS;
                    transfers.spawn(serve_one(upgrade, is_busy, root.clone(), limit_rate, stop.clone()));
                }
                Err(error) => return Err(Failure::io("listening", &error)),
            },
            Some(_) = transfers.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while transfers.join_next().await.is_some() {}
    Ok(())
}

/// What a request is about.
enum Job {
    Receive(Partial),
    Send(Source),
}

impl Job {
    fn prepare(root: &Path, request_path: &str, direction: Direction) -> Result<Self, Failure> {
        let path = resolve(root, request_path)?;
        match direction {
            Direction::Put => Partial::open(&path).map(Self::Receive),
            Direction::Get => Source::open(&path, "the file").map(Self::Send),
        }
    }
}

async fn serve_one(upgrade: Upgrade, is_busy: bool, root: Arc<Path>, limit_rate: Option<u64>, stop: CancellationToken) {
    let request_path = upgrade.uri().path().to_owned();
    let peer = upgrade.peer_addr();
    match transfer(upgrade, is_busy, root, limit_rate, stop).await {
        Ok(Ok(what)) => tracing::info!(?peer, request_path, "{what}"),
        Ok(Err(failure)) => tracing::warn!(?peer, request_path, status = %failure.status, "{failure}"),
        Err(error) => tracing::warn!(?peer, request_path, "{error}"),
    }
}

/// Answers a request, and does what it asks for. `Err`: it could not even be answered.
async fn transfer(
    upgrade: Upgrade,
    is_busy: bool,
    root: Arc<Path>,
    limit_rate: Option<u64>,
    stop: CancellationToken,
) -> Result<Result<String, Failure>, AcceptError> {
    let request_path = upgrade.uri().path().to_owned();
    let direction = upgrade.protocols().find_map(Direction::of_protocol);
    let job = match direction {
        _ if is_busy => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many transfers are going on; run this again when some are over",
        )),
        None => Err(Failure::protocol("neither put.file.v1 nor get.file.v1 was offered")),
        Some(direction) => {
            let prepare = in_background(move || Ok((Job::prepare(&root, &request_path, direction)?, direction)));
            prepare.finish().await
        }
    };
    let (job, direction) = match job {
        Ok(job) => job,
        Err(failure) => {
            upgrade.reject(failure.status).body(failure.to_string()).await?;
            return Ok(Err(failure));
        }
    };
    let ws = upgrade.accept().protocol(direction.protocol()).await?;
    let control = ws.control();
    let progress = ProgressBar::hidden();
    let report = match job {
        Job::Receive(partial) => {
            let options = Options { one_frame: false, limit_rate };
            run(&control, &stop, receive(partial, options, ws.split(), &progress)).await
        }
        Job::Send(source) => run(&control, &stop, send(source, false, ws.split(), &progress)).await,
    };
    Ok(report.map(|report| format!("{direction:?} of {} bytes, {:.2} GB/s", report.bytes, report.gb_per_s())))
}
