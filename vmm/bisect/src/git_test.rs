use super::*;
use crate::replay;
use tempfile::TempDir;

/// A repository with some commits, made by the real git.
pub(crate) struct Sandbox {
    pub folder: TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self { folder: tempfile::tempdir().unwrap() };
        sandbox.git(&["init", "--quiet", "-b", "main"]);
        sandbox
    }

    pub fn git(&self, words: &[&str]) -> String {
        let mut git = bare_git();
        git.arg("-C").arg(self.folder.path());
        for setting in
            ["user.name=A", "user.email=a@b.c", "commit.gpgSign=false", "protocol.file.allow=always"]
        {
            git.args(["-c", setting]);
        }
        let output = git.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn commit(&self, file: &str, text: &str) -> String {
        self.write(file, text);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", &format!("{file}: {text}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn repository(&self) -> Repository {
        Repository::open(self.folder.path()).unwrap()
    }

    /// Everything in the repository that a user would miss.
    fn state(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut todo = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => todo.push(path),
                    false => files.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn histories_have_their_merges_and_tell_what_changed() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("a", "1");
    let second = sandbox.commit("a", "2");
    sandbox.git(&["checkout", "--quiet", "-b", "side", &first]);
    let side = sandbox.commit("dir/b", "1");
    sandbox.git(&["checkout", "--quiet", "main"]);
    sandbox.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let merge = sandbox.repository().resolve("HEAD").unwrap();
    let history = sandbox.repository().history(&first, &merge, &first).unwrap();
    assert_eq!(history.len(), 4);
    let place = history.place(&merge);
    assert_eq!(history.commit(place).own_parents, [second.clone(), side.clone()]);
    let changes = sandbox.repository().changes(&history).unwrap();
    assert_eq!(changes[&side], ["dir/b"]);
    assert_eq!(changes[&second], ["a"]);
    assert_eq!(sandbox.repository().about(&side).files, ["dir/b"]);
    assert!(sandbox.repository().history(&merge, &first, &merge).is_err(), "nothing is between them");
    assert_eq!(sandbox.repository().common(&second, &side).unwrap(), [first]);
    assert_eq!(sandbox.repository().differing(&second, &merge).len(), 1);
}

/// What stands behind the place where git was ended would count as commits that change nothing.
#[test]
fn changes_that_git_did_not_tell_to_the_end_are_none() {
    let sandbox = Sandbox::new();
    let commits: Vec<String> = (0..4).map(|it| sandbox.commit("a", &it.to_string())).collect();
    let repository = sandbox.repository();
    let history = repository.history(&commits[0], &commits[3], &commits[0]).unwrap();
    assert_eq!(repository.changes(&history).unwrap().len(), 3);
    let unknown = History::line([commits[0].clone(), commits[1].clone(), "f".repeat(40)]);
    let error = repository.changes(&unknown).unwrap_err().to_string();
    assert!(error.contains("diff-tree said nothing of ffff"), "{error}");
    let tree = repository.tree(&commits[2]).unwrap();
    fs::remove_file(sandbox.folder.path().join(".git/objects").join(&tree[..2]).join(&tree[2..])).unwrap();
    let error = repository.changes(&history).unwrap_err().to_string();
    assert!(error.contains("git diff-tree: ") && error.contains(&tree), "{error}");
}

#[test]
fn checking_out_changes_nothing_of_the_users() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("a", "1");
    sandbox.write("a", "");
    let second = sandbox.commit("sub/b", "2");
    // What is neither clean nor at any commit.
    sandbox.write("a", "not committed");
    sandbox.write("new", "untracked");
    sandbox.git(&["update-index", "--split-index"]);
    sandbox.git(&["config", "core.splitIndex", "true"]);
    let repository = sandbox.repository();
    assert!(repository.is_dirty());
    let before = sandbox.state();
    let elsewhere = tempfile::tempdir().unwrap();
    let (folder, index) = (elsewhere.path().join("tree"), elsewhere.path().join("index"));
    let is = |file: &str| fs::read_to_string(folder.join(file)).ok();
    for _ in 0..2 {
        repository.check_out(&first, &folder, &index).unwrap();
        assert_eq!((is("a"), is("sub/b")), (Some("1".into()), None));
        repository.check_out(&second, &folder, &index).unwrap();
        assert_eq!((is("a"), is("sub/b"), is("new")), (Some(String::new()), Some("2".into()), None));
    }
    // A killed git leaves its lock, and anything may have been left half done.
    fs::write(elsewhere.path().join("index.lock"), "").unwrap();
    fs::remove_file(folder.join("a")).unwrap();
    repository.check_out(&first, &folder, &index).unwrap();
    assert_eq!(is("a"), Some("1".into()));
    assert_eq!(sandbox.state(), before);
}

/// Else all files of a kernel would be written anew for each commit.
#[test]
fn a_file_that_a_build_linked_is_left_alone() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("a", "1");
    let second = sandbox.commit("b", "2");
    let elsewhere = tempfile::tempdir().unwrap();
    let (folder, index) = (elsewhere.path().join("tree"), elsewhere.path().join("index"));
    let repository = sandbox.repository();
    repository.check_out(&first, &folder, &index).unwrap();
    // git looks at whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let link = elsewhere.path().join("link");
    fs::hard_link(folder.join("a"), &link).unwrap();
    repository.check_out(&second, &folder, &index).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    assert_eq!(inode(&folder.join("a")), inode(&link));
}

