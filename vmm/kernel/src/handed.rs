//! What somebody handed in, as a file for a tool in a box.

use base::cache::{CacheError, Stage};
use std::{
    fs,
    path::{self, Path, PathBuf},
};

/// A file of this program's own. Of others' files a box may be able to read none though this program can: root has no rights of a superuser
/// there. And what was looked at is what the tool gets.
pub(super) struct Handed {
    /// Where it is, by an absolute path.
    pub path: PathBuf,
    /// It goes with this.
    _folder: Stage,
}

impl Handed {
    /// With these bytes, and called as the file is that they are from. It comes to lie beside `stage`, which is a folder for what goes again.
    ///
    /// # Errors
    /// It can't be written.
    pub fn new(bytes: &[u8], named: &Path, stage: &Path) -> Result<Self, CacheError> {
        let beside = path::absolute(stage).map_err(CacheError::io("find", stage))?;
        let folder = Stage::new(beside.parent().unwrap_or(&beside))?;
        let path = folder.path().join(named.file_name().unwrap_or_default());
        fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
        Ok(Self { path, _folder: folder })
    }
}
