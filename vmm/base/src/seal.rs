//! What an entry of the cache held when it was made, so that it is known when somebody has been at it.
//!
//! A digest of each file, and what the file system says of it. A kernel's files take a tenth of a second to read, too long
//! for each start; but nobody who is not root sets a file's time of change, so a file of which the file system says what it
//! said then is the same. Any other is read.

use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Folders of an entry whose files are sealed, too: a kernel's early modules, modules with their debug info. What else lies deeper is a
/// build folder: make looks after itself, in a box.
const INSIDE: [&str; 2] = ["early", "whole"];

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    digest: String,
    stamp: String,
}

fn stamp(meta: &Metadata) -> String {
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    let times = times.map(|it| it.to_string()).join(" ");
    format!("{} {} {} {times}", meta.size(), meta.dev(), meta.ino())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Seals the files of `entry`: what they are is written to `seal`.
///
/// # Errors
/// A file can't be read, or the seal not be written.
pub fn seal(entry: &Path, seal: &Path) -> io::Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in std::iter::once(entry.to_owned()).chain(INSIDE.map(|name| entry.join(name))) {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for file in entries {
            let file = file?;
            if file.file_type()?.is_file() {
                files.push(file.path());
            }
        }
    }
    files.sort();
    let mut known = Vec::new();
    for path in files {
        let name = path.strip_prefix(entry).unwrap_or(&path).to_string_lossy().into_owned();
        known.push(Known { name, digest: digest(&path)?, stamp: stamp(&fs::symlink_metadata(&path)?) });
    }
    write(seal, &known)
}

fn write(seal: &Path, known: &[Known]) -> io::Result<()> {
    let line = |it: &Known| format!("{}\n{}\n{}\n", it.digest, it.stamp, it.name);
    // By a rename, so that whoever reads it meanwhile reads a whole one.
    let parent = seal.parent().unwrap_or(Path::new(""));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    io::Write::write_all(&mut file, known.iter().map(line).collect::<String>().as_bytes())?;
    file.persist(seal).map(drop).map_err(|error| error.error)
}

fn read(seal: &Path) -> io::Result<Vec<Known>> {
    let text = fs::read_to_string(seal)?;
    let lines: Vec<&str> = text.lines().collect();
    let known = |part: &[&str]| match part {
        [digest, stamp, name] => {
            Some(Known { name: (*name).into(), digest: (*digest).into(), stamp: (*stamp).into() })
        }
        _ => None,
    };
    let known: Option<Vec<Known>> = lines.chunks(3).map(known).collect();
    known.ok_or_else(|| io::Error::other("the seal is damaged"))
}

/// The first file of `entry` that is not what it was when it was sealed; `None` where all are, and where there is no
/// seal: such an entry is from before there were any, and is sealed as it is.
pub fn broken(entry: &Path, at: &Path) -> Option<PathBuf> {
    let mut known = match read(at) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A cache that can't be written serves all the same.
            let _ = seal(entry, at);
            return None;
        }
        Err(_) => return Some(at.to_owned()),
    };
    let mut moved = false;
    for file in &mut known {
        let path = entry.join(&file.name);
        let meta = fs::symlink_metadata(&path).ok().filter(|meta| meta.is_file());
        let Some(meta) = meta else { return Some(path) };
        if stamp(&meta) == file.stamp {
            continue;
        }
        if digest(&path).ok().as_ref() != Some(&file.digest) {
            return Some(path);
        }
        file.stamp = stamp(&meta);
        moved = true;
    }
    if moved {
        // Copied, or restored from an archive. Next time it need not be read.
        let _ = write(at, &known);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (entry, at) = (folder.path().join("entry"), folder.path().join("seal"));
        fs::create_dir_all(entry.join("early")).unwrap();
        for name in ["vmlinux", "early/a.ko"] {
            fs::write(entry.join(name), "content").unwrap();
        }
        seal(&entry, &at).unwrap();
        assert_eq!(broken(&entry, &at), None);
        (folder, entry, at)
    }

    #[test]
    fn what_changed_is_found_whatever_its_size_and_time_say() {
        for name in ["vmlinux", "early/a.ko"] {
            let (_folder, entry, at) = sealed();
            let path = entry.join(name);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "CONTENT").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_eq!(broken(&entry, &at), Some(path));
        }
    }

    #[test]
    fn a_file_that_is_gone_or_a_link_is_found() {
        let (_folder, entry, at) = sealed();
        let path = entry.join("vmlinux");
        fs::rename(&path, entry.join("other")).unwrap();
        assert_eq!(broken(&entry, &at), Some(path.clone()));
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert_eq!(broken(&entry, &at), Some(path));
    }

    #[test]
    fn a_copy_is_as_good_and_is_not_read_twice() {
        let (_folder, entry, at) = sealed();
        let before = fs::read_to_string(&at).unwrap();
        fs::copy(entry.join("vmlinux"), entry.join("copy")).unwrap();
        fs::rename(entry.join("copy"), entry.join("vmlinux")).unwrap();
        assert_eq!(broken(&entry, &at), None);
        assert_ne!(fs::read_to_string(&at).unwrap(), before);
    }

    #[test]
    fn a_damaged_seal_is_no_seal() {
        let (_folder, entry, at) = sealed();
        fs::write(&at, "rubbish\n").unwrap();
        assert_eq!(broken(&entry, &at), Some(at.clone()));
        fs::remove_file(&at).unwrap();
        assert_eq!(broken(&entry, &at), None);
        assert!(at.is_file(), "an entry without a seal gets one");
    }
}
