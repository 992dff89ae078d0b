//! What the action and its scripts do, run as GitHub runs them: with its variables set, and a server on this machine in place of
//! the releases.

use super::support::{Turn, VMM, on_host, root};
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};
use tempfile::TempDir;

const NAME: &str = "vmm-1.2.3-x86_64-linux";

/// A job's folder.
struct Job(TempDir);

impl Job {
    fn new() -> Self {
        let job = Self(TempDir::new().expect("a temporary folder can be made"));
        fs::create_dir(job.place("temp")).unwrap();
        // `vmm` on the PATH, as ci/fetch leaves it.
        fs::create_dir(job.place("bin")).unwrap();
        std::os::unix::fs::symlink(VMM, job.place("bin/vmm")).unwrap();
        job
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, inputs: &[(&str, &str)]) -> Command {
        let mut command = Command::new(root().join("ci").join(name));
        let path = format!("{}:{}", self.place("bin").display(), std::env::var("PATH").unwrap_or_default());
        command
            .current_dir(&self.0)
            .env("PATH", path)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_OUTPUT", self.place("output"))
            .env("GITHUB_PATH", self.place("path"))
            .env("GITHUB_STEP_SUMMARY", self.place("summary"))
            .env("RUNNER_TEMP", self.place("temp"))
            .envs(inputs.iter().copied());
        command
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.place(name)).unwrap_or_default()
    }
}

