//! By what a bisection is known: all that shapes its runs. What git keeps goes by its hash, everything else by its content: whoever edits a
//! patch, a fragment or a module and asks again asks for something else, and must not get the old answer.

use crate::{
    brought::{Brought, Part},
    command::Request,
    range::Range,
    state::Asked,
    subject::{self, Subject},
};
use base::{cache::CacheError, wanted::Wanted};
use harness::Abort;
use kernel::sources::hex;
use scenario::{Scenario, Settings};
use sha2::{Digest, Sha256};
use std::fs;

/// The key of what is asked; `steady` is the kernel without what is searched. How sure the answer has to be, and how often something is run,
/// may be changed on the way.
///
/// # Errors
/// A file can't be read, or there is no such kernel.
pub(crate) fn key(
    asked: &Asked,
    request: &Request,
    range: &Range,
    scenario: &Scenario,
    steady: &Wanted,
    brought: &Brought,
) -> Result<String, Abort> {
    let mut content = Content(Sha256::new());
    let Asked { what, place, new, old, rule, .. } = asked;
    let fixed = if asked.fixed { "fixed" } else { "" };
    let parted = range.parted.as_deref().unwrap_or_default();
    for text in [what, &place.display().to_string(), new, old, parted, fixed, &rule.to_string()] {
        content.add(text);
    }
    // Of a kernel's history, each commit has its own source.
    if !matches!(range.subject, Subject::Kernel(_)) {
        content.add(harness::kernel::identity(steady, &scenario.path)?);
    }
    content.subject(&range.subject)?;
    content.scenario(scenario, &request.settings, brought.parts());
    Ok(hex(content.0.finalize())[..12].to_owned())
}

/// What does not change of the kernels that are run: the one that is asked for, without what is searched.
pub(crate) fn kernel(subject: &Subject, asked: &Asked, wanted: &Wanted) -> Wanted {
    let mut wanted = wanted.clone();
    match subject {
        Subject::Modules(_) => {}
        Subject::Series(_) => wanted.series = Some("none".to_owned()),
        Subject::Config { .. } => wanted.config = None,
        Subject::Kernel(repository) => {
            (wanted.kernel, wanted.modules) = (None, None);
            wanted.source = Some(repository.place().display().to_string());
            wanted.revision = Some(asked.new.clone());
        }
    }
    wanted
}

/// A digest of texts and files.
struct Content(Sha256);

impl Content {
    fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        // Lengths keep the parts apart: "ab" + "c" is not "a" + "bc".
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn subject(&mut self, subject: &Subject) -> Result<(), Abort> {
        match subject {
            Subject::Kernel(_) | Subject::Modules(_) => Ok(()),
            Subject::Series(folder) => {
                let patches = subject::patches(folder).map_err(kernel::KernelError::from)?;
                if let Some(recipe) = kernel::patch::recipe(folder).map_err(kernel::KernelError::from)? {
                    self.add(recipe);
                }
                patches.iter().try_for_each(|name| {
                    let path = folder.join(name);
                    self.add(name);
                    self.add(path.as_os_str().as_encoded_bytes());
                    // A link's is that of what it leads to, which several series may share.
                    self.add(fs::read(&path).map_err(CacheError::io("read", &path))?);
                    Ok(())
                })
            }
            Subject::Config { without, lines, .. } => {
                self.add(without);
                lines.iter().for_each(|line| self.add(line));
                Ok(())
            }
        }
    }

    fn scenario(&mut self, scenario: &Scenario, settings: &Settings, brought: &[Part]) {
        self.add(scenario.source.text());
        for (name, value) in settings.iter().chain(brought.iter().map(|(name, value)| (name, value))) {
            self.add(name);
            self.add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Repository;
    use std::{path::Path, process::Command};

    /// The digest of what a scenario brings.
    fn of(path: &Path, subject: &Subject, settings: &[(&str, &str)]) -> String {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let scenario = scenario::load_with(path, &settings).unwrap();
        let mut content = Content(Sha256::new());
        let brought = Brought::unread(&scenario, subject, Wanted::default()).read().unwrap();
        content.scenario(&scenario, &settings, &brought);
        content.subject(subject).unwrap();
        hex(content.0.finalize())
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Else who mends a patch and asks again would be told that it still is at fault.
    #[test]
    fn whatever_is_not_in_git_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(
            &at("s.yaml"),
            "params: {n: {default: 1}}\nmodules: [mine]\nfiles: {/data: data}\nsteps:\n- insmod: mine\n",
        );
        write(&at("mine/Makefile"), "obj-m := mine.o\n");
        let files = ["mine/mine.c", "data", "series/1.patch"];
        files.iter().for_each(|file| write(&at(file), "#include \"../common.h\"\n"));
        ["common.h", "common.patch"].iter().for_each(|file| write(&at(file), ""));
        write(&at("series/series"), "1.patch\n2.patch\n");
        std::os::unix::fs::symlink("../common.patch", at("series/2.patch")).unwrap();
        let subject = Subject::Series(at("series"));
        let now = || of(&at("s.yaml"), &subject, &[]);
        let mut known = vec![now(), of(&at("s.yaml"), &subject, &[("n", "2")])];
        for file in files.iter().chain(&["common.h", "common.patch"]) {
            write(&at(file), "#include \"../common.h\"\nother\n");
            known.push(now());
        }
        write(&at("series/recipe.yaml"), "compiler: llvm\n");
        known.push(now());
        assert_eq!(known.iter().collect::<std::collections::BTreeSet<_>>().len(), known.len(), "{known:?}");
        assert_eq!(known.last(), Some(&now()));
        // What make left there is no source.
        write(&at("mine/mine.o"), "object");
        assert_eq!(known.last(), Some(&now()));
    }

    /// The work tree may change while it is searched.
    #[test]
    fn what_is_searched_goes_by_its_commits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("s.yaml"), "modules: [mine]\nsteps:\n- insmod: mine\n");
        write(&at("mine/Makefile"), "obj-m := mine.o\n");
        write(&at("mine/mine.c"), "");
        let mut git = Command::new("git");
        kernel::LED.iter().for_each(|name| _ = git.env_remove(name));
        assert!(git.arg("-C").arg(folder.path()).args(["init", "--quiet"]).status().unwrap().success());
        let subject = Subject::Modules(Repository::open(folder.path()).unwrap());
        let before = of(&at("s.yaml"), &subject, &[]);
        write(&at("mine/mine.c"), "not committed");
        assert_eq!(of(&at("s.yaml"), &subject, &[]), before);
    }
}
