//! What all comparisons share: the libraries behind one trait, the processes they run in, and what is measured there.

pub mod about;
pub mod child;
pub mod library;
pub mod measure;
pub mod numbers;
pub mod process;
pub mod tally;
