use super::*;

fn texts(shown: &Shown) -> Vec<String> {
    let piece = |piece: &Piece| piece.lines.iter().map(|it| format!("{}\n", it.text)).collect::<String>();
    shown.pieces.iter().map(piece).collect()
}

const MADE: &str = "diff --git a/kernel/a.c b/kernel/a.c\nnew file mode 100644\n--- /dev/null\n+++ b/kernel/a.c\n@@ -0,0 +1,3 @@\n+one\n+two\n+three\n";

#[test]
fn a_file_that_is_made_and_then_changed_is_known_as_a_whole() {
    let mut patched = Patched::default();
    let mended = "From 1 Mon Sep 17\nSubject: [PATCH 2/2] x\n\n---\n kernel/a.c | 2 +-\n\n--- a/kernel/a.c\n+++ b/kernel/a.c\n@@ -1,3 +1,4 @@\n one\n-two\n+zwei\n+\n three\n-- \n2.34.1\n";
    patched.apply(&format!("{MADE}{mended}")).unwrap();
    let shown = &patched.files["kernel/a.c"];
    assert!(shown.whole && shown.pieces[0].start == 1, "{shown:?}");
    assert_eq!(texts(shown), ["one\nzwei\n\nthree\n"]);
    // As a file of its own, too; and a commit that takes it away.
    patched.apply("--- a/kernel/a.c\n+++ b/kernel/a.c\n@@ -3,2 +3,2 @@\n \n-three\n+drei\n").unwrap();
    assert_eq!(texts(&patched.files["kernel/a.c"]), ["one\nzwei\n\ndrei\n"]);
    let gone = "--- a/kernel/a.c\n+++ /dev/null\n@@ -1,4 +0,0 @@\n-one\n-zwei\n-\n-drei\n";
    patched.apply(gone).unwrap();
    assert!(patched.files.is_empty());
}

#[test]
fn of_a_file_that_was_there_the_places_are_known_and_what_was_added() {
    let mut patched = Patched::default();
    patched
        .apply("--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -10,2 +10,4 @@\n old\n+int mine;\n+int more;\n end\n@@ -90 +92,2 @@\n far\n+int far;\n")
        .unwrap();
    patched.apply("--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -10,4 +10,5 @@\n old\n-int mine;\n+int his;\n+int hers;\n int more;\n end\n").unwrap();
    let shown = &patched.files["kernel/sys.c"];
    assert!(!shown.whole);
    assert_eq!(shown.added(), "int his;\nint hers;\nint more;\nint far;\n");
    assert_eq!(shown.pieces.iter().map(|it| it.start).collect::<Vec<_>>(), [10, 93]);
    let lost = "--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -1,2 +1,1 @@\n nowhere\n-int hers;\n";
    assert_eq!(patched.apply(lost), Err("kernel/sys.c".to_owned()));
}

#[test]
fn a_second_attempt_is_no_continuation() {
    let mut patched = Patched::default();
    patched.apply(MADE).unwrap();
    assert!(patched.is_redone_by(MADE));
    assert!(!patched.is_redone_by("--- a/kernel/a.c\n+++ b/kernel/a.c\n@@ -1 +1 @@\n-one\n+uno\n"));
    let table = |line: &str| format!("--- a/t/s.tbl\n+++ b/t/s.tbl\n@@ -1 +1,2 @@\n 1\n+{line}\n");
    patched.apply(&table("333\tcommon\tmine\tsys_mine")).unwrap();
    assert!(patched.is_redone_by(&table("333\tcommon\tmine\tsys_mine")));
    assert!(!patched.is_redone_by(&table("334\tcommon\tother\tsys_other")));
}

#[test]
fn paths_are_taken_however_the_diff_was_made() {
    for (name, path, named) in [
        ("b/kernel/sys.c", "kernel/sys.c", "b/kernel/sys.c"),
        ("linux-4.19-new/kernel/sys.c\t2025", "kernel/sys.c", "linux-4.19-new/kernel/sys.c"),
        ("kernel/sys.c", "kernel/sys.c", "kernel/sys.c"),
        ("./../linux/kernel/sys.c", "kernel/sys.c", "linux/kernel/sys.c"),
        ("/usr/src/linux/kernel/sys.c", "src/linux/kernel/sys.c", "usr/src/linux/kernel/sys.c"),
        ("syscall_64.tbl", "syscall_64.tbl", "syscall_64.tbl"),
    ] {
        let mut patched = Patched::default();
        patched.apply(&format!("--- {name}.orig\n+++ {name}\n@@ -1 +1,2 @@\n a\n+b\n")).unwrap();
        let shown = patched.files.get(path).unwrap_or_else(|| panic!("{name}: {patched:?}"));
        assert_eq!((&*shown.named, shown.added()), (named, "b\n".to_owned()), "{name}");
    }
}

