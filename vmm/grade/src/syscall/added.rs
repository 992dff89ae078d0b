//! What a student added to the kernel's files, told from whole copies of an old kernel's, or from diffs.

use super::{
    Base, functions, items, makefile,
    within::{Taken, Within, is_header},
};
use crate::source::diff::{self, Patched, Shown};
use functions::Function;
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

/// Where a file without a folder may belong that is called like one of the kernel's.
const FOLDERS: [&str; 16] = [
    "kernel",
    "fs",
    "mm",
    "ipc",
    "lib",
    "init",
    "block",
    "security",
    "net",
    "net/core",
    "kernel/sched",
    "kernel/printk",
    "kernel/time",
    "kernel/locking",
    "arch/x86/kernel",
    "arch/x86/entry",
];

/// The same for headers.
const HEADERS: [&str; 7] = [
    "include/linux",
    "include/uapi/linux",
    "include/asm-generic",
    "include/uapi/asm-generic",
    "include/linux/sched",
    "arch/x86/include/asm",
    "arch/x86/include/uapi/asm",
];
/// The header of which students hand in only what they added, too.
const SYSCALLS: &str = "include/linux/syscalls.h";

/// Numbers below this one are given in each kernel that a course may use (it is that of `prlimit64`, Linux 2.6.36).
const EVERYWHERE: u32 = 302;

/// What was added.
#[derive(Debug, Default)]
pub struct Added {
    /// C files.
    pub sources: BTreeMap<String, String>,
    /// C files and headers of which only places are known.
    places: BTreeMap<String, Shown>,
    /// Headers that the kernel has, with a student's own in them.
    shared: Vec<Within>,
    /// What was taken out of files that the kernel has.
    pub taken: Vec<Taken>,
    /// The student's own headers.
    pub headers: BTreeMap<String, String>,
    /// Entries of the table.
    pub entries: Vec<Entry>,
    /// A table was handed in.
    table: bool,
    /// What is wrong with numbers that are the kernel's own.
    given_twice: Vec<String>,
    /// What is left out.
    pub notes: Vec<String>,
    /// Prototypes in the kernel's header: name, parameters.
    prototypes: Option<BTreeMap<String, Vec<(String, String)>>>,
    /// Objects that the kernel's makefiles name; `None` if there is none of these.
    objects: Option<BTreeSet<String>>,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub number: u32,
    /// The call's own name.
    pub name: String,
    /// Without `sys_`.
    pub function: String,
}

impl Added {
    /// Reads all files; of diffs, the ones in `order` come first.
    pub fn read(files: &BTreeMap<String, Vec<u8>>, order: &[String], base: &Base) -> Result<Self, String> {
        let mut added = Self::default();
        let mut diffs: Vec<(&String, String)> = Vec::new();
        for (path, bytes) in files {
            if bytes.contains(&0) {
                return Err(format!("{path} is not text; hand in source"));
            }
            let text = String::from_utf8_lossy(bytes).into_owned();
            if let Some(why) = crate::source::patches::encoded(path, &text) {
                return Err(why);
            }
            match diff::may_be_diff(path) {
                true if diff::is_diff(&text) => diffs.push((path, text)),
                true if diff::is_context(&text) => {
                    return Err(format!("{path} {}", crate::source::patches::CONTEXT));
                }
                true => {}
                false => added.take(path, &text, base),
            }
        }
        for (path, shown) in added.patched(diffs, order)?.files {
            match shown.whole {
                true => {
                    let lines = shown.pieces.iter().flat_map(|it| &it.lines);
                    added.take(&path, &lines.map(|it| format!("{}\n", it.text)).collect::<String>(), base);
                }
                false => {
                    if makefile::is_one(path.rsplit('/').next().unwrap_or(&path)) {
                        // What was added may go on with a list that was there, of which nothing is seen.
                        added.builds(&shown.seen());
                    } else if !path.ends_with(".c") {
                        added.take(&path, &shown.added(), base);
                    }
                    if path.ends_with(".c") || is_header(&path) {
                        // Its places say more than the lines that were added.
                        added.headers.remove(&path);
                        added.places.insert(path, shown);
                    }
                }
            }
        }
        if added.sources.is_empty() && !added.places.keys().any(|path| path.ends_with(".c")) {
            return Err("there is no C source in it: hand in the file with your function".to_owned());
        }
        Ok(added)
    }

