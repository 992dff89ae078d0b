//! Scenarios: YAML in, typed values or diagnostics out. `docs/scenarios.md` is the language's reference.
//!
//! A file becomes a tree of `node`s with places; readers turn the tree into the types of [`model`] and
//! collect everything that is wrong, so that a person sees all errors of a file at once.
//!
//! It knows the language alone: not what kernels and modules there are, nor how a step is carried out.

#![forbid(unsafe_code)]

mod argument;
mod draw;
pub mod errno;
mod expect;
mod findings;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod kernel;
mod kinds;
pub mod model;
mod modules;
mod names;
pub mod node;
mod params;
pub mod poll;
mod process;
mod program;
pub mod reader;
mod request;
pub mod result;
pub mod status;
mod step;
mod tags;
mod template;
mod value;

#[cfg(test)]
mod tests;

pub use model::{
    ConfigNeed, GuestFile, GuestFileKind, Machine, ModuleKind, ModuleSource, Scenario, Step, Watchfulness,
    module_path,
};

use base::diagnostic::{Diagnostic, Diagnostics, Source};
pub use draw::Draw;
pub use params::{Parameter, ParameterKind, Settings, with_values};
pub use template::{literal, placeholders};

use reader::Reader;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

/// Larger scenarios, in bytes, are no scenarios.
const MAX_FILE: u64 = 1 << 20;

const FIELDS: &[&str] = &[
    "name",
    "params",
    "tags",
    "kernel",
    "matrix",
    "needs",
    "machine",
    "modules",
    "autoload",
    "files",
    "programs",
    "timeout",
    "boot-timeout",
    "count",
    "evidence",
    "steps",
    "expect",
    "allow",
];

/// Reads a scenario's file: a regular one, a pipe, or, for `-`, standard input. What comes from nowhere has its paths relative
/// to the current folder.
///
/// # Errors
/// Everything that is wrong with it, ready for the user's eyes.
pub fn load(path: &Path) -> Result<Scenario, Diagnostics> {
    load_with(path, &Settings::new())
}

/// The same, with values for the scenario's parameters.
///
/// # Errors
/// As [`load`]; also for a value of another type, for one that no parameter takes, and for a parameter that has none.
pub fn load_with(path: &Path, settings: &Settings) -> Result<Scenario, Diagnostics> {
    parse_with(source(path)?, settings)
}

/// The parameters that a scenario's file declares.
///
/// # Errors
/// The file can't be read, is not YAML, or declares them wrongly.
pub fn parameters(path: &Path) -> Result<Vec<Parameter>, Diagnostics> {
    let source = source(path)?;
    let tree = node::parse(&source).map_err(|errors| Diagnostics::new(source.clone(), errors))?;
    let mut reader = Reader::new(&source);
    let declared = reader.declared(&tree);
    let errors = reader.errors;
    if errors.is_empty() { Ok(declared) } else { Err(Diagnostics::new(source, errors)) }
}

fn source(path: &Path) -> Result<Source, Diagnostics> {
    let text = read(path).map_err(|why| Diagnostics::file(path, why))?;
    // A shell's `<(...)` is a descriptor, whose folder is nobody's.
    let nowhere = |folder| path.starts_with(folder) && !path.is_file();
    let shown = match path {
        path if path == Path::new(STDIN) => Path::new("stdin"),
        _ if nowhere("/dev") || nowhere("/proc") => Path::new("pipe"),
        path => path,
    };
    Ok(Source::new(shown, &text))
}

impl Scenario {
    /// Its text, where no file has it: it came by a pipe.
    pub fn piped(&self) -> Option<&str> {
        (!self.path.is_file()).then(|| self.source.text())
    }
}

/// Names standard input.
const STDIN: &str = "-";

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("can't read this scenario: {}", base::text::plain(&error));
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        let metadata = std::fs::metadata(path).map_err(cannot)?;
        if metadata.is_dir() {
            return Err("this is a folder; name a scenario's file, like scenarios/chardev.yaml".into());
        }
        if !metadata.is_file() && !metadata.file_type().is_fifo() {
            return Err("this is neither a regular file nor a pipe".into());
        }
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err("this file is larger than 1 MiB; is it a scenario?".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8 text (byte {at}); save the file as UTF-8")
    })
}

