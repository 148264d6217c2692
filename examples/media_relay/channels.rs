//! The channels of a relay: at most one publisher each, and any number of viewers.
//!
//! A channel is there as long as it has a publisher or a viewer. Its [`Fanout`] outlives a publisher that gets lost, so
//! that viewers stay and go on with the next one.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::sleep;
use wsstream::{
    CloseCode,
    fanout::{Audience, Fanout},
};

use crate::failure::Failure;

#[derive(Clone)]
pub(crate) struct Channels {
    map: Arc<Mutex<Map>>,
    max: usize,
    /// For how long viewers wait for a publisher that was lost.
    linger: Duration,
}

#[derive(Default)]
struct Map {
    channels: HashMap<String, Channel>,
    /// That there have been.
    publishers: u64,
}

struct Channel {
    audience: Audience,
    /// While nobody publishes.
    parked: Option<Fanout>,
    viewers: usize,
    /// Which of all publishers it had last.
    publisher: u64,
}

impl Channels {
    pub(crate) fn new(max: usize, linger: Duration) -> Self {
        Self { map: Arc::default(), max, linger }
    }

    /// Makes somebody the publisher of a channel.
    pub(crate) fn publish(&self, name: &str) -> Result<Publisher, Failure> {
        let mut map = self.lock();
        let number = map.publishers + 1;
        let channel = map.open(name, self.max)?;
        let Some(fanout) = channel.parked.take() else {
            let message = format!("channel {name} has a publisher already; end that one, or choose another name");
            return Err(Failure::new(StatusCode::CONFLICT, message));
        };
        channel.publisher = number;
        map.publishers = number;
        Ok(Publisher { channels: self.clone(), name: name.to_owned(), number, fanout })
    }

    /// Counts somebody as a viewer of a channel.
    pub(crate) fn view(&self, name: &str) -> Result<Viewer, Failure> {
        let mut map = self.lock();
        let channel = map.open(name, self.max)?;
        channel.viewers += 1;
        Ok(Viewer { channels: self.clone(), name: name.to_owned(), audience: channel.audience.clone() })
    }

    /// Gives viewers up whose publisher, this one, has been lost, unless another one comes in time.
    async fn await_successor(self, name: String, number: u64) {
        sleep(self.linger).await;
        let mut map = self.lock();
        if let Some(channel) = map.channels.get_mut(&name).filter(|channel| channel.publisher == number)
            && let Some(mut fanout) = channel.parked.take()
        {
            let ended = channel.renew(&mut fanout);
            channel.parked = Some(fanout);
            close(ended, CloseCode::BAD_GATEWAY, "the publisher is lost");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        // Nothing under the lock panics.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn open(&mut self, name: &str, max: usize) -> Result<&mut Channel, Failure> {
        if self.channels.len() >= max && !self.channels.contains_key(name) {
            let message = "this relay has no room for another channel; use one that is there, or raise --max-channels";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        Ok(self.channels.entry(name.to_owned()).or_insert_with(|| {
            let fanout = Fanout::new();
            Channel { audience: fanout.audience(), parked: Some(fanout), viewers: 0, publisher: 0 }
        }))
    }

    /// Forgets a channel that nobody uses.
    fn prune(&mut self, name: &str) {
        if self.channels.get(name).is_some_and(|channel| channel.viewers == 0 && channel.parked.is_some()) {
            self.channels.remove(name);
        }
    }
}

impl Channel {
    /// A new source for those who come from now on; gives the old one, which is to be closed.
    fn renew(&mut self, fanout: &mut Fanout) -> Fanout {
        let fresh = Fanout::new();
        self.audience = fresh.audience();
        mem::replace(fanout, fresh)
    }
}

fn close(fanout: Fanout, close_code: CloseCode, reason: &str) {
    if let Err(error) = fanout.close(close_code, reason) {
        tracing::error!(%error, "viewers are not told why the stream ends");
    }
}

/// The right to publish to a channel, which nobody else gets meanwhile. Dropped, it is free for the next, and viewers stay.
pub(crate) struct Publisher {
    channels: Channels,
    name: String,
    number: u64,
    pub(crate) fanout: Fanout,
}

impl Publisher {
    /// The stream is complete: viewers get the rest of it, and are closed with 1000.
    pub(crate) fn finish(mut self) {
        if let Some(channel) = self.channels.lock().channels.get_mut(&self.name) {
            close(channel.renew(&mut self.fanout), CloseCode::NORMAL, "the publisher has ended the stream");
        }
    }

    /// The publisher is gone: viewers wait for another one, for a while.
    pub(crate) fn lose(self) {
        let (channels, name, number) = (self.channels.clone(), self.name.clone(), self.number);
        drop(self);
        tokio::spawn(channels.await_successor(name, number));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut map = self.channels.lock();
        if let Some(channel) = map.channels.get_mut(&self.name) {
            channel.parked = Some(mem::take(&mut self.fanout));
        }
        map.prune(&self.name);
    }
}

/// A viewer's share in a channel.
pub(crate) struct Viewer {
    channels: Channels,
    name: String,
    pub(crate) audience: Audience,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut map = self.channels.lock();
        if let Some(channel) = map.channels.get_mut(&self.name) {
            channel.viewers -= 1;
        }
        map.prune(&self.name);
    }
}
