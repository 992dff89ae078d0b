//! The project's files that the program brings, written into the cache when they are first needed.

use base::cache::{Cache, CacheError};
use std::{fs, path::PathBuf};

/// Their folder.
pub fn project() -> Result<PathBuf, String> {
    let write = || -> Result<PathBuf, CacheError> {
        let cache = Cache::open()?;
        let folder = cache.root().join("shipped");
        fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        let place = folder.join(shipped::identity());
        if !place.is_dir() {
            let stage = cache.stage()?;
            shipped::unpack(stage.path()).map_err(CacheError::io("write", stage.path()))?;
            stage.commit(&place)?;
        }
        Ok(place)
    };
    write().map_err(|error| format!("what vmm brings can't be used: failed to {error}"))
}