#[test]
fn submodules_are_checked_out_where_the_user_has_them() {
    let inner = Sandbox::new();
    inner.commit("i", "old");
    let outer = Sandbox::new();
    outer.git(&["submodule", "--quiet", "add", &inner.folder.path().display().to_string(), "deep/inner"]);
    let old = outer.commit("o", "1");
    inner.commit("i", "new");
    outer.git(&["-C", "deep/inner", "pull", "--quiet"]);
    let new = outer.commit("o", "2");
    let elsewhere = tempfile::tempdir().unwrap();
    let (folder, index) = (elsewhere.path().join("tree"), elsewhere.path().join("index"));
    for (commit, text) in [(&old, "old"), (&new, "new"), (&old, "old")] {
        assert_eq!(
            outer.repository().check_out(commit, &folder, &index).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert_eq!(fs::read_to_string(folder.join("deep/inner/i")).unwrap(), text);
    }
    outer.git(&["submodule", "--quiet", "deinit", "--force", "deep/inner"]);
    let other = (elsewhere.path().join("other"), elsewhere.path().join("other-index"));
    assert_eq!(outer.repository().check_out(&old, &other.0, &other.1).unwrap(), [Path::new("deep/inner")]);
}

/// It would be built from another commit's files, and judged by them.
#[test]
fn nothing_of_a_submodule_stays_where_a_commit_has_another_or_none() {
    let inner = Sandbox::new();
    inner.commit("i", "1");
    let outer = Sandbox::new();
    let before = outer.commit("o", "1");
    outer.git(&["submodule", "--quiet", "add", &inner.folder.path().display().to_string(), "deep/inner"]);
    let with = outer.commit("o", "2");
    let committed = |changes: &[&[&str]]| {
        changes.iter().for_each(|words| _ = outer.git(&[&["update-index", "--add"], *words].concat()));
        outer.git(&["commit", "--quiet", "-m", "x"]);
        outer.git(&["rev-parse", "HEAD"])
    };
    // Not a commit of the submodule's.
    let unfetched = committed(&[&["--cacheinfo", &format!("160000,{before},deep/inner")]]);
    let file = format!("100644,{},deep/inner/j", outer.git(&["hash-object", "-w", "o"]));
    let plain = committed(&[&["--force-remove", "deep/inner"], &["--cacheinfo", &file]]);
    let elsewhere = tempfile::tempdir().unwrap();
    let (folder, index) = (elsewhere.path().join("tree"), elsewhere.path().join("index"));
    let there = |name: &str| folder.join("deep/inner").join(name).exists();
    for (commit, missing, has_file) in
        [(&unfetched, &["deep/inner"][..], false), (&before, &[], false), (&plain, &[], true)]
    {
        assert_eq!(outer.repository().check_out(&with, &folder, &index).unwrap(), [""; 0].map(PathBuf::from));
        assert!(there("i") && !there("j"), "before {commit}");
        let left_out = outer.repository().check_out(commit, &folder, &index).unwrap();
        assert_eq!(left_out, missing.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!((there("i"), there("j")), (false, has_file), "{commit}");
    }
}

/// Others take a relative path for one in the scenario's folder, and a folder in the work tree may go while it is searched.
#[test]
fn a_repository_has_an_absolute_place_that_no_commit_takes_away() {
    let sandbox = Sandbox::new();
    let commit = sandbox.commit("sub/a", "1");
    sandbox.git(&["init", "--quiet", "--bare", "bare.git"]);
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let top = fs::canonicalize(sandbox.folder.path()).unwrap();
    let relative = |name: &str| up.join(top.join(name).strip_prefix("/").unwrap());
    let open = |name: &str| Repository::open(&relative(name)).unwrap();
    let (whole, sub, bare) = (open(""), open("sub"), open("bare.git"));
    assert_eq!((whole.place(), sub.place()), (&*top, &*top));
    assert!(bare.place().is_absolute() && bare.place().ends_with("bare.git"), "{bare:?}");
    fs::remove_dir_all(top.join("sub")).unwrap();
    assert_eq!(sub.resolve("HEAD").unwrap(), commit);
}

fn shallow_clone(of: &Sandbox, options: &[&str]) -> TempDir {
    let clone = tempfile::tempdir().unwrap();
    let from = format!("file://{}", of.folder.path().display());
    let mut git = bare_git();
    let git = git.args(["clone", "--quiet"]).args(options).arg(&from).arg(clone.path());
    assert!(git.status().unwrap().success());
    clone
}

#[test]
fn a_shallow_clone_is_told() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("a", "1");
    sandbox.commit("a", "2");
    let clone = shallow_clone(&sandbox, &["--depth=1"]);
    let error = Repository::open(clone.path()).unwrap().resolve(&first).unwrap_err().to_string();
    assert!(error.contains("git fetch --unshallow"), "{error}");
}

/// A branch whose beginning was never fetched: it must not be proven that its oldest commit did what may have been done before it.
#[test]
fn a_commit_where_a_shallow_clone_ends_keeps_its_parents_names() {
    let sandbox = Sandbox::new();
    let first = sandbox.commit("a", "1");
    sandbox.git(&["checkout", "--quiet", "-b", "side"]);
    let side: Vec<String> = (0..4).map(|it| sandbox.commit("b", &it.to_string())).collect();
    sandbox.git(&["checkout", "--quiet", "main"]);
    sandbox.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let new = sandbox.git(&["rev-parse", "HEAD"]);
    let clone = shallow_clone(&sandbox, &["--depth=3"]);
    let repository = Repository::open(clone.path()).unwrap();
    let history = repository.history(&first, &new, &first).unwrap();
    assert!(repository.cut_off().contains(&side[2]), "{:?}", repository.cut_off());
    assert_eq!(history.commit(history.place(&side[2])).own_parents, [side[1].clone()]);
    let error = repository.check_out(&side[1], &clone.path().join("t"), &clone.path().join("i"));
    assert!(matches!(error, Err(GitError::Input(_))), "{error:?}");
}

/// Nothing can be said of a commit whose files could not be fetched just then; of one that is skipped, nobody asks again.
#[test]
fn that_files_of_a_partial_clone_cannot_be_fetched_is_no_commits_fault() {
    let sandbox = Sandbox::new();
    sandbox.git(&["config", "uploadpack.allowFilter", "true"]);
    let commit = sandbox.commit("a", "1");
    let clone = shallow_clone(&sandbox, &["--filter=blob:none", "--no-checkout"]);
    let repository = Repository::open(clone.path()).unwrap();
    let check_out = || repository.check_out(&commit, &clone.path().join("t"), &clone.path().join("i"));
    let away = sandbox.folder.path().with_extension("away");
    fs::rename(sandbox.folder.path(), &away).unwrap();
    let error = check_out().unwrap_err();
    assert!(matches!(error, GitError::Machine(_)), "{error}");
    assert!(error.to_string().contains(&commit), "{error}");
    fs::rename(&away, sandbox.folder.path()).unwrap();
    check_out().unwrap();
    assert!(clone.path().join("t/a").exists());
}

#[test]
fn what_is_no_repository_or_no_commit_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Repository::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is no git repository"), "{error}");
    let sandbox = Sandbox::new();
    sandbox.commit("a", "1");
    let error = sandbox.repository().resolve("nosuch").unwrap_err().to_string();
    assert!(error.starts_with("there is no commit `nosuch`"), "{error}");
    assert!(sandbox.repository().resolve("--all").is_err());
}

