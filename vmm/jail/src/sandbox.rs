//! The box in which is built what others wrote: a Makefile can do anything, so whatever it does has to stay inside.
//!
//! `bubblewrap` gives it namespaces of its own (processes, network, users, mounts): it sees compilers and what it was
//! given, writes where it may, and when its first process ends, the kernel ends all others. Where a container forbids user
//! namespaces, Landlock remains, limits, and a process that all others in it are below ([`crate::confined`]). That is said.

use crate::{
    Budget, Refused, Rules, Walls, confined, filter,
    landlocked::restrict_as_far,
    limits::Bytes,
    programs::{SYSTEM, find, programs, rust},
    restrict, rights, starts,
};
use nix::sys::signal::Signal;
use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What a box is made of here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Namespaces of its own.
    Namespaces,
    /// Landlock alone, and why.
    Landlock(String),
    /// Limits alone, and why.
    Limits(String),
}

impl Way {
    /// What is missing, for a person; `None`: nothing is.
    pub fn lacks(&self) -> Option<String> {
        match self {
            Self::Namespaces => None,
            Self::Landlock(why) => {
                let more = if filter::is_there() {
                    ""
                } else {
                    "use UDP and the sockets of other programs, before Linux 6.2 empty your files, before Linux 6.12 end your processes, "
                };
                Some(format!(
                    "builds are confined by Landlock and limits alone: {why}; what they start has no rights of a superuser, but can {more}change the permissions, times and \
                     attributes of your files (though not read or write them), and see the names of other processes"
                ))
            }
            Self::Limits(why) => Some(format!(
                "builds are not confined, but for limits: {why}; a Makefile can do here whatever you can"
            )),
        }
    }
}

static REQUIRED: AtomicBool = AtomicBool::new(false);

/// From now on, whatever can't be confined in full is not done at all.
pub fn require() {
    REQUIRED.store(true, Ordering::Relaxed);
}

/// Whether [`require`] was called.
pub fn is_required() -> bool {
    REQUIRED.load(Ordering::Relaxed)
}

/// What this machine offers; looked for once, by trying.
pub fn way() -> &'static Way {
    static WAY: OnceLock<Way> = OnceLock::new();
    WAY.get_or_init(|| {
        let why = match namespaces() {
            Ok(_) => return Way::Namespaces,
            Err(why) => why.clone(),
        };
        // On a thread that does nothing else: there is no way back.
        match thread::spawn(|| restrict(&Rules::default())).join() {
            Ok(Ok(Walls::All | Walls::Some)) => Way::Landlock(why),
            _ => Way::Limits(format!("{why}, and its kernel has no Landlock")),
        }
    })
}

/// The file of the filter that bubblewrap can put around what it starts, or none, where it takes none; or why it starts nothing. Looked for
/// once, by trying.
fn namespaces() -> &'static Result<Option<String>, String> {
    static TRIED: OnceLock<Result<Option<String>, String>> = OnceLock::new();
    TRIED.get_or_init(|| {
        if find("bwrap").is_none() {
            return Err("bubblewrap is not installed (./setup installs it)".to_owned());
        }
        let try_with = |filter: Option<&str>| {
            try_words(bubblewrap(filter).into_iter().chain(Sandbox::empty().namespaces()))
        };
        // Nearly always that works, and nothing else has to be tried.
        if let Some(filter) = filter::path()
            && try_with(Some(&filter)).is_ok_and(|output| output.status.success())
        {
            return Ok(Some(filter));
        }
        match try_with(None) {
            Ok(output) if output.status.success() => Ok(None),
            Ok(output) => {
                let said =
                    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
                Err(format!("this machine, or the container, forbids user namespaces ({said})"))
            }
            Err(error) => Err(format!("bubblewrap can't be started ({error})")),
        }
    })
}

