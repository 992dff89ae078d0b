//! Scenarios that commands write: what a kernel's own tests are to the rest.

use crate::Abort;
use base::{
    cache::{Cache, CacheError},
    wanted::Wanted,
};
use kernel::sources::hex;
use scenario::Scenario;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

/// Where a kernel's own tests are to run.
#[derive(Clone, Debug)]
pub struct Guest {
    /// On which kernel.
    pub kernel: Wanted,
    /// Its memory.
    pub memory_mib: u32,
    /// Its processors.
    pub vcpus: u8,
}

impl Guest {
    /// As a scenario says it, with more MiB than were asked for.
    pub(crate) fn machine(&self, more: u64) -> Value {
        let memory = (u64::from(self.memory_mib) + more).min(65_536);
        json!({"memory": format!("{memory} MiB"), "cpus": self.vcpus})
    }
}

/// Writes a scenario into the cache, where `vmm run` finds it too, and reads it.
pub(crate) fn written(name: &str, text: &str, cache: &Cache) -> Result<Scenario, Abort> {
    // What other runs have written, and may be reading, is in folders of its own.
    let folder = cache.work(&format!("{name}-{}", &hex(Sha256::digest(text))[..12]));
    let path = folder.join(format!("{name}.yaml"));
    if !fs::read_to_string(&path).is_ok_and(|there| there == text) {
        fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    scenario::load(&path).map_err(|errors| Abort::input(errors.to_string()))
}
