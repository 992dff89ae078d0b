//! Making `.config` in a build folder.
//!
//! That takes make as long as building a changed file does. So a build folder remembers what its configuration was
//! made from, and keeps it while that is the same.

use super::{
    Base, KernelError, Prepared,
    build::Slot,
    config::{self, ConfigError, Need},
    recipe::Recipe,
    run,
    sources::hex,
    tree::Tree,
};
use base::{cache::CacheError, progress::note};
use jail::intake;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// What Kconfig reads, or has run, of a source: its own files, the scripts that ask the compiler, the makefiles that
/// start it, and configurations that are targets.
fn shapes_configuration(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("Kconfig")
        || name.ends_with("config")
        || path.starts_with("scripts")
        || name.starts_with("Makefile") && (path.starts_with("arch/x86") || path.components().count() == 1)
}

impl Slot<'_> {
    /// Changes with everything that shapes the configuration.
    fn inputs(&self, Prepared { loaded, identity, .. }: &Prepared, tree: &Tree) -> String {
        let mut digest = Sha256::new();
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
            return Err(ConfigError::Lost(lost).into());
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
