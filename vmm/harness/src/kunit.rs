//! The kernel's own unit tests as an ordinary scenario: they run when the kernel boots, and their results are read from its log.

use crate::Abort;
use base::{
    cache::{Cache, CacheError, Kind},
    project,
    wanted::Wanted,
};
use kernel::{KernelError, sources::hex, wanted::Meant};
use scenario::Scenario;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// On which kernel.
    pub kernel: Wanted,
    /// Fragments, or folders with a `.kunitconfig`; without any, all tests that the configuration allows.
    pub configs: Vec<PathBuf>,
    /// Suites, or cases of them, as the kernel's `kunit.filter_glob` takes it.
    pub filter: Option<String>,
    /// For all of them.
    pub timeout: Duration,
    /// The guest's memory.
    pub memory_mib: u32,
    /// Its processors.
    pub vcpus: u8,
}

/// The ready-made fragment that turns on all tests whose subjects are there.
const ALL: &str = "kunit-all";
/// What every KUnit run needs, whatever is asked for.
const FRAGMENT: &str = "kunit";

/// Makes the scenario.
///
/// # Errors
/// A configuration is not there, or a filter can't be a word of the kernel's command line.
pub fn scenario(wish: &Wish) -> Result<(Scenario, Wanted), Abort> {
    let cache = Cache::open()?;
    let mut kernel = wish.kernel.clone();
    let configs = wish.configs.iter().map(|config| fragment(config, wish.kernel.source.as_deref()));
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    // One that is built already has its tests in it.
    if is_built_here(&kernel, &cache)? || !configs.is_empty() {
        kernel.fragments.insert(0, FRAGMENT.to_owned());
        kernel.fragments.extend(configs.is_empty().then(|| ALL.to_owned()));
        kernel.fragments.extend(configs.iter().map(|config| config.display().to_string()));
    }
    // Tests may log more than fits into the kernel's buffer while it boots.
    let mut words = "log_buf_len=8M".to_owned();
    if let Some(filter) = &wish.filter {
        if filter.is_empty() || filter.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
            return Err(Abort::input(format!(
                "`{filter}` is no pattern for tests' names, such as `list*` or `*.x*`"
            )));
        }
        words += &format!(" kunit.filter_glob={filter}");
    }
    let scenario = json!({
        "name": "kunit",
        "tags": ["kunit"],
        "machine": {
            "memory": format!("{} MiB", wish.memory_mib),
            "cpus": wish.vcpus,
            "command-line": words,
        },
        "boot-timeout": format!("{} s", wish.timeout.as_secs()),
        // Tests of kprobes and static calls have the kernel patch its text.
        "count": false,
        "steps": [{"name": "the kernel has booted", "sleep": "1 ms"}],
        "expect": {"ktap": "required"},
    });
    let text = format!("# Written by vmm kunit.\n{scenario:#}\n");
    let folder = cache.work(&format!("kunit-{}", &hex(Sha256::digest(&text))[..12]));
    let path = folder.join("kunit.yaml");
    fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
    fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    let scenario = scenario::load(&path).map_err(|errors| Abort::input(errors.to_string()))?;
    Ok((scenario, kernel))
}

fn is_built_here(wanted: &Wanted, cache: &Cache) -> Result<bool, Abort> {
    let fault = |error: KernelError| Abort::fault(&error, error.fault());
    let project = project::find(None).map_err(|error| fault(error.into()))?;
    let meant = kernel::wanted::meant(wanted, &project, &cache.place(Kind::Kernel, ""));
    Ok(matches!(meant.map_err(|error| fault(error.into()))?, Meant::Recipe(_)))
}

/// As kunit.py takes it: a file, or a folder with a `.kunitconfig`; from here, or from the source's folder.
fn fragment(config: &Path, source: Option<&str>) -> Result<PathBuf, Abort> {
    let places = [Some(config.to_owned()), source.map(|source| Path::new(source).join(config))];
    let mut files = places.into_iter().flatten().flat_map(|place| [place.join(".kunitconfig"), place]);
    files.find(|file| file.is_file()).ok_or_else(|| {
        Abort::input(format!(
            "--kunitconfig {}: there is no such file, and no folder with a .kunitconfig",
            config.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use judge::Verdict;

    #[test]
    fn a_configuration_is_a_file_or_a_folder_here_or_in_the_source() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("fs/ext4")).unwrap();
        fs::write(place.path().join("fs/ext4/.kunitconfig"), "CONFIG_KUNIT=y\n").unwrap();
        let file = place.path().join("fs/ext4/.kunitconfig");
        let source = place.path().to_str();
        assert_eq!(fragment(Path::new("fs/ext4"), source), Ok(file.clone()));
        assert_eq!(fragment(&place.path().join("fs/ext4"), None), Ok(file.clone()));
        assert_eq!(fragment(&file, None), Ok(file));
        assert_eq!(fragment(Path::new("fs"), source).unwrap_err().verdict, Verdict::BadInput);
    }
}