#[test]
fn without_a_good_commit_it_goes_back_in_ever_larger_steps() {
    let sandbox = Sandbox::new();
    let commits: Vec<String> = (0..12).map(|it| sandbox.commit("a", &it.to_string())).collect();
    let back = sandbox.repository().back(&commits[11]).unwrap();
    assert_eq!(back, [10, 9, 7, 3, 0].map(|it: usize| commits[it].clone()));
    sandbox.git(&["tag", "v1", &commits[2]]);
    sandbox.git(&["tag", "-a", "-m", "x", "v2", &commits[6]]);
    let back = sandbox.repository().back(&commits[11]).unwrap();
    assert!(back.contains(&commits[2]) && back.contains(&commits[6]) && back.len() == 3, "{back:?}");
}

/// The real git takes over what was found out so far, and gives it back.
#[test]
fn git_replays_our_log_and_we_read_gits() {
    use crate::{search::*, state::*};
    let sandbox = Sandbox::new();
    let commits: Vec<String> = (0..9).map(|it| sandbox.commit("a", &it.to_string())).collect();
    for fixed in [false, true] {
        let asked = Asked {
            format: FORMAT,
            what: "commits".into(),
            place: sandbox.folder.path().into(),
            scenario: "s.yaml".into(),
            new: commits[8].clone(),
            old: commits[0].clone(),
            fixed,
            rule: crate::sign::Rule::Same,
            command: String::new(),
            drawn: Default::default(),
        };
        let (new, old) = if fixed { (Seen::Clean, Seen::Fault) } else { (Seen::Fault, Seen::Clean) };
        let entry = |at: usize, seen: &Seen| {
            Entry::told(Observation { commit: commits[at].clone(), seen: seen.clone(), fresh: false })
        };
        let skip = Seen::Untestable("does not build".into());
        let entries =
            [entry(8, &new), entry(0, &old), entry(0, &old), entry(7, &skip), entry(5, &new), entry(2, &old)];
        let log = replay::write(&asked, &entries);
        let file = sandbox.folder.path().join("log");
        fs::write(&file, &log).unwrap();
        sandbox.git(&["bisect", "replay", &file.display().to_string()]);
        // What is left is 3, 4 and 5.
        let head = sandbox.git(&["rev-parse", "HEAD"]);
        assert!(commits[3..5].contains(&head), "{log}");
        let word = if fixed { "fixed" } else { "bad" };
        sandbox.git(&["bisect", word]);
        let told = replay::read(&sandbox.git(&["bisect", "log"])).unwrap();
        assert_eq!(told.fixed, fixed);
        assert!(told.new.contains(&head) && told.new.contains(&commits[8]), "{told:?}");
        assert!(told.old.contains(&commits[2]) && told.skipped.contains(&commits[7]), "{told:?}");
        sandbox.git(&["bisect", "reset"]);
    }
}

