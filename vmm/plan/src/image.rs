//! The guest's initramfs: the agent as /init; and beside it what a scenario brings, which follows when the agent runs.
//!
//! So all scenarios with the same kind of image boot the same guest, which can be saved.

use crate::{
    luggage,
    programs::{self, Programs},
};
use board::wire::{Code, Key};
use initramfs::{Initramfs, NodeKind};
use jail::{Limits, Refused, intake};
use scenario::GuestFileKind;
use std::os::unix::fs::PermissionsExt;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

const AGENT: &str = "vmm-agent";

/// Where busybox is looked for: Debian's busybox-static puts it at the first one.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// What the kernel runs when it wants a module: CONFIG_MODPROBE_PATH's default.
const MODPROBE: &str = "/sbin/modprobe";

/// Folders that every guest has.
const FOLDERS: &[(&str, u32)] = &[
    ("/bin", 0o755),
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/lib/modules", 0o755),
    ("/proc", 0o755),
    ("/root", 0o700),
    ("/sys", 0o755),
    ("/tmp", 0o1777),
];

/// What goes into a guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Modules. They lie at `/lib/modules/NAME.ko`.
    pub modules: Vec<GuestModule>,
    /// Modules that the agent loads before it says hello, in this order.
    pub early: Vec<PathBuf>,
    /// Further files.
    pub files: Vec<GuestFile>,
    /// This machine's busybox, with a link in /bin for each of its commands.
    pub busybox: bool,
    /// The kernel's release, if modprobe is to find the modules below /lib/modules/RELEASE too.
    pub release: Option<String>,
    /// The kernel may load modules by itself: /sbin/modprobe is there.
    pub autoload: bool,
}

/// A module for the guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestModule {
    /// The file's name without `.ko`.
    pub name: String,
    /// Its content, unpacked.
    pub bytes: Vec<u8>,
}

/// A file for the guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestFile {
    /// Where in the guest; absolute.
    pub path: String,
    /// Permissions, 0 to 0o7777.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Files of their own.
    Folder,
    /// The path of another file.
    Link(String),
}

