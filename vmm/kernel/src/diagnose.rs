//! What a failed build's output says, for a person: the first error, and what to do where we know it.

use std::path::Path;

/// The first error of a compiler, linker or make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstError {
    /// `file:line: message`, and the compiler's lines that show the place.
    pub lines: Vec<String>,
    /// What to do, where the error is one that a missing package makes.
    pub advice: Option<String>,
}

/// Lines of source and marks that are shown with an error.
const SHOWN: usize = 12;

/// What is missing when a build says this.
const MISSING: &[(&str, &str)] = &[
    ("gelf.h", "libelf-dev"),
    ("libelf.h", "libelf-dev"),
    ("openssl/", "libssl-dev"),
    ("bc: not found", "bc"),
    ("bc: command not found", "bc"),
    ("flex: not found", "flex"),
    ("bison: not found", "bison"),
    ("cpio: not found", "cpio"),
    ("lz4: not found", "lz4"),
    ("zstd: not found", "zstd"),
    ("pahole: not found", "pahole"),
    ("libclang", "libclang-19-dev"),
];

/// Headers that programs begin with, and modules can't have.
const LIBC: &[&str] =
    &["stdio.h", "stdlib.h", "string.h", "unistd.h", "errno.h", "fcntl.h", "sys/types.h", "sys/ioctl.h"];

/// Finds the first error in a build's output. `None` when the output names none.
///
/// Paths below a folder of `places` (first of each pair) are shown below the second: people know their
/// own folder, not the copy that is built. An empty second leaves a relative path.
pub fn first_error(lines: &[String], places: &[(&Path, &Path)]) -> Option<FirstError> {
    let plain: Vec<String> = lines.iter().map(|line| strip_colour(line)).collect();
    let at = [is_compiler_error as fn(&str) -> bool, is_other_error, is_make_error]
        .iter()
        .find_map(|is_error| plain.iter().position(|line| is_error(line)))?;
    let mut shown = vec![plain[at].clone()];
    // make's own lines stand alone; compilers add the line of source, its marks, and notes.
    if is_compiler_error(&plain[at]) {
        let more = plain[at + 1..].iter().take_while(|line| is_continuation(line));
        shown.extend(more.take(SHOWN).cloned());
    }
    let advice = MISSING
        .iter()
        .find(|(said, _)| shown.iter().any(|line| line.contains(said)))
        .map(|(_, package)| format!("install the package {package} (./setup installs all that builds need)"))
        .or_else(|| explain(&shown[0]));
    let lines = shown.iter().map(|line| rename(line, places)).collect();
    Some(FirstError { lines, advice })
}

/// What errors mean that beginners meet.
fn explain(error: &str) -> Option<String> {
    if let Some((_, rest)) = error.split_once("*** No rule to make target '") {
        let object = Path::new(rest.split('\'').next()?);
        let stem =
            object.file_stem().filter(|_| object.extension().is_some_and(|it| it == "o" || it == "ko"))?;
        let stem = stem.to_string_lossy();
        return Some(format!(
            "a makefile names it, but there is no {stem}.c, {stem}.rs or {stem}.S to make it from"
        ));
    }
    let missing = error.split_once(": fatal error: ").and_then(|(_, rest)| rest.split(':').next());
    if missing.is_some_and(|header| LIBC.contains(&header)) {
        let advice = "the kernel has no C library; its own headers begin with linux/, and pr_info() of linux/printk.h \
                      is its printf()";
        return Some(advice.to_owned());
    }
    if error.contains("missing MODULE_LICENSE()") {
        return Some("say under which terms it may be used, as in MODULE_LICENSE(\"GPL\");".to_owned());
    }
    let undefined = error.starts_with("ERROR: modpost: ") && error.ends_with(" undefined!");
    undefined.then(|| {
        "neither this folder, nor one that is named before it, nor the kernel exports a symbol of that name"
            .to_owned()
    })
}

