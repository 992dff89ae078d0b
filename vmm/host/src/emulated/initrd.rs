//! What an emulated host boots into: this very program as its init, and the modules that it loads.

use super::{EmulatedError, HostFile, Key, MODULES, hex_digest};
use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The initrd, and what it is known by.
pub(super) struct Initrd {
    pub(super) path: PathBuf,
    pub(super) key: Key,
}

/// How many initrds are kept: a debug and a release build take turns.
const KEPT: usize = 3;

/// Finds the initrd in the cache, or makes it.
pub(super) fn ensure(folder: &Path) -> Result<Initrd, EmulatedError> {
    let program = own_program()?;
    let modules = MODULES.map(|name| folder.join("modules").join(name));
    let key = key(&program, &modules)?;
    let path = folder.join(format!("initrd-{}", super::hex(&key)));
    if !path.exists() {
        let bytes = assemble(&program, &modules, &key, &[])?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().map_err(EmulatedError::io("write", &path))?;
        keep_newest(folder, |name| name.starts_with("initrd-"), KEPT);
    }
    Ok(Initrd { path, key })
}

fn own_program() -> Result<PathBuf, EmulatedError> {
    base::program::path().map_err(EmulatedError::io("find this program", Path::new("/proc/self/exe")))
}

fn key(program: &Path, modules: &[PathBuf]) -> Result<Key, EmulatedError> {
    let mut files = modules.to_vec();
    files.push(program.to_owned());
    let digest = hex_digest(identity(&files)?.as_bytes());
    Ok(super::key_from_hex(&digest[..32]).expect("half of a digest is a key"))
}

/// Changes whenever one of the files does. Reading them all at every start would take longer than the
/// rest, so this goes by what make goes by, and by the inode.
pub(super) fn identity(files: &[PathBuf]) -> Result<String, EmulatedError> {
    let mut identity = String::new();
    for path in files {
        let meta = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => EmulatedError::Missing(path.to_owned()),
            _ => EmulatedError::io("read", path)(error),
        })?;
        let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
        identity += &format!("{} {} {seconds}.{nanos} {}\n", path.display(), meta.len(), meta.ino());
    }
    Ok(identity)
}

/// An initrd with more files in it: where in the host, mode, content. It is written to `path`.
pub(super) fn with(folder: &Path, path: PathBuf, more: &[HostFile]) -> Result<Initrd, EmulatedError> {
    let key = of(&MODULES.map(|name| folder.join("modules").join(name)), &path, more)?;
    Ok(Initrd { path, key })
}

/// Writes an initrd with these modules and files; says what it is known by.
pub(crate) fn of(modules: &[PathBuf], path: &Path, more: &[HostFile]) -> Result<Key, EmulatedError> {
    let program = own_program()?;
    let key = key(&program, modules)?;
    let bytes = assemble(&program, modules, &key, more)?;
    fs::write(path, bytes).map_err(EmulatedError::io("write", path))?;
    Ok(key)
}

fn assemble(
    program: &Path,
    modules: &[PathBuf],
    key: &Key,
    more: &[HostFile],
) -> Result<Vec<u8>, EmulatedError> {
    let read = |path: &Path| fs::read(path).map_err(EmulatedError::io("read", path));
    let mut archive = initramfs::Initramfs::new();
    let mut fill = || -> Result<(), EmulatedError> {
        for place in ["dev", "proc", "sys", "tmp"] {
            archive.dir(place, 0o755)?;
        }
        archive.node("dev/console", 0o600, initramfs::NodeKind::Char, 5, 1)?;
        archive.file("vmm-host", 0o444, super::hex(key))?;
        archive.file("init", 0o755, without_debug_info(program)?)?;
        for module in modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("modules/{name}"), 0o444, unsigned(read(module)?))?;
        }
        for (path, mode, bytes) in more {
            archive.file(path, *mode, bytes.clone())?;
        }
        Ok(())
    };
    fill()?;
    Ok(archive.into_bytes())
}

/// A module without its signature (scripts/sign-file.c, include/linux/module_signature.h): to look at it costs a host tens of millions of
/// instructions, which an emulator takes a second for.
fn unsigned(mut module: Vec<u8>) -> Vec<u8> {
    const END: &[u8] = b"~Module signature appended~\n";
    /// `struct module_signature`; the lengths of signer and key are the bytes 3 and 4, and its last four that of the signature.
    const ABOUT: usize = 12;
    let about = module.strip_suffix(END).and_then(|rest| rest.last_chunk::<ABOUT>());
    if let Some(&[_, _, _, signer, key, _, _, _, size @ ..]) = about {
        let size = u32::from_be_bytes(size) as usize + usize::from(signer) + usize::from(key);
        module.truncate(module.len().saturating_sub(END.len() + ABOUT + size));
    }
    module
}

/// The program without what only a debugger reads, which is most of its bytes. Without binutils the
/// program goes in as it is: the host then starts slower.
fn without_debug_info(program: &Path) -> Result<Vec<u8>, EmulatedError> {
    let stripped =
        tempfile::NamedTempFile::new().map_err(EmulatedError::io("make a file in", &env::temp_dir()))?;
    let mut strip = Command::new("strip");
    strip
        .arg("-o")
        .arg(stripped.path())
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let source = match strip.status() {
        Ok(status) if status.success() => stripped.path(),
        _ => program,
    };
    fs::read(source).map_err(EmulatedError::io("read", source))
}

/// Removes all but the newest few files with such names. What can't be removed is removed another time.
pub(super) fn keep_newest(folder: &Path, is_ours: impl Fn(&str) -> bool, kept: usize) {
    let mut found: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(&is_ours))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let old = found.len().saturating_sub(kept);
    for (_, path) in &found[..old] {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_loses_its_signature_and_nothing_else() {
        let about = [0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 5];
        let signed =
            [&b"\x7fELF code"[..], b"sKK", b"12345", &about, b"~Module signature appended~\n"].concat();
        assert_eq!(unsigned(signed), b"\x7fELF code");
        for other in [&b"\x7fELF code"[..], b"~Module signature appended~\n", b""] {
            assert_eq!(unsigned(other.to_vec()), other);
        }
    }
}
