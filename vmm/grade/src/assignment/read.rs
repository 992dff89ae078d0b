//! Reads an assignment's file. Its mistakes are shown as those of a scenario are: all at once, each with its line.

mod brought;
mod files;
mod params;
mod scenarios;

use super::{Assignment, Bad, Check, Kind, Limits, OldStyle, Penalties, Rule, Show, Slot, Test};
use crate::{points::Points, table};
use base::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    text::plain,
};
use params::params;
use scenario::{
    node::{self, Node, Value},
    reader::{Fields, Reader},
};
use scenarios::tests;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const FIELDS: &[&str] = &[
    "name",
    "title",
    "kernel",
    "kind",
    "calls",
    "old-style",
    "files",
    "teacher",
    "attempts",
    "params",
    "table",
    "tests",
    "penalties",
    "limits",
    "show",
    "unstable",
    "seed",
    "check",
];
/// Canvas's names: `lastname[_LATE]_12345_67890_file.c` for each file of a submission, the second number growing with every file
/// (ContentZipper in its lib/content_zipper.rb); of nameless ones `anon_x7Yz1_67890_file.c`.
const CANVAS: &str =
    r"^(?<student>[^_]+)(?<late>_LATE)?_(?<id>\d+|[0-9A-Za-z]{5})_(?<serial>\d+)_(?<file>.+)$";
/// Moodle's: `First Last_12345_assignsubmission_file_`, where the number tells people of one name apart.
const MOODLE: &str = r"^(?<student>.+_\d+)_assignsubmission_file_?(?<file>.*)$";

impl Assignment {
    /// Reads an assignment's file; scenarios and files that it names must be there and make sense.
    ///
    /// # Errors
    /// Everything that is wrong with it, ready for the user's eyes.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let cannot = |error: std::io::Error| {
            Diagnostics::file(path, format!("can't read this assignment: {}", plain(&error)))
        };
        if path.is_dir() {
            let why = "this is a folder; name the assignment's file, like pa2/assignment.yaml";
            return Err(Diagnostics::file(path, why));
        }
        let text = base::input::read_text(path).map_err(cannot)?;
        let source = Source::new(path, &text);
        let tree = node::parse(&source).map_err(|errors| Diagnostics::new(source.clone(), errors))?;
        let mut reader = Reader::new(&source);
        let assignment = read(&mut reader, &tree);
        let errors = reader.errors;
        match assignment {
            Some(assignment) if errors.is_empty() => Ok(assignment),
            _ => Err(Diagnostics::new(source, errors)),
        }
    }
}

fn read(reader: &mut Reader<'_>, tree: &Node) -> Option<Assignment> {
    let mut fields = reader.fields(tree, "an assignment")?;
    let path = reader.source.path().to_owned();
    let folder = fs::canonicalize(&path).ok().and_then(|path| path.parent().map(Path::to_owned));
    let name = match fields.take("name") {
        Some(node) => reader.text(node, "the assignment's name"),
        None => folder.and_then(|it| it.file_name().map(|name| name.to_string_lossy().into_owned())),
    };
    let name = name.unwrap_or_default();
    let title = fields.take("title").and_then(|node| reader.text(node, "a title"));
    let kernel = fields.take("kernel").and_then(|node| reader.kernel(node)).unwrap_or_default();
    let kernel = kernel.relative_to(path.parent().unwrap_or(Path::new("")));
    let kind = kind(reader, &mut fields);
    let files = files::counted(reader, fields.take("files"), &kind);
    let teacher = fields.take("teacher").map(|node| teacher(reader, node)).unwrap_or_default();
    let attempts = fields.take("attempts").and_then(|node| attempts(reader, node));
    let of_params = fields.take("params");
    let params = of_params.map(|node| params(reader, node)).unwrap_or_default();
    let of_table = fields.take("table");
    let table = of_table.and_then(|node| table_of(reader, node)).unwrap_or_default();
    let tests = match fields.need(reader, "tests") {
        Some(node) => tests(reader, node, &params, &kernel),
        None => Vec::new(),
    };
    if let Some(node) = of_params {
        params::unused(reader, node, &tests);
    }
    if let Some(node) = of_table {
        params::columns(reader, node, &table, &tests);
    }
    let penalties = fields.take("penalties").map(|node| penalties(reader, node)).unwrap_or_default();
    let limits = limits(reader, fields.take("limits"), &kind);
    let show = fields.take("show").and_then(|node| {
        reader.choice(
            node,
            "what a student sees of a failure",
            &[("everything", Show::Everything), ("names", Show::Names)],
        )
    });
    let unstable = fields.take("unstable").and_then(|node| {
        reader.choice(node, "which of two runs counts", &[("best", Rule::Best), ("worst", Rule::Worst)])
    });
    let seed = match fields.take("seed") {
        Some(node) => reader.text(node, "a seed, any text").unwrap_or_default(),
        None => name.clone(),
    };
    let check = fields.take("check").map(|node| check(reader, node, &tests)).unwrap_or_default();
    fields.end(reader, FIELDS);
    let identity = identity(reader, &tests, &teacher, &table);
    Some(Assignment {
        title: title.unwrap_or_else(|| name.clone()),
        path,
        name,
        kernel,
        kind: kind.unwrap_or(Kind::Module),
        files,
        teacher,
        attempts,
        params,
        table,
        tests,
        penalties,
        limits,
        show: show.unwrap_or(Show::Everything),
        unstable: unstable.unwrap_or(Rule::Best),
        seed,
        check,
        identity,
    })
}

