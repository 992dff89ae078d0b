//! A kernel as one file: taken out of the cache on one machine and put into that of another.
//!
//! A zstd-compressed tar archive: first `manifest.json` with every file and its digest, then the files below `entry/`. What
//! has another digest, is not in the manifest or is missing makes the whole worthless.

mod archive;

use crate::{
    KernelError, Manifest as About,
    kernel::Kernel,
    product,
    sources::{self, hex},
    store,
};
use archive::{All, Named};
use base::{
    cache::{Cache, CacheError, Kind},
    text::{escape, plain, unnamed},
};
use jail::Limits;
use ruzstd::{
    decoding::StreamingDecoder,
    encoding::{CompressionLevel, FrameCompressor},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, Builder, EntryType, Header};
use thiserror::Error;
use walkdir::WalkDir;

/// Goes up with every change of the format.
const FORMAT: u32 = 1;
/// The manifest's place in the archive.
const MANIFEST: &str = "manifest.json";
/// Stands for the entry's own place, which another machine has elsewhere.
const PLACE: &str = "@VMM_KERNEL@";
/// The file that names it: the makefile that leads from the build folder to the source.
const MAKEFILE: &str = "build/Makefile";
/// The file that says what it is.
const ABOUT: &str = "kernel.json";
/// A manifest is no longer than this, in bytes, nor is what else is read as a whole. A file takes some 200 bytes of it.
const LONGEST: u64 = 16 << 20;

/// Why a file can't be imported.
#[derive(Debug, Error)]
pub enum ParcelError {
    /// It can't be read, or there is nothing in it.
    #[error("import {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        why: String,
    },
    /// It is no such archive.
    #[error("import {}: it is no kernel that `vmm kernel export` wrote: {why}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Written by another version.
    #[error("import {}: it has the format {found}, and this vmm reads {FORMAT}: export it again with this version", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Somebody changed it, or it was damaged.
    #[error("import {}: it was changed after it was exported: {why}; nothing was imported", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where.
        why: String,
    },
}

/// What is in an archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    /// The cache's key.
    hash: String,
    /// `uname -r`.
    release: String,
    /// By their paths below `entry/`.
    files: BTreeMap<String, Item>,
}

/// What is read of a manifest before anything else is known of it.
#[derive(Deserialize)]
struct Format {
    format: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Item {
    /// A file: its digest, and whether it is a program.
    File {
        /// SHA-256.
        sha256: String,
        /// It can be executed.
        program: bool,
    },
    /// A link, and where it leads.
    Link(String),
}

/// What was exported or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The cache's key.
    pub hash: String,
    /// `uname -r`.
    pub release: String,
    /// The manifest's digest: who knows it knows every file.
    pub digest: String,
    /// It was in the cache already.
    pub cached: bool,
}

