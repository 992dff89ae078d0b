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

/// Of such items an archive, as somebody could make it who has no kernel.
fn made_of(folder: &Path, items: &[(&str, Item)]) -> PathBuf {
    let files: BTreeMap<String, &Item> =
        items.iter().map(|(name, item)| ((*name).to_owned(), item)).collect();
    let manifest =
        serde_json::json!({"format": FORMAT, "hash": "0".repeat(16), "release": "6.1", "files": files});
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, MANIFEST, &serde_json::to_vec(&manifest).unwrap(), 0o644).unwrap();
    for (name, item) in items {
        let place = format!("entry/{name}");
        match item {
            Item::File { .. } => append(&mut tar, &place, b"text", 0o644).unwrap(),
            Item::Link(to) => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, &place, to).unwrap();
            }
        }
    }
    let file = folder.join("made.tar.zst");
    let tar = tar.into_inner().unwrap();
    fs::write(&file, ruzstd::encoding::compress_to_vec(&tar[..], CompressionLevel::Fastest)).unwrap();
    file
}

#[test]
fn what_is_no_parcel_is_said_in_plain_words() {
    let (folder, cache) = elsewhere();
    let why = |name: &str| import(&cache, &folder.path().join(name), None).unwrap_err().to_string();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("other"), "#!/bin/sh\n").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(why("none").ends_with("none: no such file or directory"), "{}", why("none"));
    assert!(why("empty").ends_with("empty: it is empty"), "{}", why("empty"));
    assert!(why("folder").ends_with("folder: it is a folder"), "{}", why("folder"));
    assert!(why("other").ends_with("wrote: it is not packed by zstd"), "{}", why("other"));
}

