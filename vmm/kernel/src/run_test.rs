use super::*;
use base::cache::Cache;

fn sh(script: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tied("sh");
    command.args(["-c", script]);
    let mut seen = 0;
    let ran = run(command, &folder.path().join("log"), None, |_| seen += 1).unwrap();
    let logged = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!((logged.lines().count(), seen), (ran.lines.len(), ran.lines.len()));
    ran
}

#[test]
fn both_outputs_are_kept_in_their_order() {
    let ran = sh("echo one; echo two >&2; printf 'th\\377ree'");
    assert!(ran.status.success());
    assert_eq!(ran.lines, ["one", "two", "th\u{fffd}ree"]);
}

#[test]
fn the_exit_code_is_the_commands() {
    assert_eq!(sh("exit 7").status.code(), Some(7));
    assert!(!sh("kill -KILL $$").status.success());
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(tied("vmm-no-such-program"), &folder.path().join("log"), None, |_| ()).unwrap();
    assert_eq!(ran.status.code(), Some(127));
    assert!(ran.lines[0].contains("vmm-no-such-program"), "{ran:?}");
}

#[test]
fn the_lock_reaches_the_command_as_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let lock = cache.lock("name", "it").unwrap();
    let mut command = tied("readlink");
    command.arg("/proc/self/fd/0");
    let ran = run(command, &cache.log("l"), Some(&lock), |_| ()).unwrap();
    assert!(ran.lines[0].ends_with("/locks/name"), "{ran:?}");
}

#[test]
fn what_is_left_of_the_group_ends_with_the_guard() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut command = tied("sh");
    command.arg("-c").arg(format!("sleep 1000 & echo $! > {}; wait", pid.display()));
    let group = Group(command.spawn().unwrap());
    let sleeper = loop {
        match fs::read_to_string(&pid) {
            Ok(text) if text.ends_with('\n') => break PathBuf::from("/proc").join(text.trim()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(sleeper.exists());
    drop(group);
    // init has to collect it yet.
    let gone = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        fs::read_to_string(sleeper.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(gone);
}
