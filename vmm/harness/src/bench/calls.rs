//! What a system call costs: as it is, trapped for its count, trapped with its result, and under strace.
//!
//! A program in the guest calls getppid in a loop and says how long one took. Each way has a guest of its own, one
//! after the other on the same host; strace comes along with the libraries that it is linked to.

use crate::ldd;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const SOURCE: &str = include_str!("calls.c");

/// The ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Nobody looks.
    Untrapped,
    /// Counted at the door.
    Counted,
    /// Counted, and its result seen.
    Results,
    /// By ptrace(2), in the guest.
    Strace,
}

impl Way {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Untrapped, Self::Counted, Self::Results, Self::Strace];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untrapped => "untrapped",
            Self::Counted => "trapped, counted",
            Self::Results => "trapped, with results",
            Self::Strace => "under strace",
        }
    }

    /// Whether calls are trapped, and whether with results.
    pub fn trap(self) -> (bool, bool) {
        (matches!(self, Self::Counted | Self::Results), self == Self::Results)
    }
}

/// Builds the program into `folder` and writes a scenario for each way there. A machine without strace leaves that
/// way out.
///
/// # Errors
/// There is no compiler, or the folder can't be written.
pub fn scenarios(folder: &Path, calls: u32) -> io::Result<Vec<(Way, PathBuf)>> {
    let (source, program) = (folder.join("calls.c"), folder.join("calls"));
    fs::write(&source, SOURCE)?;
    let built = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).output()?;
    if !built.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    let mut all = Vec::new();
    for way in Way::ALL {
        let mut files = BTreeMap::from([("/bin/calls".to_owned(), program.clone())]);
        let mut words = vec!["/bin/calls".to_owned(), calls.to_string()];
        if way == Way::Strace {
            let Some(strace) = found("strace") else { continue };
            files.extend(ldd::libraries(&strace, &[])?);
            files.insert("/bin/strace".to_owned(), strace);
            let front = ["/bin/strace", "-o", "/dev/null", "-e", "trace=getppid"];
            words = front.iter().map(|word| (*word).to_owned()).chain(words).collect();
        }
        let scenario = serde_json::json!({
            "name": "calls",
            "machine": { "memory": "256 MiB" },
            "files": files,
            "timeout": "10 min",
            "steps": [{ "run": words }],
        });
        let path = folder.join(format!("{way:?}.yaml"));
        fs::write(&path, serde_json::to_vec_pretty(&scenario).expect("plain data"))?;
        all.push((way, path));
    }
    Ok(all)
}

/// The nanoseconds that the program printed.
pub fn took(stdout: &[u8]) -> Option<Duration> {
    String::from_utf8_lossy(stdout).trim().parse().ok().map(Duration::from_nanos)
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_measures_and_its_scenarios_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let scenarios = scenarios(folder.path(), 100).unwrap();
        let output = Command::new(folder.path().join("calls")).arg("100").output().unwrap();
        assert!(took(&output.stdout).unwrap() > Duration::ZERO, "{output:?}");
        for (_, path) in scenarios {
            crate::scenario::load(&path).unwrap();
        }
        assert_eq!(took(b"nonsense"), None);
    }
}
