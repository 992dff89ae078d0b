//! Kernels whose symbols are missing or are another build's: that is said, and what needs none goes on.

use super::support::{Ran, Turn, VMM, finished, root, run_command};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tempfile::TempDir;

/// The entry of the cache that the scenarios' own kernel is in.
fn entry() -> PathBuf {
    let output = Command::new(VMM).args(["kernel", "build"]).current_dir(root()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let config = text.lines().find_map(|line| line.trim().strip_prefix("config ")).unwrap_or_else(|| {
        panic!("no config in:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    });
    Path::new(config.trim()).parent().unwrap().to_owned()
}

/// Runs a scenario's text on a kernel, with another cache if one is given.
fn run(text: &str, kernel: &str, cache: Option<&Path>) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().unwrap();
    let (scenario, report) = (folder.path().join("scenario.yaml"), folder.path().join("report.json"));
    fs::write(&scenario, text).unwrap();
    let started = Instant::now();
    let mut command = run_command(&scenario, &report);
    command.args(["--kernel", kernel]).current_dir(root());
    if let Some(cache) = cache {
        // A host that is served knows one cache.
        command.env("VMM_CACHE", cache).env_remove("VMM_HOST_DIR");
    }
    finished(&command.output().unwrap(), &report, started)
}

/// A file of the default kernel that has neither symbols nor the tables that the kernel names addresses by, with its
/// configuration beside it.
fn bare(folder: &Path) -> PathBuf {
    let entry = entry();
    let mut bytes = fs::read(entry.join("vmlinux.boot")).unwrap();
    // In the table of names' pieces every digit stands for itself; without them it can't be found.
    let digits: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit, 0]).collect();
    let places: Vec<usize> =
        (0..bytes.len() - digits.len()).filter(|at| bytes[*at..].starts_with(&digits)).collect();
    assert!(!places.is_empty(), "the kernel has such a table");
    places.into_iter().for_each(|at| bytes[at] = b'x');
    let path = folder.join("vmlinux");
    fs::write(&path, bytes).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(entry.join("kernel.json")).unwrap()).unwrap();
    let release = manifest["release"].as_str().unwrap();
    fs::copy(entry.join("config"), folder.join(format!("config-{release}"))).unwrap();
    path
}

fn warnings(ran: &Ran) -> Vec<&str> {
    let all = ran.report()["kernel"]["warnings"].as_array().unwrap();
    all.iter().map(|warning| warning.as_str().unwrap()).collect()
}

const CALLS: &str = "\
steps:
  - syscall: 110
    repeat: 10
  - run: [sh, -c, \"echo hello from the guest > /dev/kmsg\"]
  - open: /nonexistent
    expect: ENOENT
expect:
  log: {has: hello from the guest}
  syscalls: {getppid: {at-least: 10}, openat: {count: {at-least: 1}, errors: {ENOENT: {at-least: 1}}}}
";

#[test]
fn without_symbols_calls_and_their_results_are_counted_and_the_serial_port_has_the_log() {
    let folder = TempDir::new().unwrap();
    let kernel = bare(folder.path());
    let ran = run(CALLS, kernel.to_str().unwrap(), None);
    ran.ends_with("pass", 0);
    ran.says("warning   the kernel has no symbols: its log is read from the serial port");
    assert_eq!(warnings(&ran).len(), 1);
    let log = ran.report()["log"].as_array().unwrap();
    let first = log[0]["text"].as_str().unwrap();
    assert!(first.starts_with("Linux version ") && log.len() > 50, "{first}");
    let hello = log.iter().find(|line| line["text"] == "hello from the guest").unwrap();
    assert_eq!((hello["step"].as_u64(), hello["level"].as_u64()), (Some(1), Some(4)));
    assert!(hello["time_ms"].as_f64().unwrap() > 100.0, "{hello}");
}

#[test]
fn without_symbols_a_splat_is_found_in_what_the_serial_port_has() {
    let folder = TempDir::new().unwrap();
    let kernel = bare(folder.path());
    let source = root().join("tests/fixtures/modules/warns");
    let built = Command::new(VMM)
        .args(["module", "build"])
        .arg(source)
        .arg("--out")
        .arg(folder.path())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let module = folder.path().join("warns.ko");
    let text = format!("modules: [{}]\nsteps:\n  - insmod: warns\n", module.display());
    let ran = run(&text, kernel.to_str().unwrap(), None);
    ran.ends_with("splat", 1);
    let finding = &ran.report()["findings"][0];
    assert_eq!((&finding["kind"], &finding["function"]), (&"warn".into(), &"warns_init".into()));
    assert_eq!(finding["step"], 0);
}

/// A cache with one kernel: the default one, with another file in place of one of its own.
fn cache_with(folder: &Path, name: &str, content: &[u8]) -> &'static str {
    const HASH: &str = "0123456789abcdef";
    let entry = entry();
    let copy = folder.join("kernels").join(HASH);
    fs::create_dir_all(&copy).unwrap();
    for file in fs::read_dir(&entry).unwrap().flatten() {
        symlink(file.path(), copy.join(file.file_name())).unwrap();
    }
    // What an emulated host is made of is no part of a kernel.
    let cache = entry.ancestors().nth(2).unwrap();
    for shared in ["emulator", "tools"] {
        symlink(cache.join(shared), folder.join(shared)).unwrap();
    }
    fs::remove_file(copy.join(name)).unwrap();
    fs::write(copy.join(name), content).unwrap();
    HASH
}

#[test]
fn a_system_map_of_another_build_is_noticed_and_not_used() {
    let folder = TempDir::new().unwrap();
    let map = fs::read_to_string(entry().join("System.map")).unwrap();
    let moved = map.lines().map(|line| {
        let (address, rest) = line.split_once(' ').unwrap();
        format!("{:016x} {rest}\n", u64::from_str_radix(address, 16).unwrap().wrapping_add(0x340))
    });
    let hash = cache_with(folder.path(), "System.map", moved.collect::<String>().as_bytes());
    let ran = run(CALLS, hash, Some(folder.path()));
    ran.ends_with("pass", 0);
    let [warning] = warnings(&ran)[..] else { panic!("{}", ran.text) };
    assert!(warning.contains("System.map is of another build than the kernel that is booted"), "{warning}");
}

#[test]
fn a_vmlinux_of_another_build_is_noticed() {
    let folder = TempDir::new().unwrap();
    let mut vmlinux = fs::read(entry().join("vmlinux")).unwrap();
    // The note's owner, behind which the build's id is; include/uapi/linux/elf.h: NT_GNU_BUILD_ID.
    let note = [&4u32.to_le_bytes()[..], &20u32.to_le_bytes(), &3u32.to_le_bytes(), b"GNU\0"].concat();
    // Those before the last are of the vDSO's images.
    let at = (0..vmlinux.len() - 64).rfind(|at| vmlinux[*at..].starts_with(&note)).expect("it has an id");
    vmlinux[at + note.len()] ^= 0xff;
    let hash = cache_with(folder.path(), "vmlinux", &vmlinux);
    let ran = run(CALLS, hash, Some(folder.path()));
    ran.ends_with("pass", 0);
    let [warning] = warnings(&ran)[..] else { panic!("{}", ran.text) };
    assert!(warning.contains("vmlinux is of another build"), "{warning}");
    assert!(ran.report()["taint"]["after"].is_u64(), "the symbols are the right ones");
}
