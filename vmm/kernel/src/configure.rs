//! Making `.config` in a build folder.
//!
//! That takes make as long as building a changed file does. So a build folder remembers what its configuration was
//! made from, and keeps it while that is the same.

use super::{
    Base, KernelError, Prepared,
    build::Slot,
    config::{self, ConfigError, Lost, Need},
    recipe::Recipe,
    run,
    source::Source,
    sources::hex,
    tree::Tree,
};
use base::{cache::CacheError, progress::note};
use jail::intake;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What Kconfig reads, or has run, of a source: its own files, the scripts that ask the compiler, the makefiles that
/// start it, and configurations that are targets.
fn shapes_configuration(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("Kconfig")
        || name.ends_with("config")
        || path.starts_with("scripts")
        || name.starts_with("Makefile") && (path.starts_with("arch/x86") || path.components().count() == 1)
}

/// Older kernels lack some of what every kernel is asked for, whoever made them (docs/kernels.md): the first two numbers of a version.
const OLDEST: (u32, u32) = (5, 10);

/// Whose doing it is that symbols are lost: patches can take away what every kernel is asked for, and so can who works in a folder or a
/// repository. Of others' kernels, and of old ones, which a search may come upon in any repository, it is too much to ask, and no failed build.
fn not_granted(lost: Vec<Lost>, recipe: &Recipe, touched: &BTreeSet<PathBuf>, version: &str) -> ConfigError {
    let of_every_kernel = |lost: &Lost| recipe.fragments.first() == Some(&lost.request.path);
    // Of makefiles, those that start Kconfig: the kernel's own, and arch/x86/Makefile.
    let can_lose = |path: &PathBuf| {
        let is_makefile = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("Makefile"));
        shapes_configuration(path) && (!is_makefile || path.components().count() <= 3)
    };
    let is_somebodys_work =
        matches!(recipe.source, Source::Folder(_) | Source::Git { .. } | Source::Remote { .. });
    let is_old = config::version(version).is_some_and(|version| version < OLDEST);
    let could_be_asked = is_somebodys_work && !is_old || touched.iter().any(can_lose);
    if lost.iter().all(of_every_kernel) && !could_be_asked {
        return ConfigError::Unfit { version: version.to_owned(), lost };
    }
    ConfigError::Lost(lost)
}

