//! Folders whose makefiles attack whoever builds them: `folders/NAME`, each with the `verdict` that it gets.
//!
//! The lines of a verdict: `exit CODE`; `says TEXT` and `never TEXT`, of all output and of the build's log; `limits TEXT`, the
//! value of VMM_LIMITS; `again`, build a harmless module afterwards. Each attack says `tried` behind it, and one that make does not
//! outlive is known by what ended it: what was never run proves nothing.

use super::{VMM, build, killed::real_cache, root, said};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

/// Nobody needs to wait longer for any of them than for a module's time limit.
const LONGEST: Duration = Duration::from_secs(130);

/// A copy of a folder, with places outside of it that are not to be touched.
struct Attack {
    folder: tempfile::TempDir,
    verdict: String,
}

impl Attack {
    fn of(from: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Makefile", "a.c"] {
            let text = fs::read_to_string(from.join(name)).unwrap();
            let text = text.replace("$(CANARY)", &folder.path().join("canary").display().to_string());
            let to = folder.path().join("mod").join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, text).unwrap();
        }
        fs::create_dir(folder.path().join("canary")).unwrap();
        Self { folder, verdict: fs::read_to_string(from.join("verdict")).unwrap() }
    }

    fn lines<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.verdict.lines().filter_map(move |line| line.strip_prefix(word).map(str::trim))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("mod").join(name)
    }
}

/// Words before a command that have it find no namespaces: in a user namespace that allows no further ones. Where there is none to be had,
/// it is so already.
fn without_namespaces() -> &'static [&'static str] {
    const FORBID: &str = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let may = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
    match may.is_ok_and(|status| status.success()) {
        true => &["unshare", "--user", "--map-root-user", "sh", "-c", FORBID, "sh"],
        false => &["env"],
    }
}

fn check(name: &str) {
    check_by(&["env"], name);
}

/// The same with a build that is started by these words.
fn check_by(words: &[&str], name: &str) {
    let attack = Attack::of(&root().join("tests/hostile/folders").join(name));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let makefile = fs::read_to_string(attack.at("Makefile")).unwrap();
    fs::write(attack.at("Makefile"), makefile.replace("$(PORT)", &port.to_string())).unwrap();

    let build = build(&attack.at(""));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(build.get_program()).args(build.get_args()).current_dir(root());
    // A mark that makes each try a build of its own: what is in the cache attacks nobody.
    fs::write(attack.at("mark.h"), format!("{:?}", Instant::now())).unwrap();
    command.env("SECRET_TOKEN", "took-secret");
    for limits in attack.lines("limits") {
        command.env("VMM_LIMITS", limits);
    }
    let (logs, started) = (Logs::now(), Instant::now());
    let output = command.output().unwrap();
    let took = started.elapsed();

    let text = said(&output);
    let all = logs.with_new(&text);
    let code: i32 = attack.lines("exit").next().expect("a verdict has its exit code").parse().unwrap();
    assert_eq!(output.status.code(), Some(code), "{name}: {text}");
    for what in attack.lines("says") {
        assert!(all.contains(what), "{name} does not say {what}: {text}");
    }
    for what in attack.lines("never") {
        assert!(!all.contains(what), "{name} says {what}: {text}");
    }
    assert!(took < LONGEST, "{name} took {took:?}");
    for folder in ["/root", "/tmp", "/var/tmp", "/dev/shm", "/run", "/etc", "/usr/bin"] {
        assert!(!Path::new(folder).join("vmm-was-here").exists(), "{name} wrote to {folder}");
    }
    for folder in below(&real_cache(), 3) {
        assert!(!folder.join("vmm-was-here").exists(), "{name} wrote to {}", folder.display());
    }
    let canary: Vec<_> = fs::read_dir(attack.folder.path().join("canary")).unwrap().collect();
    assert!(canary.is_empty(), "{name} wrote outside of its folder: {canary:?}");
    let own: Vec<_> = fs::read_dir(attack.at("")).unwrap().flatten().map(|it| it.file_name()).collect();
    assert_eq!(own.len(), 3, "{name} wrote into the folder that was handed in: {own:?}");
    assert_eq!(listener.accept().err().map(|error| error.kind()), Some(ErrorKind::WouldBlock), "{name}");
    assert!(left_behind() == 0, "{name} left processes");
    if attack.verdict.lines().any(|line| line == "again") {
        let harmless = tempfile::tempdir().unwrap();
        fs::write(harmless.path().join("Makefile"), "obj-m := fine.o\n").unwrap();
        let source =
            format!("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\"); /* {:?} */\n", Instant::now());
        fs::write(harmless.path().join("fine.c"), source).unwrap();
        let output = super::build(harmless.path()).output().unwrap();
        assert!(output.status.success(), "after {name}: {}", said(&output));
    }
}

