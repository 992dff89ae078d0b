//! What a linker misses. A system call that is in the table and nowhere else is found out by it alone, after
//! everything was compiled, and under a name that its author never wrote.

use super::{makefiles, table};
use crate::syscall_table;
use base::diagnostic::nearest;
use jail::{Limits, intake};
use memchr::memmem;
use regex::Regex;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::LazyLock,
};
use walkdir::WalkDir;

/// A symbol that nothing defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    /// The first line that says so.
    pub line: String,
}

/// Every missing symbol once, in the order of the linker's lines (GNU ld, lld).
pub fn missing(lines: &[String]) -> Vec<Missing> {
    static SAID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"undefined reference to [`'](\w+)'|: error: undefined symbol: (\w+)$")
            .expect("a constant that tests use")
    });
    let mut all: Vec<Missing> = Vec::new();
    for line in lines {
        let Some(found) = SAID.captures(line) else { continue };
        let name = found.iter().skip(1).flatten().next().map_or("", |name| name.as_str());
        if all.iter().all(|known| known.name != name) {
            all.push(Missing { name: name.to_owned(), line: line.clone() });
        }
    }
    all
}

/// Every symbol that is defined more than once, with the lines that say so.
pub fn twice(lines: &[String]) -> Vec<(String, Vec<String>)> {
    static SAID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"multiple definition of [`'](\w+)'|: error: duplicate symbol: (\w+)$")
            .expect("a constant that tests use")
    });
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = SAID.captures(line) else { continue };
        let name = found.iter().skip(1).flatten().next().map_or("", |name| name.as_str());
        if all.iter().all(|(known, _)| known != name) {
            // lld says where in the lines behind.
            let places = lines[index + 1..].iter().take_while(|line| line.starts_with(">>> defined"));
            let said = std::iter::once(line).chain(places).cloned().collect();
            all.push((name.to_owned(), said));
        }
    }
    all
}

/// What is to be done about a symbol that is defined twice. What macros make can't be `static`.
pub fn of_twice(name: &str) -> String {
    if let Some(call) = Call::of_entry(name) {
        return format!("two files have {}...({}, ...): remove one", call.keyword(), call.name);
    }
    let hook = match name {
        "init_module" => "module_init",
        "cleanup_module" => "module_exit",
        _ => {
            return format!(
                "two files define {name} for all others; make yours `static`, or give it another name"
            );
        }
    };
    format!("two files of one module have {hook}(...): keep one, and have its function call the other file's")
}

/// What is to be done about each of the first, in lines. `source` is the kernel's whole source.
pub fn advice(missing: &[Missing], source: &Path) -> Vec<String> {
    let mut calls: Vec<Call> = Vec::new();
    for call in missing.iter().take(super::LOOKED_AT).filter_map(|missing| Call::of_entry(&missing.name)) {
        // Of one call, the doors for 64-bit and for 32-bit programs each miss a function.
        if !calls.contains(&call) {
            calls.push(call);
        }
    }
    let mut lines = Vec::new();
    if !calls.is_empty() {
        let code = Code::read(source);
        lines.extend(calls.iter().map(|call| call.advice(&code)));
    }
    let table = syscall_table::lines(source);
    let mut is_unknown = false;
    let others = missing.iter().filter(|missing| Call::of_entry(&missing.name).is_none());
    for missing in others.take(super::LOOKED_AT) {
        match table::of_function(&missing.name, &table) {
            Some(advice) if lines.contains(&advice) => {}
            Some(advice) => lines.push(advice),
            None => is_unknown = true,
        }
    }
    if is_unknown {
        lines.push(
            "nothing that is linked defines it: is the name right, and does a makefile build the file that does \
             (obj-y += file.o)?"
                .to_owned(),
        );
    }
    lines
}

/// A system call that a table names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    name: String,
    /// It is for 32-bit programs on a 64-bit kernel.
    is_compat: bool,
    /// Which table names it.
    table: &'static str,
}

impl Call {
    /// Of the function that a table's line becomes: `__x64_sys_NAME` (arch/x86/include/asm/syscall_wrapper.h).
    fn of_entry(symbol: &str) -> Option<Self> {
        let wide = symbol.strip_prefix("__x64_").map(|rest| (rest, "syscall_64.tbl"));
        let (rest, table) = wide.or_else(|| Some((symbol.strip_prefix("__ia32_")?, "syscall_32.tbl")))?;
        let (rest, is_compat) = rest.strip_prefix("compat_").map_or((rest, false), |rest| (rest, true));
        Some(Self { name: rest.strip_prefix("sys_")?.to_owned(), is_compat, table })
    }

