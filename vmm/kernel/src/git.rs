//! Kernel sources in git repositories.

use super::{
    diagnose, run,
    sources::{SourceError, Sources, hex, kernel_version, renamed, unpack},
    toolchain,
};
use base::{
    cache::{Cache, CacheError, Kind},
    progress,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Environment by which git is led elsewhere, as in hooks and in `git bisect run`.
pub const LED: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
];

/// Has git look where it is told to, and nowhere else.
pub(crate) fn not_led(mut git: Command) -> Command {
    LED.iter().for_each(|name| _ = git.env_remove(name));
    git
}

fn need_git() -> Result<(), SourceError> {
    match toolchain::find("git") {
        Some(_) => Ok(()),
        None => Err(toolchain::Missing(vec![("git".to_owned(), "git".to_owned())]).into()),
    }
}

/// A revision of a repository elsewhere: only that revision is fetched, into a repository in the cache's `work`, where
/// the next one finds what both share.
pub(super) fn remote(cache: &Cache, address: &str, revision: &str) -> Result<Sources, SourceError> {
    need_git()?;
    let what = || format!("fetch {revision} from {address}");
    if address.starts_with('-') || revision.starts_with('-') {
        let said = "neither an address nor a revision begins with a dash".to_owned();
        return Err(SourceError::Tool { what: what(), said });
    }
    let name = format!("git-{}", &hex(Sha256::digest(address))[..12]);
    let repository = cache.work(&name);
    let lock = cache.lock(&name, address)?;
    let log = cache.log(&name);
    fs::create_dir_all(&repository).map_err(CacheError::io("make the folder", &repository))?;
    let git = |args: &[&str]| -> Result<run::Ran, CacheError> {
        let mut command = not_led(run::tied("git"));
        // Nobody is there to type a password.
        command.arg("-C").arg(&repository).args(args).env("GIT_TERMINAL_PROMPT", "0");
        run::run(command, &log, Some(&lock), |_| ())
    };
    git(&["init", "--quiet", "--bare"])?;
    progress::note(&format!("fetching {revision} from {address}"));
    let ran = git(&["fetch", "--depth=1", "--no-tags", address, revision])?;
    if !ran.status.success() {
        if diagnose::is_disk_full(&ran.lines) {
            return Err(CacheError::disk_full(repository.clone()).into());
        }
        let said =
            ran.lines.iter().find_map(|line| line.strip_prefix("fatal: ")).unwrap_or("git said nothing");
        let (what, said) = (what(), said.to_owned());
        return Err(if is_not_there(&said) {
            SourceError::Tool { what, said }
        } else {
            SourceError::Fetch { what, said }
        });
    }
    let sources = local(cache, &repository, "FETCH_HEAD")?;
    Ok(Sources { name: address.to_owned(), ..sources })
}

/// Whether git says of a server that it answers, and has no such thing; else the way to it is the trouble.
fn is_not_there(said: &str) -> bool {
    [
        "find remote ref",
        "not our ref",
        "does not appear to be a git repository",
        "not found",
        "does not exist",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// The cache's key of a tree.
pub(super) fn key(hash: &str) -> String {
    format!("git-{}", hash.get(..16).unwrap_or(hash))
}

/// By the same name, all revisions of a repository share a build folder.
fn name(repository: &Path) -> String {
    fs::canonicalize(repository).unwrap_or_else(|_| repository.to_owned()).display().to_string()
}

/// A tree, by its hash, that lies in this folder already: the same source as [`local`] exports.
pub(super) fn checked_out(repository: &Path, hash: &str, tree: &Path) -> Result<Sources, SourceError> {
    let version = kernel_version(tree)?;
    let (folder, identity, name) = (tree.to_owned(), key(hash), name(repository));
    Ok(Sources { folder, identity, name, ours: true, version, tree: None })
}

/// git, at work in a repository.
fn git_in(repository: &Path) -> Command {
    let mut command = not_led(Command::new("git"));
    command.arg("-C").arg(repository).env("LC_ALL", "C");
    command
}

/// The hash of a revision's tree.
pub(super) fn tree(repository: &Path, revision: &str) -> Result<String, SourceError> {
    need_git()?;
    let asked = format!("{revision}^{{tree}}");
    let output = git_in(repository)
        .args(["rev-parse", "--verify", "--end-of-options", &asked])
        .output()
        .map_err(CacheError::io("run", Path::new("git")))?;
    if !output.status.success() {
        let said = match String::from_utf8_lossy(&output.stderr).lines().next() {
            None | Some("fatal: Needed a single revision") => "there is no such revision".to_owned(),
            Some(line) => line.trim_start_matches("fatal: ").to_owned(),
        };
        let what = format!("find the revision {revision} in {}", repository.display());
        return Err(SourceError::Tool { what, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A revision's tree, exported: the work tree may hold anything, and is nobody's business.
pub(super) fn local(cache: &Cache, repository: &Path, revision: &str) -> Result<Sources, SourceError> {
    let hash = tree(repository, revision)?;
    let (key, name) = (key(&hash), name(repository));
    if cache.find(Kind::Source, &key).is_none() {
        let _lock = cache.lock(&key, &format!("the source {name} at {revision}"))?;
        let stage = cache.stage()?;
        let mut archive = git_in(repository)
            .args(["archive", "--format=tar", &hash])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(CacheError::io("run", Path::new("git")))?;
        if let Some(output) = archive.stdout.take() {
            unpack(output, None, 0, stage.path(), &format!("{name} at {revision}"))?;
        }
        if !archive.wait().is_ok_and(|status| status.success()) {
            let what = format!("export {revision} of {name}");
            return Err(SourceError::Tool { what, said: "git archive failed".to_owned() });
        }
        kernel_version(stage.path()).map_err(|error| renamed(error, repository))?;
        stage.commit(&cache.place(Kind::Source, &key))?;
    }
    Sources::kept(cache, &key, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a hook, and in `git bisect run`, it would be another repository's revision.
    #[test]
    fn git_is_not_led_by_whoever_started_us() {
        let git = not_led(Command::new("git"));
        let removed: Vec<_> = git.get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            assert!(removed.iter().any(|(it, _)| *it == name), "{name}");
        }
    }
}