/// Where namespaces are forbidden, who asks for all layers gets no build, and learns why.
#[test]
fn a_box_that_is_not_whole_is_refused_where_a_whole_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Makefile"), "$(error built)\n").unwrap();
    fs::write(folder.path().join("a.c"), "").unwrap();
    let words = without_namespaces();
    let run = |options: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(VMM).args(options).args(["module", "build"]).arg(folder.path());
        let logs = Logs::now();
        let output = command.current_dir(root()).output().unwrap();
        (output.status.code(), logs.with_new(&said(&output)))
    };
    let (code, text) = run(&["--require-jail"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("--require-jail") && text.contains("forbids user namespaces"), "{text}");
    assert!(!text.contains("*** built"), "{text}");
    let (code, text) = run(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("by Landlock and limits alone") && text.contains("*** built"), "{text}");
}

#[test]
fn doctor_says_which_layers_there_are_and_why_one_is_not() {
    let doctor = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        said(&command.args(&words[1..]).arg(VMM).arg("doctor").current_dir(root()).output().unwrap())
    };
    let text = doctor(&["env"]);
    for layer in ["namespaces", "landlock", "seccomp"] {
        assert!(text.lines().any(|line| line.trim_start().split(' ').any(|it| it == layer)), "{text}");
    }
    let text = doctor(without_namespaces());
    let bad = text.lines().find(|line| line.contains("BAD") && line.contains("namespaces"));
    assert!(bad.is_some_and(|line| line.contains("forbid")), "{text}");
}

