use super::*;
use crate::assignment::Assignment;
use std::fs;

const TABLE: &str = "0\tcommon\tread\t\t__x64_sys_read\n332\tcommon\tstatx\tsys_statx\n";
const HEADER: &str = "asmlinkage long sys_read(unsigned int fd, char __user *buf, size_t count);\n";
const CODE: &str = "#include <linux/syscalls.h>\nSYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)\n{\n\treturn 0;\n}\n";

fn assignment(more: &str) -> Assignment {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
    let path = folder.path().join("a.yaml");
    let text = format!(
        "kind: syscall\ncalls: {{stats: {{number: 600, prototype: [int, struct stats __user *]}}}}\n\
         tests: [{{scenario: t.yaml, points: 1}}]\n{more}"
    );
    fs::write(&path, text).unwrap();
    Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"))
}

fn prepared(more: &str, all: &[(&str, &str)]) -> Result<HandedIn, String> {
    let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let base = Base::with(&["read", "statx", "write"]).numbered(&[
        (0, "read"),
        (1, "write"),
        (156, "_sysctl"),
        (332, "statx"),
    ]);
    let rules = assignment(more).rules();
    let submission = Submission::read(&rules, &Files { files, notes: Vec::new() }, &base)?;
    let kernel =
        [("kernel/sys.c", SYS), ("include/linux/syscalls.h", HEADER), ("include/linux/kernel.h", KERNEL_H)];
    let asked = submission.asked();
    let has = |path: &str| kernel.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
    let originals = asked.into_iter().filter_map(|path| Some((path.clone(), has(&path)?))).collect();
    prepare(&rules, submission, &base, &originals)
}

/// A file that the kernel has.
const SYS: &str = "#include <linux/fs.h>\nstatic int users;\nSYSCALL_DEFINE0(read)\n{\n\treturn users;\n}\nint end(void)\n{\n\treturn 0;\n}\n";

const KERNEL_H: &str = "#define READ 0\n#define WRITE 1\nstruct completion;\nstruct user;\nint num_to_str(char *buf, int size);\n";

fn text(handed_in: &HandedIn, file: &str) -> String {
    String::from_utf8_lossy(&handed_in.files[file]).into_owned()
}

#[test]
fn types_in_a_header_of_the_kernels_stand_in_front_of_the_code_that_needs_them() {
    let types = "#define NAMES 4\nstruct stats {\n\tchar name[NAMES];\n};\nstruct other { int x; };\n";
    let prototype = "asmlinkage long sys_stats(int which, struct stats __user *to);\n";
    let place = "arch/x86/kernel/handed_in/include/linux/syscalls.h";
    let diff = format!(
        "--- a/include/linux/syscalls.h\n+++ b/include/linux/syscalls.h\n@@ -1,1 +1,7 @@\n{}{HEADER}",
        format!("{types}{prototype}").lines().map(|line| format!("+{line}\n")).collect::<String>() + " "
    );
    for (path, header) in [
        ("include/linux/syscalls.h", format!("{types}{HEADER}{prototype}")),
        ("syscalls.h", format!("{types}{prototype}")),
        ("header.diff", diff),
    ] {
        let handed_in = prepared("", &[("stats.c", CODE), (path, &header)]).unwrap();
        let wanted = format!(
            "#include <linux/syscalls.h>\n#ifndef NAMES\n#line 1 \"{place}\"\n#define NAMES 4\n#endif\n#line 2 \"{place}\"\nstruct stats {{\n\tchar name[NAMES];\n}};\n\
             #line 2 \"arch/x86/kernel/handed_in/stats.c\"\nSYSCALL_DEFINE2(stats,"
        );
        assert!(text(&handed_in, "stats.c").starts_with(&wanted), "{}", text(&handed_in, "stats.c"));
        assert_eq!(handed_in.files.keys().collect::<Vec<_>>(), ["Makefile", "stats.c", "vmm_glue.c"]);
    }
    // At its place it is the kernel's, in part as well; elsewhere it may only be called like it.
    let code = CODE.replace("SYSCALL_", "#include \"kernel.h\"\nSYSCALL_");
    for (path, is_kernels) in
        [("include/linux/kernel.h", true), ("k/include/linux/kernel.h", true), ("kernel.h", false)]
    {
        let handed_in = prepared("", &[("stats.c", &code), (path, types)]).unwrap();
        assert_eq!(text(&handed_in, "stats.c").contains("struct stats {"), is_kernels, "{path}");
        assert_eq!(handed_in.files.contains_key("kernel.h"), !is_kernels, "{path}");
    }
    // What the kernel's own types were made to have is no student's to give; it is said.
    let diff = format!(
        "--- a/include/linux/syscalls.h\n+++ b/include/linux/syscalls.h\n@@ -1,1 +1,2 @@\n {HEADER}+int more;\n+\tint field;\n"
    );
    let handed_in = prepared("", &[("stats.c", CODE), ("header.diff", &diff)]).unwrap();
    assert_eq!(text(&handed_in, "stats.c"), CODE);
}

