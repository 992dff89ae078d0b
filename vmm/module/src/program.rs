//! Programs in C that a scenario brings: built in a box as modules are, and linked statically, since a guest has no libraries.

use crate::build::ModuleError;
use base::{
    cache::{self, Cache, CacheError, Kind},
    stage::Stage,
};
use jail::{
    Budget, Limits, Refused, Sandbox,
    intake::{self, Tally},
};
use kernel::{
    BuildFailed, Compiler,
    diagnose::{self, FirstError, Places},
    run,
    sources::hex,
    toolchain::Toolchain,
};
use regex::Regex;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

/// Changes with everything here that shapes a program.
const FORMAT: &str = "program 1";
/// As a teacher or an author of tests would have it; warnings are in the log.
const FLAGS: &[&str] = &["-static", "-pthread", "-O2", "-g1", "-Wall", "-o", "program"];

/// So many functions that nobody defines are named.
const SHOWN: usize = 5;

/// The files that a program is built of: its source, and what that and its headers include by a name in quotes.
///
/// # Errors
/// One can't be read.
pub fn program_sources(source: &Path) -> Result<Vec<PathBuf>, ModuleError> {
    Ok(named(source)?.into_keys().collect())
}

/// Finds the program of a source in the cache, or builds it.
///
/// # Errors
/// See [`ModuleError`]; no error leaves an entry, or part of one.
pub fn program(source: &Path, cache: &Cache) -> Result<PathBuf, ModuleError> {
    let files = named(source)?;
    let source_at = plain(source);
    let root = files.keys().fold(above(&source_at), |root, file| common(&root, file));
    let inside = |file: &Path| file.strip_prefix(&root).unwrap_or(file).to_owned();
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(FORMAT.as_bytes());
    add(FLAGS.join(" ").as_bytes());
    add(inside(&source_at).as_os_str().as_encoded_bytes());
    for (file, content) in &files {
        add(inside(file).as_os_str().as_encoded_bytes());
        add(content);
    }
    let hash = hex(digest.finalize())[..16].to_owned();
    let entry = cache.place(Kind::Module, &hash);
    let built = entry.join("program");
    let name = format!("program-{hash}");
    // What is there needs neither a compiler nor a cache that can be written to.
    let is_there = || cache.find(Kind::Module, &hash).is_some() && built.is_file();
    if is_there() {
        return Ok(built);
    }
    let lock = cache.lock(&name, &format!("the program of {}", source.display()))?;
    if is_there() {
        return Ok(built);
    }
    Toolchain::find(&Compiler::Gcc, cache).check()?;
    cache::remove(&entry)?;
    let work = cache.work(&name);
    let made = make(source, &files, &inside, &work, cache, &lock);
    let removed = cache::remove(&work);
    let bytes = made?;
    removed?;
    let stage = cache.stage()?;
    let path = stage.path().join("program");
    fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
    stage.commit(&entry)?;
    Ok(built)
}

fn make(
    source: &Path,
    files: &BTreeMap<PathBuf, Vec<u8>>,
    inside: &dyn Fn(&Path) -> PathBuf,
    work: &Path,
    cache: &Cache,
    lock: &cache::Lock,
) -> Result<Vec<u8>, ModuleError> {
    cache::remove(work)?;
    let copy = work.join("source");
    for (file, content) in files {
        let to = copy.join(inside(file));
        let folder = above(&to);
        fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        fs::write(&to, content).map_err(CacheError::io("write", &to))?;
    }
    let log = cache.log(&name_of(work));
    fs::write(&log, "").map_err(CacheError::io("write the log", &log))?;
    let sandbox = Sandbox::new(Budget::MODULE).map_err(CacheError::from)?.write(work);
    let mut gcc = run::boxed(&sandbox, "gcc");
    let at = inside(&plain(source));
    gcc.args(FLAGS).arg(&at).current_dir(&copy);
    let ran = run::run_in(&sandbox, gcc, &log, Some(lock), |_| ())?;
    if !ran.status.success() {
        if diagnose::is_disk_full(&ran.lines) && CacheError::is_full(&copy) {
            return Err(CacheError::disk_full(copy).into());
        }
        // As its author knows it: by the folder in which the scenario names it.
        let folder = copy.join(&at);
        let places = Places::of_module(&above(&folder), &above(source)).and_own(&copy, Path::new(""));
        let context = diagnose::Context { places, release: "", headers: None, source: None };
        let mut failed =
            BuildFailed::new(format!("build the program {}", source.display()), &ran, &context, &log);
        let undefined = undefined(&ran.lines, &above(&folder), &above(source));
        if !undefined.is_empty() {
            failed.first = Some(FirstError { lines: undefined, ..FirstError::default() });
        }
        let no_library = ran.lines.iter().any(|line| line.contains("cannot find -lc"));
        let advice = "there is no C library to link statically: install libc6-dev (Debian, Ubuntu) or glibc-static (Fedora)";
        return Err(failed.advised(no_library.then(|| advice.to_owned())).into());
    }
    let built = copy.join("program");
    // What compiled may have been told to leave a link, or a pipe, in its place.
    intake::in_place(work, &built).and_then(|_| intake::read(&built, Limits::MODULE.wanted()?.file)).map_err(
        |why| match why.blames_files() {
            true => ModuleError::Product { folder: source.to_owned(), why },
            false => CacheError::from(why).into(),
        },
    )
}

