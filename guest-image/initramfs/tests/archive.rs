//! The archive as others read it: the system's cpio, and a reader written for this test.

use initramfs::{Error, Initramfs, NodeKind};
use proptest::prelude::*;
use std::{
    io::Write,
    process::{Command, Stdio},
};

fn sample() -> Initramfs {
    let mut image = Initramfs::new();
    image.file("/init", 0o755, *b"#!/bin/sh\n").unwrap();
    image.node("dev/console", 0o600, NodeKind::Char, 5, 1).unwrap();
    image.node("dev/vda", 0o660, NodeKind::Block, 254, 300).unwrap();
    image.symlink("/bin/sh", "busybox").unwrap();
    image.dir("/tmp", 0o1777).unwrap();
    image.file("/lib/modules/a.ko", 0o644, vec![0xab; 1001]).unwrap();
    image
}

#[test]
fn cpio_lists_what_was_put_in() {
    let mut cpio = Command::new("cpio")
        .args(["-itv", "--numeric-uid-gid", "--quiet"])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cpio is not installed: apt-get install cpio");
    cpio.stdin.take().unwrap().write_all(&sample().into_bytes()).unwrap();
    let output = cpio.wait_with_output().unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> =
        listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 bin",
            "lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin/sh -> busybox",
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
            "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
            "brw-rw---- 1 0 0 254, 300 Jan 1 1970 dev/vda",
            "-rwxr-xr-x 1 0 0 10 Jan 1 1970 init",
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 lib",
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 lib/modules",
            "-rw-r--r-- 1 0 0 1001 Jan 1 1970 lib/modules/a.ko",
            "drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp",
        ]
    );
}

#[test]
fn the_order_of_adding_changes_no_bit() {
    let mut other = Initramfs::new();
    other.file("/lib/modules/a.ko", 0o644, vec![0xab; 1001]).unwrap();
    other.dir("/tmp", 0o1777).unwrap();
    other.dir("/dev", 0o755).unwrap();
    other.node("/dev/vda", 0o660, NodeKind::Block, 254, 300).unwrap();
    other.node("/dev/console", 0o600, NodeKind::Char, 5, 1).unwrap();
    other.symlink("/bin/sh", "busybox").unwrap();
    other.file("/init", 0o755, *b"#!/bin/sh\n").unwrap();
    assert!(other.into_bytes() == sample().into_bytes());
}

#[test]
fn what_an_unpacker_would_lose_is_refused() {
    let refused = |path: &str| Initramfs::new().dir(path, 0o755).unwrap_err().to_string();
    assert_eq!(refused("/"), "'/' is no path inside of an initramfs (it names no file)");
    assert_eq!(refused("a//b"), "'a//b' is no path inside of an initramfs (a part of it is empty)");
    assert_eq!(refused("a/../b"), "'a/../b' is no path inside of an initramfs (it has '.' or '..' in it)");
    assert!(refused("a\0b").contains("NUL"));
    assert!(refused("TRAILER!!!").contains("end of an archive"));
    assert!(refused(&"x".repeat(256)).contains("255"));
    assert!(refused(&"x/".repeat(3000)).contains("4095"));
    assert!(Initramfs::new().dir(&"x".repeat(255), 0o755).is_ok());

    let mut image = sample();
    assert_eq!(
        image.dir("/a", 0o100_644).unwrap_err().to_string(),
        "'/a' has mode 0o100644 (permissions are 0 to 0o7777)"
    );
    assert!(matches!(image.symlink("/l", ""), Err(Error::BadTarget { .. })));
    assert!(matches!(image.symlink("/l", "a\0"), Err(Error::BadTarget { .. })));
}

#[test]
fn the_same_twice_is_fine_and_something_else_is_not() {
    let mut image = sample();
    image.file("init", 0o755, *b"#!/bin/sh\n").unwrap();
    let duplicate = Error::Duplicate { path: "/init".into() };
    assert_eq!(image.file("/init", 0o755, *b"other").unwrap_err(), duplicate);
    assert_eq!(image.file("/init", 0o644, *b"#!/bin/sh\n").unwrap_err(), duplicate);
    assert!(matches!(image.file("/tmp", 0o644, []), Err(Error::Duplicate { .. })));
    assert_eq!(
        image.file("/init/x", 0o644, []).unwrap_err().to_string(),
        "'/init/x' can't lie below '/init': that is no folder"
    );
    image.dir("/lib", 0o700).unwrap();
    assert!(matches!(image.dir("/lib", 0o755), Err(Error::Duplicate { .. })));
}

/// One entry as it stands in an archive.
#[derive(Debug, PartialEq)]
struct Read {
    path: String,
    inode: u32,
    mode: u32,
    content: Vec<u8>,
}

/// A reader of newc archives; panics on what is none.
fn read(bytes: &[u8]) -> Vec<Read> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(&bytes[at..at + 6], b"070701");
        let field = |index: usize| {
            let start = at + 6 + 8 * index;
            u32::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16).unwrap()
        };
        let (size, name_size) = (field(6) as usize, field(11) as usize);
        let name = &bytes[at + 110..at + 110 + name_size];
        let (nul, name) = name.split_last().unwrap();
        assert_eq!(*nul, 0);
        let data = (at + 110 + name_size).next_multiple_of(4);
        let path = String::from_utf8(name.to_vec()).unwrap();
        for zero in [2, 3, 5, 7, 8, 12] {
            assert_eq!(field(zero), 0, "field {zero} of {path}");
        }
        let content = bytes[data..data + size].to_vec();
        let next = (data + size).next_multiple_of(4);
        if path == "TRAILER!!!" {
            assert_eq!(next, bytes.len());
            return entries;
        }
        entries.push(Read { path, inode: field(0), mode: field(1), content });
        at = next;
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        files in prop::collection::btree_map(
            "[a-c]{1,9}\\.f",
            (0u32..=0o7777, prop::collection::vec(any::<u8>(), 0..40)),
            0..20,
        ),
        folder in "[x-z]{1,7}",
    ) {
        let mut image = Initramfs::new();
        for (name, (mode, bytes)) in &files {
            image.file(&format!("{folder}/{name}"), *mode, bytes.clone()).unwrap();
        }
        let entries = read(&image.into_bytes());
        let mut expected: Vec<Read> = files
            .into_iter()
            .map(|(name, (mode, content))| Read {
                path: format!("{folder}/{name}"), inode: 0, mode: 0o100_000 | mode, content
            })
            .collect();
        if !expected.is_empty() {
            expected.insert(0, Read { path: folder, inode: 0, mode: 0o040_755, content: vec![] });
        }
        for (entry, inode) in expected.iter_mut().zip(1..) {
            entry.inode = inode;
        }
        prop_assert_eq!(entries, expected);
    }
}