/// Writes a kernel of the cache to a file, which is there whole or not at all.
///
/// # Errors
/// There is no such kernel, or the file can't be written.
pub fn export(cache: &Cache, hash: &str, file: &Path) -> Result<Parcel, KernelError> {
    let stored = store::find(cache, hash)?;
    let wrong = |source: io::Error| KernelError::Save { path: file.to_owned(), source };
    let mut files = BTreeMap::new();
    for name in names(&stored.path)? {
        let path = stored.path.join(&name);
        let read = CacheError::io("read", &path);
        let item = if path.is_symlink() {
            Item::Link(fs::read_link(&path).map_err(read)?.display().to_string())
        } else {
            let program = fs::metadata(&path).map_err(read)?.permissions().mode() & 0o100 != 0;
            Item::File { sha256: hex(Sha256::digest(content(&stored.path, &name)?)), program }
        };
        files.insert(name, item);
    }
    let manifest =
        Manifest { format: FORMAT, hash: stored.hash.clone(), release: stored.release.clone(), files };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| wrong(error.into()))?;
    if text.len() as u64 > LONGEST {
        return Err(wrong(io::Error::other("it has more files than an import takes")));
    }
    let digest = hex(Sha256::digest(&text));
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Compressed into memory: the encoder takes a reader, and a kernel has a few dozen MiB.
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, MANIFEST, &text, 0o644).map_err(wrong)?;
    for (name, item) in &manifest.files {
        let place = format!("entry/{name}");
        match item {
            Item::File { program, .. } => {
                let mode = if *program { 0o755 } else { 0o644 };
                append(&mut tar, &place, &content(&stored.path, name)?, mode).map_err(wrong)?;
            }
            Item::Link(to) => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                tar.append_link(&mut header, &place, to).map_err(wrong)?;
            }
        }
    }
    let tar = tar.into_inner().map_err(wrong)?;
    let out = tempfile::Builder::new().prefix(".export-").tempfile_in(folder);
    let mut out = out.map_err(|error| wrong(unnamed(error)))?;
    let mut compressor = FrameCompressor::new(CompressionLevel::Fastest);
    compressor.set_source(&tar[..]);
    compressor.set_drain(io::BufWriter::new(out.as_file_mut()));
    compressor.compress();
    let flushed = compressor.take_drain().map_or(Ok(()), |mut drain| drain.flush());
    flushed.map_err(wrong)?;
    drop(compressor);
    out.as_file().set_permissions(PermissionsExt::from_mode(0o644)).map_err(wrong)?;
    out.persist(file).map_err(|error| wrong(error.error))?;
    Ok(Parcel { hash: manifest.hash, release: manifest.release, digest, cached: true })
}

/// All files and links of an entry, but for the mark of its use.
fn names(entry: &Path) -> Result<Vec<String>, CacheError> {
    let mut names = Vec::new();
    for found in WalkDir::new(entry).sort_by_file_name() {
        let found = found.map_err(|error| CacheError::io("read", entry)(error.into()))?;
        let name = found.path().strip_prefix(entry).unwrap_or(found.path()).to_string_lossy().into_owned();
        if !found.file_type().is_dir() && name != "used" {
            names.push(name);
        }
    }
    Ok(names)
}

/// A file's content, as it is on any machine.
fn content(entry: &Path, name: &str) -> Result<Vec<u8>, CacheError> {
    let path = entry.join(name);
    let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
    match name {
        MAKEFILE => {
            let text = String::from_utf8_lossy(&bytes).replace(&entry.display().to_string(), PLACE);
            Ok(text.into_bytes())
        }
        ABOUT => match serde_json::from_slice(&bytes) {
            Ok(about) => serde_json::to_vec(&elsewhere(about))
                .map_err(|error| CacheError::io("read", &path)(error.into())),
            Err(_) => Ok(bytes),
        },
        _ => Ok(bytes),
    }
}

/// What is said of a kernel on a machine that did not build it: a build folder of that name is another one there.
fn elsewhere(mut about: About) -> About {
    about.facts.ingredients.slot = String::new();
    about
}

fn append(tar: &mut Builder<Vec<u8>>, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)
}

/// Puts a file's kernel into the cache. With a digest, only if it is the one that its export printed.
///
/// # Errors
/// It is none, or it was changed; then nothing is imported.
pub fn import(cache: &Cache, file: &Path, digest: Option<&str>) -> Result<Parcel, KernelError> {
    // What can't be measured is no file, and little comes out of it.
    let bytes = fs::metadata(file).map_or(0, |meta| meta.len());
    import_up_to(cache, file, digest, sources::most_unpacked(bytes))
}