/// Starts a command behind these words that does nothing.
pub(crate) fn try_words(words: impl IntoIterator<Item = OsString>) -> io::Result<Output> {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["sh", "-c", ":"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.output()
}

/// The beginning of bubblewrap's command line, with the file of a filter.
fn bubblewrap(filter: Option<&str>) -> Vec<OsString> {
    // It takes the filter from a descriptor, which a shell opens: none of ours is left open for it.
    let words = match filter {
        Some(filter) => vec!["sh", "-c", r#"exec bwrap --seccomp 9 "$@" 9<"$0""#, filter],
        None => vec!["bwrap"],
    };
    words.into_iter().map(OsString::from).collect()
}

/// Starts what follows so that whoever else runs on this machine comes before it: a machine that runs out of memory ends what is in a box first
/// (proc_pid_oom_score_adj(5)), and a build, which takes all processors for minutes, has what others leave of them. Who may not say so goes on
/// without.
const LAST: &str = r#"{ echo 1000 > /proc/self/oom_score_adj; } 2>/dev/null; exec nice -n 19 "$@""#;

/// What a box has in it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    /// The first of `writes` that is this box's alone.
    own: Option<PathBuf>,
    /// What it may take.
    pub budget: Budget,
}

/// Devices that programs expect.
pub(crate) const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What programs need of the machine's configuration. No names of users, no keys.
const CONFIGURATION: [&str; 4] =
    ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"];

/// Variables that reach what runs inside, if they are set.
const ENVIRONMENT: [&str; 5] = ["PATH", "RUSTUP_TOOLCHAIN", "LIBCLANG_PATH", "RUST_LIB_SRC", "TZ"];

impl Sandbox {
    /// With compilers and nothing else. The environment may allow it more than `budget`.
    ///
    /// # Errors
    /// A box is required and can't be had in full, the environment's limits make no sense, or nothing starts in a box on this machine.
    pub fn new(budget: Budget) -> Result<Self, Refused> {
        demanded()?;
        let own = Self { budget: budget.wanted()?, ..Self::empty() };
        own.budget.kernel_limits().iter().try_for_each(|limit| limit.fits(limit.hard()))?;
        starts::starts()?;
        Ok(own)
    }

    pub(crate) fn empty() -> Self {
        Self { reads: Vec::new(), writes: Vec::new(), own: None, budget: Budget::TOOL }
    }

    /// A file or folder can be read in it.
    #[must_use]
    pub fn read(mut self, path: impl AsRef<Path>) -> Self {
        self.reads.push(path.as_ref().to_owned());
        self
    }

    /// A folder can be read and written in it, and is nobody else's meanwhile.
    #[must_use]
    pub fn write(mut self, path: impl AsRef<Path>) -> Self {
        self.own.get_or_insert_with(|| path.as_ref().to_owned());
        self.share(path)
    }

    /// A folder can be read and written in it, as it can be in other boxes at the same time.
    #[must_use]
    pub fn share(mut self, path: impl AsRef<Path>) -> Self {
        self.writes.push(path.as_ref().to_owned());
        self
    }

    /// The folders that can be written to.
    pub fn writes(&self) -> &[PathBuf] {
        &self.writes
    }

    /// Whether a command's end shows that it wrote more into a file than it may: the kernel ends it without a word.
    ///
    /// # Errors
    /// It did.
    pub fn wrote_too_much(&self, status: ExitStatus) -> Result<(), Refused> {
        let signal = Signal::SIGXFSZ as i32;
        match status.signal() == Some(signal) || status.code() == Some(128 + signal) {
            true => Err(Refused::Overrun {
                what: format!("it has written a file of more than {}", Bytes(self.budget.disk)),
                name: "disk",
                value: "SIZE",
            }),
            false => Ok(()),
        }
    }

    /// The words that stand before a command, so that it runs inside.
    pub fn prefix(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["sh", "-c", LAST, "sh"].map(OsString::from).into();
        match way() {
            Way::Namespaces => {
                words.extend(bubblewrap(namespaces().as_ref().ok().and_then(Option::as_deref)));
                words.extend(self.namespaces());
            }
            Way::Landlock(_) | Way::Limits(_) => words.extend(self.rules().prefix().into_iter().flatten()),
        }
        // The leader's bubblewrap shall outlive SIGTERM, until what runs inside has made order.
        words.extend(["env", "--default-signal=TERM"].map(OsString::from));
        if find("prlimit").is_some() {
            words.extend(self.budget.prlimit(way()));
        }
        words
    }

    /// The environment of what runs inside, names and values.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let own = ENVIRONMENT.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        // rustup's programs look for their compilers there.
        let rust = rust().into_iter().map(|(name, path)| (name, path.into_os_string()));
        own.chain(rust)
            .chain([("HOME", self.temporary().into()), ("TMPDIR", self.temporary().into())])
            .collect()
    }

    /// Where it may leave what is of no use afterwards.
    pub fn temporary(&self) -> PathBuf {
        self.own_temporary().filter(|_| *way() != Way::Namespaces).unwrap_or_else(|| "/tmp".into())
    }

    /// The same where `/tmp` is the machine's: each box ends by removing it.
    fn own_temporary(&self) -> Option<PathBuf> {
        Some(self.own.as_ref()?.join(".tmp"))
    }

    /// Makes what has to be there before anything runs inside.
    pub fn prepare(&self) {
        if let Some(folder) = self.own_temporary().filter(|_| *way() != Way::Namespaces) {
            // Nothing is hidden below a folder that is not there.
            let _ = fs::create_dir(folder);
        }
    }

    /// Whether who starts the command has to [`Self::enter`] before: nothing in [`Self::prefix`] does.
    pub fn is_open(&self) -> bool {
        matches!(way(), Way::Landlock(_)) && confined::program().is_none()
    }

    /// Confines this thread, for what it starts from now on. The thread is inside as well.
    ///
    /// # Errors
    /// The kernel does not take the rules, in its words.
    pub fn enter(&self) -> Result<(), String> {
        let form = restrict_as_far(&self.rules()).map_err(|error| error.to_string())?;
        rights::give_up().and_then(|()| filter::enter(form)).map_err(|error| error.to_string())
    }

    fn rules(&self) -> Rules {
        let reads = self.readable().chain([PathBuf::from("/proc")]).collect();
        Rules {
            reads,
            writes: self.writes.clone(),
            devices: DEVICES.map(PathBuf::from).into(),
            ..Rules::default()
        }
    }

    /// Removes what nobody wants of what ran inside, where it lies beside what somebody wants. All that ran has to have ended.
    pub fn tidy(&self) {
        if let Some(folder) = self.own_temporary().filter(|_| *way() != Way::Namespaces) {
            // It can be there no more.
            let _ = crate::remove(&folder);
        }
    }

    /// For a program of this machine's own, which reads `reads` and makes files and sockets in `folders`.
    pub fn rules_of_emulator(reads: Vec<PathBuf>, folders: Vec<PathBuf>) -> Rules {
        let system = SYSTEM.iter().chain(&CONFIGURATION).map(PathBuf::from).chain(programs());
        Rules {
            reads: system.chain(reads).filter(|path| path.exists()).collect(),
            sockets: folders,
            devices: DEVICES.map(PathBuf::from).into(),
            ..Rules::default()
        }
    }

    fn readable(&self) -> impl Iterator<Item = PathBuf> {
        let system = SYSTEM.iter().chain(&CONFIGURATION).map(PathBuf::from);
        let rust = rust().into_iter().map(|(_, path)| path);
        system.chain(programs()).chain(rust).chain(self.reads.iter().cloned()).filter(|path| path.exists())
    }

    /// bubblewrap's options (bwrap(1)).
    fn namespaces(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |parts: &[&OsStr]| words.extend(parts.iter().map(|part| (*part).to_owned()));
        // bubblewrap gives /dev half of the machine's memory, and no process is seen to have what lies there. Some of /proc is the machine's
        // own, and its owner's to write to.
        let plain = "--unshare-all --unshare-user --disable-userns --die-with-parent --cap-drop ALL \
                     --hostname vmm --size 1073741824 --tmpfs /tmp --proc /proc --dev /dev --size 67108864 --tmpfs /dev/shm \
                     --remount-ro /dev --remount-ro /proc";
        for word in plain.split_whitespace() {
            say(&[OsStr::new(word)]);
        }
        let system = SYSTEM.iter().chain(&CONFIGURATION).map(Path::new);
        for path in system {
            match fs::read_link(path) {
                Ok(target) => say(&["--symlink".as_ref(), target.as_ref(), path.as_ref()]),
                Err(_) => say(&["--ro-bind-try".as_ref(), path.as_ref(), path.as_ref()]),
            }
        }
        let rust = rust().into_iter().map(|(_, path)| path);
        for path in programs().into_iter().chain(rust).chain(self.reads.iter().cloned()) {
            say(&["--ro-bind-try".as_ref(), path.as_ref(), path.as_ref()]);
        }
        for path in &self.writes {
            say(&["--bind".as_ref(), path.as_ref(), path.as_ref()]);
        }
        say(&["--remount-ro".as_ref(), "/".as_ref(), "--".as_ref()]);
        words
    }
}