    /// All diffs, one behind the other.
    fn patched(&mut self, mut diffs: Vec<(&String, String)>, order: &[String]) -> Result<Patched, String> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let place = |path: &str| order.iter().position(|it| *it == name(path)).unwrap_or(usize::MAX);
        diffs.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)).then_with(|| diff::by_number(a, b)));
        let mut patched = Patched::default();
        let mut before: Vec<&str> = Vec::new();
        for (path, text) in &diffs {
            if patched.is_redone_by(text) {
                self.notes.push(format!(
                    "{} is left out: {path} does the same again, and counts",
                    before.join(", ")
                ));
                (patched, before) = (Patched::default(), Vec::new());
            }
            patched.apply(text).map_err(|file| {
                let behind = if before.is_empty() { "its own beginning".to_owned() } else { before.join(", ") };
                format!(
                    "{path} does not fit behind {behind}: {file} is otherwise there; number the patches in their order, or add a file `series`"
                )
            })?;
            before.push(path);
        }
        Ok(patched)
    }

    /// The files of the kernel's that have to be looked at: students may have put something into them.
    pub fn asked(&self) -> Vec<String> {
        let places = self
            .places
            .iter()
            .flat_map(|(path, shown)| [candidates(&shown.named), candidates(path)].concat());
        let whole = self.sources.keys().chain(self.headers.keys());
        let all: BTreeSet<String> = whole.flat_map(|path| candidates(path)).chain(places).collect();
        all.into_iter().collect()
    }

    /// Takes what belongs to the student out of files that the kernel has, of which these are the ones that were asked for.
    ///
    /// # Errors
    /// A diff changes a file that nobody has.
    pub fn settle(
        &mut self,
        originals: &BTreeMap<String, String>,
        base: &Base,
        calls: &[&str],
    ) -> Result<(), String> {
        let mut within = Vec::new();
        for (path, shown) in std::mem::take(&mut self.places) {
            let mut names = [candidates(&shown.named), candidates(&path)].concat().into_iter();
            let original = names.find_map(|name| originals.get_key_value(&name));
            if is_header(&path) {
                match original {
                    Some((place, original)) => {
                        let header = Within::of_diff(place, &shown, original);
                        self.notes.extend(header.changes());
                        self.shared.push(header);
                    }
                    // Of another kernel.
                    None => _ = self.headers.insert(path, shown.added()),
                }
                continue;
            }
            let Some((place, original)) = original else {
                return Err(format!(
                    "the diff changes {path}, which it does not make and which is no file of the kernel's: hand in the whole file"
                ));
            };
            within.push(Within::of_diff(place, &shown, original));
        }
        let paths: Vec<String> = self.sources.keys().cloned().collect();
        for path in paths {
            let names = candidates(&path).into_iter().filter_map(|name| originals.get_key_value(&name));
            let text = &self.sources[&path];
            let found =
                names.into_iter().find_map(|(place, original)| Within::of_copy(place, text, original));
            if let Some(found) = found {
                within.push(found);
                self.sources.remove(&path);
            }
        }
        for (path, text) in std::mem::take(&mut self.headers) {
            let found = candidates(&path).into_iter().find_map(|name| originals.get_key_value(&name));
            let within = found.and_then(|(place, original)| {
                // At its place in the kernel's source it is the kernel's; elsewhere it may be one of the student's own.
                let is_part = place == SYSCALLS || Path::new(&path).ends_with(place);
                let part = || is_part.then(|| Within::of_part(place, &text, original));
                Within::of_copy(place, &text, original).or_else(part)
            });
            match within {
                Some(within) => self.shared.push(within),
                None => _ = self.headers.insert(path, text),
            }
        }
        self.leave_out();
        let entries: Vec<&str> = self.entries.iter().map(|entry| &*entry.function).collect();
        let asked_for = |name: &str| calls.contains(&name) || entries.contains(&name);
        let own = |name: &str| !base.knows(name);
        let used: BTreeSet<String> = self
            .sources
            .values()
            .flat_map(|text| {
                super::items::words(&crate::source::strip(text)).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        for within in &within {
            let named = within.take(&asked_for, &used);
            // A copy of an old kernel's file has calls that are gone; the student's is the one that the table names.
            let taken = if named.functions.is_empty() { within.take(&own, &used) } else { named };
            self.notes.extend(taken.notes.iter().cloned());
            self.taken.push(taken);
        }
        self.taken.retain(|taken| !taken.text.is_empty());
        if self.sources.is_empty() && self.taken.is_empty() {
            return Err(
                "there is no C source of a system call in it: hand in the file with your function".to_owned()
            );
        }
        Ok(())
    }

    /// A file of code, with the types in front that a student put into headers of the kernel's and that it needs. `name` is what
    /// the compiler calls it.
    pub fn with_types(&self, text: &str, name: &str) -> String {
        let plain = crate::source::strip(text);
        let of_headers = self.headers.values().map(|text| crate::source::strip(text)).collect::<Vec<_>>();
        let words = of_headers.iter().chain([&plain]).flat_map(|text| items::words(text)).collect();
        let types: String = self.shared.iter().map(|header| header.types(&words)).collect();
        if types.is_empty() {
            return text.to_owned();
        }
        // Behind the headers that it begins with, whose types they may be made of.
        let all = items::items(&plain);
        let own = |item: &items::Item| match item.kind {
            items::Kind::Function | items::Kind::Other => true,
            items::Kind::Include => item.text.contains('"'),
            items::Kind::Macro | items::Kind::Directive => false,
        };
        let head = all.iter().position(own).unwrap_or(all.len());
        let last = all[..head].iter().rposition(|item| item.kind == items::Kind::Include);
        let count = last.map_or(0, |last| {
            let ends = |item: &&items::Item| item.text.trim_start_matches(['#', ' ']).starts_with("endif");
            all[last + 1..head].iter().take_while(ends).last().unwrap_or(&all[last]).lines.end
        });
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (before, behind) = lines.split_at(count.min(lines.len()));
        format!("{}{types}#line {} \"{name}\"\n{}", before.concat(), count + 1, behind.concat())
    }

    /// Programs are no part of a kernel; and of files of one name the outer one is meant.
    fn leave_out(&mut self) {
        let notes = &mut self.notes;
        self.sources.retain(|path, text| {
            let program = crate::source::is_program(&crate::source::strip(text));
            if program {
                notes.push(format!("{path} is a program, and no part of the kernel"));
            }
            !program
        });
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        // An older version beside the one that the makefile builds.
        let object = |path: &str| base(path).replace(".c", ".o");
        let is_built = |path: &str| self.objects.as_ref().is_some_and(|all| all.contains(&object(path)));
        if self.sources.keys().any(|path| is_built(path)) {
            let calls = |text: &str| -> BTreeSet<String> {
                let mut one = BTreeMap::new();
                one.insert(String::new(), text.to_owned());
                functions::find(&one).into_iter().map(|function| function.name).collect()
            };
            let built: BTreeSet<String> = self
                .sources
                .iter()
                .filter(|(path, _)| is_built(path))
                .flat_map(|(_, text)| calls(text))
                .collect();
            let older: Vec<String> = self
                .sources
                .iter()
                .filter(|(path, text)| !is_built(path) && !calls(text).is_disjoint(&built))
                .map(|(path, _)| path.clone())
                .collect();
            for path in older {
                notes.push(format!("{path} is left out: your Makefile does not build it, but another file with the same function"));
                self.sources.remove(&path);
            }
        }
        let mut paths: Vec<String> = self.sources.keys().cloned().collect();
        paths.sort_by_key(|path| path.matches('/').count());
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for path in paths {
            match taken.get(&base(&path)) {
                Some(other) => {
                    notes.push(format!("{path} is left out: {other} has the same name"));
                    self.sources.remove(&path);
                }
                None => _ = taken.insert(base(&path), path),
            }
        }
    }

    /// Notes what a makefile builds.
    fn builds(&mut self, makefile: &str) {
        self.objects.get_or_insert_default().extend(makefile::objects(makefile));
    }

    fn take(&mut self, path: &str, text: &str, base: &Base) {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name {
            name if name.ends_with(".tbl") => {
                self.table = true;
                let all = entries(text);
                self.given_twice.extend(twice(&all, base));
                // Numbers keep their names, also those of calls that later kernels have no function for any more.
                let own = |it: &Entry| !base.knows(&it.function) && !base.has(it.number, &it.name);
                self.entries.extend(all.into_iter().filter(own));
            }
            "syscalls.h" => {
                let mut all = prototypes(text);
                all.retain(|name, _| !base.knows(name));
                self.prototypes.get_or_insert_default().extend(all);
                self.headers.insert(path.to_owned(), text.to_owned());
            }
            name if makefile::is_one(name) && makefile::is_kernels(text) => self.builds(text),
            name if name.ends_with(".c") => _ = self.sources.insert(path.to_owned(), text.to_owned()),
            name if is_header(name) => _ = self.headers.insert(path.to_owned(), text.to_owned()),
            _ => {}
        }
    }

    /// What of it does not fit together.
    pub fn faults(&self, functions: &[Function]) -> Vec<String> {
        let mut faults = self.given_twice.clone();
        let mut numbers: BTreeMap<u32, &str> = BTreeMap::new();
        for entry in &self.entries {
            // A whole table and a diff of it say the same.
            let other = numbers.insert(entry.number, &entry.function);
            if let Some(other) = other.filter(|other| *other != entry.function) {
                faults.push(format!(
                    "the table gives the number {} twice: to {other} and to {}",
                    entry.number, entry.function
                ));
            }
            if !functions.iter().any(|function| function.name == entry.function) {
                faults.push(format!(
                    "the table has an entry sys_{}, and no file has a function of this name",
                    entry.function
                ));
            }
        }
        for function in functions {
            if self.table && !self.entries.iter().any(|entry| entry.function == function.name) {
                faults.push(format!(
                    "{}:{}: sys_{} has no entry in your syscall_64.tbl",
                    function.path, function.line, function.name
                ));
            }
            let prototype = self.prototypes.as_ref().and_then(|all| all.get(&function.name));
            if let Some(prototype) = prototype
                && !same(prototype, &function.params)
            {
                let types = |params: &[(String, String)]| {
                    params.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>().join(", ")
                };
                faults.push(format!(
                    "{}:{}: sys_{} takes ({}), and its prototype in syscalls.h says ({})",
                    function.path,
                    function.line,
                    function.name,
                    types(&function.params),
                    types(prototype)
                ));
            }
        }
        if let Some(objects) = &self.objects {
            // The kernel's makefiles build its own files.
            let own = functions
                .iter()
                .map(|function| &function.path)
                .filter(|path| self.sources.contains_key(*path));
            for path in own.collect::<BTreeSet<_>>() {
                let object = path.rsplit('/').next().unwrap_or(path).replace(".c", ".o");
                if !objects.contains(&object) {
                    faults.push(format!("your Makefile does not build {path}: it needs `obj-y += {object}`"));
                }
            }
        }
        faults
    }
}

fn same(a: &[(String, String)], b: &[(String, String)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((a, _), (b, _))| functions::same_type(a, b))
}

/// `333 common stats sys_stats`, also as kernels from 4.17 on write it.
pub fn entries(text: &str) -> Vec<Entry> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^\s*(\d+)\s+(?:common|64)\s+(\w+)\s+(?:__x64_)?sys_(\w+)")
            .expect("a constant that tests use")
    });
    let entry = |found: regex::Captures<'_>| {
        let (name, function) = (found[2].to_owned(), found[3].to_owned());
        Some(Entry { number: found[1].parse().ok()?, name, function })
    };
    LINE.captures_iter(text).filter_map(entry).collect()
}