/// The same, if no more than so many bytes come out of it.
fn import_up_to(cache: &Cache, file: &Path, digest: Option<&str>, most: u64) -> Result<Parcel, KernelError> {
    let other = |why: String| ParcelError::Other { path: file.to_owned(), why };
    let changed = |why: String| ParcelError::Changed { path: file.to_owned(), why };
    let unread = |why: String| ParcelError::Unreadable { path: file.to_owned(), why };
    let input = File::open(file).map_err(|error| unread(plain(&error)))?;
    if fs::metadata(file).is_ok_and(|meta| meta.is_dir()) {
        return Err(unread("it is a folder".into()).into());
    }
    let mut input = io::BufReader::new(input);
    if input.fill_buf().map_err(|error| unread(plain(&error)))?.is_empty() {
        return Err(unread("it is empty".into()).into());
    }
    let decoder = StreamingDecoder::new(input).map_err(|_| other("it is not packed by zstd".into()))?;
    let mut archive = Archive::new(Bounded { inner: decoder, most, left: most });
    let mut entries = All::of(&mut archive).map_err(|error| other(error.to_string()))?;
    let first = match entries.next() {
        Some(first) => first.map_err(|error| other(error.to_string()))?,
        None => return Err(other("it is empty".into()).into()),
    };
    if first.path != Path::new(MANIFEST) {
        return Err(other("its first file is no manifest".into()).into());
    }
    let mut text = Vec::new();
    let read = first.entry.take(LONGEST + 1).read_to_end(&mut text);
    read.map_err(|error| other(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(other(format!("its manifest has more than {LONGEST} bytes")).into());
    }
    let found = hex(Sha256::digest(&text));
    if digest.is_some_and(|wanted| wanted != found) {
        return Err(changed(format!("its digest is {found}")).into());
    }
    let format: Format = serde_json::from_slice(&text).map_err(|error| other(error.to_string()))?;
    match format.format {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(ParcelError::Format { path: file.to_owned(), found: format as u32 }.into());
        }
        None => return Err(other("its manifest has no format".into()).into()),
    }
    let mut manifest: Manifest = serde_json::from_slice(&text).map_err(|error| other(error.to_string()))?;
    let is_key = manifest.hash.len() == 16 && manifest.hash.chars().all(|c| c.is_ascii_hexdigit());
    if !is_key {
        return Err(changed(format!("`{}` is no kernel's hash", manifest.hash)).into());
    }
    drop(text);
    let most_files = Limits::KERNEL.wanted().map_err(CacheError::from)?.files;
    if manifest.files.len() > most_files {
        return Err(other(format!(
            "it has more than {most_files} files; VMM_LIMITS=files=NUMBER allows more"
        ))
        .into());
    }
    whole(&manifest.files).map_err(changed)?;
    let place = cache.place(Kind::Kernel, &manifest.hash);
    let (hash, release) = (manifest.hash.clone(), manifest.release.clone());
    let stage = cache.stage()?;
    // Made when all files are there, so that none of these comes to lie behind one.
    let mut links = Vec::new();
    for entry in entries {
        let Named { path, link, mut entry } = entry.map_err(|error| changed(error.to_string()))?;
        let name = path.strip_prefix("entry").ok().and_then(Path::to_str);
        let Some((name, item)) = name.and_then(|name| manifest.files.remove_entry(name)) else {
            let path = escape(&path.to_string_lossy());
            return Err(changed(format!("{path} is not in its manifest, or is there twice")).into());
        };
        let target = stage.path().join(&name);
        match (item, entry.header().entry_type()) {
            (Item::File { .. }, EntryType::Regular) if is_read(&name) && entry.size() > LONGEST => {
                return Err(other(format!("{} has more than {LONGEST} bytes", escape(&name))).into());
            }
            (Item::File { sha256, program }, EntryType::Regular) => {
                make_folder_of(&target)?;
                let mut digest = Sha256::new();
                let mut out = File::create(&target).map_err(CacheError::io("write", &target))?;
                let mut buffer = vec![0; 1 << 18];
                loop {
                    let count = entry.read(&mut buffer).map_err(|error| changed(error.to_string()))?;
                    if count == 0 {
                        break;
                    }
                    digest.update(&buffer[..count]);
                    out.write_all(&buffer[..count]).map_err(CacheError::io("write", &target))?;
                }
                if hex(digest.finalize()) != sha256 {
                    return Err(changed(format!("{} has another content", escape(&name))).into());
                }
                if name == MAKEFILE {
                    let bytes = fs::read(&target).map_err(CacheError::io("read", &target))?;
                    let text = String::from_utf8_lossy(&bytes).replace(PLACE, &place.display().to_string());
                    fs::write(&target, text).map_err(CacheError::io("write", &target))?;
                }
                let mode = if program { 0o755 } else { 0o644 };
                fs::set_permissions(&target, PermissionsExt::from_mode(mode))
                    .map_err(CacheError::io("write", &target))?;
            }
            (Item::Link(to), EntryType::Symlink) if link.as_deref() == Some(Path::new(&to)) => {
                links.push((target, to));
            }
            _ => return Err(changed(format!("{} is something else", escape(&name))).into()),
        }
    }
    if let Some(missing) = manifest.files.keys().next() {
        return Err(changed(format!("{} is missing", escape(missing))).into());
    }
    for (link, to) in links {
        make_folder_of(&link)?;
        symlink(&to, &link).map_err(CacheError::io("make the link", &link))?;
    }
    let about = fs::read(stage.path().join(ABOUT)).map_err(|_| changed(format!("{ABOUT} is missing")))?;
    let about: About =
        serde_json::from_slice(&about).map_err(|error| changed(format!("{ABOUT}: {error}")))?;
    if about.release != release {
        return Err(changed("its release is another one than that of its kernel.json".into()).into());
    }
    about.check().map_err(|why| other(format!("{ABOUT}: {why}")))?;
    product::save(&stage.path().join(ABOUT), &elsewhere(about))?;
    let cached = cache.find(Kind::Kernel, &hash).is_some();
    if !cached {
        // Whatever is wrong with it is found before it has a name in the cache.
        Kernel::open(stage.path(), false)?;
        let _ = fs::remove_file(stage.path().join("used"));
        stage.commit(&place)?;
    }
    Ok(Parcel { hash, release, digest: found, cached })
}

