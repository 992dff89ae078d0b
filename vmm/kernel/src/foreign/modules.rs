//! A folder of modules as distributions install them: `/lib/modules/RELEASE`.

use super::{ForeignError, read};
use base::unpack::{module_name, unpack_apart};
use object::{Object, ObjectSection};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// A module: its name and its bytes, uncompressed.
pub(super) type Loaded = (String, Vec<u8>);

/// Which modules there are. Their names have `_` where files may have `-`.
#[derive(Default)]
pub(super) struct Modules {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl Modules {
    /// Looks for files; a folder that is not there has none.
    pub fn read(folder: &Path) -> Self {
        let files = WalkDir::new(folder).into_iter().flatten().map(|entry| entry.into_path());
        let files = files.filter_map(|path| Some((name(&path)?, path))).collect();
        let list = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in = list.lines().filter_map(|line| name(Path::new(line))).collect();
        Self { files, built_in }
    }

    /// Whether the kernel has it without loading anything.
    pub fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(name)
    }

    /// Whether there is a file of it.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Appends a module behind those that it depends on. `false`: it, or one of these, is not there.
    pub fn load(&self, name: &str, order: &mut Vec<Loaded>) -> Result<bool, ForeignError> {
        self.visit(name, order, &mut BTreeSet::new())
    }

    fn visit(
        &self,
        name: &str,
        order: &mut Vec<Loaded>,
        seen: &mut BTreeSet<String>,
    ) -> Result<bool, ForeignError> {
        let there = order.iter().any(|(loaded, _)| loaded == name) || self.is_built_in(name);
        // A cycle is depmod's to complain of.
        if there || !seen.insert(name.to_owned()) {
            return Ok(true);
        }
        let Some(path) = self.files.get(name) else { return Ok(false) };
        let bytes = unpack_apart(read(path)?)
            .map_err(|source| ForeignError::Compressed { path: path.clone(), source })?;
        for needed in depends(&bytes) {
            if !self.visit(&needed, order, seen)? {
                return Ok(false);
            }
        }
        order.push((name.to_owned(), bytes));
        Ok(true)
    }
}

/// `virtio_mmio` of `kernel/drivers/virtio/virtio-mmio.ko.xz`.
fn name(path: &Path) -> Option<String> {
    Some(module_name(path.file_name()?.to_str()?)?.replace('-', "_"))
}

/// What its `.modinfo` says that it needs.
fn depends(module: &[u8]) -> Vec<String> {
    let file = object::File::parse(module).ok();
    let section = file.as_ref().and_then(|file| file.section_by_name(".modinfo")?.data().ok());
    let lines = section.unwrap_or_default().split(|byte| *byte == 0);
    let names = lines.filter_map(|line| std::str::from_utf8(line).ok()?.strip_prefix("depends="));
    names
        .flat_map(|names| names.split(','))
        .filter(|it| !it.is_empty())
        .map(|it| it.replace('-', "_"))
        .collect()
}
