//! `serve`: the relay.
//!
//! It holds a frame whole before it passes it on. Chunk by chunk a frame would be out earlier, by the time that it takes on
//! the publisher's line; but a viewer that has the beginning of a frame must get the rest of it, so that one who lags could
//! only be closed. Whole frames can be dropped, which is the way of live media. `--max-frame` bounds what that costs.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::{JoinSet, yield_now},
};
use tokio_util::sync::CancellationToken;
use wsstream::{AcceptError, CloseCode, Config, Listener, TcpOptions, Upgrade, WebSocketStream, fanout::ReceiverEnd};

use crate::{
    channels::{Channels, Publisher, Viewer},
    failure::{Failure, tell},
    frame::{HEADER, Header, not_a_frame},
    request::{Limits, PUBLISH, Policy, VIEW, Viewing, channel},
    size::parse_size,
};

/// Time for everybody to answer a Close frame when the relay goes down.
const CLOSING: Duration = Duration::from_secs(5);

/// What is sent is to be fresh: little of it waits where it cannot be dropped any more, in a connection, or in the system.
const UNSENT: u32 = 64 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Port 0 lets the system choose one; the address is printed. There is no password: who can connect can publish.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Let viewers ask for lag=wait, by which one that is stopped stops the publisher, and all other viewers.
    #[arg(long)]
    allow_wait: bool,
    /// Largest budget that a viewer may ask for.
    #[arg(long, value_name = "BYTES", default_value = "16MiB", value_parser = parse_size)]
    max_budget: u64,
    /// Largest frame; the relay holds each whole.
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = parse_size)]
    max_frame: u64,
    /// Most connections at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    max_connections: usize,
    /// Most channels at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max_channels: usize,
    /// For how many seconds viewers wait for a publisher that was lost to come back.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    linger: u64,
    /// Print what happens as JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    Listening {
        address: SocketAddr,
    },
    Published {
        channel: String,
    },
    /// A viewer gets everything from here on.
    Joined {
        channel: String,
        label: String,
    },
    /// A publisher has ended.
    Ended {
        channel: String,
        frames: u64,
        why: String,
    },
    /// A viewer has ended.
    Left {
        channel: String,
        label: String,
        lag: Policy,
        sent_frames: u64,
        dropped_frames: u64,
        /// It was closed because it lagged.
        is_disconnected: bool,
        why: String,
    },
    Refused {
        request: String,
        why: String,
    },
}

struct Relay {
    options: Options,
    channels: Channels,
    /// One for each connection.
    seats: Semaphore,
}

/// Relays until `stop`, and then closes everything.
pub(crate) async fn serve(options: Options, stop: CancellationToken) -> Result<(), Failure> {
    let listen = options.listen;
    let listening = async {
        let listener = Listener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, io::Error>((listener, address))
    };
    let (listener, address) = listening.await.map_err(|error| {
        Failure::bad_request(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
    })?;
    let config = Config::default()
        .max_message_size(options.max_frame.saturating_add(HEADER as u64))
        .write_high_water_mark(UNSENT as usize);
    let mut listener = listener.config(config).tcp(TcpOptions::default().notsent_lowat(UNSENT));
    let channels = Channels::new(options.max_channels, Duration::from_secs(options.linger));
    let seats = Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS));
    let relay = Arc::new(Relay { options, channels, seats });
    relay.tell(&Event::Listening { address });

    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            upgrade = listener.accept() => match upgrade {
                Ok(upgrade) => drop(served.spawn(relay.clone().serve_one(upgrade))),
                Err(error) => return Err(Failure::io("listening", &error)),
            },
            Some(_) = served.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    listener.shutdown(CLOSING).await;
    while served.join_next().await.is_some() {}
    Ok(())
}

/// Who a request makes its client.
enum Guest {
    Publisher(Publisher),
    Viewer(Viewer, Viewing),
}

impl Relay {
    async fn serve_one(self: Arc<Self>, upgrade: Upgrade) {
        let peer = upgrade.peer_addr();
        if let Err(error) = self.answer(upgrade).await {
            tracing::info!(?peer, %error, "gone before it was answered");
        }
    }

    async fn answer(&self, upgrade: Upgrade) -> Result<(), AcceptError> {
        let name = match channel(upgrade.uri()) {
            Ok(name) => name,
            Err(failure) => return self.refuse(upgrade, failure).await,
        };
        match self.admit(&upgrade, &name) {
            Ok((Guest::Publisher(publisher), _seat)) => {
                let ws = upgrade.accept().protocol(PUBLISH).await?;
                self.serve_publisher(ws, name, publisher).await;
                Ok(())
            }
            Ok((Guest::Viewer(viewer, viewing), _seat)) => {
                // One that offers nothing is welcome as well.
                let ws = upgrade.accept().protocols([VIEW]).await?;
                self.serve_viewer(ws, name, viewer, viewing).await;
                Ok(())
            }
            Err(failure) => self.refuse(upgrade, failure).await,
        }
    }

