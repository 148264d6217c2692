//! The example `file_transfer`, run as its users run it.

mod failures;
mod interruptions;
mod program;
mod transfers;