impl GuestFile {
    /// A regular one.
    pub fn new(path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, content: Content::Bytes(bytes.into()) }
    }

    /// As a scenario names it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(file: &scenario::GuestFile) -> io::Result<Self> {
        let content = match file.kind {
            // Of a program, whoever builds it gives what it became.
            GuestFileKind::File | GuestFileKind::Program => {
                let read = Limits::FILES.wanted().and_then(|limits| intake::read(&file.host, limits.file));
                Content::Bytes(read.map_err(|error| match error {
                    Refused::Io { source, .. } => source,
                    other => io::Error::other(other.to_string()),
                })?)
            }
            GuestFileKind::Folder => Content::Folder,
            GuestFileKind::Link => {
                let target = fs::read_link(&file.host)?.into_os_string().into_string();
                Content::Link(target.map_err(|_| io::Error::other("where this link leads is no UTF-8 text"))?)
            }
        };
        // A link has none of its own.
        let mode = match content {
            Content::Link(_) => 0o777,
            _ => fs::metadata(&file.host)?.permissions().mode() & 0o7777,
        };
        Ok(Self { path: file.guest.clone(), mode, content })
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The agent was not built, or not where this program is.
    #[error(
        "find the guest's agent: there is no {path} (build it with `cargo build --release -p agent`, \
         and keep it in the same folder as vmm)",
        path = path.display()
    )]
    NoAgent {
        /// Where it should be.
        path: PathBuf,
    },
    /// A guest has no dynamic loader.
    #[error(
        "use {path} in a guest: it is not a static x86-64 executable ({why}); {fix}",
        path = path.display()
    )]
    NotStatic {
        /// The executable.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// A file of this machine can't be read.
    #[error("read {path}: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no busybox here.
    #[error("find busybox: none of {places} is there (apt-get install busybox-static)", places = BUSYBOX.join(", "))]
    NoBusybox,
    /// It is there, and does not tell its commands.
    #[error("ask {path} for its commands (`--list`): {why}", path = path.display())]
    BusyboxFailed {
        /// Which.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Something can't be put into an initramfs, or is there twice.
    #[error("make the guest's initramfs: {0}")]
    Archive(#[from] initramfs::Error),
}

/// What is made of an [`Image`].
pub struct Assembled {
    /// What the guest boots with.
    pub base: Vec<u8>,
    /// What follows ([`luggage`]).
    pub luggage: Vec<u8>,
    /// What the programs are that were asked for, those of which it is known.
    pub programs: BTreeMap<String, Code>,
}

/// Puts the guest's initramfs together. The same input gives the same bytes. Of `programs` that no step replaces it says what
/// they are, by hashes under this key.
///
/// # Errors
/// As [`ImageError`] says; its messages continue "failed to".
pub fn assemble(image: &Image, programs: (&Programs<'_>, Key)) -> Result<Assembled, ImageError> {
    let agent = match shipped::agent() {
        Some(agent) => agent.to_owned(),
        None => static_executable(&find_agent()?, OWN_CONFIG)?,
    };
    put_together(image, agent, programs)
}

/// What to do about an agent that is not static.
const OWN_CONFIG: &str = "build it anew with the project's own .cargo/config.toml";

fn put_together(
    image: &Image,
    agent: Vec<u8>,
    (programs, key): (&Programs<'_>, Key),
) -> Result<Assembled, ImageError> {
    let base = archive(
        &Image { early: image.early.clone(), busybox: image.busybox, ..Image::default() },
        agent.clone(),
    )?;
    // As a whole first, so that nothing is there twice.
    let whole = archive(image, agent)?;
    let code = |name: &str, written| Some((name.to_owned(), programs::code(&whole, name, written, key)?));
    let known = programs.iter().filter_map(|(name, written)| code(name, written));
    let (programs, luggage) = (known.collect(), luggage::pack(&whole, &base));
    Ok(Assembled { base: base.into_bytes(), luggage, programs })
}

fn archive(image: &Image, agent: Vec<u8>) -> Result<Initramfs, ImageError> {
    let mut archive = Initramfs::new();
    archive.file("/init", 0o755, agent)?;
    // PID 1 gets its standard streams from the first one. The Rust runtime wants the second one if
    // there is no console to open, and it wants that before the agent can mount devtmpfs.
    archive.node("/dev/console", 0o600, NodeKind::Char, 5, 1)?;
    archive.node("/dev/null", 0o666, NodeKind::Char, 1, 3)?;
    for (folder, mode) in FOLDERS {
        archive.dir(folder, *mode)?;
    }
    for GuestModule { name, bytes } in &image.modules {
        archive.file(&format!("/lib/modules/{name}.ko"), 0o644, bytes.clone())?;
        if let Some(release) = &image.release {
            let target = format!("../../{name}.ko");
            archive.symlink(&format!("/lib/modules/{release}/extra/{name}.ko"), &target)?;
        }
    }
    for (index, path) in image.early.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("/early-modules/{index:02}-{name}"), 0o644, read(path)?)?;
    }
    for file in &image.files {
        match &file.content {
            Content::Bytes(bytes) => _ = archive.file(&file.path, file.mode, bytes.clone())?,
            // The guest's own ones keep their permissions.
            Content::Folder if FOLDERS.iter().any(|(path, _)| *path == file.path) => {}
            Content::Folder => _ = archive.dir(&file.path, file.mode)?,
            Content::Link(target) => _ = archive.symlink(&file.path, target)?,
        }
    }
    if image.busybox {
        add_busybox(&mut archive, &image.files)?;
    }
    if image.autoload && !image.files.iter().any(|file| file.path == MODPROBE) {
        archive.symlink(MODPROBE, "../bin/busybox")?;
    }
    Ok(archive)
}

/// The agent lies beside the running program; for a test program of cargo's, one folder above.
fn find_agent() -> Result<PathBuf, ImageError> {
    let program = base::program::path()
        .map_err(|source| ImageError::Unreadable { path: "the path of this program".into(), source })?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let above = if folder.ends_with("deps") { folder.parent() } else { None };
    let path = above.unwrap_or(folder).join(AGENT);
    if path.is_file() { Ok(path) } else { Err(ImageError::NoAgent { path }) }
}

fn add_busybox(archive: &mut Initramfs, files: &[GuestFile]) -> Result<(), ImageError> {
    let path = BUSYBOX.map(PathBuf::from).into_iter().find(|path| path.is_file());
    let path = path.ok_or(ImageError::NoBusybox)?;
    archive.file("/bin/busybox", 0o755, static_executable(&path, "apt-get install busybox-static")?)?;
    let failed = |why: String| ImageError::BusyboxFailed { path: path.clone(), why };
    let output = Command::new(&path).arg("--list").output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    for command in String::from_utf8_lossy(&output.stdout).lines() {
        let link = format!("/bin/{command}");
        // A scenario's own program of that name goes first.
        if command != "busybox" && !files.iter().any(|file| file.path == link) {
            archive.symlink(&link, "busybox")?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|source| ImageError::Unreadable { path: path.into(), source })
}

/// Reads an executable that must run without a dynamic loader.
fn static_executable(path: &Path, fix: &'static str) -> Result<Vec<u8>, ImageError> {
    let bytes = read(path)?;
    match why_not_static(&bytes) {
        None => Ok(bytes),
        Some(why) => Err(ImageError::NotStatic { path: path.into(), why, fix }),
    }
}

/// Looks at the ELF header and the program headers (ELF-64 Object File Format, version 1.5).
pub(crate) fn why_not_static(elf: &[u8]) -> Option<&'static str> {
    const MAGIC_CLASS64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    const EM_X86_64: u64 = 62;
    const PT_INTERP: u64 = 3;
    let field = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if !elf.starts_with(MAGIC_CLASS64_LITTLE) {
        return Some("it is no 64-bit ELF file");
    }
    if field(18, 2) != Some(EM_X86_64) {
        return Some("it is for another architecture");
    }
    let (Some(table), Some(size), Some(count)) = (field(32, 8), field(54, 2), field(56, 2)) else {
        return Some("it is cut off");
    };
    for index in 0..count as usize {
        let header = (table as usize).checked_add(index * size as usize);
        match header.and_then(|at| field(at, 4)) {
            Some(PT_INTERP) => return Some("it asks for a dynamic loader"),
            Some(_) => {}
            None => return Some("it is cut off"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file that is no more than a header and these program headers' types.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56 * types.len()];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = types.len() as u8;
        for (index, kind) in types.iter().enumerate() {
            elf[64 + 56 * index..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        elf
    }

    fn with_agent(bytes: &[u8], image: &Image) -> Result<Vec<u8>, ImageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AGENT);
        fs::write(&path, bytes).unwrap();
        let agent = static_executable(&path, OWN_CONFIG)?;
        let Assembled { base, luggage, .. } = put_together(image, agent, (&Programs::new(), 0))?;
        assert!(contains(&base, "init\0") && !contains(&luggage, "init\0"));
        Ok([base, luggage].concat())
    }

    fn contains(archive: &[u8], text: &str) -> bool {
        archive.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn the_image_has_what_a_guest_needs_and_is_reproducible() {
        let image = Image {
            modules: vec![GuestModule { name: "chardev".into(), bytes: b"the module".to_vec() }],
            early: vec![],
            files: vec![GuestFile::new("/etc/motd", 0o600, *b"welcome")],
            ..Image::default()
        };
        let archive = with_agent(&elf(&[1]), &image).unwrap();
        for text in
            ["init\0", "dev/console\0", "dev/null\0", "/lib/modules/chardev.ko", "the module", "welcome"]
        {
            assert!(contains(&archive, text), "no {text} in the image");
        }
        assert!(with_agent(&elf(&[1]), &image).unwrap() == archive);
    }

    #[test]
    fn an_agent_that_a_guest_could_not_start_is_refused() {
        let why = |bytes: &[u8]| with_agent(bytes, &Image::default()).unwrap_err().to_string();
        assert!(why(&elf(&[1, 3])).contains("dynamic loader"));
        assert!(why(b"#!/bin/sh\n").contains("no 64-bit ELF"));
        assert!(why(&elf(&[1, 1])[..100]).contains("cut off"));
        let mut arm = elf(&[1]);
        arm[18] = 183;
        assert!(why(&arm).contains("another architecture"));
    }

    #[test]
    fn two_files_at_one_path_are_an_error() {
        let file = |bytes: &[u8]| GuestFile::new("/init", 0o755, bytes);
        let image = Image { files: vec![file(b"mine")], ..Image::default() };
        let message = with_agent(&elf(&[]), &image).unwrap_err().to_string();
        assert_eq!(message, "make the guest's initramfs: '/init' is there twice, and the two differ");
    }

    #[test]
    fn what_the_kernel_loads_modules_by_is_only_there_when_asked_for() {
        let module = GuestModule { name: "a".into(), bytes: b"the module".to_vec() };
        let image = Image { modules: vec![module], busybox: true, ..Image::default() };
        let archive = with_agent(&elf(&[]), &image).unwrap();
        assert!(!contains(&archive, "sbin/modprobe") && !contains(&archive, "extra/a.ko"));
        let image = Image { autoload: true, release: Some("6.12-x".into()), ..image };
        let archive = with_agent(&elf(&[]), &image).unwrap();
        assert!(contains(&archive, "/sbin/modprobe") && contains(&archive, "/lib/modules/6.12-x/extra/a.ko"));
    }

    /// Needs busybox-static, as every scenario that runs a program does.
    #[test]
    fn busybox_brings_links_for_its_commands_except_where_a_file_stands() {
        let ps = GuestFile::new("/bin/ps", 0o755, *b"my own ps");
        let image = Image { files: vec![ps], busybox: true, ..Image::default() };
        let archive = with_agent(&elf(&[]), &image).unwrap();
        for text in ["bin/busybox\0", "bin/sh\0", "bin/insmod\0", "/bin/ps", "my own ps"] {
            assert!(contains(&archive, text), "no {text} in the image");
        }
        assert!(with_agent(&elf(&[]), &image).unwrap() == archive);
    }

    /// Needs busybox-static.
    #[test]
    fn it_is_known_what_programs_are_by_whatever_name() {
        let script = GuestFile::new("/opt/script", 0o755, *b"#!/bin/sh\necho\n");
        let text = GuestFile::new("/opt/text", 0o755, *b"echo\n");
        let link =
            GuestFile { path: "/opt/link".into(), mode: 0o777, content: Content::Link("../bin/ls".into()) };
        let image = Image { files: vec![script, text, link], busybox: true, ..Image::default() };
        let names =
            ["/bin/busybox", "echo", "/bin/sh", "/opt/script", "/opt/link", "/opt/text", "/none", "none"];
        let known = |written: &[&'static str]| {
            let programs = names.map(|name| (name, written.iter().copied().collect())).into();
            put_together(&image, elf(&[1]), (&programs, 7)).unwrap().programs
        };
        // Nobody knows what it is after that.
        for (written, left) in [
            ("/opt/script", &["/bin/busybox", "/bin/sh", "/opt/link", "echo"][..]),
            ("/sbin/echo", &["/bin/busybox", "/bin/sh", "/opt/link", "/opt/script"]),
            ("/opt/link", &[]),
            ("/bin/sh", &[]),
            ("/opt/text", &["/bin/busybox", "/bin/sh", "/opt/link", "/opt/script", "echo"]),
        ] {
            assert_eq!(known(&[written]).into_keys().collect::<Vec<_>>(), left, "{written}");
        }
        let known = known(&[]);
        assert_eq!(
            known.keys().collect::<Vec<_>>(),
            ["/bin/busybox", "/bin/sh", "/opt/link", "/opt/script", "echo"]
        );
        assert!(known.values().all(|code| *code == known["echo"] && code.pages.len() > 100));
    }

    #[test]
    fn folders_and_links_keep_what_they_are() {
        let here = tempfile::tempdir().unwrap();
        let (sub, link) = (here.path().join("sub"), here.path().join("link"));
        fs::create_dir(&sub).unwrap();
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("sub/file", &link).unwrap();
        let read = |kind, host: &Path, guest: &str| {
            GuestFile::read(&scenario::GuestFile { kind, host: host.into(), guest: guest.into(), line: 1 })
                .unwrap()
        };
        let files = vec![
            read(GuestFileKind::Folder, &sub, "/opt/sub"),
            read(GuestFileKind::Link, &link, "/opt/link"),
            // It is there with permissions of its own.
            read(GuestFileKind::Folder, &sub, "/etc"),
        ];
        assert_eq!(files[0], GuestFile { path: "/opt/sub".into(), mode: 0o750, content: Content::Folder });
        let content = Content::Link("sub/file".into());
        assert_eq!(files[1], GuestFile { path: "/opt/link".into(), mode: 0o777, content });
        let archive = with_agent(&elf(&[1]), &Image { files, ..Image::default() }).unwrap();
        assert!(contains(&archive, "/opt/sub") && contains(&archive, "/opt/link"));
        assert!(contains(&archive, "sub/file"));
    }
}