    fn function(&self) -> String {
        format!("{}sys_{}", if self.is_compat { "compat_" } else { "" }, self.name)
    }

    fn keyword(&self) -> &'static str {
        if self.is_compat { "COMPAT_SYSCALL_DEFINE" } else { "SYSCALL_DEFINE" }
    }

    fn advice(&self, code: &Code) -> String {
        let (keyword, name, function) = (self.keyword(), &self.name, self.function());
        let same = |it: &&Definition| it.name == *name && it.is_compat == self.is_compat;
        if let Some(found) = code.definitions.iter().find(same) {
            let why = match makefiles::lacking(&code.source, &found.file) {
                Some((makefile, word)) => {
                    format!("does {} have the line obj-y += {word}?", makefile.display())
                }
                None => {
                    "makefiles name it; is it for a CONFIG_ symbol that is off, or within an #if?".to_owned()
                }
            };
            return format!(
                "{} has {keyword}{}({name}, ...), but is not linked: {why}",
                found.file.display(),
                found.count
            );
        }
        if let Some(old) = code.old.iter().find(|old| old.function == function) {
            return format!(
                "{}:{} defines {function}() the way that kernels before 4.17 called it; write {} in place of its \
                 first line",
                old.file.display(),
                old.line,
                macro_call(keyword, name, &parameters(&old.parameters))
            );
        }
        let doubled = |it: &&Definition| it.name == function && it.is_compat == self.is_compat;
        if let Some(found) = code.definitions.iter().find(doubled) {
            return format!(
                "{} has {keyword}{}({function}, ...), which makes sys_{function}: write it without {}, {keyword}{}({name}, ...)",
                found.file.display(),
                found.count,
                function.strip_suffix(&**name).unwrap_or_default(),
                found.count
            );
        }
        let unlisted =
            code.definitions.iter().filter(|it| !code.listed.contains(&format!("sys_{}", it.name)));
        if let Some(near) = nearest(name, unlisted.clone().map(|it| &*it.name))
            && let Some(found) = unlisted.into_iter().find(|it| it.name == near)
        {
            return format!(
                "arch/x86/entry/syscalls/{} names {function}, and {} has {keyword}{}({near}, ...): the names have to \
                 be the same",
                self.table,
                found.file.display(),
                found.count
            );
        }
        match prototype(&code.header, &function) {
            Some(parameters) => format!(
                "arch/x86/entry/syscalls/{} names {function}, and include/linux/syscalls.h declares it, but nothing \
                 defines it; write {}",
                self.table,
                macro_call(keyword, name, &parameters)
            ),
            None => format!(
                "arch/x86/entry/syscalls/{} names {function}, but nothing defines it; write {keyword}0({name}) for a \
                 call without parameters, {keyword}1({name}, int, number) for one with one, and so on",
                self.table
            ),
        }
    }
}

/// `SYSCALL_DEFINE2(name, int, a, ...)`.
struct Definition {
    name: String,
    is_compat: bool,
    count: String,
    file: PathBuf,
}

/// A function as C has it, which may be a system call's.
struct Old {
    function: String,
    /// As they are written.
    parameters: String,
    file: PathBuf,
    line: usize,
}

/// What the source has of system calls.
struct Code {
    source: PathBuf,
    definitions: Vec<Definition>,
    old: Vec<Old>,
    /// The functions that the tables lead to.
    listed: BTreeSet<String>,
    /// `include/linux/syscalls.h`.
    header: String,
}

