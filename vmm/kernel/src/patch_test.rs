use super::*;

const ORIGINAL: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n";
const PATCH: &str = "Subject: change\n\n--- a/dir/file.c\n+++ b/dir/file.c\n@@ -2,5 +2,5 @@\n two\n three\n-four\n+FOUR\n five\n six\n\
    --- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+made\n";

struct Setup {
    folder: tempfile::TempDir,
}

fn setup(original: &str, patches: &[(&str, &str)]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["source/dir", "series", "scratch"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("source/dir/file.c"), original).unwrap();
    let mut list = "# comment\n\n".to_owned();
    for (name, text) in patches {
        fs::write(at("series").join(name), text).unwrap();
        list += &format!("{name}  # why\n");
    }
    fs::write(at("series/series"), list).unwrap();
    Setup { folder }
}

impl Setup {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn apply(&self) -> Result<BTreeSet<PathBuf>, PatchError> {
        Series::load(&self.at("series"))?.apply(&self.at("source"), &self.at("scratch"), &self.at("log"))
    }
}

#[test]
fn a_series_changes_and_makes_files_in_the_scratch_folder_only() {
    let second = "--- a/new.c\t2024\n+++ b/new.c\n@@ -1 +1 @@\n-made\n+remade\n";
    let setup = setup(ORIGINAL, &[("1.patch", PATCH), ("2.patch", second)]);
    let touched = setup.apply().unwrap();
    assert_eq!(touched, BTreeSet::from(["dir/file.c".into(), "new.c".into()]));
    assert!(fs::read_to_string(setup.at("scratch/dir/file.c")).unwrap().contains("FOUR"));
    assert_eq!(fs::read_to_string(setup.at("scratch/new.c")).unwrap(), "remade\n");
    assert_eq!(fs::read_to_string(setup.at("source/dir/file.c")).unwrap(), ORIGINAL);
    assert!(!setup.at("source/new.c").exists());
}

/// What quilt would do with them is another kernel.
#[test]
fn options_of_a_series_are_done_or_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        fs::write(folder.path().join("series"), text).unwrap();
        names(folder.path()).map_err(|error| error.to_string())
    };
    let list = of("# ours\n\n1.patch -p1\t# why\nfix#2.patch\n  3.patch #4.patch\n").unwrap();
    let wanted = [(3, "1.patch"), (4, "fix#2.patch"), (5, "3.patch")];
    assert_eq!(list, wanted.map(|(line, name)| (line, name.to_owned())));
    for option in ["-R", "-p0", "-p2"] {
        let error = of(&format!("1.patch\n2.patch -p1 {option}\n")).unwrap_err();
        assert!(error.contains(&format!("line 2 says `{option}` of 2.patch")), "{error}");
    }
}

#[test]
fn a_hunk_that_does_not_apply_is_shown_with_what_stands_there() {
    let setup = setup("one\n2\n3\n4\n5\n6\nseven\n", &[("1.patch", PATCH)]);
    let PatchError::Rejected { patch, reject } = setup.apply().unwrap_err() else { panic!() };
    assert!(patch.ends_with("1.patch"));
    assert_eq!((reject.file.as_str(), reject.hunk, reject.count), ("dir/file.c", 1, 1));
    assert_eq!(reject.wanted[0], "@@ -2,5 +2,5 @@");
    assert!(reject.wanted.contains(&"-four".to_owned()));
    assert!(reject.found.contains(&(4, "4".to_owned())), "{reject:?}");
    let text = reject.to_string();
    assert!(text.contains("hunk 1 of dir/file.c does not apply") && text.contains("    4 4"), "{text}");
}

#[test]
fn the_first_of_several_hunks_is_shown_and_the_others_counted() {
    let patch = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n@@ -4,2 +4,2 @@\n-gone\n+GONE\n five\n@@ -7,2 +7,2 @@\n seven\n-nine\n+NINE\n";
    let setup = setup(ORIGINAL, &[("1.patch", patch)]);
    let PatchError::Rejected { reject, .. } = setup.apply().unwrap_err() else { panic!() };
    assert_eq!((reject.hunk, reject.count), (2, 2));
    assert!(reject.wanted.contains(&"-gone".to_owned()), "{reject:?}");
}

/// By hand, or with `diff -U0` mended by hand.
#[test]
fn a_hunk_without_lines_behind_its_change_is_told_why_it_does_not_apply() {
    let cut = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -4,1 +4,2 @@\n four\n+new\n";
    let error = setup(ORIGINAL, &[("1.patch", cut)]).apply().unwrap_err().to_string();
    assert!(error.contains("the hunk ends with its change, which means the end of the file"), "{error}");
    let other = setup("one\n2\n3\n4\n5\n", &[("1.patch", cut)]).apply().unwrap_err().to_string();
    assert!(!other.contains("ends with its change"), "{other}");
}