/// What the linker misses: here it is no symbol of a kernel's.
fn undefined(lines: &[String], folder: &Path, shown: &Path) -> Vec<String> {
    let (from, to) = (folder.display().to_string(), shown.display().to_string());
    let misses = lines.iter().filter(|line| line.contains("undefined reference to"));
    misses.take(SHOWN).map(|line| line.replace(&from, &to)).collect()
}

/// A source and all that it includes by a name in quotes, with their content, by their paths without `..`. What is not there is the compiler's to
/// tell.
fn named(source: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, ModuleError> {
    let limits = Limits::TEXT.wanted().map_err(CacheError::from)?;
    let source = plain(source);
    // Of what was handed in, nothing outside of it is looked at: there lies what others handed in.
    let own = Stage::around(&source).map(Path::to_owned);
    let mut tally = Tally::new(&source, limits);
    let (mut found, mut todo) = (BTreeMap::new(), vec![source.clone()]);
    while let Some(file) = todo.pop() {
        let is_source = file == source;
        let is_own = own.as_ref().is_none_or(|own| file.starts_with(own));
        if found.contains_key(&file) || !(is_source || is_own && file.is_file()) {
            continue;
        }
        let meta = fs::metadata(&file).map_err(|source| Refused::Io { path: file.clone(), source });
        meta.and_then(|meta| tally.add(&file, &meta)).map_err(CacheError::from)?;
        let content = intake::read_named(&file, limits.file).map_err(CacheError::from)?;
        let folder = above(&file);
        todo.extend(included(&String::from_utf8_lossy(&content)).map(|name| plain(&folder.join(name))));
        found.insert(file, content);
    }
    Ok(found)
}

fn included(text: &str) -> impl Iterator<Item = &str> {
    static INCLUDE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?m)^\s*#\s*include\s+"([^"\n]+)""#).expect("a constant that tests use")
    });
    INCLUDE.captures_iter(text).map(|found| found.get(1).map_or("", |name| name.as_str()))
}

/// An absolute path without `.` and `..`, as the compiler reads it; no link is followed.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.components().fold(PathBuf::new(), |mut to, part| {
        match part {
            Component::ParentDir => drop(to.pop()),
            part => to.push(part),
        }
        to
    })
}

fn above(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

fn common(folder: &Path, file: &Path) -> PathBuf {
    folder
        .components()
        .zip(above(file).components())
        .take_while(|(a, b)| a == b)
        .map(|(part, _)| part)
        .collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(above(path)).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_program_is_of_its_source_and_of_what_that_includes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(
            &at("tests/call.c"),
            "#include <stdio.h>\n#include \"../common/api.h\"\n  # include \"own.h\"\n",
        );
        write(&at("tests/own.h"), "#include \"missing.h\"\n");
        write(&at("tests/other.h"), "");
        write(&at("common/api.h"), "#include \"deep.h\"\n#include \"api.h\"\n");
        write(&at("common/deep.h"), "");
        let sources = program_sources(&at("tests/./call.c")).unwrap();
        assert_eq!(sources, ["common/api.h", "common/deep.h", "tests/call.c", "tests/own.h"].map(at));
    }

    #[test]
    fn a_program_is_built_once_for_what_it_is_made_of_and_its_errors_are_shown_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let source = folder.path().join("tests dir/call.c");
        write(&folder.path().join("n.h"), "#define N 42\n");
        let text =
            "#include <stdio.h>\n#include \"../n.h\"\nint main(void) { printf(\"%d\\n\", N); return 0; }\n";
        write(&source, text);
        let built = program(&source, &cache).unwrap();
        let copy = folder.path().join("copy");
        let run = "cp \"$0\" \"$1\" && chmod +x \"$1\" && exec \"$1\"";
        let ran = Command::new("sh").args(["-c", run]).arg(&built).arg(&copy).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), "42\n");
        // What is there wants no lock.
        let locks = cache.root().join("locks");
        fs::remove_dir_all(&locks).unwrap();
        fs::write(&locks, "no folder").unwrap();
        assert_eq!(program(&source, &cache).unwrap(), built);
        fs::remove_file(&locks).unwrap();
        fs::create_dir(&locks).unwrap();
        write(&folder.path().join("n.h"), "#define N 43\n");
        assert_ne!(program(&source, &cache).unwrap(), built);
        write(&source, "int call(void);\nint main(void)\n{\n\treturn call();\n}\n");
        let why = program(&source, &cache).unwrap_err().to_string();
        let shown = format!("{}:4: undefined reference to `call'", source.display());
        assert!(why.contains(&shown) && !why.contains("obj-"), "{why}");
        write(&source, "int main(void)\n{\n\treturn undeclared;\n}\n");
        let why = program(&source, &cache).unwrap_err();
        assert_eq!(why.fault(), base::cache::Fault::Build);
        let shown = format!("{}:3:", source.display());
        assert!(why.to_string().contains(&shown) && why.to_string().contains("undeclared"), "{why}");
    }
}