/// All warnings of compilers and modpost, each with the lines that show its place.
pub fn warnings(lines: &[String], places: &[(&Path, &Path)]) -> Vec<String> {
    let plain: Vec<String> = lines.iter().map(|line| strip_colour(line)).collect();
    let mut warnings: Vec<String> = Vec::new();
    for (at, line) in plain.iter().enumerate() {
        if line.contains(": warning: ") || line.starts_with("warning") || line.starts_with("WARNING: ") {
            let more = plain[at + 1..].iter().take_while(|line| is_continuation(line)).take(SHOWN);
            let all: Vec<String> = [line].into_iter().chain(more).map(|line| rename(line, places)).collect();
            let warning = all.join("\n");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// Whether the build ran out of disk.
pub fn is_disk_full(lines: &[String]) -> bool {
    lines.iter().any(|line| line.contains("No space left on device") || line.contains("Disk quota exceeded"))
}

/// `a.c:1:2: error: ...` (gcc, clang), `error[E0425]: ...` (rustc), whose next line is ` --> a.rs:1:2`.
fn is_compiler_error(line: &str) -> bool {
    line.contains(": error: ")
        || line.contains(": fatal error: ")
        || line.starts_with("error[")
        || (line.starts_with("error: ")
            && !line.starts_with("error: aborting")
            && !line.contains("could not compile"))
}

/// Linkers, modpost, shells, and the kernel's own checks.
fn is_other_error(line: &str) -> bool {
    line.contains("undefined reference to")
        || line.starts_with("ERROR: ")
        || line.starts_with("ld: ")
        || line.contains(": not found")
        || line.contains("command not found")
        || line.contains("*** No rule to make target")
        || line.contains(": *** missing separator")
        || line.contains("cc1: ")
}

/// The last resort: `make[2]: *** [Makefile:10: foo.o] Error 1`.
fn is_make_error(line: &str) -> bool {
    line.starts_with("make") && line.contains("***")
}

/// Lines by which compilers show the place: `   10 | code`, `      |  ^`, ` --> a.rs:1:2`, `= note: ...`,
/// `a.c:1:2: note: ...`.
fn is_continuation(line: &str) -> bool {
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    !line.trim().is_empty()
        && (text.starts_with('|')
            || text.starts_with("-->")
            || text.starts_with("= ")
            || line.contains(": note: "))
}

fn rename(line: &str, places: &[(&Path, &Path)]) -> String {
    places.iter().fold(line.to_owned(), |line, (from, to)| {
        // `join` adds the slash, but not to an empty path.
        let (from, to) = (from.join(""), to.join(""));
        line.replace(&*from.to_string_lossy(), &to.to_string_lossy())
    })
}

/// ccache asks compilers for colours, whoever reads them.
fn strip_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            plain.push(c);
            continue;
        }
        // CSI: ends with a letter.
        chars.by_ref().find(char::is_ascii_alphabetic);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn first(text: &str) -> FirstError {
        first_error(&lines(text), &[(Path::new("/cache/m"), Path::new("mods/hello"))]).unwrap()
    }

    #[test]
    fn gcc_error_is_shown_with_its_source_and_the_users_path() {
        let error = first(
            "  CC [M]  /cache/m/hello.o\n\
             /cache/m/hello.c: In function 'init':\n\
             \x1b[01m\x1b[K/cache/m/hello.c:7:2:\x1b[m\x1b[K \x1b[01;31merror: \x1b[m\x1b[K'x' undeclared\n    \
             7 |  x = 1;\n      |  ^\n\
             /cache/m/hello.c:7:2: note: each undeclared identifier is reported only once\n\
             make[3]: *** [scripts/Makefile.build:229: hello.o] Error 1\n\
             /cache/m/hello.c:9:1: error: second\n",
        );
        assert_eq!(error.lines.len(), 4, "{error:?}");
        assert_eq!(error.lines[0], "mods/hello/hello.c:7:2: error: 'x' undeclared");
        assert_eq!(error.lines[1], "    7 |  x = 1;");
        assert_eq!(error.advice, None);
    }

    #[test]
    fn rustc_error_is_shown_with_its_place() {
        let error = first(
            "  RUSTC [M] /cache/m/chardev.o\nerror[E0425]: cannot find value `y` in this scope\n  \
             --> /cache/m/chardev.rs:10:5\n   |\n10 |     y\n   |     ^ not found in this scope\n\n\
             error: aborting due to 1 previous error\n",
        );
        assert_eq!(error.lines[0], "error[E0425]: cannot find value `y` in this scope");
        assert_eq!(error.lines[1], "  --> mods/hello/chardev.rs:10:5");
        assert_eq!(error.lines.len(), 5, "{error:?}");
    }

    #[test]
    fn modpost_make_and_linker_errors_are_found() {
        for text in [
            "ERROR: modpost: \"nosuch\" [/cache/m/hello.ko] undefined!",
            "make[3]: *** No rule to make target '/cache/m/gone.o', needed by '/cache/m/'.  Stop.",
            "ld: kernel/fork.o: in function `fork': fork.c:(.text+0x1): undefined reference to `nosuch'",
            "/cache/m/Makefile:2: *** missing separator.  Stop.",
        ] {
            let error = first(&format!("  MODPOST x\n{text}\nmake: *** [Makefile:224: __sub-make] Error 2"));
            assert_eq!(error.lines, [text.replace("/cache/m/", "mods/hello/")]);
        }
    }

    #[test]
    fn beginners_errors_are_explained() {
        let error = first("make[2]: *** No rule to make target '/cache/m/gone.o', needed by 'x'.  Stop.");
        assert!(error.advice.unwrap().contains("there is no gone.c"));
        let error = first("ERROR: modpost: \"nosuch\" [/cache/m/hello.ko] undefined!");
        assert!(error.advice.unwrap().contains("exports"));
        let error = first("/cache/m/a.c:1:10: fatal error: stdio.h: No such file or directory");
        assert!(error.advice.unwrap().contains("pr_info()"));
        let error = first("ERROR: modpost: missing MODULE_LICENSE() in /cache/m/a.o");
        assert!(error.advice.unwrap().contains("MODULE_LICENSE(\"GPL\");"));
    }

    #[test]
    fn a_place_may_be_left_out() {
        let text = lines("/cache/slot/source/kernel/fork.c:1:1: error: x");
        let error = first_error(&text, &[(Path::new("/cache/slot/source"), Path::new(""))]).unwrap();
        assert_eq!(error.lines, ["kernel/fork.c:1:1: error: x"]);
    }

    #[test]
    fn a_compiler_error_goes_before_what_follows_from_it() {
        let error =
            first("make: *** [a] Error 1\nERROR: modpost: x\na.c:1:1: fatal error: b.h: No such file");
        assert_eq!(error.lines, ["a.c:1:1: fatal error: b.h: No such file"]);
    }

    #[test]
    fn missing_packages_are_named() {
        let error = first("elf.h:10:10: fatal error: gelf.h: No such file or directory\n");
        assert!(error.advice.unwrap().contains("libelf-dev"));
        let error = first("/bin/sh: 1: bc: not found\nmake[1]: *** [timeconst.h] Error 127");
        assert!(error.advice.unwrap().contains("package bc "));
    }

    #[test]
    fn warnings_are_kept_once_each() {
        let text =
            "a.c:1:1: warning: unused\n    1 | int x;\nmake: ok\na.c:1:1: warning: unused\n    1 | int x;\n";
        assert_eq!(warnings(&lines(text), &[]), ["a.c:1:1: warning: unused\n    1 | int x;"]);
    }

    #[test]
    fn output_without_error_has_none() {
        assert_eq!(first_error(&lines("  CC a.o\n  LD vmlinux\n"), &[]), None);
        assert!(is_disk_full(&lines("ld: final link failed: No space left on device")));
        assert!(!is_disk_full(&lines("  CC a.o")));
    }
}
