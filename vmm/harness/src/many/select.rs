//! Which scenarios: files, folders, patterns, and tags.

use crate::Abort;
use base::{diagnostic::nearest, progress::note};
use jail::{Refused, intake};
use scenario::Scenario;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{self, Component, Path, PathBuf},
};
use walkdir::WalkDir;

/// The files that these words name: a file as it is, all `.yaml` files of a folder, whatever matches a pattern. None comes
/// twice, by whatever links to its folder.
///
/// # Errors
/// A folder without scenarios, a pattern that matches nothing or makes no sense.
pub fn files(words: &[PathBuf]) -> Result<Vec<PathBuf>, Abort> {
    let mut files: Vec<PathBuf> = Vec::new();
    for word in words {
        let found = match word {
            pattern if is_pattern(pattern) && !pattern.exists() => matching(pattern)?,
            named => {
                let home = Home::of(named);
                home.keeps(named)?;
                if named.is_dir() { below(named, &home)? } else { vec![named.clone()] }
            }
        };
        files.extend(found);
    }
    let links = |file: &Path| file.ancestors().skip(1).filter(|folder| folder.is_symlink()).count();
    let mut best: BTreeMap<PathBuf, (usize, &PathBuf)> = BTreeMap::new();
    for file in &files {
        let this = (links(file), file);
        let best = best.entry(place(file)).or_insert(this);
        if this.0 < best.0 {
            *best = this;
        }
    }
    let mut kept: BTreeSet<PathBuf> = best.into_values().map(|(_, file)| file.clone()).collect();
    files.retain(|file| kept.remove(file));
    Ok(files)
}

/// Where a file is, if its folder is named without links. A link to the file itself is another scenario: what it names is
/// looked for beside the link.
fn place(file: &Path) -> PathBuf {
    let folder = file.parent().map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it });
    let folder = folder.and_then(|folder| folder.canonicalize().ok());
    folder.zip(file.file_name()).map_or(file.to_owned(), |(folder, name)| folder.join(name))
}

fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// What links may lead to: the repository that a named path is in, or that path alone. Who put a link there, as a pull request can,
/// need not be who names it, and is shown nothing else of this machine.
struct Home(PathBuf);

impl Home {
    fn of(named: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut home: Option<PathBuf> = None;
        let mut place = PathBuf::new();
        for part in path::absolute(named).unwrap_or_else(|_| named.to_owned()).components() {
            place.push(part);
            if part == Component::ParentDir {
                place = real(&place);
                home = place.ancestors().find(|above| above.join(".git").exists()).map(Path::to_owned);
            }
            // One that a link out of the one around it leads to is none.
            let is_in = |whole: &Path| home.as_ref().is_none_or(|home| whole.starts_with(home));
            if place.join(".git").exists() && is_in(&real(&place)) {
                home = Some(real(&place));
            }
        }
        Self(home.unwrap_or_else(|| real(&place)))
    }

    /// What is found by a pattern may lead wherever the words before its first wildcard may.
    fn of_pattern(pattern: &Path) -> Self {
        let words = pattern.components().take_while(|part| !is_pattern(part.as_ref()));
        Self::of(&words.collect::<PathBuf>())
    }

