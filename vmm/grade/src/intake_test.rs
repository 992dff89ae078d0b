use super::*;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs,
    io::Write,
    os::unix::fs::{lchown, symlink},
    path::Path,
    time::Duration,
};
use zip::write::SimpleFileOptions;

fn limits() -> Limits {
    Limits { files: 20, bytes: 100_000, build: Duration::from_secs(1), run: Duration::from_secs(1) }
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        // Its `append_data` would refuse a path that leads out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

/// One file, as it was handed in.
fn handed_in(name: &str, content: &[u8]) -> Result<Files, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    read_at(&path)
}

fn read_at(path: &Path) -> Result<Files, String> {
    read(&single(path, "s"), &limits()).map_err(|wrong| {
        assert!(wrong.is_theirs, "{}", wrong.why);
        wrong.why
    })
}

#[test]
fn what_lies_here_so_that_nobody_can_read_it_is_not_the_students_fault() {
    let wrong = read(&single(Path::new("/nonexistent/s1"), "s1"), &limits()).unwrap_err();
    assert!(!wrong.is_theirs && wrong.why.contains("can't be read"), "{wrong:?}");
}

#[test]
fn folders_archives_and_archives_in_them_come_out_alike() {
    let inner: &[(&str, &[u8])] =
        &[("my driver (1)/a.c", b"int a;"), ("__MACOSX/._a.c", b"x"), (".DS_Store", b"x")];
    let zip = zipped(inner);
    for (name, content, path) in [
        ("s.zip", zip.clone(), "s/my driver (1)/a.c"),
        ("s.tar", tarred(inner), "s/my driver (1)/a.c"),
        ("s.tar.gz", gzipped(&tarred(inner)), "s/my driver (1)/a.c"),
        ("misnamed.tar.gz", zip.clone(), "misnamed/my driver (1)/a.c"),
        ("outer.zip", zipped(&[("deep/s.zip", &zip)]), "outer/deep/s/my driver (1)/a.c"),
    ] {
        let files = handed_in(name, &content).unwrap().files;
        assert_eq!(files.keys().collect::<Vec<_>>(), [path], "{name}");
    }
}

#[test]
fn what_is_unpacked_and_dropped_counts_too() {
    // Each begins as an archive that is not read here, and is left out; each fits by itself.
    let mut dropped = b"Rar!\x1a\x07".to_vec();
    dropped.resize(90_000, 0);
    let names: Vec<String> = (0..15).map(|number| format!("{number}.bin")).collect();
    let all: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &*dropped)).collect();
    for (name, content) in [("s.zip", zipped(&all)), ("s.tar", tarred(&all))] {
        let error = handed_in(name, &content).unwrap_err();
        assert!(error.contains("larger than"), "{name}: {error}");
    }
    // One that is nearly as large as it may be, packed as often as it may be.
    let mut code = b"int a;".to_vec();
    code.resize(90_000, b' ');
    let packed = zipped(&[("s.zip", &zipped(&[("s.tar.gz", &gzipped(&tarred(&[("a.c", &code)])))]))]);
    assert_eq!(handed_in("outer.zip", &packed).unwrap().files.len(), 1);
}

#[test]
fn bombs_are_told_before_they_are_unpacked() {
    let zeros = vec![0; 50_000_000];
    for (name, content) in [
        ("bomb.zip", zipped(&[("a.c", &zeros)])),
        ("bomb.tar.gz", gzipped(&tarred(&[("a.c", &zeros)]))),
        ("bomb.c.gz", gzipped(&zeros)),
    ] {
        let why = handed_in(name, &content).unwrap_err();
        assert!(content.len() < 100_000 && why.contains("larger than 97 KiB once unpacked"), "{why}");
    }
    let many: Vec<(String, Vec<u8>)> = (0..30).map(|index| (format!("{index}.c"), Vec::new())).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (&**name, &**content)).collect();
    assert!(handed_in("many.zip", &zipped(&many)).unwrap_err().contains("more than 20 files"));
    let mut nested = zipped(&[("a.c", b"")]);
    for _ in 0..4 {
        nested = zipped(&[("a.zip", &nested)]);
    }
    assert!(handed_in("nested.zip", &nested).unwrap_err().contains("an archive in an archive"));
}