#[test]
fn a_patch_whose_tabs_became_spaces_is_told_so() {
    let original = "int f(void)\n{\n\tint a = 1;\n\n\treturn a;\n}\n\nint g(void)\n{\n\treturn 2;\n}\n";
    let patch = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -2,6 +2,6 @@\n {\n\tint a = 1;\n \n-\treturn a;\n+\treturn a + 1;\n }\n \n";
    let patch = patch.replace("\n\tint", "\n \tint");
    setup(original, &[("1.patch", &patch)]).apply().unwrap();
    let spaces = patch.replace('\t', "        ");
    let error = setup(original, &[("1.patch", &spaces)]).apply().unwrap_err().to_string();
    assert!(error.contains("These lines are there but for their blanks"), "{error}");
    assert!(!error.contains("ends with its change"), "{error}");
    let other = setup(ORIGINAL, &[("1.patch", &spaces)]).apply().unwrap_err().to_string();
    assert!(!other.contains("blanks"), "{other}");
}

#[test]
fn a_hunk_may_have_moved_but_its_surroundings_count() {
    let moved = setup(&format!("new\nnew\n{ORIGINAL}"), &[("1.patch", PATCH)]);
    moved.apply().unwrap();
    let changed = setup(&ORIGINAL.replace("six", "6"), &[("1.patch", PATCH)]);
    assert!(matches!(changed.apply().unwrap_err(), PatchError::Rejected { .. }));
}

/// git takes them, so people have them in their series.
#[test]
fn hunks_that_gnu_patch_alone_refuses_apply() {
    let less_behind =
        "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -2,4 +2,5 @@\n two\n three\n four\n+new\n five\n";
    let disorder = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -6,3 +6,4 @@\n six\n+late\n seven\n eight\n@@ -1,2 +1,3 @@\n one\n+early\n two\n";
    for (patch, line) in [(less_behind, "new"), (disorder, "early")] {
        let setup = setup(ORIGINAL, &[("1.patch", patch)]);
        setup.apply().unwrap();
        let text = fs::read_to_string(setup.at("scratch/dir/file.c")).unwrap();
        assert!(text.lines().any(|it| it == line), "{text}");
    }
}

/// The cache may lie within somebody's repository, where git would leave everything out without a word.
#[test]
fn a_repository_around_the_scratch_folder_changes_nothing() {
    let setup = setup(ORIGINAL, &[("1.patch", PATCH)]);
    let git = Command::new("git").arg("init").arg("-q").arg(setup.folder.path()).status();
    assert!(git.unwrap().success());
    setup.apply().unwrap();
    assert!(fs::read_to_string(setup.at("scratch/dir/file.c")).unwrap().contains("FOUR"));
    assert!(fs::read_to_string(setup.at("log")).unwrap().is_empty(), "patch had to do it");
}

#[test]
fn a_patch_that_makes_a_file_that_is_there_names_it() {
    let setup = setup(ORIGINAL, &[("1.patch", PATCH)]);
    fs::write(setup.at("source/new.c"), "older\n").unwrap();
    let error = setup.apply().unwrap_err().to_string();
    assert!(error.contains("makes the file new.c, which the source has already"), "{error}");
    let removes = "--- a/none.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    let error = self::setup(ORIGINAL, &[("1.patch", removes)]).apply().unwrap_err().to_string();
    assert!(error.contains("removes the file none.c, which the source has not"), "{error}");
}

#[test]
fn files_without_hunks_are_part_of_a_series() {
    let patch = "diff --git a/dir/file.c b/dir/copy.c\nsimilarity index 100%\ncopy from dir/file.c\ncopy to dir/copy.c\n\
        diff --git a/empty one b/empty one\nnew file mode 100644\nindex 0000000..e69de29\n\
        diff --git a/dir/file.c b/dir/file.c\nold mode 100644\nnew mode 100755\n\
        diff --git \"a/\\303\\244\" \"b/\\303\\244\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\303\\244\"\n@@ -0,0 +1 @@\n+made\n";
    let setup = setup(ORIGINAL, &[("1.patch", patch)]);
    let touched = setup.apply().unwrap();
    let all = ["dir/copy.c", "dir/file.c", "empty one", "\u{e4}"];
    assert_eq!(touched, all.map(PathBuf::from).into());
    assert!(all.iter().all(|name| setup.at("scratch").join(name).is_file()));
}

