//! Runs `vmm` and reads what it said.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The program under test.
pub const VMM: &str = env!("CARGO_BIN_EXE_vmm");

/// So many guests at once, each on a host of its own: more would only take each other's time, and steps have time limits.
const GUESTS_AT_ONCE: usize = 2;

/// The checkout's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the checkout")
}

/// A scenario as it is shipped.
pub fn shipped(name: &str) -> PathBuf {
    root().join("scenarios").join(name)
}

/// The names of all of them.
pub fn all_shipped() -> Vec<String> {
    let files = fs::read_dir(root().join("scenarios")).expect("there are shipped scenarios");
    let names = files.map(|file| file.expect("the folder can be read").file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".yaml")).collect()
}

/// A scenario that is only for these tests.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/scenarios").join(name)
}

/// A shipped scenario's text, to be changed: paths to its modules are made absolute.
pub fn shipped_text(name: &str) -> String {
    let text = fs::read_to_string(shipped(name)).expect("shipped scenarios can be read");
    text.replace("../modules/", &format!("{}/modules/", root().display()))
}

/// What came of a run.
pub struct Ran {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output and, after it, standard error.
    pub text: String,
    /// The report, if one was written.
    pub report: Option<Value>,
    /// From start to end.
    pub took: Duration,
}

impl Ran {
    /// The only scenario of the report.
    #[track_caller]
    pub fn report(&self) -> &Value {
        &self.whole_report()["scenarios"][0]
    }

    /// The report.
    #[track_caller]
    pub fn whole_report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report was written:\n{}", self.text))
    }

    /// Checks verdict and exit code.
    #[track_caller]
    pub fn ends_with(&self, verdict: &str, code: i32) {
        let found = &self.report()["verdict"];
        assert_eq!((found.as_str(), self.code), (Some(verdict), Some(code)), "{}", self.text);
    }

    /// Checks that a person is shown this.
    #[track_caller]
    pub fn says(&self, what: &str) {
        assert!(self.text.contains(what), "`{what}` is not in:\n{}", self.text);
    }

    /// The verdicts of all steps.
    pub fn step_verdicts(&self) -> Vec<&str> {
        let steps = self.report()["steps"].as_array().expect("steps are a list");
        steps.iter().map(|step| step["verdict"].as_str().expect("a verdict is a text")).collect()
    }

    /// How often the hypervisor saw this system call, the agent's own calls aside.
    pub fn calls(&self, name: &str) -> u64 {
        let rows = self.report()["syscalls"].as_array().expect("system calls are a list");
        let of_name = rows.iter().filter(|row| row["name"] == name);
        of_name.map(|row| row["count"].as_u64().expect("a count is a number")).sum()
    }
}

/// `vmm run FILE --report json=...`, on the host of these tests.
pub fn run(scenario: &Path) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let output = run_command(scenario, &report).output().expect("vmm can be started");
    finished(&output, &report, started)
}

/// The same with further options.
pub fn run_with(scenario: &Path, options: &[&str]) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let output = run_command(scenario, &report).args(options).output().expect("vmm can be started");
    finished(&output, &report, started)
}

/// The same with a scenario's text.
pub fn run_text(text: &str) -> Ran {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("scenario.yaml");
    fs::write(&path, text).expect("the scenario can be written");
    run(&path)
}

/// Another command that runs scenarios, with a report, on the host of these tests.
pub fn command_on_host(words: &[&str]) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let mut command = Command::new(VMM);
    command.args(words).arg("--report").arg(format!("json={}", report.display())).stdin(Stdio::null());
    let output = on_host(&mut command).output().expect("vmm can be started");
    finished(&output, &report, started)
}

/// Several scenarios in one run, without a report.
pub fn run_several(scenarios: &[&Path]) -> Ran {
    let _turn = Turn::take();
    let started = Instant::now();
    let mut command = Command::new(VMM);
    command.arg("run").args(scenarios).stdin(Stdio::null());
    let output = on_host(&mut command).output().expect("vmm can be started");
    finished(&output, Path::new(""), started)
}

/// The same with a report: scenarios' texts, and what came of them, in their order.
pub fn run_all(texts: &[String], options: &[&str]) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let write = |(index, text): (usize, &String)| {
        let path = folder.path().join(format!("{index:03}.yaml"));
        fs::write(&path, text).expect("the scenario can be written");
        path
    };
    let paths: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
    let started = Instant::now();
    let mut command = run_command(&paths[0], &report);
    let output = command.args(&paths[1..]).args(options).output().expect("vmm can be started");
    finished(&output, &report, started)
}

/// Several scenarios in one run, with all that happens in it.
pub fn run_events(scenarios: &[&Path], options: &[&str]) -> (Ran, Vec<Value>) {
    let _turn = Turn::take();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let events = folder.path().join("events");
    let started = Instant::now();
    let mut command = Command::new(VMM);
    command.arg("run").args(scenarios).args(options).stdin(Stdio::null());
    command.arg("--report").arg(format!("events={}", events.display()));
    let output = on_host(&mut command).output().expect("vmm can be started");
    let told = fs::read_to_string(&events).unwrap_or_default();
    let told = told.lines().map(|line| serde_json::from_str(line).expect("a line is an event"));
    (finished(&output, Path::new(""), started), told.collect())
}

/// `vmm explain` with these words, on the host of these tests.
pub fn explain(words: &[&str]) -> Ran {
    let _turn = Turn::take();
    let started = Instant::now();
    let mut command = Command::new(VMM);
    command.arg("explain").args(words).stdin(Stdio::null());
    let output = on_host(&mut command).output().expect("vmm can be started");
    finished(&output, Path::new(""), started)
}

