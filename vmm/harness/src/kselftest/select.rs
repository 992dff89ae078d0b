//! Which collections, and which of their tests.

use crate::Abort;
use base::diagnostic::nearest;
use glob::Pattern;
use std::path::Path;
use walkdir::WalkDir;

/// Where they are in a kernel's source.
pub const FOLDER: &str = "tools/testing/selftests";

/// A collection, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its folder, such as `timers` or `filesystems/epoll`.
    pub collection: String,
    /// The tests, by their names; empty for all.
    pub tests: Vec<Pattern>,
}

impl Asked {
    /// Whether a test of the collection is wanted.
    pub fn wants(&self, test: &str) -> bool {
        self.tests.is_empty() || self.tests.iter().any(|pattern| pattern.matches(test))
    }
}

/// Reads what a person asks for: each `COLLECTION` or `COLLECTION:TEST`. A collection that is named as a whole is wanted as a
/// whole.
pub fn parse(words: &[String]) -> Result<Vec<Asked>, Abort> {
    let mut all: Vec<Asked> = Vec::new();
    for word in words {
        let (collection, test) = match word.split_once(':') {
            Some((collection, test)) => (collection, Some(test)),
            None => (word.as_str(), None),
        };
        let collection = collection.trim_end_matches('/');
        // It becomes a word of make's, and of a shell's.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./+".contains(c);
        let strange = collection.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-']));
        if strange || !collection.chars().all(is_plain) || test.is_some_and(str::is_empty) {
            return Err(Abort::input(format!(
                "`{word}` is no collection of selftests; write its folder, like `timers`, or one test of it, like \
                 `timers:posix_timers`"
            )));
        }
        let pattern = test
            .map(Pattern::new)
            .transpose()
            .map_err(|error| Abort::input(format!("`{word}` is no pattern for a test's name: {error}")))?;
        match (all.iter_mut().find(|asked| asked.collection == collection), pattern) {
            (Some(asked), Some(pattern)) if !asked.tests.is_empty() => asked.tests.push(pattern),
            (Some(asked), _) => asked.tests.clear(),
            (None, pattern) => {
                all.push(Asked { collection: collection.to_owned(), tests: pattern.into_iter().collect() })
            }
        }
    }
    Ok(all)
}

/// Whether the source has them all.
pub fn check(asked: &[Asked], source: &Path) -> Result<(), Abort> {
    let folder = source.join(FOLDER);
    if !folder.join("lib.mk").is_file() {
        return Err(Abort::input(format!("{} has no selftests ({FOLDER})", source.display())));
    }
    let missing = asked.iter().find(|it| !folder.join(&it.collection).join("Makefile").is_file());
    let Some(Asked { collection, .. }) = missing else { return Ok(()) };
    let known = known(&folder);
    let near = nearest(collection, known.iter().map(String::as_str));
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(Abort::input(format!("this kernel has no collection of selftests called `{collection}`{near}")))
}

fn known(folder: &Path) -> Vec<String> {
    let makefiles = WalkDir::new(folder).min_depth(2).max_depth(4).sort_by_file_name().into_iter().flatten();
    let makefiles = makefiles.filter(|entry| entry.file_name() == "Makefile");
    let name = |entry: walkdir::DirEntry| {
        entry.path().parent()?.strip_prefix(folder).ok()?.to_str().map(str::to_owned)
    };
    makefiles.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use judge::Verdict;
    use std::fs;

    fn parsed(words: &[&str]) -> Result<Vec<Asked>, Abort> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn collections_and_tests_are_gathered_by_collection() {
        let all = parsed(&["timers:posix*", "size", "timers:nanosleep", "net/lib/"]).unwrap();
        let names: Vec<&str> = all.iter().map(|it| it.collection.as_str()).collect();
        assert_eq!(names, ["timers", "size", "net/lib"]);
        let wants = |test| all[0].wants(test);
        assert!(wants("posix_timers") && wants("nanosleep") && !wants("raw_skew"));
        assert!(all[1].wants("get_size"));
        // The whole one has all of them, whatever comes first.
        for words in [["timers", "timers:x"], ["timers:x", "timers"]] {
            assert!(parsed(&words).unwrap()[0].wants("y"), "{words:?}");
        }
    }

    #[test]
    fn what_make_or_a_shell_would_take_for_something_else_is_refused() {
        for word in ["", ":x", "a b", "../x", "a/../b", "$(x)", "-k", "a/-k", "/etc", "x:", "x:[", "a;b"] {
            assert_eq!(parsed(&[word]).unwrap_err().verdict, Verdict::BadInput, "{word}");
        }
    }

    #[test]
    fn a_collection_that_there_is_not_is_told_with_the_nearest_one() {
        let source = tempfile::tempdir().unwrap();
        let none = check(&parsed(&["timers"]).unwrap(), source.path()).unwrap_err();
        assert!(none.why.contains("has no selftests"), "{}", none.why);
        let folder = source.path().join(FOLDER);
        fs::create_dir_all(folder.join("timers")).unwrap();
        fs::write(folder.join("lib.mk"), "").unwrap();
        fs::write(folder.join("timers/Makefile"), "").unwrap();
        assert_eq!(check(&parsed(&["timers"]).unwrap(), source.path()), Ok(()));
        let why = check(&parsed(&["timer"]).unwrap(), source.path()).unwrap_err().why;
        assert!(why.contains("`timer`; did you mean `timers`?"), "{why}");
    }
}