/// Whether a file of an entry is read as a whole.
fn is_read(name: &str) -> bool {
    name == MAKEFILE || !name.contains('/') && name.ends_with(".json")
}

/// So many bytes, and an error behind them.
struct Bounded<R> {
    inner: R,
    most: u64,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            let most = self.most;
            io::Error::other(format!("more than {most} bytes come out of it, and of no kernel would"))
        })?;
        Ok(count)
    }
}

fn make_folder_of(path: &Path) -> Result<(), CacheError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))
}

/// Whether these are files and links of one entry, none of which comes to lie, or leads, outside of it: neither by itself nor by way of a
/// link.
///
/// # Errors
/// Which of them does not.
fn whole(files: &BTreeMap<String, Item>) -> Result<(), String> {
    for (name, item) in files {
        let shown = escape(name);
        // As it is compared, and as it is written.
        let plain: PathBuf = Path::new(name).components().collect();
        if !is_inside(&plain) || plain.to_str() != Some(name) {
            return Err(format!("{shown} does not belong there"));
        }
        let above = |path: &Path| path.to_str().is_some_and(|path| files.contains_key(path));
        if plain.ancestors().skip(1).any(above) {
            return Err(format!("{shown} is below something that is no folder"));
        }
        if let Item::Link(to) = item
            && !stays(&plain, Path::new(to), files)
        {
            return Err(format!("the link {shown} leads elsewhere"));
        }
    }
    Ok(())
}

/// Whether a path leads to something below where it begins.
fn is_inside(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link that is here leads to something in the same entry. One whose way there goes through other links may lead anywhere.
fn stays(link: &Path, to: &Path, files: &BTreeMap<String, Item>) -> bool {
    let mut at = link.parent().map(Path::to_owned).unwrap_or_default();
    to.components().all(|part| {
        let through = at.to_str().is_none_or(|at| matches!(files.get(at), Some(Item::Link(_))));
        match part {
            Component::Normal(part) => at.push(part),
            Component::ParentDir => return !through && at.pop(),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        !through
    })
}

#[cfg(test)]
#[path = "parcel_test.rs"]
mod tests;