/// Reads a scenario's text. Paths in it are relative to the source's folder.
///
/// # Errors
/// As [`load`].
pub fn parse(source: Source) -> Result<Scenario, Diagnostics> {
    parse_with(source, &Settings::new())
}

/// The same, with values for the scenario's parameters.
///
/// # Errors
/// As [`load_with`].
pub fn parse_with(source: Source, settings: &Settings) -> Result<Scenario, Diagnostics> {
    if source.text().lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        let error = Diagnostic::whole("this scenario is empty").help("it needs at least `steps:`");
        return Err(Diagnostics::new(source, vec![error]));
    }
    let tree = match node::parse(&source) {
        Ok(tree) => tree,
        Err(errors) => return Err(Diagnostics::new(source, errors)),
    };
    let mut reader = Reader::new(&source);
    let tree = reader.with_values(tree, settings);
    if !reader.errors.is_empty() {
        // Without its values, nothing that is said of the rest would be true.
        return Err(Diagnostics::new(source.clone(), reader.errors));
    }
    let scenario = scenario(&mut reader, &tree);
    let errors = reader.errors;
    match scenario {
        Some(scenario) if errors.is_empty() => Ok(scenario),
        _ => Err(Diagnostics::new(source, errors)),
    }
}

fn scenario(reader: &mut Reader<'_>, tree: &node::Node) -> Option<Scenario> {
    let mut fields = reader.fields(tree, "a scenario")?;
    let path = reader.source.path().to_owned();
    let name = match fields.take("name") {
        Some(node) => reader.text(node, "the scenario's name"),
        None => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
    };
    // Its values are in the tree already.
    let _ = fields.take("params");
    let tags = fields.take("tags").and_then(|node| reader.tags(node)).unwrap_or_default();
    let kernel = fields.take("kernel").map(|node| (reader.kernel(node).unwrap_or_default(), &node.span));
    let matrix = fields.take("matrix").map(|node| (reader.matrix(node).unwrap_or_default(), &node.span));
    if let (Some((_, kernel)), Some((_, matrix))) = (&kernel, &matrix) {
        let why = "`matrix` and `kernel` exclude each other: either says which kernels the scenario is for";
        reader.error::<()>(Diagnostic::new(matrix, why).other(kernel, "the other one"));
    }
    let needs = fields.take("needs").map(|node| reader.needs(node)).unwrap_or_default();
    let machine = fields.take("machine").map(|node| machine(reader, node)).unwrap_or_default();
    if let Some(node) = fields.take("modules") {
        reader.modules(node);
    }
    let autoload =
        fields.take("autoload").and_then(|node| reader.choice(node, "`true` or `false`", YES_OR_NO));
    let mut files = fields.take("files").map(|node| reader.files(node)).unwrap_or_default();
    files.extend(fields.take("programs").map(|node| reader.programs(node)).unwrap_or_default());
    reader.brings_names = files.iter().any(modules::brings_names);
    let timeout = fields.take("timeout").and_then(|node| reader.duration(node, "`timeout`"));
    let boot_timeout = fields.take("boot-timeout").and_then(|node| reader.duration(node, "`boot-timeout`"));
    let steps = fields.need(reader, "steps").and_then(|node| {
        let nodes = reader.list(node, "a list of steps, each with its own `-`")?;
        Some(reader.steps(nodes, timeout.unwrap_or(step::TIMEOUT)))
    });
    let count = fields.take("count").map(|node| {
        let count = reader.choice(node, "`true` or `false`", YES_OR_NO);
        (count.unwrap_or(true), &node.span)
    });
    let evidence =
        fields.take("evidence").and_then(|node| reader.choice(node, "how closely to look", EVIDENCE));
    let expect = fields.take("expect").and_then(|node| reader.run_expect(node)).unwrap_or_default();
    if let Some((false, span)) = count
        && !expect.syscalls.is_empty()
    {
        let why = "this scenario expects numbers of system calls, which are not counted then";
        reader.error::<()>(Diagnostic::new(span, why));
    }
    let patches = needs.iter().any(|need| PATCHING.contains(&need.symbol.as_str()));
    let allow = fields.take("allow").map(|node| reader.allow(node)).unwrap_or_default();
    fields.end(reader, FIELDS);
    Some(Scenario {
        name: name.unwrap_or_default(),
        path,
        tags,
        kernel: kernel.map(|(kernel, _)| kernel).unwrap_or_default(),
        matrix: matrix.map(|(matrix, _)| matrix).unwrap_or_default(),
        needs,
        machine,
        modules: std::mem::take(&mut reader.modules),
        autoload: autoload.unwrap_or(false),
        files,
        boot_timeout: boot_timeout.unwrap_or(Duration::from_secs(60)),
        evidence: evidence.unwrap_or(if patches { Watchfulness::Kprobes } else { Watchfulness::Full }),
        count: count.is_none_or(|(count, _)| count),
        steps: step::with_looks(steps?, &expect, timeout.unwrap_or(step::TIMEOUT)),
        expect,
        allow,
        notes: std::mem::take(&mut reader.notes),
        drawn: std::mem::take(&mut reader.drawn),
        source: reader.source.clone(),
    })
}

