//! Builds what was handed in, in a process of its own that is ended when its time is up: a makefile can do anything, and also
//! nothing, for ever.

use crate::{
    record::Build,
    run::{Stopped, at_home, millis},
};
use base::{interrupt, wanted::Wanted};
use harness::kernel::NONE_AT_ALL;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// From SIGTERM, on which make takes its own children along, to SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many of its limits a build has in its box. What waits for others, begins then, and shares the processors may have four before it is
/// ended here; a box that ended it earlier would know nothing of others, and have it not build.
const IN_THE_BOX: u32 = 5;
/// Kept of what a build says.
const SAID: usize = 16 << 10;

/// How a build ended.
pub enum Built {
    /// There is a module, in the cache.
    Done(Build),
    /// The student's fault.
    Failed(Build),
    /// It took longer than it may: the student's fault, or that of all that ran beside it.
    TooLong(Build),
    /// This machine's.
    Infra(String),
}

/// Builds the modules of folders for a kernel of the cache, each with what those before it export; warnings are the last one's. `shown` is a
/// folder whose path no student should see.
///
/// # Errors
/// The user pressed Ctrl-C.
pub fn modules(folders: &[PathBuf], kernel: &str, limit: Duration, shown: &Path) -> Result<Built, Stopped> {
    let mut command = vmm(limit);
    command.args(["module", "build", "--kernel", kernel]).args(folders);
    command_of(command, limit, shown, &mut || {
        harness::module::warnings(folders, kernel).map_err(|abort| abort.why)
    })
}

/// Builds a kernel of which students wrote a part; `apart` where that can be a makefile.
///
/// # Errors
/// The user pressed Ctrl-C.
pub fn kernel(wanted: &Wanted, apart: bool, limit: Duration, shown: &Path) -> Result<Built, Stopped> {
    let mut command = vmm(limit);
    command.args(["kernel", "build"]).args(apart.then_some("--apart")).args(&wanted.kernel);
    let options = [
        ("--source", &wanted.source),
        ("--revision", &wanted.revision),
        ("--series", &wanted.series),
        ("--config", &wanted.config),
    ];
    for (option, value) in options {
        command.args(value.iter().flat_map(|value| [option, value]));
    }
    command.args(wanted.fragments.iter().flat_map(|name| ["--fragment", name]));
    command.args(wanted.llvm.iter().map(|version| format!("--llvm={version}")));
    command_of(command, limit, shown, &mut || Ok(Vec::new()))
}

/// This program, for what is ended here after so long.
fn vmm(limit: Duration) -> Command {
    // The very program that runs, though its file may have been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let (variable, limits) = jail::with_time(limit * IN_THE_BOX);
    command.env(variable, limits);
    command
}

/// Runs one of this program's own commands; `warnings` is asked once it went well.
fn command_of(
    command: Command,
    limit: Duration,
    shown: &Path,
    warnings: &mut dyn FnMut() -> Result<Vec<String>, String>,
) -> Result<Built, Stopped> {
    let started = Instant::now();
    let log = shown.with_extension("build");
    let result = one(command, limit, &log);
    let said = fs::read(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    let said = at_home(&told(&String::from_utf8_lossy(&said)), shown);
    let build = |errors: Option<String>| Build { errors, warnings: Vec::new(), took_ms: millis(started) };
    match result {
        Ok(End::Exited(status)) if status.success() => {
            let warnings = match warnings() {
                // objtool's are no compiler's, and no student's to understand.
                Ok(warnings) => {
                    let compilers = warnings.iter().filter(|it| !it.contains("objtool: "));
                    compilers.map(|it| at_home(it, shown)).collect()
                }
                Err(why) => return Ok(Built::Infra(why)),
            };
            Ok(Built::Done(Build { warnings, ..build(None) }))
        }
        Ok(End::Exited(status)) => match status.code() {
            // The command's exit codes: what was handed in does not build, or the kernel refuses it. Bad input is what we asked for: a
            // kernel that is gone meanwhile, a source that is no longer clean.
            Some(1) => Ok(Built::Failed(build(Some(cut(&said))))),
            _ => Ok(Built::Infra(format!("the build ended by {status}: {}", cut(&said)))),
        },
        Ok(End::TooLong) => {
            let why =
                format!("the build took longer than {} s, and was ended\n{}", limit.as_secs(), cut(&said));
            Ok(Built::TooLong(build(Some(why))))
        }
        Ok(End::Stopped) => Err(Stopped),
        Err(error) => Ok(Built::Infra(format!("a build can't be started: {error}"))),
    }
}

enum End {
    Exited(ExitStatus),
    TooLong,
    Stopped,
}

fn one(mut command: Command, limit: Duration, log: &Path) -> io::Result<End> {
    let output = fs::File::create(log)?;
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let mut child = command.spawn()?;
    let (mut started, mut before) = (Instant::now(), stalled());
    let mut patience = Patience::default();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exited(status));
        }
        if interrupt::requested() {
            end(&mut child)?;
            return Ok(End::Stopped);
        }
        // What others take is not the student's time; part of it may be their own processes', so it only doubles the limit.
        if started.elapsed() > limit
            && started.elapsed() > limit + stalled().saturating_sub(before).min(limit)
        {
            if patience.goes_on(&fs::read_to_string(log).unwrap_or_default()) {
                (started, before) = (Instant::now(), stalled());
                continue;
            }
            end(&mut child)?;
            return Ok(End::TooLong);
        }
        thread::sleep(POLL);
    }
}