#[test]
fn paths_that_lead_out_are_refused() {
    for content in [
        tarred(&[("../../etc/cron.d/x", b"x")]),
        tarred(&[("/etc/passwd", b"x")]),
        zipped(&[("../x.c", b"x")]),
        zipped(&[("a\\..\\..\\x.c", b"x")]),
    ] {
        let why = handed_in("x", &content).unwrap_err();
        assert!(why.contains("leads out"), "{why}");
    }
}

/// One that an editor or a build left is no reason to take nothing, whatever it is packed in.
#[test]
fn links_are_left_out_wherever_they_lead() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.c"), "int a;").unwrap();
    for (name, to) in [("b.c", "/etc/passwd"), ("same.c", "a.c"), ("up.c", "../x.c")] {
        symlink(to, folder.path().join(name)).unwrap();
    }
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    for name in ["a.c", "b.c", "same.c", "up.c"] {
        tar.append_path_with_name(folder.path().join(name), name).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    for files in [read_at(folder.path()).unwrap(), handed_in("s.tar", &tar).unwrap()] {
        assert_eq!(files.files.len(), 1);
        let notes = ["b.c to /etc/passwd", "same.c to a.c", "up.c to ../x.c"];
        assert_eq!(files.notes, notes.map(|it| format!("the link {it} is left out")));
    }
}

#[test]
fn a_link_to_a_submission_is_nobodys_nought_and_leads_where_the_folders_owner_says() {
    let folder = tempfile::tempdir().unwrap();
    let [inbox, store] = ["inbox", "store"].map(|name| folder.path().join(name));
    fs::create_dir(&inbox).unwrap();
    fs::create_dir_all(store.join("7")).unwrap();
    fs::write(store.join("7/a.c"), "int a;").unwrap();
    symlink("../store/7", inbox.join("anna")).unwrap();
    symlink("../store/8", inbox.join("eve")).unwrap();
    let entries = || list(&inbox, None, Path::new("out")).unwrap().entries;
    let read = |entry: &Entry| super::read(entry, &limits());
    assert_eq!(entries().iter().map(|it| &*it.student).collect::<Vec<_>>(), ["anna", "eve"]);
    assert_eq!(read(&entries()[0]).unwrap().files.len(), 1);
    let single = |name: &str| read(&single(&inbox.join(name), name)).unwrap_err();
    for wrong in [read(&entries()[1]).unwrap_err(), single("anna")] {
        assert!(!wrong.is_theirs && wrong.why.contains("name what it leads to"), "{wrong:?}");
    }
    // Only root gives links away.
    if lchown(inbox.join("anna"), Some(12345), None).is_ok() {
        assert!(!read(&entries()[0]).unwrap_err().is_theirs);
    }
}

/// What can't be written as it is called is its author's to mend, and not this machine's trouble.
#[test]
fn names_that_no_folder_can_hold_are_refused() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(600);
    for (files, says) in [
        (["hello.c", "hello.c/y.h"], "x/hello.c is there as a file and as a folder"),
        (["hello.c/y.h", "hello.c"], "x/hello.c is there as a file and as a folder"),
        (["a.c", &long], "at most 255 bytes"),
        (["a.c", &format!("{deep}b.c")], "with all its folders 1024"),
    ] {
        let why = handed_in("x.zip", &zipped(&files.map(|name| (name, &b"x"[..])))).unwrap_err();
        assert!(why.contains(says) && why.len() < 200, "{why}");
    }
    // Whose names only begin alike.
    assert!(handed_in("x.zip", &zipped(&[("a", b"x"), ("a.c", b"x"), ("a-b/c", b"x")])).is_ok());
}

#[test]
fn archives_of_what_nobody_wants_are_unpacked_so_often_and_no_more() {
    let rubbish = gzipped(&tarred(&[(".DS_Store", &vec![0; 90_000])]));
    let of = |count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("{index}.tar.gz")).collect();
        let files = names.iter().map(|name| (&**name, &*rubbish)).chain([("a.c", &b"x"[..])]);
        handed_in("x.zip", &zipped(&files.collect::<Vec<_>>()))
    };
    assert_eq!(of(3).unwrap().files.len(), 1);
    assert!(of(6).unwrap_err().contains("larger than 97 KiB"));
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&folder.path().join("a.c"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(read_at(folder.path()).unwrap_err().contains("a.c is a device, a pipe"));
    assert!(read(&single(&folder.path().join("a.c"), "s"), &limits()).is_err());
}

