//! The two contenders.

use super::{history, linux::Linux};
use base::cache::CacheError;
use harness::Abort;
use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What one of them took.
pub struct Side {
    pub took: Duration,
    pub builds: usize,
    /// By a compiler; what a cache had is not counted.
    pub objects: usize,
    pub runs: usize,
    /// The commit that it names.
    pub answer: String,
    /// Commits that can matter.
    pub matter: usize,
}

/// Where everything is.
pub struct Place {
    folder: PathBuf,
    cache: PathBuf,
    program: PathBuf,
    pub linux: Linux,
}

impl Place {
    pub fn new(folder: &Path, cache: PathBuf, linux: Linux) -> Result<Self, Abort> {
        let program = base::program::path();
        let program =
            program.map_err(|error| Abort::infra(format!("failed to find this program: {error}")))?;
        let place = Self { folder: folder.to_owned(), cache, program, linux };
        place.write("scenario.yaml", history::SCENARIO)?;
        place.write("less.config", history::FRAGMENT)?;
        Ok(place)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Abort> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
        Ok(path)
    }

    fn vmm(&self, command: &str) -> Command {
        let mut vmm = Command::new(&self.program);
        vmm.arg(command).env("VMM_CACHE", &self.cache).current_dir(&self.folder);
        vmm
    }

