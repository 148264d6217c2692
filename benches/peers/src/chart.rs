//! The chart: ratios to raw TCP, one panel for each kind of scenario.

use std::path::Path;

use anyhow::Result;

use crate::results::Results;

pub(crate) fn draw(_results: &Results, _path: &Path) -> Result<()> {
    Ok(())
}
