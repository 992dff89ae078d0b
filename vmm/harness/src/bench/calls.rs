//! What a system call costs: as it is, trapped for its count, trapped with its result, with all the evidence of a run, and under
//! strace.
//!
//! A program in the guest calls getppid in a loop and says how long one took. All ways are steps of one run, in the
//! same guest; strace comes along with the libraries that it is linked to.

use board::wire::GuardOrder;
use plan::{Watch, ldd};
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
    /// The same, while what the guest must not change is watched over.
    Full,
    /// Nobody looks, but the pages of the kernel's image are still kept from its writing.
    Protected,
    /// By ptrace(2), in the guest.
    Strace,
}

impl Way {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 6] =
        [Self::Untrapped, Self::Counted, Self::Results, Self::Full, Self::Protected, Self::Strace];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untrapped => "untrapped",
            Self::Counted => "trapped, counted",
            Self::Results => "trapped, with results",
            Self::Full => "trapped, full evidence",
            Self::Protected => "untrapped, protected",
            Self::Strace => "under strace",
        }
    }

    /// What is looked at meanwhile.
    pub fn watch(self) -> Watch {
        match self {
            Self::Untrapped | Self::Protected | Self::Strace => Watch::Nothing,
            Self::Counted => Watch::Calls { results: false, trace: None, guard: None },
            Self::Results => Watch::Calls { results: true, trace: None, guard: None },
            Self::Full => {
                Watch::Calls { results: true, trace: None, guard: Some(GuardOrder { patches: false }) }
            }
        }
    }
}

/// Builds the program into `folder`.
///
/// # Errors
/// There is no compiler, or the folder can't be written.
pub fn program(folder: &Path) -> io::Result<PathBuf> {
    let (source, program) = (folder.join("calls.c"), folder.join("calls"));
    fs::write(&source, SOURCE)?;
    let built = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).output()?;
    if !built.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    Ok(program)
}

/// Builds the program into `folder` and writes a scenario there that runs it in each of these ways, a step each. A
/// machine without strace leaves that way out.
///
/// # Errors
/// There is no compiler, or the folder can't be written.
pub fn scenario(folder: &Path, calls: u32) -> io::Result<(Vec<Way>, PathBuf)> {
    let mut files = BTreeMap::from([("/bin/calls".to_owned(), program(folder)?)]);
    let alone = vec!["/bin/calls".to_owned(), calls.to_string()];
    let mut ways = vec![Way::Untrapped, Way::Counted, Way::Results, Way::Full, Way::Protected];
    let mut steps: Vec<_> = ways.iter().map(|_| serde_json::json!({ "run": alone })).collect();
    if let Some(strace) = found("strace") {
        files.extend(ldd::libraries(&strace, &[])?);
        files.insert("/bin/strace".to_owned(), strace);
        let front = ["/bin/strace", "-o", "/dev/null", "-e", "trace=getppid"];
        let words: Vec<_> = front.iter().map(|word| (*word).to_owned()).chain(alone).collect();
        ways.push(Way::Strace);
        steps.push(serde_json::json!({ "run": words }));
    }
    let scenario = serde_json::json!({
        "name": "calls",
        "machine": { "memory": "256 MiB" },
        "files": files,
        "timeout": "10 min",
        "steps": steps,
    });
    let path = folder.join("calls.yaml");
    fs::write(&path, serde_json::to_vec_pretty(&scenario).expect("plain data"))?;
    Ok((ways, path))
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
        let (ways, path) = scenario(folder.path(), 100).unwrap();
        let output = Command::new(folder.path().join("calls")).arg("100").output().unwrap();
        assert!(took(&output.stdout).unwrap() > Duration::ZERO, "{output:?}");
        let scenario = scenario::load(&path).unwrap();
        assert_eq!(scenario.steps.len(), ways.len());
        assert_eq!(took(b"nonsense"), None);
    }
}