#[test]
fn a_header_lies_where_it_is_named() {
    let code = format!("#include <linux/stats.h>\n#include \"../up.h\"\n{CODE}");
    for path in ["stats.h", "include/linux/stats.h"] {
        let handed_in = prepared("", &[("stats.c", &code), (path, "struct stats { int x; };\n")]).unwrap();
        let names: Vec<&String> = handed_in.files.keys().collect();
        assert_eq!(names, ["Makefile", "linux/stats.h", "stats.c", "stats.h", "vmm_glue.c"]);
    }
}

#[test]
fn of_whole_copies_of_an_old_kernels_files_only_what_was_added_is_taken() {
    let table = format!("{TABLE}333\tcommon\tstats\tsys_stats\n");
    let header = format!("{HEADER}asmlinkage long sys_stats(int which, struct stats __user *to);\n");
    let all = [
        ("k/stats.c", CODE),
        ("k/syscall_64.tbl", &table),
        ("k/syscalls.h", &header),
        ("k/Makefile", "obj-y += process.o stats.o\n"),
    ];
    let handed_in = prepared("", &all).unwrap();
    assert_eq!(handed_in.files.keys().collect::<Vec<_>>(), ["Makefile", "stats.c", "vmm_glue.c"]);
    assert!(text(&handed_in, "Makefile").starts_with("obj-y := stats.o vmm_glue.o\n"));
    // However the makefile has it.
    let diff = "--- a/kernel/Makefile\n+++ b/kernel/Makefile\n@@ -1,2 +1,3 @@\n obj-y = fork.o \\\n+\tstats.o \\\n \texit.o\n";
    for (name, makefile) in [
        ("m.diff", diff),
        ("Makefile", "lib-y += stats.o\n"),
        ("Kbuild", "obj-y += stats.o\n"),
        ("Makefile", "obj-y += foo.o\nfoo-objs := stats.o\n"),
        ("Makefile", "obj-y += stats/stats.o # mine\n"),
        ("makefile", "obj-y += stats.o\n"),
        // Of a program that tries it out.
        ("test/Makefile", "test: test.o\n\tgcc -o test test.o\n"),
    ] {
        assert!(prepared("", &[("stats.c", CODE), (name, makefile)]).is_ok(), "{makefile}");
    }
    // An older version beside it is not built.
    let both = [("stats.c", CODE), ("stats_old.c", CODE), ("Makefile", "obj-y += stats.o\n")];
    let one = prepared("", &both).unwrap();
    assert_eq!(one.files.keys().collect::<Vec<_>>(), ["Makefile", "stats.c", "vmm_glue.c"]);
    assert!(one.notes.iter().any(|note| note.starts_with("stats_old.c is left out")), "{:?}", one.notes);
    assert_eq!(handed_in.notes, ["number 333 of your table is number 600 here"]);
}

#[test]
fn a_diff_against_the_old_kernel_says_the_same() {
    let diff = "diff -u a b\n--- a/arch/x86/entry/syscalls/syscall_64.tbl\t2020\n+++ b/arch/x86/entry/syscalls/syscall_64.tbl\t2020\n\
                @@ -332 +332,2 @@\n 332 common statx sys_statx\n+333 common stats sys_stats\n--- /dev/null\n+++ b/kernel/stats.c\n\
                @@ -0,0 +1,2 @@\n+SYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)\n+{ return 0; }\n";
    let handed_in = prepared("", &[("my.patch", diff)]).unwrap();
    assert!(text(&handed_in, "stats.c").contains("SYSCALL_DEFINE2(stats"));
    assert_eq!(handed_in.notes, ["number 333 of your table is number 600 here"]);
}