#[test]
fn a_patch_for_a_missing_file_says_so() {
    let patch = "--- a/none.c\n+++ b/none.c\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n";
    let error = setup(ORIGINAL, &[("1.patch", patch)]).apply().unwrap_err().to_string();
    assert!(error.ends_with("no file none.c"), "{error}");
    for (beginning, missing) in [("", "file.c"), ("linux-6.12/a/", "a/dir/file.c")] {
        let patch = format!(
            "--- {beginning}dir/file.c\n+++ {beginning}dir/file.c\n@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n"
        );
        let error = setup(ORIGINAL, &[("1.patch", &patch)]).apply().unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "no file {missing}; dir/file.c there is: make the patch with paths like a/dir/file.c (-p1)"
            )),
            "{error}"
        );
    }
}

#[test]
fn a_cover_letter_is_told_apart() {
    let letter = "From 1 Mon Sep 17 00:00:00 2001\nSubject: [PATCH 0/1] things\n\n dir/file.c | 2 +-\n 1 file changed\n\n-- \n2.39.5\n";
    let error = setup(ORIGINAL, &[("0.patch", letter), ("1.patch", PATCH)]).apply().unwrap_err().to_string();
    assert!(error.contains("0.patch: it changes no file; if it is a cover letter"), "{error}");
}

#[test]
fn a_patch_that_is_in_already_says_so() {
    let setup = setup(&ORIGINAL.replace("four", "FOUR"), &[("1.patch", PATCH)]);
    let error = setup.apply().unwrap_err().to_string();
    assert!(error.contains("has this change already"), "{error}");
}

#[test]
fn a_cut_off_patch_is_an_error() {
    let setup = setup(ORIGINAL, &[("1.patch", &PATCH[..PATCH.find("-four").unwrap()])]);
    let error = setup.apply().unwrap_err();
    assert!(matches!(error, PatchError::Failed { .. }), "{error}");
}

#[test]
fn a_patch_cannot_leave_the_source() {
    for name in ["../evil.c", "/etc/evil"] {
        let patch = format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+made\n");
        let error = setup(ORIGINAL, &[("1.patch", &patch)]).apply().unwrap_err();
        assert!(matches!(error, PatchError::Outside { .. }), "{name}: {error}");
    }
}

/// A new file whose headers git reads, and of which none stands where others have theirs.
fn hidden(name: &str, mode: &str, line: &str) -> String {
    format!(
        "rename from {name}/hostname\ndiff --git a/x b/{name}\nnew file mode {mode}\n--- /dev/null\nindex 0000000..1111111\n\
         +++ b/{name}\n@@ -0,0 +1 @@\n+{line}\n\\ No newline at end of file\n"
    )
}

#[test]
fn a_patch_makes_no_link_out_of_the_source_and_nothing_that_is_not_looked_at() {
    for (mode, line, said) in [
        ("120000", "/etc", "it makes evil, a link that leads out of the source"),
        ("120000", "../../../../../../../../../../etc", "it makes evil, a link that leads out of the source"),
        ("120000", "dir", "it makes evil, which none of its headers names"),
        ("100644", "text", "it makes evil, which none of its headers names"),
    ] {
        let patch = hidden("evil", mode, line);
        let error = setup(ORIGINAL, &[("1.patch", PATCH), ("2.patch", &patch)]).apply().unwrap_err();
        assert!(matches!(error, PatchError::Made { .. }), "{line}: {error}");
        assert!(error.to_string().contains("2.patch") && error.to_string().contains(said), "{line}: {error}");
    }
}

#[test]
fn a_link_to_a_file_of_the_series_is_that_file_and_one_to_elsewhere_is_none() {
    let link = |to: &str| {
        let link = format!(
            "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+{to}\n\\ No newline at end of file\n"
        );
        let setup = setup(ORIGINAL, &[("1.patch", PATCH), ("2.patch", &link)]);
        let touched = setup.apply();
        touched.map(|_| {
            file_below(&setup.at("scratch"), Path::new("l")).unwrap().map(|it| fs::read(it).unwrap())
        })
    };
    assert_eq!(link("new.c").unwrap().as_deref(), Some(&b"made\n"[..]));
    assert_eq!(link("nothing.c").unwrap(), None);
    assert!(matches!(link("/etc/hostname").unwrap_err(), PatchError::Made { .. }));
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("l")).unwrap();
    assert!(file_below(folder.path(), Path::new("l/hostname")).is_err(), "whatever made it");
}