fn beside(reader: &Reader<'_>, text: &str) -> PathBuf {
    reader.source.path().parent().unwrap_or(Path::new("")).join(text)
}

/// A path that is there.
fn existing(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<PathBuf> {
    let text = reader.text(node, what)?;
    let path = beside(reader, &text);
    match fs::metadata(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            let why = format!("can't find {what} {}: {}", path.display(), plain(&error));
            let help = format!("paths are relative to the folder of {}", reader.source.path().display());
            reader.error(Diagnostic::new(&node.span, why).help(help))
        }
    }
}

fn points(reader: &mut Reader<'_>, node: &Node) -> Option<Points> {
    let text = reader.text(node, "points, like `5` or `2.5`")?;
    match Points::parse(&text) {
        Ok(points) => Some(points),
        Err(why) => {
            let help = "points are 0 to 10000, with up to two decimals, like `5` or `2.5`";
            reader.error(Diagnostic::new(&node.span, format!("these points make no sense: {why}")).help(help))
        }
    }
}

fn kind(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Kind> {
    let node = fields.need(reader, "kind");
    #[derive(Clone, Copy, PartialEq)]
    enum Name {
        Module,
        Patch,
        Kernel,
        Syscall,
    }
    const NAMES: &[(&str, Name)] = &[
        ("module", Name::Module),
        ("patch", Name::Patch),
        ("kernel", Name::Kernel),
        ("syscall", Name::Syscall),
    ];
    let name = node.and_then(|node| reader.choice(node, "what is handed in", NAMES));
    let (calls, old) = (fields.take("calls"), fields.take("old-style"));
    if name != Some(Name::Syscall) {
        for node in [calls, old].into_iter().flatten() {
            let why = "only an assignment of the kind `syscall` asks for system calls";
            reader.error::<()>(Diagnostic::new(&node.span, why));
        }
        return Some(match name? {
            Name::Patch => Kind::Patch,
            Name::Kernel => Kind::Kernel,
            Name::Module | Name::Syscall => Kind::Module,
        });
    }
    let old = old.and_then(|node| {
        reader.choice(
            node,
            "`wrapped` or `refused`",
            &[("wrapped", OldStyle::Wrapped), ("refused", OldStyle::Refused)],
        )
    });
    let Some(node) = calls else {
        let help = "like `calls: {stats: {number: 600, prototype: [int, long __user *]}}`";
        let why = "an assignment of the kind `syscall` needs the field `calls`";
        return reader.error(Diagnostic::new(&fields.span, why).help(help));
    };
    let mut slots: Vec<Slot> = Vec::new();
    for (name, key, node) in reader.fields(node, "`calls`")?.rest() {
        let mut inner = reader.fields(node, &format!("the call `{name}`"))?;
        // Beyond x32's, and where the table's generated arrays stay small.
        let number = inner.need(reader, "number").and_then(|node| reader.int(node, "a number", 548, 1000));
        let prototype = match inner.take("prototype") {
            Some(node) => {
                let items = reader.items(node, "types, like `[int, long __user *]`")?;
                Some(items.iter().filter_map(|item| one_type(reader, item)).collect())
            }
            None => None,
        };
        inner.end(reader, &["number", "prototype"]);
        let number = number? as u32;
        if slots.iter().any(|slot| slot.number == number) {
            return reader.error(Diagnostic::new(key, format!("a second call with the number {number}")));
        }
        slots.push(Slot { name: name.to_owned(), number, prototype });
    }
    Some(Kind::Syscall(slots, old.unwrap_or(OldStyle::Refused)))
}

/// A parameter's type of a system call, alone: no function would have all of a text like `int, long __user *` as one.
fn one_type(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "a type")?;
    if text.contains([',', '(', ')']) {
        let help = "write a list of types without the parameters' names: `prototype: [int, long __user *]`";
        let why = format!("`{text}` is not one type");
        return reader.error(Diagnostic::new(&node.span, why).help(help));
    }
    Some(text)
}

