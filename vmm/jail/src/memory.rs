//! Whether this machine ran out of memory.

use std::fs;

/// So many processes the kernel has ended for want of memory since it started (`oom_kill` in /proc/vmstat, since Linux 4.13). What a
/// compiler says of it proves nothing: whoever is built can print the same.
pub fn killed_for_memory() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}
