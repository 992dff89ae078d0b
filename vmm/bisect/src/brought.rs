//! What a search takes from this machine that git does not keep: files, modules, and what is done to a kernel's source. Each run reads it
//! anew, and all that is known must be of the same.

use crate::subject::Subject;
use base::{cache::CacheError, wanted::Wanted};
use harness::Abort;
use kernel::sources::hex;
use scenario::{
    ModuleKind, ModuleSource, Scenario,
    model::{GuestFile, GuestFileKind},
};
use sha2::{Digest, Sha256};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What a search takes from this machine, with what was there when it began.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    files: Vec<GuestFile>,
    /// Those that are not as each commit has them.
    modules: Vec<ModuleSource>,
    /// The kernel, without what is searched.
    wanted: Wanted,
    /// The scenario, in whose project the kernel's patches are.
    near: PathBuf,
    /// Each with a digest.
    parts: Vec<Part>,
    /// The digests of files that were read, each with what tells that the file is still the same.
    known: RefCell<BTreeMap<PathBuf, (Stamp, String)>>,
}

/// File system, number, permissions, size, and the times of the last change of its content and of itself (stat(2)): nobody sets the latter.
type Stamp = (u64, u64, u32, u64, [i64; 4]);

fn stamp(about: &fs::Metadata) -> Stamp {
    let times = [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()];
    (about.dev(), about.ino(), about.mode(), about.size(), times)
}

/// What it is, and a digest of it.
pub(crate) type Part = (String, String);

impl Brought {
    /// What a scenario takes from this machine as it is now.
    ///
    /// # Errors
    /// Some of it can't be read.
    pub fn of(scenario: &Scenario, subject: &Subject, wanted: Wanted) -> Result<Self, Abort> {
        let brought = Self::unread(scenario, subject, wanted);
        Ok(Self { parts: brought.now()?, ..brought })
    }

    pub(crate) fn unread(scenario: &Scenario, subject: &Subject, wanted: Wanted) -> Self {
        let modules = scenario.modules.iter().filter(|module| !subject.has(module)).cloned().collect();
        let (files, near) = (scenario.files.clone(), scenario.path.clone());
        Self { files, modules, wanted, near, parts: Vec::new(), known: RefCell::default() }
    }

    /// Each with a digest.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is another one now than it was when the search began.
    ///
    /// # Errors
    /// Some of it can't be read any more.
    pub fn changed(&self) -> Result<Option<String>, Abort> {
        match self.now() {
            Ok(now) => Ok(self.differing(&now)),
            // Whoever took it away changed it; else it is to be told why it can't be read.
            Err(abort) => self.gone().map(Some).ok_or(abort),
        }
    }

    fn gone(&self) -> Option<String> {
        let known = self.known.borrow();
        known.keys().find(|path| path.try_exists().is_ok_and(|it| !it)).map(|path| path.display().to_string())
    }

    fn differing(&self, now: &[Part]) -> Option<String> {
        let new = now.iter().find(|part| !self.parts.contains(part));
        let differing = new.or_else(|| self.parts.iter().find(|part| !now.contains(part)));
        differing.map(|(name, _)| name.clone())
    }

    fn now(&self) -> Result<Vec<Part>, Abort> {
        let mut parts = self.read()?;
        let kernel = harness::kernel::additions(&self.wanted, &self.near)?;
        parts.push(("a patch, a fragment or the configuration of the kernel".to_owned(), kernel));
        Ok(parts)
    }

    pub(crate) fn read(&self) -> Result<Vec<Part>, Abort> {
        let mut parts = Vec::new();
        for file in &self.files {
            let sources = match file.kind {
                GuestFileKind::Program => module::program_sources(&file.host)
                    .map_err(|error| Abort::fault(&error, error.fault()))?,
                _ => vec![file.host.clone()],
            };
            for source in sources {
                let digest = self.digest(&source, file.kind == GuestFileKind::Link)?;
                parts.push((source.display().to_string(), format!("{} {digest}", file.guest)));
            }
        }
        for module in &self.modules {
            let sources = match module.kind {
                ModuleKind::Object => vec![module.path.clone()],
                ModuleKind::Folder => {
                    module::sources(&module.path).map_err(|error| Abort::fault(&error, error.fault()))?
                }
            };
            for file in sources {
                parts.push((file.display().to_string(), self.digest(&file, dangles(&file))?));
            }
        }
        Ok(parts)
    }