#[test]
fn what_does_not_fit_together_is_told_without_a_build() {
    let table = |line: &str| format!("{TABLE}{line}\n");
    for (all, says) in [
        (
            vec![("a.c", CODE), ("syscall_64.tbl", &*table("333 common stat sys_stat"))],
            "an entry sys_stat, and no file has a function",
        ),
        (
            vec![("a.c", CODE), ("syscall_64.tbl", TABLE)],
            "a.c:2: sys_stats has no entry in your syscall_64.tbl",
        ),
        (
            vec![("a.c", CODE), ("syscall_64.tbl", &*table("333 64 stats sys_stats\n333 64 b sys_b"))],
            "the number 333 twice: to stats and to b",
        ),
        (
            vec![("a.c", CODE), ("syscalls.h", "asmlinkage long sys_stats(long which);")],
            "takes (int, struct stats __user *), and its prototype in syscalls.h says (long)",
        ),
        (vec![("a.c", CODE), ("Makefile", "obj-y += b.o")], "it needs `obj-y += a.o`"),
        (vec![("a.c", "int x;")], "write `SYSCALL_DEFINE2(stats, ...)`"),
        (
            vec![("a.c", "SYSCALL_DEFINE1(stats, long, which)\n{}")],
            "stats takes (long), and should take (int, struct stats __user *)",
        ),
        (vec![("syscall_64.tbl", TABLE)], "there is no C source"),
        (
            vec![("a.c", "asmlinkage long sys_stats(int which, struct stats __user *to)\n{\n}\n")],
            "write `SYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)`",
        ),
    ] {
        let why = prepared("", &all).unwrap_err();
        assert!(why.contains(says), "`{says}` is not in:\n{why}");
    }
}

#[test]
fn old_functions_are_wrapped_where_that_is_allowed_and_other_names_are_taken() {
    let old = "asmlinkage long sys_mine(int which, struct stats __user *to)\n{\n\treturn 0;\n}\n";
    let handed_in = prepared("old-style: wrapped\n", &[("a.c", old)]).unwrap();
    let glue = text(&handed_in, "vmm_glue.c");
    assert!(glue.contains("SYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)\n{\n\treturn sys_mine(which, to);\n}"), "{glue}");
    assert_eq!(handed_in.notes.len(), 3, "{:?}", handed_in.notes);
    let other = CODE.replace("(stats,", "(mine,");
    let handed_in = prepared("", &[("a.c", &other)]).unwrap();
    assert!(text(&handed_in, "vmm_glue.c").contains("return __x64_sys_mine(regs);"));
}

#[test]
fn the_base_reserves_the_calls_at_the_ends_of_the_kernels_files() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::of(
        vec![("first.patch".to_owned(), b"x".to_vec())],
        Some(b"compiler: llvm\n".to_vec()),
        [TABLE, "COND_SYSCALL(rseq);\n", "obj-y += a.o\n"],
        &[
            Slot { name: "b".into(), number: 601, prototype: None },
            Slot { name: "a".into(), number: 600, prototype: None },
        ],
    );
    base.unwrap().series(None, folder.path()).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("series"), "first.patch\nvmm-calls.patch\nvmm-handed-in.patch\n");
    assert_eq!(read("recipe.yaml"), "compiler: llvm\n");
    let patch = read("vmm-calls.patch");
    assert!(patch.contains("@@ -1,2 +1,4 @@\n 0\tcommon\tread\t\t__x64_sys_read\n 332\tcommon\tstatx\tsys_statx\n+600\t64\ta\tsys_a\n+601\t64\tb\tsys_b\n"), "{patch}");
    assert!(
        patch.contains("+COND_SYSCALL(a);\n+COND_SYSCALL(b);\n") && patch.contains("+obj-y += handed_in/\n")
    );
    for (name, number) in [("statx", 600), ("mine", 332)] {
        let slot = Slot { name: name.into(), number, prototype: None };
        assert!(Base::of(Vec::new(), None, [TABLE, "a\n", "b\n"], &[slot]).is_err());
    }
}