    /// Runs a command; what it says goes into a file.
    fn done(&self, mut command: Command, log: &str) -> Result<Option<i32>, Abort> {
        let path = self.folder.join(log);
        let file = File::options().create(true).append(true).open(&path);
        let both = file.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = both.map_err(CacheError::io("write", &path))?;
        let words = format!("{command:?}");
        let cannot = |error: io::Error| Abort::infra(format!("failed to run {words}: {error}"));
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(cannot)?;
        loop {
            if let Some(status) = child.try_wait().map_err(cannot)? {
                return Ok(status.code());
            }
            if base::interrupt::requested() {
                // It has all that it started end with it.
                drop((child.kill(), child.wait()));
                return Err(Abort::interrupted());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn must(&self, command: Command, log: &str, codes: &[i32]) -> Result<(), Abort> {
        let words = format!("{command:?}");
        match self.done(command, log)? {
            Some(code) if codes.contains(&code) => Ok(()),
            code => Err(Abort::infra(format!(
                "failed to measure: {words} ended with {code:?}; what it said is in {}",
                self.folder.join(log).display()
            ))),
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn git_command(&self, words: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.folder.join("source")).args(words).env("LC_ALL", "C");
        git
    }

    /// What a user has done before who asks for a bisection: a run at each end.
    pub fn see_both_ends(&self, [good, bad]: [&String; 2]) -> Result<(), Abort> {
        for (end, code) in [(good, 0), (bad, 1)] {
            base::progress::note(&format!("before: vmm run at {}", &end[..12]));
            let mut run = self.vmm("run");
            run.arg("--source").arg(format!("{}#{end}", self.linux.place.display()));
            self.must(with_options(run), "before", &[code])?;
        }
        base::progress::note("before: the bad end in git's folder");
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--shared"]).arg(&self.linux.place).arg(self.folder.join("source"));
        self.must(clone, "before", &[0])?;
        fs::create_dir_all(self.folder.join("build"))
            .map_err(CacheError::io("make the folder", &self.folder))?;
        let kernels = fs::read_dir(self.cache.join("kernels")).into_iter().flatten().flatten();
        let config = kernels.map(|kernel| kernel.path().join("config")).find(|config| config.is_file());
        let config = config.ok_or_else(|| Abort::infra("vmm run built no kernel"))?;
        let to = self.folder.join("build/.config");
        fs::copy(&config, &to).map_err(CacheError::io("copy", &config))?;
        let script = self.write("script", &self.script())?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
            .map_err(CacheError::io("write", &script))?;
        // Nobody waits for this one: objects may come from a cache, but by the compiler's own name, so that make goes on from them.
        let path = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths([PathBuf::from("/usr/lib/ccache")].into_iter().chain(env::split_paths(&path)));
        let mut first = Command::new(&script);
        first.envs(path.ok().map(|path| ("PATH", path)));
        first.env("CCACHE_DIR", self.cache.join("ccache")).env("CCACHE_BASEDIR", &self.folder);
        self.must(first, "before", &[1])
    }

    /// What `git bisect run` starts.
    fn script(&self) -> String {
        let folder = self.folder.display();
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        format!(
            "#!/bin/sh\ncd {folder}/source || exit 255\necho build >>../counts\nmake O=../build olddefconfig >>../make.log 2>&1 || exit 125\n\
             nice -n 10 make O=../build -j{jobs} vmlinux modules >>../make.log 2>&1 || exit 125\ncd ..\necho run >>counts\n\
             VMM_CACHE={} {} run --bisect --bad-if umask --kernel build/vmlinux scenario.yaml\n",
            self.cache.display(),
            self.program.display()
        )
    }

    pub fn git(&self, [good, bad]: [&String; 2]) -> Result<Side, Abort> {
        base::progress::note("git bisect run, with make");
        for name in ["make.log", "counts"] {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
        }
        let script = self.folder.join("script").display().to_string();
        let start = Instant::now();
        self.must(self.git_command(&["bisect", "start", bad, good]), "git.log", &[0])?;
        // It ends with 2 where commits that can't be judged hide the culprit.
        self.must(self.git_command(&["bisect", "run", &script]), "git.log", &[0, 2])?;
        let took = start.elapsed();
        let (said, made) = (self.log("git.log"), self.log("make.log"));
        let found = said.lines().find_map(|line| line.strip_suffix(" is the first bad commit"));
        let counts = self.log("counts");
        let count = |what: &str| counts.lines().filter(|line| *line == what).count();
        let compiled = |line: &&str| line.starts_with("  CC ") || line.starts_with("  AS ");
        Ok(Side {
            took,
            builds: count("build"),
            objects: made.lines().filter(compiled).count(),
            runs: count("run"),
            answer: found.unwrap_or_default().to_owned(),
            matter: 0,
        })
    }

    pub fn ours(&self, [good, bad]: [&String; 2]) -> Result<Side, Abort> {
        base::progress::note("vmm bisect");
        let before = self.missed()?;
        let start = Instant::now();
        let mut bisect = self.vmm("bisect");
        bisect.arg("--source").arg(&self.linux.place).args(["--good", good, "--bad", bad]);
        bisect.args(["--report", "json=report.json"]);
        self.must(with_options(bisect), "vmm.log", &[0])?;
        let took = start.elapsed();
        let report: Value = serde_json::from_str(&self.log("report.json")).unwrap_or_default();
        let number = |name: &str| report[name].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let commits = report["commits"].as_array().map_or(&[][..], Vec::as_slice);
        let answer = match commits {
            [one] => one["commit"].as_str().unwrap_or_default().to_owned(),
            _ => format!("{} commits", commits.len()),
        };
        Ok(Side {
            took,
            builds: number("builds"),
            objects: self.missed()?.saturating_sub(before),
            runs: number("runs"),
            answer,
            matter: number("matter"),
        })
    }

    /// What ccache had compiled so far.
    fn missed(&self) -> Result<usize, Abort> {
        let mut ccache = Command::new("ccache");
        ccache.arg("--print-stats").env("CCACHE_DIR", self.cache.join("ccache"));
        let output = ccache.output().map_err(CacheError::io("run", Path::new("ccache")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let missed = text.lines().find_map(|line| line.strip_prefix("cache_miss\t")?.trim().parse().ok());
        missed.ok_or_else(|| Abort::infra("ccache does not say what it compiled"))
    }
}

/// What all of this program's commands are given.
fn with_options(mut vmm: Command) -> Command {
    vmm.args(["--series", "none", "--fragment", "less.config", "scenario.yaml"]);
    vmm
}