#[test]
fn a_patch_applies_however_its_files_are_named() {
    for (old, new) in [
        ("a/kernel/sys.c", "b/kernel/sys.c"),
        ("kernel/sys.c", "kernel/sys.c"),
        ("linux-6.12.orig/kernel/sys.c\t2026-01-01", "linux-6.12/kernel/sys.c\t2026-01-02"),
        ("/home/kernel/linux/kernel/sys.c", "/home/kernel/mine/linux-6.12/kernel/sys.c"),
        ("/usr/src/work/kernel/sys.c", "/usr/src/mine/kernel/sys.c"),
    ] {
        let hunk = "@@ -1,3 +1,3 @@\n one\n--- minus\n+++ plus\n two\n";
        let text = format!(
            "Subject: x\n\n---\n sys.c | 2\ndiff --git {old} {new}\n--- {old}\n+++ {new}\n{hunk}-- \n2.3\n"
        );
        let named = as_from_git(&text);
        let lines: Vec<&str> = named.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert!(named.contains("--- a/kernel/sys.c") && lines.contains(&"+++ b/kernel/sys.c"), "{named}");
        assert!(named.contains("\n--- minus\n+++ plus\n"), "a line of the file is none of the diff: {named}");
    }
    let headers = "--- linux/include/linux/x.h\n+++ mine/include/linux/x.h\n@@ -0,0 +1 @@\n+x\n";
    assert!(as_from_git(headers).starts_with("--- a/include/linux/x.h\n+++ b/include/linux/x.h\n"));
    for same in [
        "--- /dev/null\n+++ b/kernel/a.c\n@@ -0,0 +1 @@\n+x\n",
        "--- a/../../x\n+++ b/../../x\n@@ -1 +1 @@\n-a\n+b\n",
        "no diff",
        "",
    ] {
        assert_eq!(as_from_git(same), same);
    }
}

#[test]
fn a_folder_beside_the_kernels_own_is_a_new_one_where_paths_have_no_prefix() {
    let made =
        |name: &str| format!("diff --git {name} {name}\n--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x\n");
    let changed = |old: &str, name: &str| format!("--- {old}\n+++ {name}\n@@ -1 +1,2 @@\n a\n+b\n");
    let table = "arch/x86/entry/syscalls/syscall_64.tbl";
    for (diff, places) in [
        (changed(table, table) + &made("mine/mine.c"), ["mine/mine.c", table]),
        (
            made("mine/kernel/x.c") + &changed("Makefile", "Makefile") + &changed(table, table),
            ["Makefile", "mine/kernel/x.c"],
        ),
        (made("linux-new/mine/x.c") + &changed("linux-old/mm/x.c", "mm/x.c"), ["mine/x.c", "mm/x.c"]),
        // With one, it is as it was.
        (made("new/mine/x.c") + &changed("old/mm/x.c", "new/mm/x.c"), ["mine/x.c", "mm/x.c"]),
    ] {
        let mut patched = Patched::default();
        patched.apply(&diff).unwrap();
        let paths: Vec<&String> = patched.files.keys().collect();
        assert!(places.iter().all(|place| paths.iter().any(|path| path == place)), "{paths:?}\n{diff}");
        let named = as_from_git(&diff);
        for place in places {
            assert!(named.contains(&format!("+++ b/{place}\n")), "{place} is not in:\n{named}");
        }
        assert!(!named.contains("linux-"), "{named}");
    }
}

#[test]
fn a_name_that_means_something_to_make_is_none() {
    let mut patched = Patched::default();
    patched
        .apply("--- /dev/null\n+++ b/kernel/x$(shell\u{b}touch$${IFS}owned).c\n@@ -0,0 +1 @@\n+x\n")
        .unwrap();
    assert_eq!(patched.files.into_keys().collect::<Vec<_>>(), ["kernel/x__shell_touch___IFS_owned_.c"]);
}

#[test]
fn nothing_that_is_handed_in_as_a_diff_makes_it_fall_over() {
    for text in [
        "",
        "--- ",
        "--- a\n+++ b\n@@ -99999999999999999999 +1 @@\n",
        "+++ \n@@ -1,9 +1,9 @@\n",
        "--- a\n+++ ä\n@@ -1 +1 @@\nä\n",
        "--- a\n+++ b\n@@ -0,0 +0,0 @@\n+ä\n\\ No newline\n@@ -0,0 +5 @@\n+x\n",
    ] {
        let _ = Patched::default().apply(text);
        is_diff(text);
    }
    assert!(
        is_diff("text before\n--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n") && !is_diff("--- a table ---\n+++ b\n")
    );
}

#[test]
fn a_patch_without_a_hunk_is_one_and_a_letter_that_tells_of_it_is_none() {
    for header in
        ["similarity index 100%\nrename from x\nrename to y", "old mode 100644", "new file mode 100644"]
    {
        assert!(is_diff(&format!("Subject: [PATCH 1/2] x\n\ndiff --git a/x b/y\n{header}\n")), "{header}");
    }
    assert!(!is_diff("Subject: [PATCH 0/2] x\n\n rename x => y (100%)\n 1 file changed\n"));
}

#[test]
fn a_diff_that_was_made_in_another_folder_names_the_same_files() {
    let diff = |old: &str, new: &str| format!("--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n");
    let same = diff("a/kernel/sys.c", "b/kernel/sys.c");
    assert_eq!(as_from_git(&diff("../../linux-orig/kernel/sys.c", "kernel/sys.c")), same);
    let out = diff("a/../x", "b/../x");
    assert_eq!(as_from_git(&out), out, "nobody knows what that is");
}

#[test]
fn numbers_in_names_are_numbers() {
    let mut names = ["10.patch", "2.patch", "0001-a.patch", "v10.diff", "v9.diff", "a.txt"];
    names.sort_by(|a, b| by_number(a, b));
    assert_eq!(names, ["0001-a.patch", "2.patch", "10.patch", "a.txt", "v9.diff", "v10.diff"]);
}