fn teacher(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, String)> {
    let Some(mut fields) = reader.fields(node, "`teacher` (like `{Makefile: files/Makefile}`)") else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for (name, key, node) in fields.rest() {
        if name.contains('/') {
            let why = "a teacher's file lies beside the student's, so its name has no `/`";
            reader.error::<()>(Diagnostic::new(key, why));
            continue;
        }
        let Some(path) = existing(reader, node, "the teacher's file") else { continue };
        match base::input::read_text(&path) {
            Ok(text) => files.push((name.to_owned(), text)),
            Err(error) => {
                let why = format!("can't read {}: {}", path.display(), plain(&error));
                reader.error::<()>(Diagnostic::new(&node.span, why));
            }
        }
    }
    files
}

fn attempts(reader: &mut Reader<'_>, node: &Node) -> Option<regex::Regex> {
    let text = match node.text() {
        Some("canvas") => CANVAS.to_owned(),
        Some("moodle") => MOODLE.to_owned(),
        _ => reader.text(node, "`canvas`, `moodle`, or an expression")?,
    };
    let regex = match regex::Regex::new(&text) {
        Ok(regex) => regex,
        Err(_) => return reader.regex(node),
    };
    if regex.capture_names().flatten().any(|name| name == "student") {
        return Some(regex);
    }
    let help = r"like `'^(?<student>[a-z]+)_(?<attempt>\d+)'`, or `canvas`, or `moodle`";
    reader.error(Diagnostic::new(&node.span, "this expression has no group named `student`").help(help))
}

fn table_of(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let path = existing(reader, node, "the table")?;
    match table::read(&path) {
        Ok(table) => Some(table),
        Err(why) => reader.error(Diagnostic::new(&node.span, why)),
    }
}

fn penalties(reader: &mut Reader<'_>, node: &Node) -> Penalties {
    let Some(mut fields) = reader.fields(node, "`penalties`") else { return Penalties::default() };
    let warnings = fields.take("warnings").and_then(|node| match node.value {
        Value::Map(_) => {
            let mut inner = reader.fields(node, "`warnings`")?;
            let each = inner.need(reader, "each").and_then(|node| points(reader, node));
            let most = inner.need(reader, "at-most").and_then(|node| points(reader, node));
            inner.end(reader, &["each", "at-most"]);
            Some((each?, most?))
        }
        _ => points(reader, node).map(|points| (points, Points::MOST)),
    });
    let mut one = |name: &str| fields.take(name).and_then(|node| points(reader, node));
    let (splat, leak, taint, license) = (one("splat"), one("leak"), one("taint"), one("license"));
    fields.end(reader, &["warnings", "splat", "leak", "taint", "license"]);
    Penalties { warnings, splat, leak, taint, license }
}