#[test]
fn nothing_is_written_outside_of_the_cache_by_way_of_links() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("a/cache")).unwrap();
    let link = |to: &str| Item::Link(to.to_owned());
    let file = || Item::File { sha256: hex(Sha256::digest(b"text")), program: false };
    // Each link of these stays inside, by what its own text says.
    let attacks: [&[(&str, Item)]; 5] = [
        &[("a/a/a/a/b", link("../../../..")), ("c", link("a/a/a/a/b/../../..")), ("c/PWNED", file())],
        &[("a/a/a/a/b", link("../../../..")), ("c", link("a/a/a/a/b/../../.."))],
        &[("a/b", link("..")), ("a/b/PWNED", file())],
        &[("a/b", link("..")), ("a/b/PWNED", link("x"))],
        &[("a/./b", link("..")), ("a/b/PWNED", file())],
    ];
    for items in attacks {
        let made = made_of(folder.path(), items);
        let error = import(&cache, &made, None).unwrap_err();
        assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
        let named: Vec<_> = walkdir::WalkDir::new(folder.path()).into_iter().flatten().collect();
        assert!(!named.iter().any(|entry| entry.file_name() == "PWNED"), "{items:?}");
        assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn what_an_entry_says_of_itself_leads_nowhere_and_steers_no_terminal() {
    let (_setup, file, _) = exported();
    let (_folder, cache) = elsewhere();
    // The digests are made anew, as whoever makes such a file does.
    let about = |change: &dyn Fn(&mut About)| {
        let new = |bytes: &[u8]| {
            let mut about: About = serde_json::from_slice(bytes).unwrap();
            change(&mut about);
            serde_json::to_vec(&about).unwrap()
        };
        let kept = std::cell::RefCell::new(Vec::new());
        changed(&file, |name, bytes| {
            if name == "entry/kernel.json" {
                *kept.borrow_mut() = new(&bytes);
            }
            Some(bytes)
        });
        let kept = kept.into_inner();
        changed(&file, |name, bytes| match name {
            MANIFEST => {
                let mut manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
                let sha256 = hex(Sha256::digest(&kept));
                manifest.files.insert(ABOUT.into(), Item::File { sha256, program: false });
                manifest.release = serde_json::from_slice::<About>(&kept).unwrap().release;
                Some(serde_json::to_vec(&manifest).unwrap())
            }
            "entry/kernel.json" => Some(kept.clone()),
            _ => Some(bytes),
        })
    };
    let refused = |change: &dyn Fn(&mut About)| {
        let error = import(&cache, &about(change), None).unwrap_err();
        assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        error.to_string()
    };
    for early in ["/etc/passwd", "../vmlinux", "..", "a/b", ""] {
        assert!(refused(&|about| about.early = vec![early.to_owned()]).contains("early module"), "{early}");
    }
    for release in ["\u{1b}]0;owned\u{7}", "6.1/../..", "6.1 x", "", ".."] {
        let said = refused(&|about| about.release = release.to_owned());
        assert!(said.contains("no kernel's release"), "{said}");
    }
    let compiler =
        |about: &mut About| about.facts.compiler = crate::Compiler::Llvm { suffix: "/../x".into() };
    assert!(refused(&compiler).contains("no compiler's name"));
    let slot = import(&cache, &about(&|about| about.facts.ingredients.slot = "../..".into()), None).unwrap();
    assert_eq!(store::find(&cache, &slot.hash).unwrap().facts.unwrap().ingredients.slot, "");
}

#[test]
fn links_stay_in_the_entry() {
    let files = BTreeMap::from([("a/l".to_owned(), Item::Link("..".into()))]);
    let stays = |link: &str, to: &str| stays(Path::new(link), Path::new(to), &files);
    assert!(stays("build/source", "../source"));
    assert!(stays("a/b/c", "../../x/y") && stays("b", "a/l"));
    for (link, to) in [
        ("build/source", "/etc/passwd"),
        ("build/x", "../../y"),
        ("x", "../y"),
        ("a/b", "../../a/b"),
        ("b", "a/l/x"),
        ("b", "a/l/.."),
    ] {
        assert!(!stays(link, to), "{link} -> {to}");
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

/// An archive of such entries: type, name, content.
fn raw(folder: &Path, entries: &[(EntryType, &str, &[u8])]) -> PathBuf {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    let (file, tar) = (folder.join("raw.tar.zst"), tar.into_inner().unwrap());
    fs::write(&file, ruzstd::encoding::compress_to_vec(&tar[..], CompressionLevel::Fastest)).unwrap();
    file
}

#[test]
fn what_an_archive_says_of_itself_takes_no_memory() {
    let (folder, cache) = elsewhere();
    let nothing = vec![b'x'; 20 << 20];
    let manifest =
        |files: &str| format!(r#"{{"format":1,"hash":"0000000000000000","release":"6.1","files":{files}}}"#);
    let (none, json) =
        (manifest("{}"), manifest(r#"{"looked.json":{"file":{"sha256":"","program":false}}}"#));
    use EntryType::{GNULongLink, GNULongName, Regular, XGlobalHeader, XHeader};
    let named = "it has a name of more than 65536 bytes";
    for (entries, said) in [
        (&[(GNULongName, "x", &nothing[..])][..], named),
        (&[(Regular, MANIFEST, none.as_bytes()), (GNULongName, "x", &nothing)], named),
        (&[(Regular, MANIFEST, none.as_bytes()), (GNULongLink, "x", &nothing)], named),
        (&[(XHeader, "x", &nothing)], "headers of another tar's"),
        (&[(Regular, MANIFEST, none.as_bytes()), (XGlobalHeader, "x", &nothing)], "headers of another tar's"),
        (&[(Regular, MANIFEST, &nothing)], "its manifest has more than 16777216 bytes"),
        (
            &[(Regular, MANIFEST, json.as_bytes()), (Regular, "entry/looked.json", &nothing)],
            "looked.json has more than 16777216 bytes",
        ),
    ] {
        let error = import(&cache, &raw(folder.path(), entries), None).unwrap_err();
        assert_eq!(error.fault(), base::cache::Fault::Input, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn names_that_are_longer_than_a_header_come_along() {
    let setup = setup();
    let long = format!("include/{}/x.h", "long/".repeat(40));
    crate::fixture::write(&setup.tree(&long), "here");
    let kernel = setup.ensure().unwrap();
    let file = setup.folder.path().join("kernel.tar.zst");
    let parcel = export(&setup.cache, &kernel.hash, &file).unwrap();
    let (_folder, cache) = elsewhere();
    import(&cache, &file, Some(&parcel.digest)).unwrap();
    let came = cache.place(Kind::Kernel, &parcel.hash).join("source").join(long);
    assert_eq!(fs::read_to_string(came).unwrap(), "here");
}