#[test]
fn empty_damaged_and_huge_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read_at(folder.path()).unwrap_err().contains("nothing in it"));
    assert!(handed_in("empty.zip", &zipped(&[])).unwrap_err().contains("nothing in it"));
    assert!(handed_in("cut.zip", &zipped(&[("a.c", b"x")])[..20]).unwrap_err().contains("pack it again"));
    assert!(handed_in("text.zip", b"I could not upload it").unwrap_err().contains("pack it again"));
    assert!(handed_in("cut.tar.gz", &gzipped(&[7; 5000])[..30]).unwrap_err().contains("pack it again"));
    for index in 0..30 {
        let name = ["MAINTAINERS".to_owned(), format!("arch{index}")].into_iter().nth(index.min(1)).unwrap();
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert!(read_at(folder.path()).unwrap_err().contains("whole kernel tree"));
}

/// The limit is of 20 files.
#[test]
fn versions_that_are_kept_count_no_more_in_an_archive_than_in_a_folder() {
    let names: Vec<String> = (0..50).map(|number| format!("work/.git/objects/{number}")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"object"[..])).collect();
    files.push(("work/drv.c", b"code"));
    for (name, bytes) in [("s.zip", zipped(&files)), ("s.tar", tarred(&files))] {
        let read = handed_in(name, &bytes).unwrap();
        assert_eq!(read.files.keys().collect::<Vec<_>>(), ["s/work/drv.c"], "{name}");
    }
}

#[test]
fn where_files_are_counted_the_newest_of_each_name_counts() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "doe_12_9_chardev.c",
        "doe_12_11_chardev-1.c",
        "doe_12_10_Makefile",
        "roe_LATE_13_7_a.zip",
        "roe_13_30_other.tar.gz",
        "poe_14_1_a-1.c",
        "poe_14_2_b.c",
        "zoe_15_1_part-1.c",
        "zoe_15_2_part-2.c",
    ] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let rule =
        Regex::new(r"^(?<student>[^_]+)(?<late>_LATE)?_(?<id>\d+)_(?<serial>\d+)_(?<file>.+)$").unwrap();
    let entries = list(folder.path(), Some(&rule), Path::new("grades")).unwrap().entries;
    let came = entries.iter().map(|entry| {
        let names: Vec<&str> = entry.parts.iter().map(|(_, name)| &**name).collect();
        (&*entry.student, names.join(" "), entry.notes.join("; "))
    });
    assert_eq!(
        came.collect::<Vec<_>>(),
        [
            (
                "doe_12",
                "Makefile chardev-1.c".to_owned(),
                "newer files take the place of doe_12_9_chardev.c".to_owned()
            ),
            ("poe_14", "a-1.c b.c".to_owned(), String::new()),
            // Of one attempt an LMS exports all files, code and pictures in archives of their own.
            ("roe_13", "other.tar.gz a.zip".to_owned(), "handed in late".to_owned()),
            ("zoe_15", "part-1.c part-2.c".to_owned(), String::new()),
        ]
    );
    assert!(entries.iter().all(|entry| entry.conflict.is_none()));
    assert!(entries.iter().all(|entry| entry.overdue == (entry.student == "roe_13")));
}

