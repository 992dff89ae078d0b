use super::*;
use nix::unistd::{Uid, setfsuid};
use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
};

/// Looks as somebody without a superuser's rights.
fn as_nobody<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    let look = || {
        if Uid::effective().is_root() {
            // It is this thread's alone, and the right to read everything goes with it (capabilities(7)).
            setfsuid(Uid::from_raw(65534));
        }
        look()
    };
    thread::scope(|scope| scope.spawn(look).join().unwrap())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_slow_look_does_not_buy_a_long_rest() {
    assert_eq!(rest(DISK_EVERY, Duration::from_millis(1)), DISK_EVERY);
    assert_eq!(rest(DISK_EVERY, Duration::from_millis(50)), Duration::from_secs(5));
    assert_eq!(rest(DISK_EVERY, Duration::from_secs(60)), DISK_EVERY * LONGEST_REST);
}

#[test]
fn who_fills_a_disk_is_ended_before_it_is_full_and_blamed_if_it_took_much() {
    let gib = |count: u64| count << 30;
    let at = |free: u64, all: u64, grown: u64| {
        leaves_enough(Path::new("/w"), Some((free, all)), grown, Budget::KERNEL.disk)
    };
    // A build that takes what kernels take, and one that takes far more.
    assert!(matches!(at(gib(1) / 2, gib(100), gib(10)), Err(Refused::Full { .. })));
    let said = at(gib(1) / 2, gib(100), gib(40)).unwrap_err();
    assert!(
        said.blames_files() && said.to_string().contains("written 40960 MiB, and leaves 512 MiB"),
        "{said}"
    );
    assert!(at(gib(2), gib(100), gib(40)).is_ok());
    // Others have filled it.
    assert!(at(0, gib(100), 5 << 20).is_ok());
    assert!(at(gib(1) / 2, gib(8), gib(5)).is_ok(), "of a small disk less is kept free");
    assert!(leaves_enough(Path::new("/w"), None, gib(40), gib(64)).is_ok());
    // What was there before is nobody's doing, and is counted before where there is too little room.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), [1; 100_000]).unwrap();
    let watch = |disk: u64| Watch::new(Budget { disk, ..Budget::KERNEL }, vec![folder.path().to_owned()]);
    assert!(watch(u64::MAX).before[&disk(folder.path())] >= 100_000);
    assert!(room(folder.path()).is_some_and(|(free, all)| free < all));
    let full = |_: &Path| Some((1 << 29, 100 << 30));
    let mut roomy = watch(0);
    assert!(roomy.before.is_empty());
    for (there, is_enough) in [(gib(30), true), (gib(31), true), (gib(32), false)] {
        let bytes = OnDisks::from([(disk(folder.path()), there)]);
        assert_eq!(roomy.leaves_enough(&bytes, full).is_ok(), is_enough, "{there}");
    }
    assert!(has_room(Some((gib(65), gib(100))), gib(64)) && !has_room(Some((gib(64), gib(100))), gib(64)));
}

/// A kernel's build writes into a folder of its own, and into what is kept for the next.
#[test]
fn what_one_disk_got_is_not_held_against_a_build_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let other = Path::new("/dev/shm");
    let budget = Budget { disk: u64::MAX, ..Budget::KERNEL };
    let mut watch = Watch::new(budget, vec![folder.path().to_owned(), other.to_owned()]);
    let mut with = |grown: u64, at: &Path| {
        let mut bytes = watch.before.clone();
        *bytes.get_mut(&disk(at)).unwrap() += grown;
        watch.leaves_enough(&bytes, |folder| {
            Some((if folder == Path::new("/dev/shm") { 900 << 20 } else { 50 << 30 }, 100 << 30))
        })
    };
    assert_ne!(disk(folder.path()), disk(other));
    assert!(with(2 << 30, folder.path()).is_ok());
    assert!(matches!(with(2 << 30, other), Err(Refused::Full { path }) if path == other));
}

/// A kernel's build takes more than a small container has.
#[test]
fn a_small_machine_s_memory_is_not_held_against_what_is_built() {
    let small = Budget { machine: 768 << 20, ..Budget::KERNEL };
    assert!(fits(768 << 20, &small).is_ok());
    let said = fits(769 << 20, &small).unwrap_err();
    assert!(!said.blames_files() && said.to_string().contains("more than 768 MiB of memory"), "{said}");
    // What takes more than builds do takes it anywhere.
    for (machine, bytes) in [(12 << 30, 13 << 30), (u64::MAX, 33 << 30)] {
        let said = fits(bytes, &Budget { machine, ..Budget::KERNEL }).unwrap_err();
        assert!(said.blames_files(), "{said}");
    }
}

