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
use std::{fmt::Debug, fs};

/// Where a kernel's own tests are to run.
#[derive(Clone, Debug)]
pub struct Guest {
    /// On which kernel.
    pub kernel: Wanted,
    /// Its memory.
    pub memory_mib: u32,
    /// Its processors, if that matters to who asks.
    pub vcpus: Option<u8>,
}

impl Guest {
    /// As a scenario says it, with more MiB than were asked for, and so many processors where nobody asked.
    pub(crate) fn machine(&self, more: u64, vcpus: u8) -> Value {
        let memory = (u64::from(self.memory_mib) + more).min(65_536);
        json!({"memory": format!("{memory} MiB"), "cpus": self.vcpus.unwrap_or(vcpus)})
    }
}

/// Writes a scenario into the cache, where `vmm run` finds it too, and reads it. Reports are compared, and parts of a run told
/// apart, by a scenario's path: so that goes by what was asked for (`wish`), and not by what came of it, such as a kernel's hash.
pub(crate) fn written(name: &str, wish: &dyn Debug, text: &str, cache: &Cache) -> Result<Scenario, Abort> {
    let key = format!("{name}-{}", &hex(Sha256::digest(format!("{wish:?}")))[..12]);
    let folder = cache.work(&key);
    let path = folder.join(format!("{name}.yaml"));
    // Nobody else writes there until it is read.
    let _lock = cache.lock(&key, "this scenario")?;
    if !fs::read_to_string(&path).is_ok_and(|there| there == text) {
        fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    scenario::load(&path).map_err(|errors| Abort::input(errors.to_string()))
}