impl Code {
    fn read(source: &Path) -> Self {
        static DEFINE: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?m)^\s*(COMPAT_)?SYSCALL_DEFINE(\d)\s*\(\s*(\w+)")
                .expect("a constant that tests use")
        });
        static OLD: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"asmlinkage\s+(?:\w+\s+)+(\w+)\s*\(([^)]*)\)\s*\{")
                .expect("a constant that tests use")
        });
        let elsewhere = ["Documentation", "tools", "samples", "scripts"].map(|name| source.join(name));
        let arch = source.join("arch");
        let wanted = |path: &Path| {
            !elsewhere.iter().any(|folder| path == folder)
                && (path.parent() != Some(&arch) || path.ends_with("x86"))
        };
        let listed = syscall_table::lines(source).into_iter().flat_map(|line| line.functions).collect();
        let header = intake::read_within(source, "include/linux/syscalls.h").unwrap_or_default();
        let (definitions, old) = (Vec::new(), Vec::new());
        let mut code = Self { source: source.to_owned(), definitions, old, listed, header };
        let (macros, old) = (memmem::Finder::new("SYSCALL_DEFINE"), memmem::Finder::new("asmlinkage"));
        for entry in WalkDir::new(source).into_iter().filter_entry(|entry| wanted(entry.path())).flatten() {
            // A link's file is found where it is.
            if !entry.file_type().is_file() || entry.path().extension().is_none_or(|ending| ending != "c") {
                continue;
            }
            let Ok(bytes) = intake::read(entry.path(), Limits::TEXT.file) else { continue };
            let file = entry.path().strip_prefix(source).unwrap_or(entry.path()).to_owned();
            let text = String::from_utf8_lossy(&bytes);
            if old.find(&bytes).is_some() {
                let (mut line, mut at) = (1, 0);
                code.old.extend(OLD.captures_iter(&text).map(|found| {
                    let start = found.get(0).map_or(at, |whole| whole.start());
                    line += text[at..start].matches('\n').count();
                    at = start;
                    let [function, parameters] = [1, 2].map(|part| found[part].to_owned());
                    Old { function, parameters, file: file.clone(), line }
                }));
            }
            if macros.find(&bytes).is_some() {
                code.definitions.extend(DEFINE.captures_iter(&text).map(|found| Definition {
                    name: found[3].to_owned(),
                    is_compat: found.get(1).is_some(),
                    count: found[2].to_owned(),
                    file: file.clone(),
                }));
            }
        }
        code
    }
}

/// The parameters in a declaration of a function.
fn prototype(text: &str, function: &str) -> Option<Vec<(String, String)>> {
    let pattern = format!(r"\b{function}\s*\(([^)]*)\)\s*;");
    Some(parameters(&Regex::new(&pattern).ok()?.captures(text)?[1]))
}

/// Types and names: `const char __user *`, `path`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text == "void" {
        return Vec::new();
    }
    let split = |parameter: &str| {
        let parameter = parameter.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let at = parameter.rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
        let (of, name) = parameter.split_at(at);
        match (of.trim(), name) {
            // A declaration may leave the name out.
            ("", only) => (only.to_owned(), "value".to_owned()),
            (of, "") => (of.to_owned(), "value".to_owned()),
            (of, name) => (of.to_owned(), name.to_owned()),
        }
    };
    text.split(',').map(split).collect()
}