    /// Of a path's permissions and content; a link is followed unless it goes into the guest as one. A file is read once, unless it is written to.
    fn digest(&self, path: &Path, is_link: bool) -> Result<String, Abort> {
        let of = |mode: u32, content: &[u8]| {
            hex(Sha256::new().chain_update(mode.to_le_bytes()).chain_update(content).finalize())
        };
        let read = || -> io::Result<String> {
            if is_link {
                return Ok(of(0, fs::read_link(path)?.as_os_str().as_encoded_bytes()));
            }
            let about = fs::metadata(path)?;
            let stamp = stamp(&about);
            if let Some((known, digest)) = self.known.borrow().get(path)
                && *known == stamp
            {
                return Ok(digest.clone());
            }
            let content = if about.is_dir() { Vec::new() } else { fs::read(path)? };
            let digest = of(about.permissions().mode(), &content);
            self.known.borrow_mut().insert(path.to_owned(), (stamp, digest.clone()));
            Ok(digest)
        };
        Ok(read().map_err(CacheError::io("read", path))?)
    }
}

/// A link that leads nowhere is one of a build's own.
fn dangles(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// After each run, of which there may be hundreds, all of it is looked at.
    #[test]
    fn a_file_that_nobody_wrote_to_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let path = at("image");
        write(&path, "first");
        write(&at("s.yaml"), "steps:\n- sleep: 1 s\n");
        let scenario = scenario::load(&at("s.yaml")).unwrap();
        let brought = Brought::unread(&scenario, &Subject::Series(PathBuf::new()), Wanted::default());
        let first = brought.digest(&path, false).unwrap();
        let known = |digest: &str| brought.known.borrow_mut().get_mut(&path).unwrap().1 = digest.to_owned();
        known("not read");
        assert_eq!(brought.digest(&path, false).unwrap(), "not read");
        write(&path, "another");
        let second = brought.digest(&path, false).unwrap();
        assert!(second != first && second != "not read");
        known("not read");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(![&first, &second, "not read"].contains(&&*brought.digest(&path, false).unwrap()));
    }

    /// Else who mends what the scenario brings, and asks again, would get the old answer.
    #[test]
    fn what_a_scenario_brings_goes_by_its_content_and_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = "modules: [mine]\nfiles: {/bin/repro: repro, /data: data}\nsteps:\n- insmod: mine\n";
        write(&at("s.yaml"), text);
        write(&at("mine/Makefile"), "obj-m := mine.o\n");
        for name in ["mine/mine.c", "mine/gen.sh", "repro-v3", "repro-v4", "data/in"] {
            write(&at(name), name);
        }
        symlink("repro-v3", at("repro")).unwrap();
        symlink("in", at("data/link")).unwrap();
        let scenario = scenario::load(&at("s.yaml")).unwrap();
        let unread = Brought::unread(&scenario, &Subject::Series(at("series")), Wanted::default());
        let brought = |parts| Brought { parts, ..unread.clone() };
        let now = || unread.read().unwrap();
        let before = std::cell::RefCell::new(now());
        let is_another = |name: &str| {
            let (old, new) = (before.replace(now()), now());
            assert_eq!(brought(old.clone()).differing(&new), Some(at(name).display().to_string()));
            assert_eq!(brought(old.clone()).differing(&old), None);
        };
        write(&at("repro-v3"), "built anew");
        is_another("repro");
        let link = |target: &str, at: PathBuf| {
            fs::remove_file(&at).unwrap();
            symlink(target, at).unwrap();
        };
        link("repro-v4", at("repro"));
        is_another("repro");
        link("elsewhere", at("data/link"));
        is_another("data/link");
        for name in ["repro-v4", "mine/gen.sh"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
            is_another(if name == "repro-v4" { "repro" } else { name });
        }
        write(&at("mine/mine.c"), "mended");
        is_another("mine/mine.c");
        write(&at("mine/new.c"), "");
        is_another("mine/new.c");
        fs::remove_file(at("mine/new.c")).unwrap();
        is_another("mine/new.c");
        // Who looks at a file in the night ends no search by that.
        let before = now();
        for name in [".mine.c.swp", "mine.c~", "tags", "compile_commands.json"] {
            write(&at("mine").join(name), "an editor's");
        }
        assert_eq!(now(), before);
        let unread = Brought { known: RefCell::default(), ..unread.clone() };
        unread.read().unwrap();
        fs::remove_file(at("repro-v4")).unwrap();
        assert!(unread.read().unwrap_err().why.contains("repro"));
        assert_eq!(unread.changed().unwrap(), Some(at("repro").display().to_string()));
    }
}
