//! Finding a package, also in suites that this machine does not list.

use crate::{run, sources::SourceError};
use base::{cache::CacheError, progress};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's signing keys are.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites that have kernels which older ones lack, the best first; behind the machine's own backports.
pub(super) const SUITES: &[&str] = &["trixie-backports", "trixie", "sid"];

/// An apt with some sources.
pub(super) struct Apt {
    options: Vec<String>,
}

/// What apt knows of a package.
pub(super) struct Found {
    pub version: String,
    /// Of the package's file, in bytes.
    pub size: u64,
}

/// The first apt that knows the package (`NAME` or `NAME=VERSION`): the machine's own, else one with lists of ours in
/// `folder`, which has to live as long as the result.
pub(super) fn find(package: &str, folder: &Path, log: &Path) -> Result<Option<(Apt, Found)>, SourceError> {
    let own = Apt { options: Vec::new() };
    if let Some(found) = own.show(package)? {
        return Ok(Some((own, found)));
    }
    let Some(mirror) = mirror()? else { return Ok(None) };
    let backports = codename().map(|codename| format!("{codename}-backports"));
    let backports = backports.as_deref().filter(|suite| !SUITES.contains(suite));
    for suite in backports.into_iter().chain(SUITES.iter().copied()) {
        progress::note(&format!("this machine's apt has no {package}; looking in Debian's suite {suite}"));
        let apt = Apt::with_suite(&mirror, suite, &folder.join(suite))?;
        let mut update = run::tied("apt-get");
        update.args(&apt.options).args(["-q", "update"]);
        if run::run(update, log, None, |_| ())?.status.success()
            && let Some(found) = apt.show(package)?
        {
            return Ok(Some((apt, found)));
        }
    }
    Ok(None)
}

impl Apt {
    /// An apt that knows one suite of one archive, and nothing of this machine's own.
    fn with_suite(mirror: &str, suite: &str, folder: &Path) -> Result<Self, CacheError> {
        for folder in [folder.join("lists/partial"), folder.join("cache/archives/partial")] {
            fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        }
        let list = folder.join("sources.list");
        fs::write(&list, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
            .map_err(CacheError::io("write", &list))?;
        let place = |name: &str| folder.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::Cache={}", place("cache")),
            "Debug::NoLocking=1".to_owned(),
            // The user that apt changes to can't write to our folders.
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() })
    }

    /// What every program of apt is to be told.
    pub fn options(&self) -> &[String] {
        &self.options
    }

    fn show(&self, package: &str) -> Result<Option<Found>, CacheError> {
        let said = output("apt-cache", |command| {
            command.args(&self.options).args(["--no-all-versions", "show", package])
        })?;
        let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let size = field("Size").and_then(|size| size.parse().ok());
        Ok(field("Version").zip(size).map(|(version, size)| Found { version: version.to_owned(), size }))
    }
}

/// From where this machine gets Debian itself (not its security updates).
pub(super) fn mirror() -> Result<Option<String>, CacheError> {
    let format = "$(CREATED_BY) $(REPO_URI) $(COMPONENT)";
    let said = output("apt-get", |command| command.args(["indextargets", "--format", format]))?;
    Ok(said.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["Packages", address, "main"] if address.trim_end_matches('/').ends_with("/debian") => {
            Some(address.to_owned())
        }
        _ => None,
    }))
}

/// `bookworm`.
fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
}

fn output(program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<String, CacheError> {
    let mut command = Command::new(program);
    let output = arguments(command.env("LC_ALL", "C"))
        .output()
        .map_err(CacheError::io("run", &PathBuf::from(program)))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