/// A kernel's own entry stays its own, though later kernels have no function for it; and its numbers are nobody else's.
#[test]
fn an_old_kernels_own_entries_are_no_students() {
    let with = |lines: &str, more: &[(&str, &str)]| {
        let table = format!("{TABLE}1\tcommon\twrite\tsys_write\n156\tcommon\t_sysctl\tsys_sysctl\n{lines}");
        let files = [&[("stats.c", CODE), ("syscall_64.tbl", &*table)][..], more].concat();
        prepared("", &files)
    };
    let handed_in = with("333\tcommon\tstats\tsys_stats\n", &[]).unwrap();
    assert_eq!(handed_in.notes, ["number 333 of your table is number 600 here"]);
    let why = with("332\tcommon\tstats\tsys_stats\n", &[]).unwrap_err();
    assert_eq!(why, "the table gives the number 332 twice: to statx and to stats");
    let table = format!("{TABLE}156\tcommon\t_sysctl\tsys_sysctl\n1\tcommon\tstats\tsys_stats\n");
    let why = prepared("", &[("stats.c", CODE), ("syscall_64.tbl", &table)]).unwrap_err();
    assert_eq!(why, "the table gives the number 1 to stats, and it is that of write");
    let notes = prepared("", &[("stats.c", CODE)]).unwrap().notes;
    assert_eq!(notes, ["no entry of the table came with it: sys_stats has the number 600 here"]);
}

#[test]
fn programs_and_older_versions_beside_are_left_out() {
    let table = format!("{TABLE}333\tcommon\tstats\tsys_stats\n");
    let old = CODE.replace("return 0;", "return 1;");
    let program = "#include <stdio.h>\nint main(void)\n{\n\treturn 0;\n}\n";
    let all =
        [("stats.c", CODE), ("old/stats.c", &*old), ("test/test.c", program), ("syscall_64.tbl", &*table)];
    let handed_in = prepared("", &all).unwrap();
    assert_eq!(handed_in.files.keys().collect::<Vec<_>>(), ["Makefile", "stats.c", "vmm_glue.c"]);
    assert!(text(&handed_in, "stats.c").contains("return 0;"));
    let notes = [
        "test/test.c is a program, and no part of the kernel",
        "old/stats.c is left out: stats.c has the same name",
        "number 333 of your table is number 600 here",
    ];
    assert_eq!(handed_in.notes, notes);
}

#[test]
fn types_are_the_same_whatever_their_spelling() {
    for (a, b) in [
        ("const long int *", "long *"),
        ("unsigned long int __user *", "unsigned long *"),
        ("unsigned *", "unsigned int *"),
        ("short int", "short"),
        ("signed int", "int"),
    ] {
        assert!(functions::same_type(a, b), "{a} {b}");
    }
    assert!(!functions::same_type("long", "int") && !functions::same_type("unsigned long *", "long *"));
}

/// Students like to put their function where others are.
#[test]
fn a_call_in_a_file_of_the_kernels_is_taken_out_of_it() {
    let table = format!("{TABLE}333\tcommon\tstats\tsys_stats\n");
    let mine = CODE.split_once('\n').unwrap().1;
    let whole = format!("{SYS}\n{mine}");
    let added: String = mine.lines().map(|line| format!("+{line}\n")).collect();
    let diff = format!(
        "--- a/kernel/sys.c\n+++ b/kernel/sys.c\n@@ -7,4 +7,9 @@\n int end(void)\n {{\n \treturn 0;\n }}\n+\n{added}"
    );
    for (path, text) in [
        ("kernel/sys.c", &whole),
        ("k/linux-4.19/kernel/sys.c", &whole),
        ("sys.c", &whole),
        ("p.patch", &diff),
        ("p.txt", &diff),
    ] {
        let all = [(path, &**text), ("syscall_64.tbl", &*table), ("Makefile", "obj-y += process.o\n")];
        let handed_in = prepared("", &all).unwrap_or_else(|why| panic!("{path}: {why}"));
        let taken = self::text(&handed_in, "kernel_sys.c");
        assert!(
            taken.contains("SYSCALL_DEFINE2(stats") && !taken.contains("SYSCALL_DEFINE0(read)"),
            "{path}: {taken}"
        );
        assert!(self::text(&handed_in, "Makefile").starts_with(
            "obj-y := kernel_sys.o vmm_glue.o\nccflags-y := -g -I$(srctree)/$(src) -I$(srctree)/kernel "
        ));
        assert_eq!(
            handed_in.notes[0],
            "what was added to kernel/sys.c is taken out of it, into a file of its own"
        );
    }
    let uses = whole.replace("return 0;\n}\n", "return users;\n}\n");
    let handed_in = prepared("", &[("kernel/sys.c", &uses)]).unwrap();
    let why = handed_in
        .explains("kernel/sys.c:12:9: error: ‘users’ undeclared (first use in this function)")
        .unwrap();
    assert!(why.contains("static there: users"), "{why}");
    assert_eq!(handed_in.explains("error: ‘other’ undeclared"), None);
    let nowhere = diff.replace("kernel/sys.c", "mine/own.c");
    assert!(prepared("", &[("p.patch", &nowhere)]).unwrap_err().contains("hand in the whole file"));
}