/// A box that can't be had, where one is required.
///
/// # Errors
/// What is missing.
fn demanded() -> Result<(), Refused> {
    match way().lacks() {
        Some(lacks) if is_required() => Err(Refused::NoBox { lacks }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kernels are built at once, and one has done.
    #[test]
    fn no_box_removes_what_another_has_left_in_a_folder_that_both_have() {
        let of = |build: &str| Sandbox::empty().share("/ccache").write(build).write("/installed");
        assert_eq!(of("/a").own_temporary(), Some("/a/.tmp".into()));
        assert_eq!(of("/b").own_temporary(), Some("/b/.tmp".into()));
        assert_eq!(Sandbox::empty().share("/ccache").own_temporary(), None);
        let folders = of("/a").writes().to_vec();
        assert_eq!(folders, ["/ccache", "/a", "/installed"].map(PathBuf::from));
    }

    #[test]
    fn whoever_runs_beside_a_box_comes_before_it() {
        let words = Sandbox::empty().prefix();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["sh", "-c", "cat /proc/self/oom_score_adj; nice"]);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n19\n", "{output:?}");
    }

    #[test]
    fn a_box_writes_to_no_device_s_folder_and_to_nothing_of_the_machine() {
        if *way() != Way::Namespaces {
            return;
        }
        let words = Sandbox::empty().prefix();
        let writes = |to: &str| {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(["sh", "-c", r#"echo x > "$0""#, to]).stderr(Stdio::null());
            command.status().unwrap().success()
        };
        for to in ["/x", "/dev/x", "/dev/pts/x", "/proc/self/comm"] {
            assert!(!writes(to), "{to}");
        }
        for to in ["/tmp/x", "/dev/shm/x", "/dev/null"] {
            assert!(writes(to), "{to}");
        }
    }
}
