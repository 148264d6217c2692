//! What the driver and the handles share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures::channel::oneshot;

use super::{
    inbound::Inbound,
    outbound::{Outbound, WriteState},
    turn::Turn,
};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::Codec,
    config::Config,
    error::ConnectionError,
    negotiated::Negotiated,
    role::Role,
    stats::Stats,
};

/// One per connection, behind an `Arc`. The locks are held for a few operations at a time, one never inside the other.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) role: Role,
    pub(crate) config: Config,
    pub(crate) negotiated: Negotiated,
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    /// Of the driver's task, which is one and the same for life.
    driver: OnceLock<Waker>,
    pub(super) turn: Turn,
    /// Something waits for the engine to see it: frames, or a request.
    asked: AtomicBool,
    wants_whole: AtomicBool,
    /// A writer has waited, at any time: many never do.
    has_writer_waited: AtomicBool,
}

impl Shared {
    pub(crate) fn new(role: Role, negotiated: Negotiated, config: Config) -> Self {
        let codec = codec(role, &negotiated, &config);
        Self {
            role,
            inbound: Mutex::new(Inbound::new(config.read_high_water_mark)),
            outbound: Mutex::new(Outbound::new(role, &config, codec)),
            negotiated,
            config,
            driver: OnceLock::new(),
            turn: Turn::default(),
            asked: AtomicBool::new(false),
            wants_whole: AtomicBool::new(false),
            has_writer_waited: AtomicBool::new(false),
        }
    }

    /// What this end does about compression, if it has been agreed on.
    pub(super) fn codec(&self) -> Option<Codec> {
        codec(self.role, &self.negotiated, &self.config)
    }

    pub(crate) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        // Nothing under the lock panics; if it did, the state would still be coherent.
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the waker of the driver's task. Before its first poll nobody need wake it.
    pub(super) fn driver_is_polled(&self, cx: &Context<'_>) {
        self.driver.get_or_init(|| cx.waker().clone());
    }

    /// Something is to be done that cannot wait for a half.
    pub(crate) fn wake_driver(&self) {
        self.ask();
        if let Some(driver) = self.driver.get() {
            driver.wake_by_ref();
        }
    }

    /// Whether the reader waits for the end of a message before it does anything with it.
    pub(crate) fn set_wants_whole(&self, wants: bool) {
        if self.wants_whole() != wants {
            self.wants_whole.store(wants, SeqCst);
        }
    }

    pub(super) fn wants_whole(&self) -> bool {
        self.wants_whole.load(SeqCst)
    }

    /// The writer is about to wait, for somebody who takes the lock of the outbound queue after this.
    pub(crate) fn writer_waits(&self) {
        if !self.has_writer_waited() {
            self.has_writer_waited.store(true, SeqCst);
        }
    }

    fn has_writer_waited(&self) -> bool {
        self.has_writer_waited.load(SeqCst)
    }

    /// The reader does not wait any more. What it has been woken for is the driver's.
    pub(crate) fn reader_gives_up(&self) {
        let waiting = self.inbound().stop_waiting();
        self.gives_up(waiting);
    }

    /// As [`reader_gives_up`](Self::reader_gives_up).
    pub(crate) fn writer_gives_up(&self) {
        let waiting = self.outbound().stop_waiting();
        self.gives_up(waiting);
    }

    fn gives_up(&self, waiting: Option<Waker>) {
        // One that has not been woken has seen the transport empty, which will call the driver.
        if waiting.is_none() {
            self.call_driver();
        }
    }

    /// Has the engine look at what the handles want, whoever runs it next.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// For the engine, which looks at once if it has been asked.
    pub(super) fn take_asked(&self) -> bool {
        let asked = self.is_asked();
        if asked {
            // What is asked for stands behind a lock that is yet to be taken.
            self.asked.store(false, Relaxed);
        }
        asked
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// A half is reading, and nobody else.
    pub(crate) fn is_turn_of_half(&self) -> bool {
        self.turn.is_halfs()
    }

    /// A half that waits need do nothing: the transport will tell, and nothing is to be sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.turn.is_listening() && self.turn.is_halfs() && !self.is_asked()
    }

    /// What is sent next answers what has just been read.
    pub(crate) fn is_answer_due(&self) -> bool {
        self.turn.is_answer_due()
    }

    /// What has just been accepted answers what has just been read: its sender may write it at once. What follows it is left
    /// to the driver, so that it leaves in one write.
    pub(crate) fn take_answer(&self) -> bool {
        self.turn.take_answer()
    }

    /// Wakes the driver, and lets it read whatever the halves do.
    pub(super) fn call_driver(&self) {
        self.turn.give_to_driver();
        self.wake_driver();
    }

    /// Asks the driver to close; the first request counts. From here on nothing more is accepted for sending.
    pub(crate) fn request_close(&self, frame: CloseFrame) {
        let mut outbound = self.outbound();
        outbound.close(frame);
        drop(outbound);
        self.call_driver();
    }

    pub(crate) fn request_abort(&self) {
        let mut outbound = self.outbound();
        outbound.request().abort = true;
        if matches!(outbound.state, WriteState::Open) {
            // What was accepted from here on would not be sent.
            outbound.state = WriteState::Closed;
        }
        drop(outbound);
        self.call_driver();
    }

    /// Asks the driver for a ping; `answer` gets the round trip, or is dropped.
    pub(crate) fn request_ping(&self, answer: oneshot::Sender<Duration>) {
        let mut outbound = self.outbound();
        if matches!(outbound.state, WriteState::Open) {
            outbound.request().pings.push(answer);
        }
        drop(outbound);
        self.call_driver();
    }

    /// Asks the driver to fail the connection.
    pub(crate) fn request_fail(&self, error: ConnectionError) {
        self.outbound().request().fail.get_or_insert(error);
        self.call_driver();
    }

    /// Nobody reads any more.
    pub(crate) fn request_discard(&self) {
        self.inbound().discard();
        self.outbound().request().discard = true;
        self.call_driver();
    }

    /// The reader has consumed everything, which the driver wanted to know.
    pub(crate) fn report_caught_up(&self) {
        self.outbound().request().caught_up = true;
        self.call_driver();
    }

    pub(crate) fn stats(&self) -> Stats {
        let received = self.inbound().stats();
        let outbound = self.outbound();
        let (sent, round_trip) = (outbound.stats(), outbound.round_trip());
        Stats { received, sent, round_trip, ready_state: outbound.ready_state() }
    }
}

/// The transport is ready: the halves that wait see to it themselves, or else the driver does.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.turn.heard();
        if self.turn.has_ended() {
            return self.wake_driver();
        }
        let reader = self.inbound().stop_waiting();
        let writer = if self.has_writer_waited() { self.outbound().stop_waiting() } else { None };
        let waiting = [reader, writer];
        if waiting.iter().all(Option::is_none) {
            return self.call_driver();
        }
        if self.turn.half_is_woken() {
            self.wake_driver();
        }
        for half in waiting.into_iter().flatten() {
            half.wake();
        }
    }
}

fn codec(role: Role, negotiated: &Negotiated, config: &Config) -> Option<Codec> {
    let agreed = negotiated.deflate.as_ref()?;
    // Somebody else may have done the handshake.
    Some(config.compression.unwrap_or_default().codec(role, agreed))
}

/// Every half and control handle holds one of these; when the last goes, the connection is closed in the background.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.request_close(CloseFrame::truncated(CloseCode::GOING_AWAY, ""));
    }
}

/// A mask key from a cryptographic generator (RFC 6455, 5.3 and 10.3).
pub(crate) fn mask_key() -> u32 {
    rand::random()
}