/// All numbers of a table, with their calls' names, also of those that have no function.
pub fn numbers(text: &str) -> BTreeMap<u32, String> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^\s*(\d+)\s+(?:common|64)\s+(\w+)").expect("a constant that tests use")
    });
    LINE.captures_iter(text).filter_map(|found| Some((found[1].parse().ok()?, found[2].to_owned()))).collect()
}

/// The places in the kernel's source that a path may mean, the likeliest first.
fn candidates(path: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = [0].into_iter().chain(path.match_indices('/').map(|(at, _)| at + 1));
    // No file of the kernel's lies deeper.
    const DEEP: usize = 10;
    let suffixes = ends.map(|at| &path[at..]).filter(|it| (1..DEEP).contains(&it.matches('/').count()));
    let suffixes = suffixes.map(str::to_owned);
    let folders = if is_header(path) { &HEADERS[..] } else { &FOLDERS[..] };
    suffixes.chain(folders.iter().map(|folder| format!("{folder}/{name}"))).collect()
}

/// Numbers of the kernel's own calls that a table gives to others: beside these, or in their place.
fn twice(all: &[Entry], base: &Base) -> Vec<String> {
    let own = |entry: &Entry| base.knows(&entry.function) || base.has(entry.number, &entry.name);
    let (kernels, students): (Vec<&Entry>, Vec<&Entry>) = all.iter().partition(|entry| own(entry));
    let whole = kernels.len() > students.len();
    let fault = |entry: &&Entry| {
        let (number, function) = (entry.number, &entry.function);
        if let Some(other) = kernels.iter().find(|other| other.number == number) {
            return Some(format!(
                "the table gives the number {number} twice: to {} and to {function}",
                other.function
            ));
        }
        let owner = base.owner(number).filter(|_| whole && number < EVERYWHERE)?;
        Some(format!("the table gives the number {number} to {function}, and it is that of {owner}"))
    };
    students.iter().filter_map(fault).collect()
}

fn prototypes(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b(?:long|int)\s+sys_(\w+)\s*\(([^)]*)\)\s*;").expect("a constant that tests use")
    });
    let text = crate::source::strip(text);
    LINE.captures_iter(&text).map(|found| (found[1].to_owned(), functions::params(&found[2]))).collect()
}
