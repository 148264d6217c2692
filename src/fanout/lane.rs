//! Who serves receivers that keep up: one task, since to wake one for each costs more than what these would do.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{coop::unconstrained, yield_now},
};

/// Receivers served before other tasks of the thread get their turn: some milliseconds, in which as many tasks would have
/// been before them. More often costs a tenth more, as another thread takes over, with cold caches.
const TURN: usize = 512;

/// A receiver that waits, and can be given something.
pub(super) trait Member: fmt::Debug + Send + Sync {
    /// Gives it what there is, there and then.
    fn serve(&self);

    /// Has its own task do that.
    fn call(&self);
}

/// Receivers that are to be given something. Dropped, those that have not been served are called.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Members(VecDeque<Arc<dyn Member>>);

impl Members {
    pub(super) fn push(&mut self, member: Arc<dyn Member>) {
        self.0.push_back(member);
    }

    /// Serves them one after the other.
    async fn serve(mut self) {
        let mut served = 0;
        while let Some(member) = self.0.pop_front() {
            member.serve();
            served += 1;
            if served % TURN == 0 {
                yield_now().await;
            }
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.0.iter().for_each(|member| member.call());
    }
}

/// A task that serves receivers. While it is busy they see to themselves, with all threads of the runtime.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// From the first time that anybody waits.
    members: OnceLock<mpsc::Sender<Members>>,
}

impl Lane {
    pub(super) fn serve(&self, members: Members) {
        if !members.0.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            // Those that it cannot take are dropped, and so called.
            let _ = self.members.get_or_init(|| open(&runtime)).try_send(members);
        }
    }
}

/// Begins the task, which ends with the fan-out.
fn open(runtime: &Handle) -> mpsc::Sender<Members> {
    let (sender, mut receiver) = mpsc::channel::<Members>(1);
    // It yields by itself; a write that is refused because a budget is spent would have to be taken up by the receiver's task.
    runtime.spawn(unconstrained(async move {
        while let Some(members) = receiver.recv().await {
            members.serve().await;
        }
    }));
    sender
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Noting(Arc<Mutex<Vec<&'static str>>>);

    impl Member for Noting {
        fn serve(&self) {
            self.0.lock().unwrap().push("served");
        }

        fn call(&self) {
            self.0.lock().unwrap().push("called");
        }
    }

    impl Noting {
        fn members(&self, count: usize) -> Members {
            Members((0..count).map(|_| Arc::new(self.clone()) as _).collect())
        }

        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn while_it_is_busy_receivers_are_called() {
        let (lane, noting) = (Lane::default(), Noting::default());
        lane.serve(noting.members(2));
        assert_eq!(noting.take(), [""; 0], "it has not begun");
        lane.serve(noting.members(1));
        assert_eq!(noting.take(), ["called"]);
        yield_now().await;
        assert_eq!(noting.take(), ["served"; 2]);
        lane.serve(noting.members(TURN + 1));
        yield_now().await;
        assert_eq!(noting.take(), ["served"; TURN], "others have their turn");
        yield_now().await;
        assert_eq!(noting.take(), ["served"]);
    }

    #[test]
    fn without_a_runtime_receivers_are_called() {
        let (lane, noting) = (Lane::default(), Noting::default());
        lane.serve(noting.members(1));
        assert_eq!(noting.take(), ["called"]);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { lane.serve(noting.members(2)) });
        drop(runtime);
        assert_eq!(noting.take(), ["called"; 2], "those that were being served when it was shut down");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { lane.serve(noting.members(1)) });
        assert_eq!(noting.take(), ["called"], "it was opened in the first one");
    }
}
