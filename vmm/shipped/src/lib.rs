//! What the program brings with it, so that it works without a checkout: the guest's agent, the series of patches, and the
//! fragments of configurations. Whatever a project has of its own goes before.

#![forbid(unsafe_code)]

use include_dir::{Dir, DirEntry, include_dir};
use std::{fs, io, path::Path};

/// The project's `kernel-patches`.
static PATCHES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../kernel-patches");

static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vmm-agent"));

/// The agent as an ELF file; a debug build has none.
pub fn agent() -> Option<&'static [u8]> {
    Some(AGENT).filter(|bytes| !bytes.is_empty())
}

/// Changes with every file of the project that is brought.
pub fn identity() -> String {
    // FNV-1a: it only has to tell versions of our own apart.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    each(&PATCHES, &mut |path, bytes| {
        add(path.to_string_lossy().as_bytes());
        add(bytes);
    });
    format!("{hash:016x}")
}

/// Writes the project's folder `kernel-patches` below a folder.
///
/// # Errors
/// The system's.
pub fn unpack(folder: &Path) -> io::Result<()> {
    let mut result = Ok(());
    each(&PATCHES, &mut |path, bytes| {
        if result.is_ok() {
            let target = folder.join("kernel-patches").join(path);
            result =
                fs::create_dir_all(target.parent().unwrap_or(folder)).and_then(|()| fs::write(target, bytes));
        }
    });
    result
}

fn each(folder: &Dir<'_>, tell: &mut impl FnMut(&Path, &[u8])) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => each(folder, tell),
            DirEntry::File(file) => tell(file.path(), file.contents()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_unpacked_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path()).unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-patches");
        for name in ["6.12/series", "7.3/recipe.yaml", "config/base.config", "config/kasan.config"] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&folder.path().join("kernel-patches")), read(&own), "{name}");
        }
        assert_eq!(identity().len(), 16);
    }
}
