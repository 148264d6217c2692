//! How much memory a process has needed.

use std::fs;

/// Peak resident memory in KiB; `None` where the system does not tell. `pid`: a process, or `self`.
pub(crate) fn peak_rss_kib(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}