/// As a call's first line is written today.
fn macro_call(keyword: &str, name: &str, parameters: &[(String, String)]) -> String {
    let all: String = parameters.iter().map(|(of, name)| format!(", {of}, {name}")).collect();
    format!("{keyword}{}({name}{all})", parameters.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::write;

    const GNU: &str = "\
ld: vmlinux.o: in function `x64_sys_call':
(.text+0xe1e): undefined reference to `__x64_sys_frob'
ld: (.text+0x22a6): undefined reference to `__x64_sys_unbuilt'
ld: vmlinux.o: in function `ia32_sys_call':
(.text+0x336f): undefined reference to `__ia32_compat_sys_frob'
ld: vmlinux.o:(.rodata+0x1da0): undefined reference to `__x64_sys_frob'";
    const LLD: &str = "\
ld.lld-19: error: undefined symbol: __x64_sys_frob
>>> referenced by syscall_64.c
>>>               vmlinux.o:(x64_sys_call)
ld.lld-19: error: undefined symbol: __x64_sys_unbuilt
ld.lld-19: error: undefined symbol: __ia32_compat_sys_frob
ld.lld-19: error: undefined symbol: __x64_sys_frob";

    fn names(text: &str) -> Vec<String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        missing(&lines).into_iter().map(|missing| missing.name).collect()
    }

    fn of(symbol: &str, files: &[(&str, &str)]) -> String {
        let source = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(&source.path().join(name), text);
        }
        let missing = Missing { name: symbol.to_owned(), line: String::new() };
        advice(&[missing], source.path()).join("\n")
    }

    #[test]
    fn both_linkers_name_each_symbol_once() {
        let all = ["__x64_sys_frob", "__x64_sys_unbuilt", "__ia32_compat_sys_frob"];
        assert_eq!(names(GNU), all);
        assert_eq!(names(LLD), all);
    }

    #[test]
    fn the_macro_to_write_is_made_of_the_prototype() {
        let header = "asmlinkage long sys_frob(int dfd, const char __user *path,\n\t\t\t umode_t);\n";
        let text = of("__x64_sys_frob", &[("include/linux/syscalls.h", header)]);
        assert!(
            text.ends_with(
                "write SYSCALL_DEFINE3(frob, int, dfd, const char __user *, path, umode_t, value)"
            ),
            "{text}"
        );
        assert!(text.contains("syscall_64.tbl names sys_frob"), "{text}");
        let text = of("__x64_sys_frob", &[("include/linux/syscalls.h", "asmlinkage long sys_frob(void);\n")]);
        assert!(text.ends_with("write SYSCALL_DEFINE0(frob)"), "{text}");
        let text = of("__ia32_compat_sys_frob", &[]);
        assert!(
            text.contains("syscall_32.tbl names compat_sys_frob")
                && text.contains("COMPAT_SYSCALL_DEFINE0(frob)"),
            "{text}"
        );
    }

    #[test]
    fn a_function_of_the_old_kind_is_named_with_its_line() {
        let text = "#include <linux/syscalls.h>\n\nasmlinkage long sys_frob(int a, char __user *b)\n{\n\treturn a;\n}\n";
        let text = of("__x64_sys_frob", &[("kernel/frob.c", text)]);
        assert!(text.starts_with("kernel/frob.c:3 defines sys_frob()"), "{text}");
        assert!(text.contains("SYSCALL_DEFINE2(frob, int, a, char __user *, b)"), "{text}");
    }

    #[test]
    fn a_definition_that_is_not_built_or_named_otherwise_is_found() {
        let text = "SYSCALL_DEFINE2(frob, int, a,\n\t\tint, b)\n{\n}\n";
        let unbuilt = of("__x64_sys_frob", &[("kernel/frob.c", text)]);
        assert_eq!(
            unbuilt,
            "kernel/frob.c has SYSCALL_DEFINE2(frob, ...), but is not linked: does kernel/Makefile have the line obj-y += frob.o?"
        );
        let makefiles = [("Kbuild", "obj-y += kernel/\n"), ("kernel/Makefile", "obj-y += frob.o\n")];
        let named = of("__x64_sys_frob", &[&makefiles[..], &[("kernel/frob.c", text)]].concat());
        assert!(named.ends_with(
            "but is not linked: makefiles name it; is it for a CONFIG_ symbol that is off, or within an #if?"
        ));
        let table =
            ("arch/x86/entry/syscalls/syscall_64.tbl", "1 common frobs sys_frobs\n2 64 frobn sys_frobn\n");
        let other = of("__x64_sys_frobs", &[("kernel/frob.c", text), table]);
        assert!(
            other.contains("the names have to be the same") && other.contains("SYSCALL_DEFINE2(frob,"),
            "{other}"
        );
    }

    #[test]
    fn names_with_a_beginning_too_much_or_too_little_are_told_by_their_line() {
        let table = "arch/x86/entry/syscalls/syscall_64.tbl";
        for (line, symbol, function) in [
            ("548 common hello hello", "__x64_hello", "hello"),
            ("548 64 hello __x64_sys_hello", "__x64___x64_sys_hello", "__x64_sys_hello"),
        ] {
            let text = of(symbol, &[(table, &format!("# calls\n{line}\n"))]);
            let wanted = format!(
                "{table}:2 names {function} as the function of hello; the fourth column is sys_hello,"
            );
            assert!(text.starts_with(&wanted) && !text.contains("obj-y"), "{text}");
        }
        let text = of("__x64_sys_hello", &[("kernel/a.c", "SYSCALL_DEFINE0(sys_hello)\n{\n}\n")]);
        assert_eq!(
            text,
            "kernel/a.c has SYSCALL_DEFINE0(sys_hello, ...), which makes sys_sys_hello: write it without sys_, SYSCALL_DEFINE0(hello, ...)"
        );
    }

    #[test]
    fn of_very_many_only_the_first_are_explained() {
        let source = tempfile::tempdir().unwrap();
        let of = |at: usize| Missing { name: format!("__x64_sys_a{at}"), line: String::new() };
        let missing: Vec<Missing> = (0..20_000).map(of).collect();
        let text = "/*\n */\nasmlinkage long sys_a0(void)\n{\n}\n\nasmlinkage long sys_a1(void) {\n}\n";
        write(&source.path().join("kernel/a.c"), text);
        std::os::unix::fs::symlink("/dev/zero", source.path().join("kernel/b.c")).unwrap();
        let lines = advice(&missing, source.path());
        assert_eq!(lines.len(), crate::diagnose::LOOKED_AT);
        assert!(lines[0].starts_with("kernel/a.c:3 defines sys_a0()"), "{}", lines[0]);
        assert!(lines[1].starts_with("kernel/a.c:7 defines sys_a1()"), "{}", lines[1]);
    }

    #[test]
    fn what_is_no_system_call_is_told_apart() {
        assert!(of("my_helper", &[]).contains("obj-y += file.o"));
    }
}