/// So long somebody on this machine has waited for a processor, since it started (Linux Documentation/accounting/psi.rst). A kernel that
/// does not count it says nothing.
pub fn stalled() -> Duration {
    waited_for(&fs::read_to_string("/proc/pressure/cpu").unwrap_or_default())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in microseconds.
fn waited_for(pressure: &str) -> Duration {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let total =
        some.and_then(|some| some.split(' ').find_map(|word| word.strip_prefix("total=")?.parse().ok()));
    Duration::from_micros(total.unwrap_or(0))
}

/// What this program says while another one builds in the same folder.
const WAITS: &str = "note: waiting for another process";
/// So many limits are waited for others.
const OTHERS: usize = 60;

/// How often a build had to wait for others.
#[derive(Default)]
struct Patience {
    waited: usize,
    /// It waited, and then had all of its own time.
    had_its_own: bool,
}

impl Patience {
    /// Whether a build that has used up its time gets some more, by what it said.
    fn goes_on(&mut self, said: &str) -> bool {
        let waits =
            said.lines().rfind(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with(WAITS));
        if waits && self.waited < OTHERS {
            self.waited += 1;
            return true;
        }
        // How much of its time went by before it began, nobody knows.
        let began_late = said.lines().any(|line| line.starts_with(WAITS)) && !self.had_its_own;
        self.had_its_own = true;
        began_late && !waits
    }
}

/// Ends a build and all that it started.
fn end(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGTERM);
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > PATIENCE {
            let _ = killpg(group, Signal::SIGKILL);
            child.wait()?;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// What was said, without how far the build was and where this machine keeps its log.
pub fn told(said: &str) -> String {
    let ours = ["building Linux ", "the whole output is in ", WAITS];
    let is_ours = |line: &str| ours.iter().any(|start| line.starts_with(start));
    // No student chooses the kernel's patches.
    let said = said.replace(NONE_AT_ALL, "");
    said.lines().filter(|line| !is_ours(line.trim_start())).map(|line| format!("{line}\n")).collect()
}

/// The beginning of what was said: compilers put the cause first.
fn cut(said: &str) -> String {
    let mut end = said.len().min(SAID);
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    let said = said[..end].trim();
    said.strip_prefix("error: ").unwrap_or(said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_which_others_had_the_processors_is_read() {
        let text = "some avg10=12.50 avg60=3.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(waited_for(text), Duration::from_millis(1500));
        for nothing in
            ["", "full avg10=0.00 total=7\n", "some total=\n", "some avg10=0.00\n", "some total=-1\n"]
        {
            assert_eq!(waited_for(nothing), Duration::ZERO, "{nothing}");
        }
    }

    #[test]
    fn waiting_for_another_build_is_not_the_students_time() {
        let waits = format!("{WAITS} that is building a kernel in k\n");
        let builds = format!("{waits}building Linux 6.12 ...\n");
        let goes_on = |all: &[&str]| {
            let mut patience = Patience::default();
            all.iter().map(|said| patience.goes_on(said)).collect::<Vec<_>>()
        };
        assert_eq!(goes_on(&["building Linux 6.12 ...\n"]), [false]);
        assert_eq!(goes_on(&[&waits, &waits, &builds, &builds]), [true, true, true, false]);
        assert_eq!(goes_on(&vec![&*waits; OTHERS + 1]).last(), Some(&false));
        // The clock of a real build, too.
        let folder = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            one(command, Duration::from_millis(300), &folder.path().join("log")).unwrap()
        };
        assert!(matches!(run("sleep 5"), End::TooLong));
        let script = format!("echo '{WAITS}' >&2; sleep 0.7; echo building >&2; sleep 0.1");
        assert!(matches!(run(&script), End::Exited(status) if status.success()));
    }

    /// It would be told that it does not build, and be right at the next attempt.
    #[test]
    fn a_box_ends_no_build_that_this_has_not_ended_before() {
        let limit = Duration::from_secs(300);
        let command = vmm(limit);
        let limits = command.get_envs().find_map(|(name, value)| (name == "VMM_LIMITS").then_some(value?));
        assert!(limits.is_some_and(|it| it.to_str().unwrap().ends_with("time=1500s")), "{limits:?}");
        // As long as it may wait, and as long again as it may build, each while others have the processors.
        const { assert!(IN_THE_BOX > 2 * 2) };
    }

    #[test]
    fn a_student_is_told_of_the_fault_and_not_of_this_machine() {
        let said = "building Linux 6.12.117 ...\nerror: failed to build the kernel:\n  kernel/sys.c:1: error: x\n  \
                    the whole output is in /home/teacher/.cache/vmm/logs/k.log\n";
        assert_eq!(cut(&told(said)), "failed to build the kernel:\n  kernel/sys.c:1: error: x");
        let said =
            format!("error: failed to apply 1.patch: kernel/sys.c has this change already{NONE_AT_ALL}\n");
        assert_eq!(cut(&told(&said)), "failed to apply 1.patch: kernel/sys.c has this change already");
    }
}
