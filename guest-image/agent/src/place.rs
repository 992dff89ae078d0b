//! Files that a scenario brings: the guest was booted without them.

use nix::sys::stat::{Mode, umask};
use protocol::{Content, Placed};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::Path,
};

/// Puts all of them into their places; the error says which can't be put there.
pub fn place(files: Vec<Placed>) -> Result<(), String> {
    files.into_iter().try_for_each(|file| one(&file).map_err(|error| format!("{}: {error}", file.path)))
}

fn one(file: &Placed) -> io::Result<()> {
    let path = Path::new(&file.path);
    let permissions = Permissions::from_mode(file.mode);
    match &file.content {
        Content::File(bytes) => {
            remove(path)?;
            let mut new = File::create_new(path)?;
            new.write_all(bytes)?;
            new.set_permissions(permissions)
        }
        Content::More(bytes) => OpenOptions::new().append(true).open(path)?.write_all(bytes),
        Content::Folder | Content::Parent => {
            let made = folder(path, file.mode)?;
            if !made && file.content == Content::Folder {
                fs::set_permissions(path, permissions)
            } else {
                Ok(())
            }
        }
        Content::Link(target) => {
            remove(path)?;
            symlink(target, path)
        }
    }
}

/// Makes a folder with exactly this mode; `false` if it is there.
fn folder(path: &Path, mode: u32) -> io::Result<bool> {
    let before = umask(Mode::empty());
    let made = DirBuilder::new().mode(mode).create(path);
    umask(before);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        made => made.map(|()| true),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_links_come_to_their_places_over_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(at("there")).unwrap();
        fs::set_permissions(at("there"), Permissions::from_mode(0o700)).unwrap();
        symlink("nowhere", at("there/tool")).unwrap();
        symlink("nowhere", at("there/link")).unwrap();
        let placed = |name: &str, mode, content| Placed { path: at(name), mode, content };
        let files = vec![
            placed("there", 0o755, Content::Parent),
            placed("new", 0o1777, Content::Folder),
            placed("there/tool", 0o4755, Content::File(b"one".to_vec())),
            placed("there/tool", 0, Content::More(b", two".to_vec())),
            placed("there/link", 0o777, Content::Link("tool".into())),
        ];
        assert_eq!(place(files), Ok(()));
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("there"), mode("new"), mode("there/tool")), (0o700, 0o1777, 0o4755));
        assert_eq!(fs::read(at("there/link")).unwrap(), b"one, two");
        let again =
            vec![placed("there", 0o711, Content::Folder), placed("new/none/x", 0o644, Content::File(vec![]))];
        let why = place(again).unwrap_err();
        assert!(why.starts_with(&at("new/none/x")), "{why}");
        assert_eq!(mode("there"), 0o711);
    }
}
