//! Removing folders that others filled, whatever they made of them: as deep as they like, and without rights.
//!
//! Two descriptors at a time, and no recursion: a folder in a folder is first moved to the top.

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    io,
    path::Path,
};

/// Removes a folder and all that is in it, also where its maker has taken its rights away; one that is not there is fine. Of a link, the link.
/// Nobody may write there meanwhile.
///
/// # Errors
/// Something can't be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let path = match folder.to_str().map(CString::new) {
        Some(Ok(path)) => path,
        _ => CString::new(folder.as_os_str().as_encoded_bytes())?,
    };
    match remove_whole(&path) {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

fn remove_whole(path: &CStr) -> rustix::io::Result<()> {
    if !is_folder(CWD, path)? {
        return unlinkat(CWD, path, AtFlags::empty());
    }
    let top = enter(CWD, path)?;
    // Moved ones have names that nobody gave.
    let mut moved = 0u64;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            if !is_folder(&top, &name)? {
                unlinkat(&top, &name, AtFlags::empty())?;
                continue;
            }
            let inside = enter(&top, &name)?;
            for name in self::names(&inside)? {
                if !is_folder(&inside, &name)? {
                    unlinkat(&inside, &name, AtFlags::empty())?;
                    continue;
                }
                // Who is moved is written to: it leads to where it is.
                chmodat(&inside, &name, Mode::RWXU, AtFlags::empty())?;
                move_to(&top, &inside, &name, &mut moved)?;
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    drop(top);
    unlinkat(CWD, path, AtFlags::REMOVEDIR)
}

/// Moves a folder to the top, under a name that nothing has there.
fn move_to(top: &OwnedFd, from: &OwnedFd, name: &CStr, moved: &mut u64) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        let new = CString::new(format!(".removed-{moved}")).expect("no zero is in it");
        match statat(top, &new, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(_) => return renameat(from, name, top, &new),
        }
    }
}

/// Opens a folder, and lets its owner in.
fn enter(at: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    chmodat(&at, name, Mode::RWXU, AtFlags::empty())?;
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&at, name, how, Mode::empty())
}

fn is_folder(at: impl AsFd, name: &CStr) -> rustix::io::Result<bool> {
    let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn folders_go_however_deep_they_are_and_with_few_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir(&top).unwrap();
        // Deeper than descriptors and the stack would do, and than a path can say; some of it beside the way.
        let mut at = openat(CWD, &top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..2000 {
            for name in ["deep", "x"] {
                rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            }
            rustix::fs::symlinkat("/", &at, "link").unwrap();
            at = enter(&at, c"deep").unwrap();
        }
        drop(at);
        // Names that removing itself would give.
        for name in [".removed-1", ".removed-2"] {
            fs::create_dir_all(top.join(name).join("a")).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists());
        remove(&top).unwrap();
    }

    #[test]
    fn what_a_link_leads_to_stays_and_what_has_no_rights_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (other, top) = (folder.path().join("other"), folder.path().join("top"));
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        for name in ["a/link", "link"] {
            symlink(&other, top.join(name)).unwrap();
        }
        for name in ["a/b/c", "a/b", "a", ""] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
            fs::set_permissions(top.join(name), mode).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists() && other.join("file").is_file());
        symlink(&other, &top).unwrap();
        remove(&top).unwrap();
        assert!(fs::symlink_metadata(&top).is_err() && other.join("file").is_file());
    }
}