    fn admit(&self, upgrade: &Upgrade, name: &str) -> Result<(Guest, SemaphorePermit<'_>), Failure> {
        let seat = self.seats.try_acquire().map_err(|_| {
            let message = "this relay has no room for another connection; come back later, or raise --max-connections";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        if upgrade.protocols().any(|protocol| protocol == PUBLISH) {
            return Ok((Guest::Publisher(self.channels.publish(name)?), seat));
        }
        if upgrade.protocols().next().is_some() && !upgrade.protocols().any(|protocol| protocol == VIEW) {
            let message = format!("none of the subprotocols is known; offer {PUBLISH} or {VIEW}");
            return Err(Failure::bad_request(message));
        }
        let limits = Limits { allow_wait: self.options.allow_wait, max_budget: self.options.max_budget };
        let viewing = Viewing::parse(upgrade.uri(), limits)?;
        Ok((Guest::Viewer(self.channels.view(name)?, viewing), seat))
    }

    async fn refuse(&self, upgrade: Upgrade, failure: Failure) -> Result<(), AcceptError> {
        self.tell(&Event::Refused { request: upgrade.uri().to_string(), why: failure.to_string() });
        upgrade.reject(failure.status).body(failure.to_string()).await
    }

    async fn serve_publisher(&self, ws: WebSocketStream, channel: String, mut publisher: Publisher) {
        self.tell(&Event::Published { channel: channel.clone() });
        let mut frames = 0;
        let ended = self.publish(ws, &mut publisher, &mut frames).await;
        let why = match ended {
            Ok(()) => {
                publisher.finish();
                "the end of the stream".to_owned()
            }
            Err(failure) => {
                publisher.lose();
                failure
            }
        };
        self.tell(&Event::Ended { channel, frames, why });
    }

    /// Passes frames on. `Ok`: the stream is complete.
    async fn publish(&self, ws: WebSocketStream, publisher: &mut Publisher, frames: &mut u64) -> Result<(), String> {
        let control = ws.control();
        // The writable stays: dropped with the rest, when this is over.
        let (mut readable, _writable) = ws.split();
        let limit = usize::try_from(self.options.max_frame).unwrap_or(usize::MAX).saturating_add(HEADER);
        while let Ok(Some(message)) = readable.next_message().await {
            let Ok(message) = message.collect(limit).await else { break };
            let header = if message.is_binary() { Header::parse(message.as_bytes()) } else { Err(not_a_frame()) };
            match header {
                Ok(Header { is_key: true, .. }) => publisher.fanout.publish_key(message).await,
                Ok(_) => publisher.fanout.publish(message).await,
                Err(failure) => {
                    tell(&control, &failure).await;
                    return Err(failure.to_string());
                }
            }
            *frames += 1;
            // When many come at once, who keeps up gets its turn between two of them.
            yield_now().await;
        }
        match control.closed().await {
            Ok(info) if info.close_code == CloseCode::NORMAL => Ok(()),
            Ok(info) => Err(format!("closed with {} {:?}", info.close_code, info.reason)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn serve_viewer(&self, ws: WebSocketStream, channel: String, viewer: Viewer, viewing: Viewing) {
        // What viewers send is discarded.
        let (_, writable) = ws.split();
        let receiver = viewer.audience.join(writable, viewing.options());
        let (lag, label) = (viewing.lag, viewing.label);
        self.tell(&Event::Joined { channel: channel.clone(), label: label.clone() });
        let received = receiver.await;
        drop(viewer);
        let why = match &received.end {
            ReceiverEnd::Source => "the end of the stream, or of its publisher".to_owned(),
            ReceiverEnd::Lagged(close_code) => format!("too slow, closed with {close_code}"),
            ReceiverEnd::Connection(Ok(info)) => format!("closed with {} {:?}", info.close_code, info.reason),
            ReceiverEnd::Connection(Err(error)) => error.to_string(),
            other => format!("{other:?}"),
        };
        let is_disconnected = matches!(received.end, ReceiverEnd::Lagged(_));
        let (sent_frames, dropped_frames) = (received.stats.sent_messages, received.stats.dropped_messages);
        self.tell(&Event::Left { channel, label, lag, sent_frames, dropped_frames, is_disconnected, why });
    }

    fn tell(&self, event: &Event) {
        tracing::info!("{event:?}");
        let line = match event {
            _ if self.options.json => serde_json::to_string(event).ok(),
            Event::Listening { address } => Some(format!("listening on {address}")),
            _ => None,
        };
        if let Some(line) = line {
            // Whoever started this may not read what it says.
            let _ = writeln!(io::stdout(), "{line}");
        }
    }
}
