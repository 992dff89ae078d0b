//! The kernel's own limits on each process of a box (getrlimit(2)): they hold between two looks of the watch, too.

use crate::{Budget, Refused, Way};
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::OsString;

impl Budget {
    /// These limits, in prlimit(1)'s words.
    pub(crate) fn prlimit(&self, way: &Way) -> Vec<OsString> {
        let limits = self.kernel_limits();
        // Of processes it counts all that a user has in his namespace. Only in one of its own those are the box's; elsewhere whatever else he
        // runs would be the build's fault, and the watch alone counts.
        let is_meant = |limit: &&Limit| limit.resource != Resource::RLIMIT_NPROC || *way == Way::Namespaces;
        let words = limits
            .iter()
            .filter(is_meant)
            .map(|limit| format!("--{}={}", limit.name, limit.most.min(limit.hard())));
        ["prlimit".to_owned(), "--core=0".to_owned()]
            .into_iter()
            .chain(words)
            .chain(["--".to_owned()])
            .map(OsString::from)
            .collect()
    }

    /// The same, one by one.
    pub(crate) fn kernel_limits(&self) -> [Limit; 5] {
        let Self { time, processes, open, disk, .. } = *self;
        // One process alone may map more than it uses. Who takes too much is to be seen, and told: one that meets this limit
        // between two looks of the watch would only end, and the build with another message, or go on without it.
        let space = self.given().saturating_mul(2).saturating_add(BETWEEN_LOOKS);
        let seconds = time.as_secs().saturating_mul(2);
        let limit =
            |resource, name, what, letter, least, most| Limit { resource, name, what, letter, least, most };
        let file = disk.min(4 << 30);
        [
            limit(Resource::RLIMIT_FSIZE, "fsize", "bytes in a file", 'f', file, file),
            limit(Resource::RLIMIT_AS, "as", "bytes of address space", 'v', space, space),
            limit(Resource::RLIMIT_CPU, "cpu", "seconds of the processor", 't', seconds, seconds),
            // Who has fewer of these can build all the same: a small machine's users have less than 4096 processes.
            limit(Resource::RLIMIT_NPROC, "nproc", "processes", 'u', processes.min(256), processes),
            limit(Resource::RLIMIT_NOFILE, "nofile", "open files", 'n', open.min(256), open),
        ]
    }
}

/// One of the kernel's limits on a process of a build.
pub(crate) struct Limit {
    resource: Resource,
    /// prlimit(1)'s name for it.
    name: &'static str,
    what: &'static str,
    letter: char,
    /// What a build can't do without: less would be told as its own fault.
    least: u64,
    most: u64,
}

impl Limit {
    /// What this process, and all that it starts, can't go beyond.
    pub fn hard(&self) -> u64 {
        getrlimit(self.resource).map_or(u64::MAX, |(_, hard)| hard)
    }

    /// Whether a process whose own hard limit is this can set it.
    pub fn fits(&self, hard: u64) -> Result<(), Refused> {
        let Self { what, letter, least: need, .. } = *self;
        if hard < need { Err(Refused::Limited { what, have: hard, need, letter }) } else { Ok(()) }
    }
}

/// More memory than one process can fill in that time, in bytes.
const BETWEEN_LOOKS: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_take_less_than_a_build_is_told_so_and_not_who_builds() {
        let limits = Budget::MODULE.kernel_limits();
        for limit in &limits {
            assert!(limit.fits(u64::MAX).is_ok() && limit.fits(limit.least).is_ok());
            let why = limit.fits(limit.least - 1).unwrap_err().to_string();
            assert!(why.contains(&format!("`ulimit -H -{}`", limit.letter)), "{why}");
        }
        assert_eq!(
            limits.iter().find(|limit| limit.name == "nofile").unwrap().most,
            256,
            "what they hold is no process's memory"
        );
        // Where it counts what else the user runs, it is no limit of the box's.
        for (way, is_set) in [(Way::Namespaces, true), (Way::Landlock(String::new()), false)] {
            let words = Budget::MODULE.prlimit(&way);
            assert_eq!(words.iter().any(|word| word.to_string_lossy().starts_with("--nproc=")), is_set);
            assert!(words.contains(&"--nofile=256".into()), "{words:?}");
        }
        // What containers often set.
        assert!(limits.iter().find(|limit| limit.name == "nofile").unwrap().fits(1024).is_ok());
    }
}