fn limits(reader: &mut Reader<'_>, node: Option<&Node>, kind: &Option<Kind>) -> Limits {
    // A changed header of the kernel's takes minutes, whoever changed it.
    let build = if matches!(kind, Some(Kind::Patch | Kind::Kernel)) { 1200 } else { 120 };
    let (build, run) = (Duration::from_secs(build), Duration::from_secs(600));
    let mut limits = Limits { files: 1000, bytes: 16 << 20, build, run };
    let Some(mut fields) = node.and_then(|node| reader.fields(node, "`limits`")) else { return limits };
    if let Some(node) = fields.take("files") {
        limits.files = reader.int(node, "`files`", 1, 100_000).unwrap_or(1) as usize;
    }
    if let Some(node) = fields.take("size") {
        limits.bytes = reader.int(node, "a size like `16 MiB`", 1, 1 << 30).unwrap_or(1) as u64;
    }
    if let Some(node) = fields.take("build") {
        limits.build = reader.duration(node, "`build`").unwrap_or(limits.build);
    }
    if let Some(node) = fields.take("run") {
        limits.run = reader.duration(node, "`run`").unwrap_or(limits.run);
    }
    fields.end(reader, &["files", "size", "build", "run"]);
    limits
}

fn check(reader: &mut Reader<'_>, node: &Node, tests: &[Test]) -> Check {
    let Some(mut fields) = reader.fields(node, "`check`") else { return Check::default() };
    let reference =
        fields.take("reference").and_then(|node| existing(reader, node, "the reference solution"));
    let starter = fields.take("starter").and_then(|node| match node.value {
        Value::Map(_) => {
            let mut inner = reader.fields(node, "`starter`")?;
            let path = inner.need(reader, "path").and_then(|node| existing(reader, node, "the starter"));
            let most = inner.need(reader, "at-most").and_then(|node| points(reader, node));
            inner.end(reader, &["path", "at-most"]);
            Some((path?, most?))
        }
        _ => existing(reader, node, "the starter").map(|path| (path, Points::NONE)),
    });
    let bad = fields.take("bad").map(|node| bad(reader, node, tests)).unwrap_or_default();
    fields.end(reader, &["reference", "starter", "bad"]);
    Check { reference, starter, bad }
}

fn bad(reader: &mut Reader<'_>, node: &Node, tests: &[Test]) -> Vec<Bad> {
    let Some(mut fields) = reader.fields(node, "`bad` (like `{bad/no-efault.patch: {points: 85}}`)") else {
        return Vec::new();
    };
    let mut list = Vec::new();
    for (name, key, node) in fields.rest() {
        let path = beside(reader, name);
        if !path.exists() {
            reader.error::<()>(Diagnostic::new(key, format!("can't find {}", path.display())));
        }
        let Some(mut inner) = reader.fields(node, "a bad solution") else { continue };
        let points = inner.need(reader, "points").and_then(|node| points(reader, node));
        let mut fails = Vec::new();
        if let Some(node) = inner.take("fails") {
            for item in reader.items(node, "tests' names").unwrap_or_default() {
                let Some(name) = reader.text(item, "a test's name") else { continue };
                if !tests.iter().any(|test| test.name == name) {
                    let known = tests.iter().map(|test| &*test.name);
                    let text = format!("there is no test `{name}`");
                    reader.errors.push(Diagnostic::new(&item.span, text).nearest(&name, known));
                }
                fails.push(name);
            }
        }
        let says = inner.take("says").and_then(|node| reader.text(node, "what its page says"));
        inner.end(reader, &["points", "fails", "says"]);
        list.extend(points.map(|points| Bad { path, points, fails, says }));
    }
    list
}

/// Of the file itself and of all that it names: with another one, everybody is graded anew.
fn identity(
    reader: &Reader<'_>,
    tests: &[Test],
    teacher: &[(String, String)],
    table: &BTreeMap<String, BTreeMap<String, String>>,
) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    // What is only checked changes nobody's grade.
    let mut checked = false;
    for line in reader.source.text().lines() {
        let begins = line.starts_with(|c: char| !c.is_whitespace() && c != '#');
        checked = if begins { line.starts_with("check:") } else { checked };
        if !checked {
            add(line.trim_end().as_bytes());
        }
    }
    for test in tests {
        add(&fs::read(&test.scenario).unwrap_or_default());
        add(test.brings.as_bytes());
    }
    for (name, text) in teacher {
        add(name.as_bytes());
        add(text.as_bytes());
    }
    add(format!("{table:?}").as_bytes());
    crate::hex(&digest.finalize())
}

#[cfg(test)]
#[path = "read_test.rs"]
mod tests;