#[test]
fn folders_that_nobody_can_look_into_are_too_much() {
    let folder = tempfile::tempdir().unwrap();
    // Deeper than a path can say. By steps, as only so it can be made.
    let script = "name=$(printf '%0200d' 0); for i in $(seq 30); do mkdir $name; cd -P $name; done";
    let made = Command::new("bash").args(["-c", script]).current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    let said = written(folder.path(), 1 << 30).unwrap_err().to_string();
    assert!(said.contains("can't be counted") && said.len() < 1000, "{said}");
    let gone = Command::new("rm").arg("-rf").arg(folder.path()).status().unwrap();
    assert!(gone.success());
}

#[test]
fn folders_that_show_nothing_or_names_alone_are_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("x"), [1; 10_000]).unwrap();
    mode(folder.path(), 0o755);
    for (rights, is_seen) in [(0o000, false), (0o333, false), (0o444, false), (0o555, true)] {
        mode(&inside, rights);
        let seen = as_nobody(|| written(folder.path(), 1 << 30).map_err(|error| error.to_string()));
        assert_eq!(seen.is_ok(), is_seen, "{rights:o}: {seen:?}");
        assert!(seen.err().is_none_or(|said| said.contains("/inside can't be counted")));
    }
    mode(&inside, 0o755);
    assert!(written(&folder.path().join("nowhere"), 1).is_ok(), "it is gone");
}

#[test]
fn a_file_that_has_lost_its_name_is_counted_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&vec![1; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    fs::remove_file(path).unwrap();
    let budget = Budget { disk: 1 << 19, ..Budget::MODULE };
    let mut watch = Watch::new(budget, vec![folder.path().to_owned()]).begin(std::process::id());
    let said = watch.look_at_the_disk().unwrap_err().to_string();
    assert!(said.contains("written more than"), "{said}");
    drop(file);
    assert!(watch.look_at_the_disk().is_ok());
}

/// What runs a program that it may not read shows nobody what it has open (proc_pid_fd(5)).
#[test]
fn who_hides_its_open_files_is_over_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    let script = "cp /bin/sleep sleep && chmod 111 sleep && exec ./sleep 30";
    let mut child = Command::new("sh").args(["-c", script]).current_dir(folder.path()).spawn().unwrap();
    let line = format!("/proc/{}/cmdline", child.id());
    while !fs::read(&line).unwrap().starts_with(b"./sleep") {
        thread::sleep(Duration::from_millis(5));
    }
    as_nobody(|| {
        let mut watch = Watch::new(Budget::MODULE, vec![folder.path().to_owned()]).begin(child.id());
        assert!(watch.look_at_the_disk().is_ok(), "it may be what bubblewrap does");
        let said = watch.look_at_the_disk().unwrap_err().to_string();
        assert!(said.contains("hides its open files"), "{said}");
        child.kill().unwrap();
        // Not yet taken from the table of processes.
        while processes::of(child.id()).is_some() {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(watch.look_at_the_disk().is_ok());
    });
    child.wait().unwrap();
}

/// Its first task has ended, and that of the other has files that are no other's.
#[test]
fn a_process_is_seen_in_all_of_its_tasks() {
    const CODE: &str = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <pthread.h>\n#include <sched.h>\n\
        #include <stdio.h>\n#include <unistd.h>\nstatic char bytes[1 << 20] = {1};\nstatic pthread_t first;\n\
        static void *run(void *arg) {\npthread_join(first, 0);\nunshare(CLONE_FILES);\n\
        int file = open(\"x\", O_CREAT | O_WRONLY, 0600);\nwrite(file, bytes, sizeof bytes);\nfsync(file);\n\
        unlink(\"x\");\nputs(\"ready\");\nfflush(stdout);\nreturn (void *)(long)pause();\n}\n\
        int main(void) {\npthread_t other;\nfirst = pthread_self();\npthread_create(&other, 0, run, 0);\npthread_exit(0);\n}\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.c"), CODE).unwrap();
    let words = ["-w", "-pthread", "a.c", "-o", "a"];
    assert!(Command::new("cc").args(words).current_dir(folder.path()).status().unwrap().success());
    let mut child = Command::new("./a").current_dir(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let budget = Budget { disk: 1 << 19, ..Budget::MODULE };
    let mut watch = Watch::new(budget, vec![folder.path().to_owned()]).begin(child.id());
    let (count, bytes) = watch.family();
    assert!(count == 2 && bytes > 0, "{count} threads with {bytes} bytes");
    assert!(processes::below(std::process::id()).contains(&child.id()));
    let said = watch.look_at_the_disk().unwrap_err().to_string();
    assert!(said.contains("written more than"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}