fn came(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Serves the files of a folder.
fn server(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("it has an address"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path =
                lines.next().and_then(|line| Some(line.split(' ').nth(1)?.to_owned())).unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// A release whose program only says its version.
fn release(folder: &Path) {
    let program = folder.join(format!("{NAME}/bin/vmm"));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, "#!/bin/sh\necho vmm 1.2.3\n").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let place = folder.join("v1.2.3");
    fs::create_dir(&place).unwrap();
    let script = format!(
        "tar --zstd -cf v1.2.3/{NAME}.tar.zst {NAME} && cd v1.2.3 && sha256sum {NAME}.tar.zst > {NAME}.tar.zst.sha256"
    );
    assert!(Command::new("sh").args(["-c", &script]).current_dir(folder).status().unwrap().success());
}

#[test]
fn a_release_is_fetched_and_one_that_was_changed_is_not_used() {
    if !Command::new("zstd").arg("--version").output().is_ok_and(|it| it.status.success()) {
        eprintln!("there is no zstd here, which GitHub's machines have: not tried");
        return;
    }
    let served = TempDir::new().unwrap();
    release(served.path());
    let releases = server(served.path().to_owned());
    let job = Job::new();
    let fetch = |inputs: &[(&str, &str)]| {
        let inputs = [&[("VMM_RELEASES", &*releases)], inputs].concat();
        came(&job.script("fetch", &inputs).output().unwrap())
    };
    let (code, text) = fetch(&[("VMM_VERSION", "1.2.3")]);
    assert_eq!((code, text.contains("vmm 1.2.3")), (Some(0), true), "{text}");
    let folder = job.read("path");
    assert!(Path::new(folder.trim()).join("vmm").is_file(), "{folder}");
    // Where there is no curl.
    let programs = TempDir::new().unwrap();
    let found = |name: &str| {
        let paths = env::var("PATH").unwrap();
        env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    for name in ["sh", "wget", "sed", "cut", "sha256sum", "tar", "rm", "mkdir", "zstd", "tr", "dirname"] {
        found(name).into_iter().for_each(|path| symlink(path, programs.path().join(name)).unwrap());
    }
    if found("wget").is_some() {
        let (code, text) =
            fetch(&[("VMM_VERSION", "1.2.3"), ("PATH", &programs.path().display().to_string())]);
        assert_eq!((code, text.contains("vmm 1.2.3")), (Some(0), true), "{text}");
    }
    for (inputs, expected) in [
        // Nothing is asked for: the release of this very source, which this server does not have.
        (&[][..], concat!("v", env!("CARGO_PKG_VERSION"), "/")),
        (&[("VMM_VERSION", "9.9.9")], "v9.9.9"),
        (&[("VMM_VERSION", "../../x")], "is no version"),
    ] {
        let (code, text) = fetch(inputs);
        assert_eq!((code, text.contains("::error title=vmm::")), (Some(2), true), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let file = served.path().join(format!("v1.2.3/{NAME}.tar.zst"));
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    fs::write(&file, bytes).unwrap();
    let (code, text) = fetch(&[("VMM_VERSION", "1.2.3")]);
    assert_eq!((code, text.contains("has the checksum")), (Some(2), true), "{text}");
    assert!(!job.place("temp/vmm-release").exists(), "nothing of it is left");
}

#[test]
fn the_cache_has_a_key_for_each_kernel_that_is_asked_for() {
    let key = |inputs: &[(&str, &str)]| {
        let job = Job::new();
        let (code, text) = came(&job.script("key", inputs).output().unwrap());
        assert_eq!(code, Some(0), "{text}");
        let output = job.read("output");
        assert!(output.contains("/kernels\n"), "{output}");
        output.lines().find_map(|line| Some(line.strip_prefix("key=vmm-")?.to_owned())).expect("a key")
    };
    let plain = key(&[("VMM_KERNEL", "6.12")]);
    assert_eq!(plain, key(&[("VMM_KERNEL", "6.12")]));
    assert_eq!(plain.len(), 16);
    for other in [
        [("VMM_KERNEL", "7.3")],
        [("VMM_FRAGMENT", "kasan")],
        [("VMM_SOURCE", "https://x/y.tar.xz#insecure")],
    ] {
        assert_ne!(plain, key(&other));
    }
}

#[test]
fn the_cache_has_another_key_where_a_scenario_or_a_source_is_another() {
    let job = Job::new();
    fs::create_dir(job.place("of mine")).unwrap();
    let key = |inputs: &[(&str, &str)]| {
        let _ = fs::remove_file(job.place("output"));
        let (code, text) = came(&job.script("key", inputs).output().unwrap());
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains("::stop-commands::"), "{text}");
        job.read("output")
    };
    let of_scenarios = |text: &str| {
        fs::write(job.place("of mine/a.yaml"), text).unwrap();
        key(&[("VMM_SCENARIOS", "of mine\n")])
    };
    assert_eq!(of_scenarios("kernel: 6.12\n"), of_scenarios("kernel: 6.12\n"));
    let last = of_scenarios("kernel: 7.3\n");
    assert_ne!(of_scenarios("kernel: 6.12\n"), last);
    // What is wrong with a folder of scenarios is for the run to tell, which has a report for it; there is a key all the same.
    symlink(job.place("of mine"), job.place("of mine/again")).unwrap();
    assert_eq!(of_scenarios("kernel: 7.3\n"), last, "it leads in a circle");
    assert!(key(&[("VMM_SCENARIOS", "of main\n")]).contains("key=vmm-"), "there is no such folder");
    let git = |words: &[&str]| {
        let source = job.place("linux");
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        assert!(Command::new("git").arg("-C").arg(source).args(who).args(words).status().unwrap().success());
    };
    fs::create_dir(job.place("linux")).unwrap();
    fs::write(job.place("linux/Makefile"), "VERSION = 6\n").unwrap();
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "x"]);
    let clean = key(&[("VMM_SOURCE", "linux")]);
    assert!(clean.contains("source=linux#"), "a clean work tree is known by its commit: {clean}");
    fs::write(job.place("linux/new.c"), "").unwrap();
    assert!(key(&[("VMM_SOURCE", "linux")]).contains("source=linux\n"));
    // Nor has a repository without a commit one to be known by.
    fs::create_dir(job.place("empty")).unwrap();
    let made = Command::new("git").arg("init").arg("--quiet").arg(job.place("empty")).status().unwrap();
    assert!(made.success() && key(&[("VMM_SOURCE", "empty")]).contains("source=empty\n"));
    let mut homeless = job.script("key", &[]);
    ["HOME", "XDG_CACHE_HOME", "VMM_CACHE"].iter().for_each(|name| _ = homeless.env_remove(name));
    let (code, text) = came(&homeless.output().unwrap());
    assert_eq!((code, text.contains("set HOME")), (Some(3), true), "{text}");
}

#[test]
fn kvm_is_no_reason_to_fail() {
    let job = Job::new();
    let missing = [("VMM_KVM_DEVICE", "/nothing")];
    let (code, text) = came(&job.script("kvm", &missing).output().unwrap());
    assert_eq!((code, text.contains("emulated host")), (Some(0), true), "{text}");
    let open = [("VMM_KVM_DEVICE", "/dev/null")];
    let (code, text) = came(&job.script("kvm", &open).output().unwrap());
    assert_eq!((code, text.contains("is open")), (Some(0), true), "{text}");
}

#[test]
fn a_job_is_told_what_came_and_gets_an_annotation_for_what_failed() {
    let job = Job::new();
    let folder = job.place("scenarios of mine");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("good.yaml"), "steps:\n- sleep: 1 ms\n").unwrap();
    fs::write(folder.join("bad.yaml"), "steps:\n- open: /nothing\n").unwrap();
    let inputs = [("VMM_SCENARIOS", "scenarios of mine\n"), ("VMM_ARGS", "--retry\n1\n")];
    let (code, text) = {
        let _turn = Turn::take();
        came(&on_host(&mut job.script("run", &inputs)).output().unwrap())
    };
    assert_eq!(code, Some(1), "{text}");
    let output = job.read("output");
    for line in ["verdict=fail", "passed=1", "failed=1"] {
        assert!(output.lines().any(|it| it == line), "{line}: {output}");
    }
    assert!(text.contains("::error file=scenarios of mine/bad.yaml,line=2,title="), "{text}");
    assert!(job.read("summary").contains("1 of 2 scenarios passed"));
    let results = job.place("temp/vmm-results");
    for file in ["report.json", "report.html", "junit.xml", "scenarios/001-bad/kernel.log"] {
        assert!(results.join(file).is_file(), "{file}");
    }
    // What can't be run has vmm's own exit code, and a report that says why.
    let (code, text) = came(&job.script("run", &[("VMM_SCENARIOS", "nowhere.yaml")]).output().unwrap());
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(job.read("output").lines().rfind(|it| it.starts_with("verdict=")), Some("verdict=bad-input"));
    assert!(text.contains("::error title=vmm%3A nothing was run::"), "{text}");
    assert!(job.read("summary").contains("**bad-input**"));
    let report = fs::read_to_string(results.join("report.json")).unwrap();
    assert!(
        report.contains("nowhere.yaml") && !report.contains("bad.yaml"),
        "nothing is left of the run before"
    );
}

/// A driver's repository with nothing of this project in reach but the program.
#[test]
fn a_repository_made_by_init_is_green_and_its_broken_twin_is_red_at_the_right_line() {
    let job = Job::new();
    // A copy, so that nothing leads back into the checkout; outside of the repository, of which a build takes all.
    let elsewhere = TempDir::new().expect("a temporary folder can be made");
    let program = elsewhere.path().join("vmm");
    fs::copy(VMM, &program).unwrap();
    fs::remove_dir_all(job.place("bin")).unwrap();
    for file in ["Makefile", "helloModule.c"] {
        fs::copy(root().join("modules/hello").join(file), job.place(file)).unwrap();
    }
    let vmm = |words: &[&str]| {
        let _turn = Turn::take();
        let mut command = Command::new(&program);
        command
            .args(words)
            .current_dir(&job.0)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", job.place("summary"));
        // The host that other tests share is the other program's.
        came(&command.output().expect("vmm can be started"))
    };
    let (code, text) = vmm(&["init"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(job.place(".github/workflows/vmm.yml").is_file());
    let (code, text) = vmm(&["run", "vmm"]);
    assert_eq!(code, Some(0), "{text}");
    let code_text = job.read("helloModule.c");
    fs::write(job.place("helloModule.c"), code_text.replacen("return 0;", "return -22;", 1)).unwrap();
    let (code, text) = vmm(&["run", "vmm"]);
    assert_eq!(code, Some(1), "{text}");
    let scenario = job.read("vmm/first.yaml");
    let line = 1 + scenario.lines().position(|line| line.contains("insmod")).expect("a step");
    let annotation = format!("::error file=vmm/first.yaml,line={line},title=first%3A insmod helloModule");
    assert!(text.contains(&annotation), "{annotation} is not in:\n{text}");
}

#[test]
fn github_s_runner_takes_no_commands_from_a_guest() {
    let _turn = Turn::take();
    let folder = TempDir::new().unwrap();
    let scenario = folder.path().join("says.yaml");
    let says =
        "steps:\n  - {run: [sh, -c, 'echo ::error::from a guest; echo \"##[error]from a guest\"; exit 1']}\n";
    fs::write(&scenario, says).unwrap();
    let mut run = Command::new(VMM);
    on_host(&mut run).arg("run").arg(&scenario).env("GITHUB_ACTIONS", "true");
    let output = run.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let first = text.lines().next().and_then(|line| line.strip_prefix("::stop-commands::"));
    let token = first.unwrap_or_else(|| panic!("{text}"));
    let back = format!("::{token}::");
    assert!(
        text.contains("  ::error::from a guest\n") && text.contains("  ##[error]from a guest\n"),
        "{text}"
    );
    // Where it is let in, each line is a command of ours; of the guest's words that one is a part.
    let (mut is_let_in, mut ours) = (false, 0);
    for line in text.lines() {
        if line == back {
            is_let_in = true;
        } else if line.starts_with("::stop-commands::") {
            is_let_in = false;
        } else if is_let_in {
            assert!(line.starts_with("::error file="), "{line}\nin:\n{text}");
            ours += 1;
        }
    }
    assert!(is_let_in && ours == 1, "{text}");
}
