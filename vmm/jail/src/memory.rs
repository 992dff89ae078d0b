//! How much memory this machine has, and whether it ran out of that.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// So many processes the kernel has ended for want of memory since it started (`oom_kill` in /proc/vmstat, since Linux 4.13). What a
/// compiler says of it proves nothing: whoever is built can print the same.
pub fn killed_for_memory() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

/// What this machine has, or what the container or batch job may have that this process is in, in bytes.
pub(crate) fn there_is() -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let machine = total(&read("/proc/meminfo"));
    let limits = cgroups(&read("/proc/self/cgroup")).into_iter();
    // One without a limit has a word there.
    let limits = limits.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain(machine).min().unwrap_or(u64::MAX)
}

/// `MemTotal:       24576000 kB` (proc_meminfo(5)).
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// The files with the limits of this process's control groups, by its /proc/self/cgroup (cgroups(7)), of both versions. In a container's own view
/// some paths are the machine's, and not there.
fn cgroups(text: &str) -> Vec<PathBuf> {
    let files = |line: &str| -> Option<Vec<PathBuf>> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.strip_prefix('/')?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            all if all.split(',').any(|it| it == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // Each is within those above it.
        Some(Path::new(path).ancestors().map(|path| Path::new(root).join(path).join(file)).collect())
    };
    text.lines().filter_map(files).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_what_its_control_groups_let_it_have() {
        assert_eq!(total("MemTotal:       24576000 kB\nMemFree:  1 kB\n"), Some(24_576_000 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        let files = |text| cgroups(text).iter().map(|it| it.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            files("0::/user.slice/x.service\n"),
            [
                "/sys/fs/cgroup/user.slice/x.service/memory.max",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            files("8:cpu,cpuacct:/\n4:memory:/docker/0a\n"),
            ["docker/0a/", "docker/", ""]
                .map(|it| format!("/sys/fs/cgroup/memory/{it}memory.limit_in_bytes"))
        );
        assert!(files("nonsense\n\n1:name=systemd:/x\n").is_empty());
        assert!(there_is() > 64 << 20);
    }
}
