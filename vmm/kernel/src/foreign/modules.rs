//! A folder of modules as distributions install them: `/lib/modules/RELEASE`.

use super::{ForeignError, read, text};
use base::{
    module::kernels_name,
    unpack::{module_name, unpack_apart},
};
use object::{Object, ObjectSection};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Looks for files; a folder that is not there has none. A pipe is none.
    pub fn read(folder: &Path) -> Self {
        let entries = WalkDir::new(folder).into_iter().flatten();
        let files = entries.map(|entry| entry.into_path()).filter(|path| path.is_file());
        let files = files.filter_map(|path| Some((name(&path)?, path))).collect();
        let list = text(&folder.join("modules.builtin")).unwrap_or_default();
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
        let mut seen = BTreeSet::from([name.to_owned()]);
        // Those that wait for what they need, the last for the one behind it.
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut next = Some(name.to_owned());
        loop {
            if let Some(name) = next.take()
                && !self.is_built_in(&name)
                && !order.iter().any(|(loaded, _)| *loaded == name)
            {
                let Some(path) = self.files.get(&name) else { return Ok(false) };
                let bytes = unpack_apart(read(path)?)
                    .map_err(|source| ForeignError::Compressed { path: path.clone(), source })?;
                let there = order.iter().map(|(_, bytes)| bytes).chain(waiting.iter().map(|it| &it.bytes));
                let (count, total) =
                    there.fold((1, bytes.len()), |(count, total), bytes| (count + 1, total + bytes.len()));
                if count > MOST || total > MOST_BYTES {
                    let why = format!(
                        "what has to be loaded before it can be spoken with is more than {MOST} modules, or than {} MiB",
                        MOST_BYTES >> 20
                    );
                    return Err(ForeignError::NotAKernel { path: path.clone(), why });
                }
                let mut needs = depends(&bytes);
                needs.reverse();
                waiting.push(Waiting { name, bytes, needs });
            }
            let Some(last) = waiting.last_mut() else { return Ok(true) };
            // A cycle is depmod's to complain of.
            match last.needs.pop() {
                Some(needed) => next = seen.insert(needed.clone()).then_some(needed),
                None => order.extend(waiting.pop().map(|it| (it.name, it.bytes))),
            }
        }
    }
}

/// So many modules are loaded early, and no more bytes of them: a distribution has half a dozen of a few hundred KiB.
const MOST: usize = 64;
const MOST_BYTES: usize = 256 << 20;

/// A module that waits for what it needs, the next one last.
struct Waiting {
    name: String,
    bytes: Vec<u8>,
    needs: Vec<String>,
}

/// `virtio_mmio` of `kernel/drivers/virtio/virtio-mmio.ko.xz`.
fn name(path: &Path) -> Option<String> {
    Some(kernels_name(module_name(path.file_name()?.to_str()?)?))
}

/// What its `.modinfo` says that it needs.
fn depends(module: &[u8]) -> Vec<String> {
    let file = object::File::parse(module).ok();
    let section = file.as_ref().and_then(|file| file.section_by_name(".modinfo")?.data().ok());
    let lines = section.unwrap_or_default().split(|byte| *byte == 0);
    let names = lines.filter_map(|line| std::str::from_utf8(line).ok()?.strip_prefix("depends="));
    names.flat_map(|names| names.split(',')).filter(|it| !it.is_empty()).map(kernels_name).collect()
}
