//! A kernel travels from one cache to another, whole or not at all.

use super::*;
use crate::fixture::{Setup, setup};

fn exported() -> (Setup, PathBuf, Parcel) {
    let setup = setup();
    let kernel = setup.ensure().unwrap();
    let file = setup.folder.path().join("kernel.tar.zst");
    let parcel = export(&setup.cache, &kernel.hash, &file).unwrap();
    (setup, file, parcel)
}

fn elsewhere() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    (folder, cache)
}

/// The archive with something done to it.
fn changed(file: &Path, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> PathBuf {
    let input = StreamingDecoder::new(File::open(file).unwrap()).unwrap();
    let mut tar = Builder::new(Vec::new());
    for entry in Archive::new(input).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut header = entry.header().clone();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let Some(bytes) = change(&name, bytes) else { continue };
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, &bytes[..]).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let other = file.with_file_name("changed.tar.zst");
    fs::write(&other, ruzstd::encoding::compress_to_vec(&tar[..], CompressionLevel::Fastest)).unwrap();
    other
}

#[test]
fn a_kernel_is_the_same_in_another_cache_and_builds_modules_there() {
    let (setup, file, parcel) = exported();
    let (_folder, cache) = elsewhere();
    let came = import(&cache, &file, Some(&parcel.digest)).unwrap();
    assert_eq!((&came.hash, came.release.as_str(), came.cached), (&parcel.hash, "6.12.3-fake", false));
    let place = cache.find(Kind::Kernel, &came.hash).unwrap();
    let kernel = Kernel::open(&place, true).unwrap();
    let before = Kernel::open(&setup.cache.place(Kind::Kernel, &came.hash), true).unwrap();
    assert_eq!(fs::read(&kernel.vmlinux).unwrap(), fs::read(&before.vmlinux).unwrap());
    assert_eq!(fs::read_link(kernel.build.join("source")).unwrap(), Path::new("../source"));
    let makefile = fs::read_to_string(place.join(MAKEFILE)).unwrap();
    assert!(makefile.contains(&place.display().to_string()) && !makefile.contains(PLACE), "{makefile}");
    assert!(import(&cache, &file, None).unwrap().cached, "a second time changes nothing");
    assert_eq!(export(&cache, &came.hash, &setup.folder.path().join("again")).unwrap().digest, parcel.digest);
    let bytes = |name: &str| fs::read(setup.folder.path().join(name)).unwrap();
    assert!(bytes("again") == bytes("kernel.tar.zst"), "the same file, wherever it is written");
}

#[test]
fn what_was_changed_is_refused_and_leaves_nothing() {
    let (_setup, file, parcel) = exported();
    let (_folder, cache) = elsewhere();
    let error = |file: &Path, digest: Option<&str>| {
        let error = import(&cache, file, digest).unwrap_err();
        assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
        assert!(cache.keys(Kind::Kernel).unwrap().is_empty());
        error.to_string()
    };
    let vmlinux = changed(&file, |name, mut bytes| {
        if name == "entry/vmlinux" {
            bytes[100] ^= 1;
        }
        Some(bytes)
    });
    assert!(error(&vmlinux, None).contains("vmlinux has another content"));
    let less = changed(&file, |name, bytes| (name != "entry/System.map").then_some(bytes));
    assert!(error(&less, None).contains("System.map is missing"));
    let replace = |from: &'static str, to: &'static str| {
        changed(&file, move |name, bytes| {
            let text = String::from_utf8_lossy(&bytes).replace(from, to);
            Some(if name == MANIFEST { text.into_bytes() } else { bytes })
        })
    };
    let release = replace("\"release\": \"6.12.3-fake\"", "\"release\": \"6.12.4\"");
    assert!(error(&release, Some(&parcel.digest)).contains("its digest is"));
    assert!(error(&release, None).contains("another one than that of its kernel.json"));
    assert!(error(&replace("\"format\": 1", "\"format\": 7"), None).contains("format 7"));
    assert!(error(&replace("\"format\"", "\"f\""), None).contains("no format"));
    let cut = file.with_file_name("cut");
    let bytes = fs::read(&file).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    error(&cut, None);
    fs::write(&cut, "no archive").unwrap();
    assert!(error(&cut, None).contains("no kernel that"));
    assert!(error(Path::new("/nothing"), None).contains("/nothing"));
}

#[test]
fn links_stay_in_the_entry() {
    assert!(stays(Path::new("build/source"), Path::new("../source")));
    assert!(stays(Path::new("a/b/c"), Path::new("../../x/y")));
    for (link, to) in
        [("build/source", "/etc/passwd"), ("build/x", "../../y"), ("x", "../y"), ("a/b", "../../a/b")]
    {
        assert!(!stays(Path::new(link), Path::new(to)), "{link} -> {to}");
    }
    for (path, good) in [("a/b", true), ("../a", false), ("/a", false), ("", false), ("a/../../b", false)] {
        assert_eq!(is_inside(Path::new(path)), good, "{path}");
    }
}

#[test]
fn a_file_that_is_far_larger_than_any_kernel_is_not_unpacked_to_its_end() {
    let (_setup, file, _) = exported();
    let (_folder, cache) = elsewhere();
    // Of zeros many take few bytes; its manifest may list it.
    let vast =
        changed(&file, |name, bytes| Some(if name == "entry/vmlinux" { vec![0; 8 << 20] } else { bytes }));
    let error = import_up_to(&cache, &vast, None, 4 << 20).unwrap_err();
    assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
    assert!(error.to_string().contains("more than 4194304 bytes come out of it"), "{error}");
    assert!(cache.keys(Kind::Kernel).unwrap().is_empty());
    assert!(import_up_to(&cache, &file, None, 4 << 20).is_ok(), "a kernel's own size is well below");
}
