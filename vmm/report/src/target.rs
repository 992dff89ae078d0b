//! Where a report is written to: a file, which is replaced, or whatever else has that name, which is written through.

use base::{
    interrupt,
    text::{plain, unnamed},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// A pipe that nobody reads for so long is given up.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// A place for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, there or not yet. It is whole at every moment: what is new is written beside it and then renamed.
    File(PathBuf),
    /// A device, a pipe, a descriptor of this process. It can be written to once.
    Stream(PathBuf),
}

impl Target {
    /// Looks what is at a path, through links. Nothing is written yet, but it is tried whether that can be done.
    ///
    /// # Errors
    /// In words, why it can't be written.
    pub fn at(path: &Path) -> Result<Self, String> {
        let cannot =
            |why: &dyn std::fmt::Display| format!("can't write the report {}: {why}", path.display());
        // Their files may be regular, but what has them open already goes on writing there.
        let descriptors = ["/dev/fd", "/proc/self/fd", "/dev/stdout", "/dev/stderr"];
        if descriptors.iter().any(|place| path.starts_with(place)) {
            return Ok(Self::Stream(path.to_owned()));
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return Err(cannot(&"it is a folder")),
            Ok(meta) if !meta.is_file() => return Ok(Self::Stream(path.to_owned())),
            _ => {}
        }
        let file = followed(path).map_err(|error| cannot(&error))?;
        let folder = folder(&file);
        let why = |error| format!("{}: {}", folder.display(), plain(&unnamed(error)));
        tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&why(error)))?;
        Ok(Self::File(file))
    }

    /// Whether what is written can be written anew later.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Writes a whole report.
    ///
    /// # Errors
    /// The system's; a pipe that nobody reads is one.
    pub fn write(&self, report: &[u8]) -> io::Result<()> {
        match self {
            Self::File(path) => {
                // A temporary file is its owner's alone; a report is read by whom the umask lets, or by who could before.
                let before = fs::metadata(path).ok().map(|meta| meta.permissions());
                let all: fs::Permissions = PermissionsExt::from_mode(0o666);
                let write = || -> io::Result<()> {
                    let mut new = tempfile::Builder::new();
                    let mut file = new.prefix(".report-").permissions(all).tempfile_in(folder(path))?;
                    file.write_all(report)?;
                    if let Some(before) = before {
                        file.as_file().set_permissions(before)?;
                    }
                    file.persist(path).map_err(|error| error.error)?;
                    Ok(())
                };
                write().map_err(|error| named(path, &error))
            }
            Self::Stream(path) => stream(path, report).map_err(|error| named(path, &error)),
        }
    }
}

/// An error that says which file it concerns.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Where a path leads if it is a link, also one to nothing yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As often as the kernel follows links (path_resolution(7)).
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(to) => path = folder(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_all(&mut opened(path)?, bytes)
}

/// Writes to what may have a slow reader, and never waits for longer than [`PATIENCE`].
pub(crate) fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    let mut last = Instant::now();
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                last = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(last)?;
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                poll(&mut fds, PollTimeout::from(100_u8))
                    .map_err(io::Error::from)
                    .map(drop)
                    .or_else(again)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A FIFO can be opened for writing once somebody reads it (fifo(7)), which is not waited for longer than [`PATIENCE`].
pub(crate) fn opened(path: &Path) -> io::Result<File> {
    const O_NONBLOCK: i32 = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let start = Instant::now();
    loop {
        // At the end, where it is a file after all (`> file`, and /dev/stdout).
        match OpenOptions::new().append(true).custom_flags(O_NONBLOCK).open(path) {
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => wait(start)?,
            opened => return opened,
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn wait(since: Instant) -> io::Result<()> {
    if interrupt::requested() || since.elapsed() > PATIENCE {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
    }
    Ok(())
}

fn again(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};

    #[test]
    fn a_link_stays_and_its_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        symlink("file", &link).unwrap();
        // Whether there is a file already or not.
        for text in ["one", "two"] {
            Target::at(&link).unwrap().write(text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_and_no_temporary_file() {
        let why = Target::at(Path::new("/nowhere/at/all/x.json")).unwrap_err();
        assert_eq!(
            why,
            "can't write the report /nowhere/at/all/x.json: /nowhere/at/all: no such file or directory"
        );
    }

    #[test]
    fn a_fifo_is_written_through_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let path = fifo.clone();
        let reader = thread::spawn(move || fs::read(path).unwrap());
        // More than a pipe holds at once (pipe(7)).
        let report = vec![b'x'; 300_000];
        let target = Target::at(&fifo).unwrap();
        assert!(!target.is_file());
        target.write(&report).unwrap();
        assert_eq!(reader.join().unwrap(), report);
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_device_says_what_it_has_against_a_report_and_stays_one() {
        let target = Target::at(Path::new("/dev/full")).unwrap();
        let error = target.write(b"x").unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
        assert_eq!(Target::at(Path::new("/dev/stdout")), Ok(Target::Stream("/dev/stdout".into())));
    }

    #[test]
    fn a_folder_is_refused_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Target::at(folder.path()).unwrap_err().contains("it is a folder"));
    }
}