/// Root is one of the machine's own there, and not one in a user namespace.
#[test]
fn a_superuser_whose_machine_has_no_bubblewrap_builds_without_rights() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (module, tools) = (folder.path().join("mod"), folder.path().join("tools"));
    for path in [&module, &tools] {
        fs::create_dir(path).unwrap();
    }
    // As good as none.
    fs::write(tools.join("bwrap"), "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(tools.join("bwrap"), fs::Permissions::from_mode(0o755)).unwrap();
    let makefile =
        format!("# {:?}\n$(error built: $(shell grep CapEff /proc/self/status))\n", Instant::now());
    fs::write(module.join("Makefile"), makefile).unwrap();
    fs::write(module.join("a.c"), "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let logs = Logs::now();
    let mut build = build(&module);
    let output = build.env("PATH", format!("{}:{path}", tools.display())).output().unwrap();
    let text = logs.with_new(&said(&output));
    assert!(text.contains("by Landlock and limits alone"), "{text}");
    assert!(text.contains("built: CapEff:\t0000000000000000"), "{text}");
}

/// A container's or a batch system's limits are no fault of what is built.
#[test]
fn who_may_take_less_than_a_build_is_told_so_and_builds_with_fewer_files_to_open() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Makefile"), "$(error built)\n").unwrap();
    fs::write(folder.path().join("a.c"), "").unwrap();
    let with = |limit: &str| {
        let build = build(folder.path());
        let mut shell = Command::new("sh");
        shell.current_dir(root()).args(["-c", &format!(r#"ulimit {limit}; exec "$@""#), "sh"]);
        shell.arg(build.get_program()).args(build.get_args()).output().unwrap()
    };
    let logs = Logs::now();
    let fewer = with("-n 1024");
    let text = logs.with_new(&said(&fewer));
    assert!(fewer.status.code() == Some(1) && text.contains("*** built"), "{text}");
    let short = with("-t 100");
    let text = said(&short);
    assert_eq!(short.status.code(), Some(3), "{text}");
    assert!(text.contains("100 seconds of the processor (`ulimit -H -t`)"), "{text}");
}

/// The logs of modules' builds as they were at some time, by their times of change: what is new since is a build's of since.
struct Logs(BTreeSet<(PathBuf, SystemTime)>);

impl Logs {
    fn now() -> Self {
        let all = fs::read_dir(real_cache().join("logs")).into_iter().flatten().flatten();
        let modules = all.filter(|it| it.file_name().to_string_lossy().starts_with("module-"));
        Self(modules.filter_map(|it| Some((it.path(), it.metadata().ok()?.modified().ok()?))).collect())
    }

    /// What a build printed here, and what it printed into its log.
    fn with_new(&self, text: &str) -> String {
        let now = Self::now();
        let logs = now.0.difference(&self.0).filter_map(|(path, _)| fs::read(path).ok());
        logs.fold(text.to_owned(), |text, log| text + &String::from_utf8_lossy(&log))
    }
}

/// A shell, a runner or an editor may have left it open for `vmm`.
#[test]
fn what_was_left_open_for_vmm_is_not_found_in_a_build() {
    let folder = tempfile::tempdir().unwrap();
    let left_open = folder.path().join("left-open");
    fs::write(&left_open, "took-secret").unwrap();
    let module = folder.path().join("mod");
    fs::create_dir(&module).unwrap();
    let makefile = format!(
        "# {:?}\n$(info open: $(shell ls -l /proc/self/fd; cat <&7))\n$(error that was all)\nobj-m := a.o\n",
        Instant::now()
    );
    fs::write(module.join("Makefile"), makefile).unwrap();
    fs::write(module.join("a.c"), "").unwrap();
    let build = build(&module);
    let mut shell = Command::new("sh");
    shell
        .current_dir(root())
        .args(["-c", r#"file=$1; shift; exec 7<"$file"; exec "$@""#, "sh"])
        .arg(&left_open);
    let logs = Logs::now();
    let output = shell.arg(build.get_program()).args(build.get_args()).output().unwrap();
    let text = logs.with_new(&said(&output));
    assert!(text.contains("that was all"), "{text}");
    assert!(!text.contains("left-open") && !text.contains("took-secret"), "{text}");
}

/// A folder, and those in it, so deep; not all that was ever unpacked.
fn below(folder: &Path, deep: usize) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let sub = fs::read_dir(folder).into_iter().flatten().flatten().filter(|_| deep > 0);
    // A running build's own `/tmp` is where it may write, and gone when it ends: another attack may have one just now.
    let is_others = |name: &OsStr| name == "sources" || name == ".tmp";
    let sub = sub.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()) && !is_others(&it.file_name()));
    all.extend(sub.flat_map(|it| below(&it.path(), deep - 1)));
    all
}

/// Processes by which some of them would be known; what is being ended may need a moment.
fn left_behind() -> usize {
    let count = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
        lines.filter(|line| line.windows(10).any(|part| part == b"31337.4217")).count()
    };
    let end = Instant::now() + Duration::from_secs(3);
    while count() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    count()
}

macro_rules! attacks {
    ($($test:ident: $folder:literal,)*) => {
        $(#[test] fn $test() { check($folder); })*

        /// The same attacks.
        mod where_namespaces_are_forbidden {
            $(#[test] fn $test() { super::check_by(super::without_namespaces(), $folder); })*
        }

        #[test]
        fn every_folder_is_tried() {
            let mut tried = [$($folder),*].map(str::to_owned);
            tried.sort();
            let all = fs::read_dir(root().join("tests/hostile/folders")).unwrap().flatten();
            let mut all: Vec<String> = all.map(|it| it.file_name().into_string().unwrap()).collect();
            all.sort();
            assert_eq!(tried.to_vec(), all);
        }
    };
}

attacks! {
    asks_the_kernel: "asks-the-kernel",
    blames_the_disk: "blames-the-disk",
    fills_the_disk: "fills-the-disk",
    fills_the_disk_beside: "fills-the-disk-beside",
    forks_for_ever: "forks-for-ever",
    includes_passwd: "includes-passwd",
    includes_passwd_by_steps: "includes-passwd-by-steps",
    kills_all: "kills-all",
    limits_others: "limits-others",
    makes_devices: "makes-devices",
    makes_holes: "makes-holes",
    never_ends: "never-ends",
    poisons_the_cache: "poisons-the-cache",
    prints_lines: "prints-lines",
    prints_nul: "prints-nul",
    product_is_a_link: "product-is-a-link",
    reads_secrets: "reads-secrets",
    stays_behind: "stays-behind",
    steals_the_lock: "steals-the-lock",
    takes_all_memory: "takes-all-memory",
    takes_the_environment: "takes-the-environment",
    uses_the_network: "uses-the-network",
    writes_everywhere: "writes-everywhere",
    writes_to_devices: "writes-to-devices",
}
