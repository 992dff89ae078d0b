//! The kernel's own unit tests as an ordinary scenario: they run when the kernel boots, and their results are read from its log.

use crate::{Abort, Guest, kernel::meant, written::written};
use base::{cache::Cache, wanted::Wanted};
use host::Choice;
use kernel::wanted::Meant;
use scenario::Scenario;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where.
    pub guest: Guest,
    /// Fragments, or folders with a `.kunitconfig`; without any, all tests that the configuration allows.
    pub configs: Vec<PathBuf>,
    /// Suites, or cases of them, as the kernel's `kunit.filter_glob` takes it.
    pub filter: Option<String>,
    /// For all of them.
    pub timeout: Duration,
}

/// The ready-made fragment that turns on all tests whose subjects are there.
const ALL: &str = "kunit-all";
/// What every KUnit run needs, whatever is asked for.
const FRAGMENT: &str = "kunit";

/// Makes the scenario, and says on which kernel. `host` is where it will run.
///
/// # Errors
/// That host is not to be had; a configuration is not there, or a filter can't be a word of the kernel's command line.
pub fn scenario(wish: &Wish, host: Choice) -> Result<(Scenario, Wanted), Abort> {
    scenario_in(wish, host, &Cache::open()?)
}

fn scenario_in(wish: &Wish, host: Choice, cache: &Cache) -> Result<(Scenario, Wanted), Abort> {
    // Before a source is fetched: to learn then that nothing can run would be late.
    host::choose(host, cache.root().join("emulator"))?;
    let mut kernel = wish.guest.kernel.clone();
    let meant = meant(&kernel, None, cache)?;
    let source = match &meant {
        Meant::Recipe(recipe) if !wish.configs.is_empty() => Some(kernel::source(recipe, cache)?),
        _ => None,
    };
    let configs = wish.configs.iter().map(|config| fragment(config, source.as_deref()));
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    // One that is built already has its tests in it.
    if matches!(meant, Meant::Recipe(_)) || !configs.is_empty() {
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
    let mut machine = wish.guest.machine(0, 1);
    machine["command-line"] = json!(words);
    let scenario = json!({
        "name": "kunit",
        "tags": ["kunit"],
        "machine": machine,
        "boot-timeout": format!("{} s", wish.timeout.as_secs()),
        // Tests of kprobes and static calls have the kernel patch its text.
        "count": false,
        "steps": [{"name": "the kernel has booted", "sleep": "1 ms"}],
        "expect": {"ktap": "required"},
        // What KUnit's tests of itself do on purpose.
        "allow": [
            {
                "oops": {"function": "kunit_test_null_dereference"},
                "reason": "KUnit's own test looks whether it survives that",
            },
            {
                "splat": {"kind": "warn", "contains": "/devices/platform/kunit-platform-add"},
                "reason": "KUnit's own test adds a device twice",
            },
        ],
    });
    let text = format!("# Written by vmm kunit.\n{scenario:#}\n");
    Ok((written("kunit", wish, &text, cache)?, kernel))
}

/// As kunit.py takes it: a file, or a folder with a `.kunitconfig`; from here, or from the source's folder.
fn fragment(config: &Path, source: Option<&Path>) -> Result<PathBuf, Abort> {
    let places = [Some(config.to_owned()), source.map(|source| source.join(config))];
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
    use std::fs;

    #[test]
    fn a_host_that_is_not_there_is_known_before_a_source_is_fetched() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        let guest = Guest { kernel: Wanted::series("5.4"), memory_mib: 64, vcpus: None };
        let wish = Wish { guest, configs: vec!["fs".into()], filter: None, timeout: Duration::ZERO };
        // Not the emulated one: another may be served here.
        let why = scenario_in(&wish, Choice::EmulatedIntel, &cache).unwrap_err();
        assert_eq!(why.verdict, Verdict::Infra, "{}", why.why);
    }

    #[test]
    fn a_configuration_is_a_file_or_a_folder_here_or_in_the_source() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("fs/ext4")).unwrap();
        fs::write(place.path().join("fs/ext4/.kunitconfig"), "CONFIG_KUNIT=y\n").unwrap();
        let file = place.path().join("fs/ext4/.kunitconfig");
        let source = Some(place.path());
        assert_eq!(fragment(Path::new("fs/ext4"), source), Ok(file.clone()));
        assert_eq!(fragment(&place.path().join("fs/ext4"), None), Ok(file.clone()));
        assert_eq!(fragment(&file, None), Ok(file));
        assert_eq!(fragment(Path::new("fs"), source).unwrap_err().verdict, Verdict::BadInput);
    }
}