    /// Looks whether a path stays there.
    ///
    /// # Errors
    /// A link leads out: where, and what to do. A run must not be green since a scenario was left out.
    fn keeps(&self, path: &Path) -> Result<(), Abort> {
        let whole = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match intake::within(&self.0, whole) {
            Err(Refused::LeadsOut { target, folder, .. }) => Err(Abort::input(format!(
                "{}: a link leads to {}, which is outside of {}; put there what it leads to, or name that itself",
                path.display(),
                target.display(),
                folder.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether a folder is looked into: a link may be no scenarios' at all, so it is told and no error.
    fn keeps_folder(&self, folder: &Path) -> bool {
        let kept = self.keeps(folder);
        if let Err(abort) = &kept {
            note(&format!("left out is {}", abort.why));
        }
        kept.is_ok()
    }
}

/// Whether this is a scenario's file.
///
/// # Errors
/// It has the name of one, and can't be read: a run must not be green since it did not find it.
fn is_scenario(path: &Path, home: &Home) -> Result<bool, Abort> {
    if !is_named_so(path) {
        return Ok(false);
    }
    home.keeps(path)?;
    match path.metadata() {
        Ok(meta) => Ok(meta.is_file()),
        Err(error) => Err(Abort::input(format!(
            "{}: this scenario can't be read: {error}; remove or mend the link, or leave the scenario out by its name",
            path.display()
        ))),
    }
}

fn below(folder: &Path, home: &Home) -> Result<Vec<PathBuf>, Abort> {
    let is_wanted = |entry: &walkdir::DirEntry| {
        entry.depth() == 0
            || !is_hidden(entry.file_name())
                && (!entry.file_type().is_dir()
                    || (!entry.path_is_symlink() || home.keeps_folder(entry.path()))
                        && !is_left_to_grading(entry.path(), home))
    };
    let mut found = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_wanted) {
        let path =
            match entry {
                Ok(entry) => entry.into_path(),
                Err(error) => match is_passed_over(&error, folder) {
                    true => continue,
                    false => error.path().filter(|path| is_named_so(path)).map(Path::to_owned).ok_or_else(
                        || Abort::input(format!("{}: can't look for scenarios: {error}", folder.display())),
                    )?,
                },
            };
        if is_scenario(&path, home)? {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Abort::input(format!(
            "{}: there is no scenario (no .yaml file) in this folder",
            folder.display()
        )));
    }
    Ok(found)
}

/// Whether this folder is an assignment, whose tests run with what students hand in. Who names it itself gets it.
fn is_left_to_grading(folder: &Path, home: &Home) -> bool {
    /// No scenario is larger either.
    const LONGEST: u64 = 1 << 20;
    let path = folder.join("assignment.yaml");
    let text = match home.keeps(&path) {
        Ok(()) => intake::read(&path, LONGEST).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let is_one = text.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"kind:"));
    if is_one {
        note(&format!("{} is left out: an assignment is for vmm grade", folder.display()));
    }
    is_one
}

fn is_hidden(path: &OsStr) -> bool {
    Path::new(path).file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// A link to a folder above it, where all is found anyway, or one that leads nowhere, to itself or where nobody may look, and is no
/// scenario's.
fn is_passed_over(error: &walkdir::Error, folder: &Path) -> bool {
    let (Some(path), None) = (error.path(), error.loop_ancestor()) else {
        return error.loop_ancestor().is_some();
    };
    let is_other = is_hidden(path.as_os_str()) || !is_named_so(path);
    let is_gone = error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let below = path.ancestors().take_while(|above| *above != folder);
    let is_linked = below.into_iter().any(Path::is_symlink);
    if is_other && is_linked && !is_gone {
        note(&format!("{} is left out, a link leads there: {error}", path.display()));
    }
    is_other && (is_linked || is_gone)
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Abort> {
    let shown = pattern.display();
    let text = pattern.to_str().unwrap_or_default();
    let all =
        glob::glob(text).map_err(|error| Abort::input(format!("{shown}: this is no pattern: {error}")))?;
    let (mut found, home) = (Vec::new(), Home::of_pattern(pattern));
    for path in all {
        let path = path.map_err(|error| Abort::input(format!("{shown}: {error}")))?;
        if path.is_dir() {
            if home.keeps_folder(&path) {
                found.extend(below(&path, &home)?);
            }
        } else if path.is_file() || !is_hidden(path.as_os_str()) && is_scenario(&path, &home)? {
            home.keeps(&path)?;
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Abort::input(format!("{shown}: no file matches this pattern")));
    }
    Ok(found)
}

/// Those that have one of the tags (all, if there are none) and none of those to skip.
///
/// # Errors
/// A tag that nothing has: a run must not be green since it found nothing to do. And that nothing is left.
pub fn tagged(scenarios: Vec<Scenario>, tags: &[String], skip: &[String]) -> Result<Vec<Scenario>, Abort> {
    let all: Vec<&str> = scenarios.iter().flat_map(|it| &it.tags).map(String::as_str).collect();
    for (option, tag) in tags.iter().map(|tag| ("--tag", tag)).chain(skip.iter().map(|tag| ("--skip", tag))) {
        if !all.contains(&tag.as_str()) {
            let near = nearest(tag, all.iter().copied());
            let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            let mut known = all.clone();
            known.sort_unstable();
            known.dedup();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Abort::input(format!(
                "{option}: no scenario has the tag `{tag}`{near}; tags that they have: {known}"
            )));
        }
    }
    let has = |it: &Scenario, list: &[String]| it.tags.iter().any(|tag| list.contains(tag));
    let left: Vec<Scenario> =
        scenarios.into_iter().filter(|it| (tags.is_empty() || has(it, tags)) && !has(it, skip)).collect();
    if left.is_empty() {
        return Err(Abort::input("no scenario is left: --skip takes all that --tag names"));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folders_and_patterns_give_their_scenarios_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in ["b.yaml", "a.yml", "deep/c.yaml", ".hidden/d.yaml", "notes.txt"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        fs::create_dir(root.join("empty")).unwrap();
        let names = |words: &[&str]| {
            let words: Vec<PathBuf> = words.iter().map(|word| root.join(word)).collect();
            let name = |path: PathBuf| path.strip_prefix(root).unwrap().display().to_string();
            files(&words).map(|files| files.into_iter().map(name).collect::<Vec<_>>()).map_err(|it| it.why)
        };
        assert_eq!(names(&[""]).unwrap(), ["a.yml", "b.yaml", "deep/c.yaml"]);
        assert_eq!(names(&["b.yaml", "", "missing.yaml"]).unwrap()[..2], ["b.yaml", "a.yml"]);
        assert_eq!(names(&["*.y*ml"]).unwrap(), ["a.yml", "b.yaml"]);
        assert_eq!(names(&["**/c.yaml"]).unwrap(), ["deep/c.yaml"]);
        assert!(names(&["empty"]).unwrap_err().contains("there is no scenario"));
        assert!(names(&["x*.yaml"]).unwrap_err().contains("no file matches"));
        assert!(names(&["[z-a]"]).is_err());
    }

    #[test]
    fn the_tests_of_an_assignment_are_left_to_grading_unless_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (file, text) in [
            ("a.yaml", ""),
            ("course/pa1/assignment.yaml", "name: pa1\nkind: module\n"),
            ("course/pa1/tests/one.yaml", ""),
            ("course/other/assignment.yaml", "steps:\n- sleep: 1 s\n"),
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
        let all = files(&[root.to_owned()]).unwrap();
        assert_eq!(all, ["a.yaml", "course/other/assignment.yaml"].map(|file| root.join(file)));
        let named = files(&[root.join("course/pa1")]).unwrap();
        assert_eq!(named.len(), 2);
    }

    #[test]
    fn links_are_followed_and_a_scenario_is_never_lost() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::create_dir(place(".git")).unwrap();
        fs::create_dir_all(place("all/deep")).unwrap();
        fs::create_dir(place("other")).unwrap();
        fs::write(place("other/b.yaml"), "").unwrap();
        symlink("../other", place("all/linked")).unwrap();
        symlink("../other/b.yaml", place("all/a.yaml")).unwrap();
        symlink("../../all", place("all/deep/up")).unwrap();
        symlink("nowhere", place("all/notes")).unwrap();
        // As an editor locks a file.
        symlink("ann@host", place("all/.#a.yaml")).unwrap();
        symlink("itself", place("all/itself")).unwrap();
        symlink("linked", place("all/latest")).unwrap();
        fs::create_dir(place("all/one")).unwrap();
        fs::write(place("all/one/c.yaml"), "").unwrap();
        symlink("one", place("all/current")).unwrap();
        let found = files(&[place("all")]).unwrap();
        assert_eq!(found, ["all/a.yaml", "all/latest/b.yaml", "all/one/c.yaml"].map(place));
        let both =
            files(&[place("all/latest/b.yaml"), place("other/b.yaml"), place("all/*/b.yaml")]).unwrap();
        assert_eq!(both, [place("other/b.yaml")]);
        symlink("nowhere", place("all/gone.yaml")).unwrap();
        for word in [place("all"), place("all/*.yaml")] {
            let error = files(&[word]).unwrap_err().why;
            assert!(error.contains("all/gone.yaml: this scenario can't be read"), "{error}");
        }
    }

    #[test]
    fn nothing_is_read_that_a_link_out_of_the_repository_leads_to() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["theirs/.git", "repository/.git", "repository/vmm/a"] {
            fs::create_dir_all(place(name)).unwrap();
        }
        fs::write(place("theirs/secret.yaml"), "").unwrap();
        fs::write(place("repository/vmm/a/one.yaml"), "").unwrap();
        symlink("/dev/zero", place("repository/vmm/a/assignment.yaml")).unwrap();
        // That is one by its name, and none is left out in silence.
        let error = files(&[place("repository/vmm")]).unwrap_err().why;
        assert!(error.contains("assignment.yaml: a link leads to /dev/zero"), "{error}");
        fs::remove_file(place("repository/vmm/a/assignment.yaml")).unwrap();

        symlink(place("theirs"), place("repository/vmm/linked")).unwrap();
        symlink("/", place("repository/vmm/all")).unwrap();
        let one = [place("repository/vmm/a/one.yaml")];
        for word in ["repository/vmm", "repository/vmm/*", "theirs/../repository/vmm"] {
            let found = files(&[place(word)]).unwrap();
            let found: Vec<_> = found.iter().map(|file| file.canonicalize().unwrap()).collect();
            assert_eq!(found, one.clone().map(|file| file.canonicalize().unwrap()), "{word}");
        }
        for word in ["vmm/linked", "vmm/linked/secret.yaml", "vmm/linked/*.yaml"] {
            let error = files(&[place("repository").join(word)]).unwrap_err().why;
            assert!(
                error.contains("secret.yaml") || error.contains("theirs, which is outside of"),
                "{error}"
            );
        }
        // Named by its own path, and where there is no repository.
        fs::remove_dir(place("theirs/.git")).unwrap();
        symlink("theirs", place("mine")).unwrap();
        for word in ["theirs", "mine", "repository/../theirs"] {
            assert_eq!(files(&[place(word)]).unwrap().len(), 1, "{word}");
        }
        fs::create_dir(place("alone")).unwrap();
        symlink("../theirs", place("alone/linked")).unwrap();
        assert!(files(&[place("alone")]).unwrap_err().why.contains("there is no scenario"));
    }

    #[test]
    fn a_tag_that_nothing_has_is_an_error() {
        let scenarios = || {
            ["[slow, io]", "[]", "io"].map(|tags| {
                scenario::fixture::scenario(&format!("name: {tags:?}\ntags: {tags}\nsteps:\n- sleep: 1 s\n"))
            })
        };
        let left = |tags: &[&str], skip: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            tagged(scenarios().into(), &owned(tags), &owned(skip)).map(|it| it.len()).map_err(|it| it.why)
        };
        assert_eq!((left(&[], &[]), left(&["io"], &[]), left(&[], &["slow"])), (Ok(3), Ok(2), Ok(2)));
        assert_eq!((left(&["io"], &["slow"]), left(&["io", "slow"], &[])), (Ok(1), Ok(2)));
        assert!(left(&["slwo"], &[]).unwrap_err().contains("did you mean `slow`?"));
        assert!(left(&[], &["fast"]).unwrap_err().contains("--skip"));
        assert!(left(&["slow"], &["io"]).unwrap_err().contains("no scenario is left"));
    }
}