#[test]
fn of_several_attempts_the_newest_counts_and_two_of_one_name_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["doe_12_9_a.c", "doe_12_10_a.c", "doe_12_10_Makefile", "roe_13_7_a.zip"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let rule = Regex::new(r"^(?<student>[^_]+_\d+)_(?<attempt>\d+)_(?<file>.+)$").unwrap();
    let entries = list(folder.path(), Some(&rule), Path::new("grades")).unwrap().entries;
    let names: Vec<&str> = entries[0].parts.iter().map(|(_, name)| &**name).collect();
    assert_eq!((entries.len(), &*entries[0].student, names), (2, "doe_12", vec!["Makefile", "a.c"]));
    assert_eq!(entries[0].notes, ["attempt 10 counts; older ones do not: 9"]);
    assert!(entries.iter().all(|entry| entry.conflict.is_none()));

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("s1")).unwrap();
    fs::write(folder.path().join("s1.zip"), "").unwrap();
    fs::write(folder.path().join("s2 (copy).tar.gz"), "").unwrap();
    let entries = list(folder.path(), None, Path::new("grades")).unwrap().entries;
    assert!(entries[0].conflict.as_ref().unwrap().contains("s1, s1.zip"));
    assert_eq!((&*entries[1].student, entries.len()), ("s2 (copy)", 2));
    let empty = tempfile::tempdir().unwrap();
    assert!(list(empty.path(), None, Path::new("grades")).unwrap_err().contains("nothing in"));
}
use regex::Regex;

#[test]
fn documents_beside_the_source_are_left_out_unread() {
    let huge = vec![7; 400_000];
    let packed = zipped(&[("a.c", b"int a;"), ("demo.mp4", &huge), ("report.docx", b"PK\x03\x04damaged")]);
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("a.c", &b"int a;"[..]), ("Demo.MP4", &huge), ("report.docx", b"PK\x03\x04damaged")]
    {
        fs::write(folder.path().join(name), content).unwrap();
    }
    for files in [handed_in("x.zip", &packed).unwrap(), read_at(folder.path()).unwrap()] {
        assert_eq!((files.files.len(), files.notes.len()), (1, 2), "{:?}", files.notes);
        assert!(
            files.notes[1].ends_with("report.docx is left out: it is a document, and no source"),
            "{:?}",
            files.notes
        );
    }
}

#[test]
fn what_the_rule_does_not_know_is_nobodys_submission() {
    let folder = tempfile::tempdir().unwrap();
    let rule = Regex::new(r"^(?<student>[a-z]+)_(?<attempt>\d+)_(?<file>.+)$").unwrap();
    for name in ["notes of mine.txt", "grades.xlsx", ".hidden"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let why = list(folder.path(), Some(&rule), Path::new("grades")).unwrap_err();
    assert!(why.contains("`attempts:` has it; there is grades.xlsx"), "{why}");
    fs::write(folder.path().join("doe_1_a.c"), "").unwrap();
    let listing = list(folder.path(), Some(&rule), Path::new("grades")).unwrap();
    assert_eq!((listing.entries.len(), &*listing.entries[0].student), (1, "doe"));
    assert_eq!(listing.strays, ["grades.xlsx", "notes of mine.txt"]);
}

#[test]
fn archives_of_other_kinds_are_told_by_name() {
    let rar = b"Rar!\x1a\x07\0rest";
    for (name, content, kind) in [
        ("a.rar", &rar[..], ".rar"),
        ("a.zip", &zipped(&[("work.7z", b"7z\xbc\xaf\x27\x1crest")]), ".7z"),
        ("a.tar.xz", b"\xfd7zXZ\0rest", ".xz"),
        ("a.tar.bz2", b"BZh91AY", ".bz2"),
    ] {
        let why = handed_in(name, content).unwrap_err();
        assert!(
            why.contains(&format!("is a {kind} archive"))
                && why.ends_with("hand in .zip or .tar.gz, or the files themselves"),
            "{why}"
        );
    }
    // Beside the work it is no harm.
    let files = handed_in("a.zip", &zipped(&[("a.c", b"int a;"), ("old.rar", rar)])).unwrap();
    assert_eq!((files.files.len(), files.notes.len()), (1, 1));
}

#[test]
fn grades_are_no_submissions() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["anna", "grades"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let students = |out: &Path| {
        let listing = list(folder.path(), None, out)?;
        Ok::<_, String>(listing.entries.into_iter().map(|entry| entry.student).collect::<Vec<_>>())
    };
    assert_eq!(students(&folder.path().join("grades")).unwrap(), ["anna"]);
    assert_eq!(students(Path::new("/nowhere")).unwrap(), ["anna", "grades"]);
    assert!(students(&folder.path().join("anna/..")).unwrap_err().contains("--out"));
}