#[test]
fn commits_are_put_one_behind_the_other_and_other_attempts_left_out() {
    let first = "--- /dev/null\n+++ b/kernel/stats.c\n@@ -0,0 +1,3 @@\n+#include <linux/syscalls.h>\n+SYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)\n+{ return 1; }\n\
        --- a/t/syscall_64.tbl\n+++ b/t/syscall_64.tbl\n@@ -1 +1,2 @@\n 1 common write sys_write\n+333\tcommon\tstats\tsys_stats\n";
    let second = "--- a/kernel/stats.c\n+++ b/kernel/stats.c\n@@ -2,2 +2,2 @@\n SYSCALL_DEFINE2(stats, int, which, struct stats __user *, to)\n-{ return 1; }\n+{ return 2; }\n\
        --- a/t/syscall_64.tbl\n+++ b/t/syscall_64.tbl\n@@ -1,2 +1,2 @@\n 1 common write sys_write\n-333\tcommon\tstats\tsys_stats\n+334\tcommon\tstats\tsys_stats\n";
    let both = format!(
        "From 1\nSubject: [PATCH 1/2]\n---\n{first}-- \n2.34.1\n\nFrom 2\nSubject: [PATCH 2/2]\n---\n{second}-- \n2.34.1\n"
    );
    for all in [
        vec![("all.mbox.patch", &*both)],
        vec![("0001-a.patch", first), ("0002-b.patch", second)],
        vec![("10.diff", second), ("9.diff", first)],
        vec![("a.patch", second), ("b.patch", first), ("series", "b.patch\na.patch\n")],
    ] {
        let handed_in = prepared("", &all).unwrap_or_else(|why| panic!("{all:?}: {why}"));
        assert!(text(&handed_in, "stats.c").ends_with("{ return 2; }\n"), "{all:?}");
        assert_eq!(handed_in.notes, ["number 334 of your table is number 600 here"]);
    }
    let why = prepared("", &[("1.patch", second), ("2.patch", first)]).unwrap_err();
    assert!(
        why.starts_with("2.patch does not fit behind 1.patch: kernel/stats.c is otherwise there"),
        "{why}"
    );
    let again = first.replace("return 1", "return 3");
    let handed_in = prepared("", &[("v1.patch", first), ("v2.patch", &again)]).unwrap();
    assert!(text(&handed_in, "stats.c").contains("return 3"));
    assert_eq!(handed_in.notes[0], "v1.patch is left out: v2.patch does the same again, and counts");
}

#[test]
fn a_students_file_may_be_called_like_ours() {
    let handed_in = prepared("", &[("vmm_glue.c", CODE)]).unwrap();
    assert!(text(&handed_in, "vmm_glue.c").contains("SYSCALL_DEFINE2(stats"));
    assert!(text(&handed_in, "Makefile").starts_with("obj-y := vmm_glue.o vmm_glue_.o\n"));
}

/// What a student hands in is read before anything bounds the time for it.
#[test]
fn nothing_takes_time_without_end() {
    let started = std::time::Instant::now();
    let braces = format!("SYSCALL_DEFINE0(stats)\n{{}}\nint a = {}", "{} ".repeat(300_000));
    let calls = "SYSCALL_DEFINE0(stats)\n{}\n".repeat(30_000);
    let added: String = (0..60_000).map(|index| format!("+int a{index};\n")).collect();
    let made = format!("--- /dev/null\n+++ b/kernel/a.c\n@@ -0,0 +1,60000 @@\n{added}");
    let hunk = "@@ -1 +1 @@\n-int a59999;\n+int a59999;\n";
    let hunks = format!("{made}--- a/kernel/a.c\n+++ b/kernel/a.c\n{}", hunk.repeat(60_000));
    for (path, text) in [("kernel/sys.c", &braces), ("kernel/sys.c", &calls), ("a.patch", &hunks)] {
        let _ = prepared("", &[(path, text)]);
    }
    let deep = "a/".repeat(2000) + "a.c";
    let _ = prepared("", &[(&deep, CODE)]);
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}
