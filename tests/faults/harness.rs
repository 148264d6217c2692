//! Dropping futures after any number of polls.

use std::{cell::Cell, future::Future, time::Duration};

pub(crate) use super::support::poll_times;
use super::support::settle;

/// Virtual time that no run may take.
pub(crate) const AN_HOUR: Duration = Duration::from_secs(3600);

/// Which future of a script is dropped, once, and after how many polls.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    step: usize,
    polls: usize,
    at: Cell<usize>,
    pub(crate) was_made: Cell<bool>,
}

impl Cut {
    pub(crate) fn new(step: usize, polls: usize) -> Self {
        Self { step, polls, ..Self::default() }
    }

    /// No future is dropped.
    pub(crate) fn none() -> Self {
        Self::new(usize::MAX, 0)
    }

    /// How often the next future may be polled.
    pub(crate) fn allowance(&self) -> usize {
        let step = self.at.replace(self.at.get() + 1);
        if step == self.step { self.polls } else { usize::MAX }
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> usize {
        self.at.get()
    }
}

/// Evaluates to what the future resolves to. If the cut is due it is dropped once, and made anew.
macro_rules! step {
    ($cut:expr, $future:expr) => {{
        let mut allowance = $cut.allowance();
        loop {
            if let Some(output) = $crate::harness::poll_times(allowance, $crate::probe::probed($future)).await {
                break output;
            }
            $cut.was_made.set(true);
            allowance = usize::MAX;
            tokio::task::yield_now().await;
        }
    }};
}

pub(crate) use step;

/// Tasks that are alive in this runtime.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// No task is left but those that were there before, within what the library's timers take.
#[track_caller]
pub(crate) fn assert_no_task_left(before: usize) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..100 {
            settle().await;
            if tasks() <= before {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{} tasks, {before} before: {caller}", tasks());
    }
}
