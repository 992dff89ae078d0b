//! Building a collection, in a box, by its own makefiles (`build.sh`).

use super::select::FOLDER;
use crate::Abort;
use base::{
    cache::{Cache, CacheError},
    progress::note,
};
use jail::{Budget, Refused, intake};
use judge::Verdict;
use kernel::{Kernel, run, sources::hex};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const SCRIPT: &str = include_str!("build.sh");
/// The guest's side.
const GUEST: [(&str, &str); 3] = [
    ("kselftest.prepare", include_str!("prepare.sh")),
    ("kselftest.run", include_str!("run.sh")),
    ("kselftest.needs", include_str!("needs")),
];

/// A collection that was built.
pub struct Built {
    /// The guest's /kselftest.
    pub install: PathBuf,
    /// What goes to the guest's /.
    pub root: PathBuf,
    /// Its tests, in their order.
    pub tests: Vec<String>,
    /// Why files were not built, by their names.
    pub broken: BTreeMap<String, Broken>,
}

/// Builds a collection for a kernel, or finds it built. One without a single test is an error.
pub fn build(source: &Path, kernel: &Kernel, collection: &str, cache: &Cache) -> Result<Built, Abort> {
    // All collections of a kernel share a copy of what they have in common.
    let all = format!("{SCRIPT}\n{GUEST:?}\n{}", kernel.hash);
    let name = format!("kselftest-{}", &hex(Sha256::digest(all))[..12]);
    let work = cache.work(&name);
    // One in another must not be one of its files.
    let own = collection.replace('/', "@");
    let log = cache.log(&format!("{name}-{own}"));
    let folder = work.join(own);
    let _lock = cache.lock(&name, "selftests of this kernel")?;
    let read_log = || fs::read_to_string(&log).unwrap_or_default();
    // What did not build may do so now: somebody has installed what was missing.
    let is_whole = folder.join("done").is_file() && broken(&read_log()).is_empty();
    if !is_whole {
        note(&format!("building the selftests {collection}"));
        fs::create_dir_all(&work).map_err(CacheError::io("make the folder", &work))?;
        fs::write(&log, "").map_err(CacheError::io("write the log", &log))?;
        let sandbox = kernel.sandbox(&work, Budget::KERNEL, cache)?.read(source);
        let mut shell = run::boxed(&sandbox, "bash");
        shell.args(["-c", SCRIPT, "build.sh"]).arg(source).arg(&work);
        shell.arg(collection).arg(&folder).current_dir(&work).env("PWD", &work);
        // The shell holds no lock: the descriptor of one would be its standard input, and scripts read that.
        let ran = run::run_in(&sandbox, shell, &log, None, |_| ())?;
        sandbox.wrote_too_much(ran.status).map_err(CacheError::from)?;
        if !ran.status.success() || !folder.join("done").is_file() {
            let last: Vec<&str> = ran.lines.iter().rev().take(5).rev().map(String::as_str).collect();
            let why = format!(
                "failed to build the selftests {collection}:\n  {}\nthe whole output is in {}",
                last.join("\n  "),
                log.display()
            );
            return Err(Abort { verdict: Verdict::BuildFailed, why });
        }
    }
    let part = |name| intake::within(&work, folder.join(name)).map_err(of_build);
    let (install, root) = (part("install")?, part("root")?);
    if !is_whole {
        add_guests_side(&root)?;
    }
    let list = text_within(&install, "kselftest-list.txt")?;
    let (tests, broken) = (listed(&list, collection), broken(&read_log()));
    if tests.is_empty() {
        let why = broken.values().next().map_or(String::new(), |it| format!(": {}", it.why));
        return Err(Abort::input(format!(
            "the collection `{collection}` has no tests for this machine's architecture and what is installed on it{why}; \
             the whole output is in {}",
            log.display()
        )));
    }
    Ok(Built { install, root, tests, broken })
}

fn add_guests_side(root: &Path) -> Result<(), Abort> {
    for (file, text) in GUEST {
        let path = root.join(file);
        intake::write_anew(&path, text).map_err(CacheError::io("write", &path))?;
    }
    Ok(())
}

/// A file of what a kernel's makefiles made or its source has, which may be anything; nothing where there is none.
pub fn text_within(folder: &Path, name: impl AsRef<Path>) -> Result<String, Abort> {
    match intake::read_within(folder, name) {
        Err(Refused::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(of_build),
    }
}

/// What is wrong with what a build made is the build's fault.
fn of_build(why: Refused) -> Abort {
    match why.blames_files() {
        true => Abort { verdict: Verdict::BuildFailed, why: format!("failed to {why}") },
        false => CacheError::from(why).into(),
    }
}

/// Those of a collection, in a list of `timers:posix_timers`.
fn listed(text: &str, collection: &str) -> Vec<String> {
    let mut tests: Vec<String> = Vec::new();
    for (of, test) in text.lines().filter_map(|line| line.split_once(':')) {
        // One that is in two lists of its makefile is one test.
        if of == collection && !test.is_empty() && !tests.iter().any(|known| known == test) {
            tests.push(test.to_owned());
        }
    }
    tests
}

/// Why a file was not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The first thing that a compiler or linker said, or make's own line.
    pub why: String,
    /// This machine lacks a header, a library or a program for it.
    pub lacks: bool,
}

