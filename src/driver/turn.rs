//! Whose turn it is to read: a half that waits does so itself, or else the driver does. Anybody may write.
//!
//! Handing bytes from one task to another costs a wake-up, and on another core the payload's way through the caches. So
//! a half that finds nothing to take, or no room, runs the [`Engine`](super::engine::Engine) in place, and is the one
//! that is woken when the transport is ready. A connection must live without being polled all the same:
//!
//! * A half that has got something may turn to other things. Unless the transport is empty and will tell, the driver is
//!   woken, and takes over if it finds the half not waiting again by then.
//! * A half whose future is dropped says so. One that is woken may not come all the same: it is read as a `Stream`, which
//!   drops nothing, or its future is kept and not polled. While halves are woken the driver looks every [`PATIENCE`], and
//!   takes over when nothing has been woken between two looks.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU8,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

/// How often the driver looks whether halves still come. A timer that is about to go off makes every sleep of the
/// thread dearer, by 20 us at times, so that this should be seldom.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

const DRIVER: u8 = 0;
/// A half has found nothing more, and waits; or it has been woken and is about to come.
const HALF: u8 = 1;
/// A half has got what it wanted.
const SERVED: u8 = 2;
/// The connection is closing: the rest is the driver's.
const ENDED: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Turn {
    state: AtomicU8,
    /// The driver looks now and then.
    is_watched: AtomicBool,
    /// A half has been woken since the driver looked.
    has_woken: AtomicBool,
    /// The transport has been asked for input, had none, and has not said anything since.
    is_listening: AtomicBool,
    /// A half has read all there was, and nothing has been sent since: what it sends now is an answer.
    is_answer_due: AtomicBool,
}

impl Turn {
    fn set(&self, state: u8) {
        // Mostly it is that already: then nothing is written, and no cache line moves to another core.
        if self.state.load(SeqCst) != state {
            let _ = self.state.fetch_update(SeqCst, SeqCst, |old| (old != ENDED).then_some(state));
        }
    }

    /// The driver is to do it.
    pub(super) fn give_to_driver(&self) {
        self.set(DRIVER);
    }

    /// A half waits, and the transport knows.
    pub(super) fn half_waits(&self) {
        self.set(HALF);
    }

    /// A half has been woken. `true`: the driver must be woken too, to look whether it comes.
    pub(super) fn half_is_woken(&self) -> bool {
        self.set(HALF);
        if !self.has_woken.load(SeqCst) {
            self.has_woken.store(true, SeqCst);
        }
        !self.is_watched.load(SeqCst)
    }

    /// The transport is about to be asked for input. Until it wakes somebody, asking again would be for nothing. It is the
    /// transport that brings this before that: it wakes who has asked, after that one has asked.
    pub(super) fn listen(&self) {
        self.is_listening.store(true, Relaxed);
    }

    /// The transport has had something, or may have.
    pub(super) fn heard(&self) {
        self.is_listening.store(false, Relaxed);
    }

    pub(super) fn is_listening(&self) -> bool {
        self.is_listening.load(Relaxed)
    }

    /// The reader has got all there was.
    pub(super) fn has_read_all(&self) {
        self.is_answer_due.store(true, Relaxed);
    }

    /// Nothing has been sent since all was read.
    pub(super) fn is_answer_due(&self) -> bool {
        self.is_answer_due.load(Relaxed)
    }

    /// Something is to be sent: whether it is the first thing since all was read.
    pub(super) fn take_answer(&self) -> bool {
        let is_answer = self.is_answer_due();
        if is_answer {
            self.is_answer_due.store(false, Relaxed);
        }
        is_answer
    }

    /// A half has got what it wanted. The driver must be woken.
    pub(super) fn half_is_served(&self) {
        self.set(SERVED);
    }

    pub(super) fn end(&self) {
        self.state.store(ENDED, SeqCst);
    }

    /// Only the driver may move bytes.
    pub(super) fn has_ended(&self) -> bool {
        self.state.load(SeqCst) == ENDED
    }

    pub(super) fn is_halfs(&self) -> bool {
        self.state.load(SeqCst) == HALF
    }

    /// The driver looks at the clock every [`PATIENCE`].
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(SeqCst)
    }

    /// Asked by the driver: whether it is to read. If so, it goes on until a half takes the turn again.
    pub(super) fn is_drivers(&self) -> bool {
        match self.state.load(SeqCst) {
            HALF => false,
            SERVED => self.state.compare_exchange(SERVED, DRIVER, SeqCst, SeqCst) != Err(HALF),
            _ => true,
        }
    }

    /// Whether the driver has to look after [`PATIENCE`].
    pub(super) fn begin_watch(&self) -> bool {
        let watch = self.has_woken.load(SeqCst) || self.is_watched.load(SeqCst);
        if watch && !self.has_ended() {
            self.is_watched.store(true, SeqCst);
        }
        watch
    }

    /// The driver looks. If no half has been woken since it last did, it takes over.
    pub(super) fn look(&self) {
        if !self.has_woken.swap(false, SeqCst) {
            self.is_watched.store(false, SeqCst);
            self.give_to_driver();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_that_come_when_woken_are_left_alone() {
        let turn = Turn::default();
        for i in 0..3 {
            assert_eq!(turn.half_is_woken(), i == 0, "the driver is told once");
            assert!(turn.begin_watch());
            turn.half_waits();
            assert!(!turn.is_drivers());
            turn.look();
            assert!(!turn.is_drivers());
        }
        turn.look();
        assert!(turn.is_drivers() && !turn.begin_watch(), "and when nothing happens any more, nobody looks");
        assert!(turn.half_is_woken());
    }

    #[test]
    fn a_half_that_does_not_come_loses_the_turn() {
        let turn = Turn::default();
        turn.half_is_woken();
        turn.begin_watch();
        turn.look();
        assert!(!turn.is_drivers());
        turn.look();
        assert!(turn.is_drivers());
    }

    #[test]
    fn one_that_is_served_keeps_the_turn_if_it_waits_again() {
        let turn = Turn::default();
        turn.half_is_served();
        turn.half_waits();
        assert!(!turn.is_drivers());
        turn.half_is_served();
        assert!(turn.is_drivers());
    }

    #[test]
    fn the_end_is_the_drivers() {
        let turn = Turn::default();
        turn.half_waits();
        turn.end();
        turn.half_waits();
        turn.half_is_woken();
        turn.look();
        assert!(turn.has_ended() && turn.is_drivers());
    }
}
