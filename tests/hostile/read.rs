//! Files that are made to harm who reads them: each is read in a process of its own, whose end is no one else's.

use super::{VMM, root, said, vmm};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn what_unpacks_to_more_than_its_reader_may_have_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("bomb.ko");
    File::create(&plain).unwrap().set_len(300 << 20).unwrap();
    assert!(Command::new("xz").args(["-0", "--keep"]).arg(&plain).status().unwrap().success());
    let packed = folder.path().join("bomb.ko.xz");
    // What it is called is no reason to read it without a limit.
    let named = folder.path().join("vmm-0.1.0");
    fs::copy(VMM, &named).unwrap();
    let check = |program: &Path, limits: &str| {
        let mut command = Command::new(program);
        command.args(["module", "check"]).arg(&packed).current_dir(root()).stdin(Stdio::null());
        said(&command.env("VMM_LIMITS", limits).output().unwrap())
    };
    for program in [Path::new(VMM), &named] {
        let text = check(program, "memory=128MiB");
        assert!(text.contains("once unpacked it takes more memory than there is for that"), "{text}");
        assert!(text.contains("VMM_LIMITS=memory="), "{text}");
    }
    // It is told as what it is where there is room for it.
    let text = check(Path::new(VMM), "");
    assert!(text.contains("is no kernel module: it is no ELF file"), "{text}");
}

/// What it says is for who started it: nobody else gets anything out of it, and it ends with its input.
#[test]
fn a_reader_takes_no_other_file_and_ends_with_its_input() {
    for arguments in
        [&["reader"][..], &["reader", "nonsense", "1000000"], &["reader", "unpack", "1000000", "/dev/zero"]]
    {
        let output = vmm(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    }
    let start = Instant::now();
    let mut child = vmm(&["reader", "unpack", "100000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A question that is longer than what comes.
    child.stdin.take().unwrap().write_all(&[0xff; 100]).unwrap();
    child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}