/// What make says of targets that failed, by their files' names.
fn broken(log: &str) -> BTreeMap<String, Broken> {
    let mut broken = BTreeMap::new();
    let mut first: Option<Broken> = None;
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(target) = failed_target(line) {
            let name = target.rsplit('/').next().unwrap_or(target).to_owned();
            let why = || Broken { why: line.trim().to_owned(), lacks: false };
            broken.entry(name).or_insert(first.take().unwrap_or_else(why));
        } else if first.is_none() && SAYS.iter().any(|word| line.contains(word)) {
            let next = lines.peek().copied().unwrap_or_default();
            first = Some(Broken { why: shortened(line), lacks: is_lack(line, next) });
        }
    }
    // Targets that are no files, whose recipes pass on what others failed of.
    ["all", "install"].iter().for_each(|name| _ = broken.remove(*name));
    broken
}

/// What a first error has in it.
const SAYS: [&str; 4] = ["error:", "cannot find -l", "undefined reference to", "command not found"];

/// Whether an error is one of this machine's. A header is, if it is looked for in the system's folders (`next` is the line that
/// includes it) and not one that the kernel brings.
fn is_lack(line: &str, next: &str) -> bool {
    let header = next.split_once("#include <").map(|(_, header)| header);
    let own = |header: &str| ["linux/", "asm/", "asm-generic/"].iter().any(|it| header.starts_with(it));
    line.contains("cannot find -l")
        || line.contains("command not found")
        || line.contains("fatal error:") && header.is_some_and(|header| !own(header))
}

/// The target in `make[1]: [../lib.mk:222: /path/target] Error 1 (ignored)`.
fn failed_target(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("make")?;
    let (inside, _) = rest.split_once("] Error ")?;
    let (_, inside) = inside.rsplit_once('[')?;
    Some(inside.rsplit_once(": ").map_or(inside, |(_, target)| target))
}

/// Without the folder that nobody knows.
fn shortened(line: &str) -> String {
    match line.split_once(&format!("{FOLDER}/")) {
        Some((_, rest)) => rest.trim().to_owned(),
        None => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    #[test]
    fn no_link_or_special_file_of_a_collections_leads_out_of_its_folder() {
        let place = tempfile::tempdir().unwrap();
        let (root, theirs) = (place.path().join("root"), place.path().join("theirs"));
        fs::create_dir(&root).unwrap();
        fs::write(&theirs, "mine").unwrap();
        for (file, _) in GUEST {
            symlink(&theirs, root.join(file)).unwrap();
        }
        add_guests_side(&root).unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "mine");
        assert!(GUEST.iter().all(|(file, text)| fs::read_to_string(root.join(file)).unwrap() == *text));

        symlink(&theirs, root.join("out")).unwrap();
        symlink("/dev/zero", root.join("endless")).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        for name in ["out", "endless", "socket"] {
            let error = text_within(&root, name).unwrap_err();
            assert_eq!(error.verdict, Verdict::BuildFailed, "{}", error.why);
        }
        assert_eq!(text_within(&root, "none").unwrap(), "");
    }

    #[test]
    fn what_did_not_build_is_known_by_its_file_with_the_compilers_first_word() {
        let log = "\
make[1]: Entering directory '/w/tree/tools/testing/selftests/a'
  CC       good
x.c:3:10: fatal error: sys/capability.h: No such file or directory
    3 | #include <sys/capability.h>
compilation terminated.
make[1]: [../lib.mk:222: /w/tree/tools/testing/selftests/a/x] Error 1 (ignored)
/usr/bin/ld: cannot find -lnuma: No such file or directory
collect2: error: ld returned 1 exit status
make[1]: *** [../lib.mk:222: /w/tree/tools/testing/selftests/a/y] Error 1
make: [Makefile:9: all] Error 23 (ignored)
/w/tree/tools/testing/selftests/a/z.c:1:1: error: expected identifier
make[1]: [Makefile:4: /w/tree/tools/testing/selftests/a/z] Error 1 (ignored)
v.c:1:10: fatal error: v.h: No such file or directory
    1 | #include \"v.h\"
make[1]: [Makefile:4: v] Error 1 (ignored)
w.c:1:10: fatal error: linux/new.h: No such file or directory
    1 | #include <linux/new.h>
make[1]: [Makefile:4: w] Error 1 (ignored)
";
        let broken = broken(log);
        let broken: Vec<_> = broken.iter().map(|(name, it)| (&**name, &*it.why, it.lacks)).collect();
        assert_eq!(
            broken,
            [
                ("v", "v.c:1:10: fatal error: v.h: No such file or directory", false),
                ("w", "w.c:1:10: fatal error: linux/new.h: No such file or directory", false),
                ("x", "x.c:3:10: fatal error: sys/capability.h: No such file or directory", true),
                ("y", "/usr/bin/ld: cannot find -lnuma: No such file or directory", true),
                ("z", "a/z.c:1:1: error: expected identifier", false),
            ]
        );
    }

    #[test]
    fn what_a_test_needs_is_something_that_can_be_looked_for_and_has_a_reason() {
        let lines = include_str!("needs").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (needs, why) = line.split_once(" | ").unwrap_or_else(|| panic!("there is no reason: {line}"));
            assert!(!why.is_empty(), "{line}");
            let words: Vec<&str> = needs.split(' ').collect();
            let is_known = match words[1..] {
                ["machine" | "smt" | "disk"] => true,
                ["file", path] => path.starts_with('/'),
                ["flag", name] => !name.is_empty(),
                ["cpus", count] => count.parse::<u8>().is_ok(),
                _ => false,
            };
            assert!(is_known && words[0].contains(':'), "{line}");
        }
    }

    #[test]
    fn the_list_has_each_test_once() {
        let tests = |of| listed("a:x\na:y.sh\nnet/lib:z\na:x\nnonsense\nb:\n", of);
        assert_eq!(tests("a"), ["x", "y.sh"]);
        assert_eq!(tests("net/lib"), ["z"]);
        assert!(tests("b").is_empty());
    }
}