/// Who needs one of these means that the kernel patches its own text, or a program's. For BPF it does so where a program is attached to a function (fentry, LSM),
/// which takes the compiler.
const PATCHING: [&str; 10] = [
    "CONFIG_KPROBES",
    "CONFIG_DYNAMIC_FTRACE",
    "CONFIG_FUNCTION_TRACER",
    "CONFIG_LIVEPATCH",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_UPROBES",
    "CONFIG_UPROBE_EVENTS",
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_LSM",
    "CONFIG_BPF_EVENTS",
];

/// The ways to watch a guest.
pub const EVIDENCE: &[(&str, Watchfulness)] =
    &[("full", Watchfulness::Full), ("kprobes", Watchfulness::Kprobes), ("basic", Watchfulness::Basic)];

const YES_OR_NO: &[(&str, bool)] = &[("true", true), ("false", false)];

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory_mib: 128,
            vcpus: 1,
            vcpus_at: 0..0,
            checks: true,
            command_line: Vec::new(),
            cold: false,
        }
    }
}

const NO_KASLR: &str = "`kaslr` in the kernel's command line has no effect: only the code that unpacks a kernel moves it to another \
                        address, and guests get it unpacked";

fn machine(reader: &mut Reader<'_>, node: &node::Node) -> Machine {
    const MIB: i128 = 1 << 20;
    let mut machine = Machine::default();
    let Some(mut fields) = reader.fields(node, "`machine`") else { return machine };
    if let Some(node) = fields.take("memory") {
        // A bare number could be bytes or MiB: it must say.
        let bytes = node.text().filter(|text| text.ends_with("iB")).and_then(value::parse_int);
        match bytes {
            Some(bytes) if (32 * MIB..=65_536 * MIB).contains(&bytes) && bytes % MIB == 0 => {
                machine.memory_mib = (bytes / MIB) as u32;
            }
            _ => _ = reader.expected::<()>(node, "`memory`, like `128 MiB` (32 MiB to 64 GiB)"),
        }
    }
    if let Some(node) = fields.take("cpus") {
        machine.vcpus = reader.int(node, "`cpus`", 1, 32).map_or(1, |count| count as u8);
        machine.vcpus_at = node.span.clone();
    }
    if let Some(node) = fields.take("checks") {
        machine.checks = reader.choice(node, "`true` or `false`", YES_OR_NO).unwrap_or(true);
    }
    if let Some(node) = fields.take("command-line") {
        // COMMAND_LINE_SIZE of arch/x86/include/asm/setup.h is 2048, and ours takes some of it.
        const LONGEST: usize = 1024;
        let fits = |text: &str| text.len() <= LONGEST && !text.chars().any(char::is_control);
        match node.text().filter(|text| fits(text)) {
            Some(text) => {
                machine.command_line = text.split_whitespace().map(str::to_owned).collect();
                if machine.command_line.iter().any(|word| word == "kaslr") {
                    reader.notes.push(NO_KASLR.to_owned());
                }
            }
            None => {
                _ = reader.expected::<()>(
                    node,
                    "words for the kernel, like `loglevel=7 nosmp` (1024 bytes at most)",
                )
            }
        }
    }
    if let Some(node) = fields.take("cold") {
        machine.cold = reader.choice(node, "`true` or `false`", YES_OR_NO).unwrap_or(false);
    }
    fields.end(reader, &["memory", "cpus", "checks", "command-line", "cold"]);
    machine
}