impl Slot<'_> {
    /// Changes with everything that shapes the configuration.
    fn inputs(&self, Prepared { loaded, identity, sources, .. }: &Prepared, tree: &Tree) -> String {
        let mut digest = Sha256::new();
        // Files of another folder may differ, and have the same sizes and times.
        digest.update(sources.folder.as_os_str().as_encoded_bytes());
        digest.update(tree.state_of(shapes_configuration));
        let patched = loaded.series.touched().unwrap_or_default();
        for path in patched.iter().filter(|path| shapes_configuration(path)) {
            digest.update(path.as_os_str().as_encoded_bytes());
            digest.update(Sha256::digest(fs::read(self.source.join(path)).unwrap_or_default()));
        }
        digest.update(format!(
            "{}\n{:?}\n{identity}\n{:?}",
            loaded.base.identity,
            self.toolchain,
            config::effective(&loaded.requests)
        ));
        hex(digest.finalize())
    }

    /// Makes `.config`, and checks that everything that was asked for is in it. `tree` is the source without
    /// patches.
    pub fn configure(&self, recipe: &Recipe, prepared: &Prepared, tree: &Tree) -> Result<(), KernelError> {
        let config = self.build.join(".config");
        let loaded = &prepared.loaded;
        let inputs = self.inputs(prepared, tree);
        let done = self.root.join("configured");
        // What made it may have been others' makefiles, and a link or a pipe may be there now.
        let read = || intake::read_within(&self.build, ".config").map_err(CacheError::from);
        let write = |text: &str| intake::write_anew(&config, text).map_err(CacheError::io("write", &config));
        let outcome = || Some(format!("{inputs} {}\n", hex(Sha256::digest(read().ok()?))));
        let before = fs::read_to_string(&done).ok();
        if before.is_some() && before == outcome() {
            return Ok(());
        }
        if let Some(text) = &loaded.base.config {
            write(text)?;
        }
        for target in recipe.base.targets() {
            self.make_target(&[target], &recipe.base)?;
        }
        let merged = config::merge(&read()?, &loaded.requests);
        write(&merged)?;
        self.make_target(&["olddefconfig"], &Base::Tiny)?;
        let made = read()?;
        let mut lost = config::lost(&loaded.requests, &made, &self.source);
        // Kconfig only knows that Rust isn't available; the kernel has a script that knows why. What it misses is
        // missing on this machine, and no fault of a configuration: most of what is run here needs no Rust.
        if let Some(at) = lost.iter().position(|lost| lost.request.symbol == "RUST")
            && let Some(why) = self.why_no_rust()
        {
            if lost[at].request.need == Need::Must {
                return Err(KernelError::NoRust(why));
            }
            note(&format!(
                "this kernel is built without Rust, for which something is missing (vmm doctor): {why}"
            ));
            lost.remove(at);
        }
        if !lost.is_empty() {
            let touched = loaded.series.touched().unwrap_or_default();
            return Err(not_granted(lost, recipe, &touched, &prepared.sources.version).into());
        }
        let outcome = outcome().unwrap_or_default();
        Ok(fs::write(&done, outcome).map_err(CacheError::io("write", &done))?)
    }

    fn why_no_rust(&self) -> Option<String> {
        let ran =
            run::run_in(&self.sandbox, self.command(&["rustavailable"]), &self.log, None, |_| ()).ok()?;
        let said =
            ran.lines.iter().find_map(|line| line.trim().strip_prefix("*** ").filter(|it| !it.is_empty()));
        said.map(str::to_owned)
    }

    fn make_target(&self, targets: &[&str], base: &Base) -> Result<(), KernelError> {
        let mut sandbox = self.sandbox.clone();
        let mut lists = None;
        if let Base::Local { lsmod, .. } = base {
            let lsmod = std::path::absolute(lsmod).map_err(CacheError::io("find", lsmod))?;
            sandbox = sandbox.read(&lsmod);
            lists = Some(lsmod);
        }
        let mut command = self.command_in(&sandbox, targets);
        command.envs(lists.map(|lsmod| ("LSMOD", lsmod)));
        let ran = run::run_in(&sandbox, command, &self.log, Some(&self.lock), |_| ())?;
        match ran.status.success() {
            true => Ok(()),
            false => Err(self.failed("configure the kernel", &ran, Path::new(""), "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, Patches};

    fn recipe(source: Source) -> Recipe {
        Recipe {
            source,
            series: Patches::None,
            base: Base::Tiny,
            fragments: vec!["base.config".into(), "own.config".into()],
            compiler: Compiler::Gcc,
            apart: false,
        }
    }

    #[test]
    fn a_kernel_that_is_asked_for_too_much_is_no_failed_build() {
        let why = |source: Source, version: &str, files: &[&str], touched: &[&str]| {
            let lost = files.iter().map(|file| Lost {
                request: config::parse(Path::new(file), "CONFIG_NEW=y\n").unwrap().remove(0),
                got: None,
                why: "no Kconfig file of this kernel knows it".to_owned(),
            });
            let touched = touched.iter().map(PathBuf::from).collect();
            not_granted(lost.collect(), &recipe(source), &touched, version)
        };
        let others = || Source::Tarball("/linux.tar".into());
        let unfit = |files: &[&str], touched: &[&str]| {
            matches!(why(others(), "6.12.1", files, touched), ConfigError::Unfit { .. })
        };
        assert!(unfit(&["base.config"], &[]));
        assert!(unfit(&["base.config"], &["arch/x86/kernel/Makefile", "kernel/fork.c"]));
        // Who asks for more, or has taken it away.
        assert!(!unfit(&["base.config", "own.config"], &[]));
        assert!(!unfit(&["base.config"], &["drivers/virtio/Kconfig"]));
        assert!(!unfit(&["base.config"], &["arch/x86/Makefile"]));
        // Who works on a kernel has done it, but for what no old one ever had.
        let git = || Source::Git { repository: "/linux".into(), revision: "HEAD".to_owned(), checkout: None };
        for (source, version, is_unfit) in [
            (Source::Folder("/linux".into()), "6.12.1", false),
            (git(), "5.10.0", false),
            (git(), "5.9.0", true),
            (Source::Folder("/linux".into()), "4.19.3", true),
        ] {
            let why = why(source, version, &["base.config"], &[]);
            assert_eq!(matches!(why, ConfigError::Unfit { .. }), is_unfit, "{version}");
        }
        let error = crate::KernelError::from(why(others(), "5.4.1", &["base.config"], &[]));
        assert_eq!(error.fault(), base::cache::Fault::Input);
        let said = error.to_string();
        assert!(said.contains("Linux 5.4.1 has not all") && said.contains("CONFIG_NEW=y"), "{said}");
    }
}