#[test]
fn nothing_is_brought_from_behind_a_link_of_the_source() {
    let change = |name: &str| format!("--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-secret\n+known\n");
    for (link, to, name) in [("out", "..", "out/secret"), ("out.c", "../secret", "out.c")] {
        let setup = setup(ORIGINAL, &[("1.patch", &change(name))]);
        fs::write(setup.at("secret"), "secret\n").unwrap();
        std::os::unix::fs::symlink(to, setup.at("source").join(link)).unwrap();
        let error = setup.apply().unwrap_err();
        assert!(
            matches!(&error, PatchError::BehindLink { link: found, .. } if found == Path::new(link)),
            "{error}"
        );
        assert_eq!(fs::read_dir(setup.at("scratch")).unwrap().count(), 0);
    }
}

#[test]
fn nothing_behind_a_link_is_shown_of_a_patch_that_made_it_and_failed() {
    let setup = setup(ORIGINAL, &[]);
    fs::write(setup.at("secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink("..", setup.at("scratch/evil")).unwrap();
    let said = ["patching file evil/secret", "Hunk #1 FAILED at 1."].map(str::to_owned);
    let patch = Patch { path: "1.patch".into(), text: Vec::new() };
    let error = reject::explain(&patch, &setup.at("source"), &setup.at("scratch"), &said).to_string();
    assert!(error.contains("hunk 1 of evil/secret") && !error.contains("1 secret"), "{error}");
}

#[test]
fn a_missing_patch_is_named_with_the_line_that_asks_for_it() {
    let setup = setup(ORIGINAL, &[("1.patch", PATCH)]);
    fs::remove_file(setup.at("series/1.patch")).unwrap();
    let error = setup.apply().unwrap_err().to_string();
    assert!(error.contains("1.patch") && error.contains("series, line 3"), "{error}");
    let error = Series::load(&setup.at("nothing")).unwrap_err().to_string();
    assert!(error.contains("nothing/series"), "{error}");
}

#[test]
fn removed_lines_that_look_like_headers_are_none() {
    let files =
        files_of("--- a/x.sql\n+++ b/x.sql\n@@ -1,2 +1,2 @@\n--- old comment\n+++ new comment\n one\n");
    assert_eq!(files, BTreeSet::from(["x.sql".into()]));
}

#[test]
fn what_a_series_is_written_as_is_that_series() {
    let setup = setup(ORIGINAL, &[]);
    let patches = ["2.patch", "1.patch"].map(|name| (name.to_owned(), PATCH.as_bytes().to_vec()));
    for recipe in [None, Some(b"compiler: llvm\n".to_vec())] {
        for (name, text) in folder(patches.to_vec(), recipe.clone()) {
            fs::write(setup.at("series").join(name), text).unwrap();
        }
        let series = Series::load(&setup.at("series")).unwrap();
        let names = series.patches.iter().map(|patch| patch.path.file_name().unwrap().to_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["2.patch", "1.patch"]);
        assert_eq!(series.recipe, recipe);
    }
}

/// Root may have read the file of somebody who keeps it from others, which it can't in the box.
#[test]
fn what_is_applied_is_what_was_read() {
    let setup = setup(ORIGINAL, &[("1.patch", PATCH)]);
    let series = Series::load(&setup.at("series")).unwrap();
    fs::remove_file(setup.at("series/1.patch")).unwrap();
    series.apply(&setup.at("source"), &setup.at("scratch"), &setup.at("log")).unwrap();
    assert!(fs::read_to_string(setup.at("scratch/dir/file.c")).unwrap().contains("FOUR"));
}

#[test]
fn series_of_a_repository_share_what_is_in_it() {
    let setup = setup(ORIGINAL, &[]);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, setup.at(name)).unwrap();
    fs::create_dir(setup.at("common")).unwrap();
    fs::write(setup.at("common/recipe.yaml"), "compiler: llvm\n").unwrap();
    fs::write(setup.at("common/1.patch"), PATCH).unwrap();
    fs::write(setup.at("series/series"), "1.patch\n").unwrap();
    link("../common/recipe.yaml", "series/recipe.yaml");
    link("../common/1.patch", "series/1.patch");
    let error = recipe(&setup.at("series")).unwrap_err().to_string();
    assert!(error.contains("is a link to"), "{error}");
    fs::create_dir(setup.at(".git")).unwrap();
    let series = Series::load(&setup.at("series")).unwrap();
    assert_eq!(series.recipe.as_deref(), Some(&b"compiler: llvm\n"[..]));
    assert_eq!(series.patches[0].text, PATCH.as_bytes());
    fs::remove_file(setup.at("common/recipe.yaml")).unwrap();
    assert!(recipe(&setup.at("series")).is_err(), "it leads nowhere");
}