/// `git bisect` moves HEAD, so that what was typed means something else by the time that the log is read.
#[test]
fn a_log_that_begins_at_head_names_the_commits_that_were_meant() {
    let sandbox = Sandbox::new();
    let commits: Vec<String> = (0..9).map(|it| sandbox.commit("a", &it.to_string())).collect();
    sandbox.git(&["bisect", "start", "HEAD", "HEAD~8"]);
    assert_ne!(sandbox.git(&["rev-parse", "HEAD"]), commits[8]);
    let told = replay::read(&sandbox.git(&["bisect", "log"])).unwrap();
    assert_eq!((told.new, told.old), (vec![commits[8].clone()], vec![commits[0].clone()]));
}

#[test]
fn a_commit_is_reverted_without_an_object_in_the_users_repository() {
    let sandbox = Sandbox::new();
    let lines = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n6\n{last}\n");
    sandbox.commit("a", &lines("1", "7"));
    let culprit = sandbox.commit("a", &lines("one", "7"));
    let head = sandbox.commit("a", &lines("one", "seven"));
    let before = sandbox.state();
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| elsewhere.path().join(name);
    let (repository, tree) = sandbox.repository().reverted(&head, &culprit, &at("objects")).unwrap();
    repository.check_out(&tree, &at("tree"), &at("index")).unwrap();
    assert_eq!(fs::read_to_string(at("tree/a")).unwrap(), lines("1", "seven"));
    assert_eq!(sandbox.state(), before);
    let head = sandbox.commit("a", &lines("uno", "seven"));
    assert!(
        sandbox.repository().reverted(&head, &culprit, &at("objects")).is_err(),
        "the line has changed since"
    );
}
