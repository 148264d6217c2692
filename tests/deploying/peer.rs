//! One test at a time: memory is counted for the whole process, and each test has a proxy to itself.

use std::sync::{Mutex, PoisonError};

pub(crate) fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(test());
}