/// `vmm` with these words, on the host of these tests unless `environment` names another.
pub fn command(words: &[&str], environment: &[(&str, &str)]) -> Ran {
    let _turn = Turn::take();
    let started = Instant::now();
    let mut command = Command::new(VMM);
    command.args(words).stdin(Stdio::null());
    let output =
        on_host(&mut command).envs(environment.iter().copied()).output().expect("vmm can be started");
    finished(&output, Path::new(""), started)
}

/// A script that starts `vmm`, on the host of these tests.
pub fn script(path: &Path, environment: &[(&str, &str)]) -> Ran {
    let _turn = Turn::take();
    let started = Instant::now();
    let mut command = Command::new(path);
    command.env("VMM", VMM).envs(environment.iter().copied()).stdin(Stdio::null());
    // The script's own default is a container's.
    if std::env::var_os("VMM_CACHE").is_none() {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).expect("there is a home");
        command.env("VMM_CACHE", cache.join("vmm"));
    }
    let output = on_host(&mut command).output().expect("the script can be started");
    finished(&output, Path::new(""), started)
}

/// Bad input needs no host, and so gets none: a guest would have to start one.
pub fn refuse(scenario: &Path) -> Ran {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let output = bare_command(scenario, &report).output().expect("vmm can be started");
    finished(&output, &report, started)
}

/// A run's command, to be started by the caller, who holds a [`Turn`].
pub fn run_command(scenario: &Path, report: &Path) -> Command {
    let agent = Path::new(VMM).with_file_name("vmm-agent");
    assert!(
        agent.is_file(),
        "{} is missing: run `cargo build --release` first, and these tests with `--release`",
        agent.display()
    );
    let mut command = bare_command(scenario, report);
    on_host(&mut command);
    command
}

/// Has a command use the host of this test.
pub fn on_host(command: &mut Command) -> &mut Command {
    match served_host() {
        Some(folder) => command.env("VMM_HOST_DIR", folder),
        None => command,
    }
}

fn bare_command(scenario: &Path, report: &Path) -> Command {
    let mut json = std::ffi::OsString::from("json=");
    json.push(report);
    let mut command = Command::new(VMM);
    command.arg("run").arg(scenario).arg("--report").arg(json).stdin(Stdio::null());
    command
}

/// What a finished run left.
pub fn finished(output: &Output, report: &Path, started: Instant) -> Ran {
    let took = started.elapsed();
    let report = fs::read(report)
        .ok()
        .map(|bytes| serde_json::from_slice(&bytes).expect("a report is one JSON object"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ran { code: output.status.code(), text, report, took }
}

/// The right to run one guest.
pub struct Turn(());

static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(GUESTS_AT_ONCE), Condvar::new());

impl Turn {
    /// Waits for one.
    pub fn take() -> Self {
        let free = TURNS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = TURNS.1.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        TURNS.1.notify_one();
    }
}

/// How many tests use each of the hosts.
static USERS: Mutex<[usize; GUESTS_AT_ONCE]> = Mutex::new([0; GUESTS_AT_ONCE]);

/// One of the hosts, for as long as a test's thread lives.
struct Host(usize);

impl Host {
    /// The one that the fewest use: each has one processor.
    fn choose() -> Self {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        let host = (0..GUESTS_AT_ONCE).min_by_key(|host| users[*host]).expect("there is one at least");
        users[host] += 1;
        Self(host)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        USERS.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

/// The folder of the emulated host that this thread's runs share; `None` where this machine's own KVM is sound.
pub fn served_host() -> Option<&'static Path> {
    thread_local!(static CHOSEN: Host = Host::choose());
    static GIVEN: OnceLock<Option<PathBuf>> = OnceLock::new();
    static SOUND: OnceLock<bool> = OnceLock::new();
    static HOSTS: [OnceLock<PathBuf>; GUESTS_AT_ONCE] = [const { OnceLock::new() }; GUESTS_AT_ONCE];
    if let Some(given) = GIVEN.get_or_init(|| std::env::var_os("VMM_HOST_DIR").map(Into::into)) {
        return Some(given);
    }
    let sound = SOUND.get_or_init(|| {
        let doctor = Command::new(VMM).args(["doctor", "--quiet", "--host", "kvm"]).status();
        doctor.expect("vmm can be started").success()
    });
    (!sound).then(|| CHOSEN.with(|chosen| HOSTS[chosen.0].get_or_init(serve).as_path()))
}

/// Starts an emulated host that ends with this process, however that ends: nothing runs at a test process's
/// end, so a shell waits for the end of its standard input, whose other end only we hold.
fn serve() -> PathBuf {
    const KEEPER: &str = r#"
        "$1" host serve --socket "$2/host" 2>&1 &
        read -r nothing
        kill "$!"
        wait
        rm -rf "$2""#;
    let folder = TempDir::with_prefix("vmm-guests-").expect("a temporary folder can be made").keep();
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "sh", VMM]).arg(&folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Ctrl-C reaches the tests only: the shell must survive them.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut keeper = command.spawn().expect("a shell can be started");
    let mut said = String::new();
    let mut output = BufReader::new(keeper.stdout.take().expect("it is piped"));
    while !said.contains("ready:") {
        let length = output.read_line(&mut said).expect("the host's output can be read");
        assert!(length > 0, "the emulated host did not start:\n{said}");
    }
    // Both pipes stay open until this process ends.
    std::mem::forget((keeper, output));
    folder.join("host")
}
