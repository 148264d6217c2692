//! The example `file_transfer`, run as its users run it.

mod failures;
mod interruptions;
mod program;
#[path = "../support/running.rs"]
mod running;
mod transfers;
