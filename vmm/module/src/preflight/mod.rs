//! Whether the kernel will take a scenario's modules, told before anything boots: each reason for which its
//! loader would say no is found in the files, and said in one line with what to do.

mod facts;
mod file;
mod origin;
mod own;

#[cfg(test)]
mod tests;

pub use facts::{Exports, Facts};

use base::{
    cache::{Cache, Fault},
    diagnostic,
    module::kernels_name,
    text::{escape, plain},
    unpack::{self, UnpackError, module_name},
};
use file::Module;
pub use file::READER;
use jail::{Limits, intake, reader::Unread};
use kernel::{
    diagnose::{for_modules, of_namespace},
    tree::Tree,
};
use origin::Origin;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

/// So many symbols of one module are shown one by one.
const SHOWN: usize = 5;

/// How a module came here, and so whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its folder was built just now.
    Built,
    /// Somebody gave the file.
    Given,
}

/// A module that is to be loaded.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The file, as the user knows it.
    pub shown: PathBuf,
    /// The file's name without `.ko` and what stands behind that.
    pub name: String,
    /// How it came here.
    pub way: Way,
    /// Its content, unpacked.
    pub bytes: Vec<u8>,
}

/// What is wrong with a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The file, as the user knows it.
    pub shown: PathBuf,
    /// What is wrong, and what to do. Continues the file's name and a colon.
    pub what: String,
    /// Whose fault it is.
    pub fault: Fault,
    /// How bad it is.
    pub gravity: Gravity,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The kernel would refuse the module, or it would not be what it seems.
    Error,
    /// It loads; most likely something is missing.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", escape(&self.shown.display().to_string()), escape(&self.what))
    }
}

impl Candidate {
    /// Reads a module's file. `shown` is what the user calls it.
    ///
    /// # Errors
    /// It can't be read or unpacked, is a folder, or its name is no module's.
    pub fn load(path: &Path, shown: &Path, way: Way) -> Result<Self, Problem> {
        let bad = |what: String| Problem {
            shown: shown.to_owned(),
            what,
            fault: way.fault(),
            gravity: Gravity::Error,
        };
        let name = shown.file_name().and_then(|name| module_name(name.to_str()?)).map(str::to_owned);
        let name = name.ok_or_else(|| {
            bad("is no module's file by its name, which ends in .ko (or .ko.xz, .ko.zst, .ko.gz)".into())
        })?;
        if path.is_dir() {
            return Err(bad("is a folder, not a file; name the module's .ko".into()));
        }
        let bytes = Limits::FILES.wanted().and_then(|limits| intake::read_named(path, limits.file));
        let bytes = bytes.map_err(|error| match error.as_io() {
            Some(error) => bad(format!("can't be read: {}", plain(error))),
            None => bad(format!("is not taken: failed to {error}")),
        })?;
        let bytes = unpack::unpack_apart(bytes).map_err(|error| match error {
            UnpackError::Machine(_) => Problem { fault: Fault::Machine, ..bad(error.to_string()) },
            error => bad(error.to_string()),
        })?;
        Ok(Self { shown: shown.to_owned(), name, way, bytes })
    }
}

impl Way {
    fn fault(self) -> Fault {
        match self {
            Self::Built => Fault::Build,
            Self::Given => Fault::Input,
        }
    }
}

/// What modules turned out to be.
#[derive(Debug, Default)]
pub struct Checked {
    /// Everything that is wrong, errors first.
    pub problems: Vec<Problem>,
    /// The parameters of those that could be read, by the names that the kernel gives them.
    pub parameters: BTreeMap<String, Vec<String>>,
}

/// Holds modules against the kernel and each other.
pub fn check(candidates: &[Candidate], facts: &Facts, cache: &Cache) -> Checked {
    let mut problems = Vec::new();
    let mut modules = Vec::new();
    for (candidate, parsed) in candidates.iter().zip(parse(candidates)) {
        match parsed {
            Ok(module) => modules.push((candidate, module)),
            Err(problem) => problems.push(problem),
        }
    }
    for (candidate, module) in &modules {
        problems.extend(identity(candidate, module, facts));
    }
    let parameters =
        modules.iter().map(|(candidate, module)| (kernels_name(&candidate.name), module.parameters()));
    let parameters = parameters.collect();
    // What was built for another kernel has another kernel's symbols: a list of them would tell nothing.
    modules.retain(|(_, module)| vermagic(module, facts).is_none());
    problems.extend(symbols(&modules, facts, cache));
    problems.extend(cycle(&modules));
    problems.sort_by_key(|problem| problem.gravity == Gravity::Warning);
    Checked { problems, parameters }
}

/// Reads all of them, in one process; in another one those behind a file that was the end of that.
fn parse(candidates: &[Candidate]) -> Vec<Result<Module, Problem>> {
    let mut reading = None;
    let one = |candidate: &Candidate| {
        let taken = reading.take().map_or_else(|| READER.start(None), Ok);
        let (parsed, its) = taken
            .and_then(|mut its| Ok((its.ask::<(), Result<Module, String>>(&(), &candidate.bytes)?.0, its)))
            .map_err(|error| unread(candidate, &error))?;
        reading = Some(its);
        parsed.map_err(|what| problem(candidate, what))
    };
    candidates.iter().map(one).collect()
}

fn unread(candidate: &Candidate, error: &Unread) -> Problem {
    let fault = match error {
        Unread::Machine(_) => Fault::Machine,
        Unread::Ended(_) => candidate.way.fault(),
    };
    Problem { fault, ..problem(candidate, format!("can't be read: {error}")) }
}

/// What is known of symbols that a build misses, a line each. `tree` is what was built in `folder`.
pub fn undefined(names: &[String], folder: &Path, tree: &Tree, facts: &Facts, cache: &Cache) -> Vec<String> {
    let own: BTreeMap<&str, &Path> =
        names.iter().filter_map(|name| Some((&**name, own::defining(name, folder, tree)?))).collect();
    let others = names.iter().map(String::as_str).filter(|name| !own.contains_key(name)).collect();
    let origins = origins(&others, facts, cache);
    let release = &facts.release;
    let one = |name: &String| {
        if let Some(file) = own.get(&**name) {
            let (file, object) = (file.display(), file.with_extension("o"));
            let object = object.display();
            return format!(
                "{name}: {file} defines it; link that into the module (NAME-objs := ... {object}), or, if it is a module of its own, \
                 write EXPORT_SYMBOL({name}); there"
            );
        }
        let advice = advice(name, origins.get(name), facts);
        format!(
            "{name}: neither kernel {release} exports it nor a module that is named before this one; {advice}"
        )
    };
    names.iter().map(one).collect()
}

fn problem(candidate: &Candidate, what: String) -> Problem {
    Problem { shown: candidate.shown.clone(), what, fault: candidate.way.fault(), gravity: Gravity::Error }
}

/// What the module is, by itself.
fn identity(candidate: &Candidate, module: &Module, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(name) = module.info("name")
        && name != kernels_name(&candidate.name)
    {
        problems.push(problem(
            candidate,
            format!(
                "calls itself `{name}`: rmmod and modprobe know it by that name only; rename the file to {name}.ko"
            ),
        ));
    }
    problems.extend(vermagic(module, facts).map(|what| problem(candidate, what)));
    let missing = match (module.starts, module.ends) {
        (false, _) => Some("has no init function, so loading it does nothing; is module_init(...) missing?"),
        // `delete_module` in kernel/module/main.c says EBUSY then.
        (true, false) => {
            Some("has no exit function, so it can never be unloaded; is module_exit(...) missing?")
        }
        (true, true) => None,
    };
    let warning = |what: &str| Problem { gravity: Gravity::Warning, ..problem(candidate, what.to_owned()) };
    problems.extend(missing.map(warning));
    problems
}

/// As `check_modinfo` and `same_magic` do in kernel/module/version.c: with modversions the release may differ.
fn vermagic(module: &Module, facts: &Facts) -> Option<String> {
    let kernel = facts.vermagic.as_deref()?;
    let Some(own) = module.info("vermagic") else {
        return Some("has no vermagic; was it linked by the kernel's build system?".into());
    };
    let flags = |text: &str| {
        let words = text.split_whitespace().skip(1).filter(|word| !word.starts_with("RANDSTRUCT"));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let release = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    let versions = facts.has("MODVERSIONS") && !module.versions.is_empty();
    let same = flags(own) == flags(kernel) && (versions || release(own) == release(kernel));
    (!same).then(|| {
        format!(
            "was built for another kernel: its vermagic is `{}`, this kernel's is `{}`; build it for {}",
            own.trim_end(),
            kernel.trim_end(),
            facts.release
        )
    })
}

/// What the modules need of the kernel and of each other.
fn symbols(modules: &[(&Candidate, Module)], facts: &Facts, cache: &Cache) -> Vec<Problem> {
    let Some(exports) = &facts.exports else { return Vec::new() };
    let mut problems = Vec::new();
    let mut lacking: Vec<(&Candidate, Vec<&str>)> = Vec::new();
    for (candidate, module) in modules {
        let mut missing = Vec::new();
        for name in &module.needs {
            let other = modules.iter().find_map(|(owner, other)| {
                let export = other.exports.iter().find(|export| export.name == *name)?;
                Some((owner.name.as_str(), export.gpl_only))
            });
            let kernels = exports.get(name);
            let (owner, gpl_only) = match (other, &kernels) {
                (Some((owner, gpl_only)), _) => (owner, gpl_only),
                (None, Some(export)) if export.owner == "vmlinux" => ("the kernel", export.gpl_only),
                // A module of the kernel's own that is not in the guest.
                (None, Some(export)) => {
                    let owner = &export.owner;
                    problems.push(problem(
                        candidate,
                        format!(
                            "needs `{name}`, which the kernel's own module {owner}.ko exports; \
                             name that file in the scenario's `modules:` too"
                        ),
                    ));
                    continue;
                }
                (None, None) => {
                    missing.push(&**name);
                    continue;
                }
            };
            if gpl_only && !module.is_gpl() {
                let license = module.info("license").unwrap_or("missing");
                problems.push(problem(
                    candidate,
                    format!(
                        "uses `{name}`, which {owner} exports for GPL-compatible modules only, but its licence is \
                         `{license}`; if it may be GPL, write MODULE_LICENSE(\"GPL\")"
                    ),
                ));
            }
            if let (None, Some(export)) = (other, &kernels) {
                problems
                    .extend(version(module, name, export.crc, facts).map(|what| problem(candidate, what)));
                problems.extend(
                    namespace(module, name, &export.namespace, facts).map(|what| problem(candidate, what)),
                );
            }
        }
        if !missing.is_empty() {
            lacking.push((candidate, missing));
        }
    }
    problems.extend(unresolved(&lacking, facts, cache));
    problems
}

/// As `check_version` does in kernel/module/version.c.
fn version(module: &Module, name: &str, crc: u32, facts: &Facts) -> Option<String> {
    if !facts.has("MODVERSIONS") || module.versions.is_empty() {
        return None;
    }
    let own = module.versions.get(name).copied();
    (own != Some(crc)).then(|| {
        let own = own.map_or("no checksum".to_owned(), |own| format!("{own:#010x}"));
        format!(
            "was built for another version of `{name}` ({own}, the kernel's is {crc:#010x}): its parameters or \
             structures have changed; build it for {}",
            facts.release
        )
    })
}

/// As `verify_namespace_is_imported` does in kernel/module/main.c.
fn namespace(module: &Module, name: &str, namespace: &str, facts: &Facts) -> Option<String> {
    let own = module.info("name").unwrap_or_default();
    let is_for_it = for_modules(namespace, &facts.release)
        .is_some_and(|modules| modules.split(',').any(|pattern| matches(pattern, own)));
    let imported = namespace.is_empty() || module.all("import_ns").any(|import| import == namespace);
    (!is_for_it && !imported && !facts.has("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS")).then(|| {
        let advice = of_namespace(namespace, &facts.release);
        format!("uses `{name}` of the namespace {namespace} without importing it; {advice}")
    })
}

/// Whether a module's name fits, as `verify_module_namespace` has it in kernel/module/main.c: the star stands at the end alone.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kernels_name(name).starts_with(&kernels_name(beginning)),
        None => kernels_name(name) == kernels_name(pattern),
    }
}

/// Symbols that nobody has, and who would.
fn unresolved(lacking: &[(&Candidate, Vec<&str>)], facts: &Facts, cache: &Cache) -> Vec<Problem> {
    let names: BTreeSet<&str> = lacking.iter().flat_map(|(_, names)| names).copied().collect();
    if names.is_empty() {
        return Vec::new();
    }
    let origins = origins(&names, facts, cache);
    let mut problems = Vec::new();
    for (candidate, names) in lacking {
        for name in names.iter().take(SHOWN) {
            let advice = advice(name, origins.get(*name), facts);
            problems.push(problem(
                candidate,
                format!(
                    "needs `{name}`, which neither kernel {} nor another module exports; {advice}",
                    facts.release
                ),
            ));
        }
        if names.len() > SHOWN {
            let more = names.len() - SHOWN;
            problems.push(problem(candidate, format!("needs {more} more symbols that nobody exports")));
        }
    }
    problems
}

/// Where a kernel of this release would have the symbols from, as far as its source is here.
fn origins(names: &BTreeSet<&str>, facts: &Facts, cache: &Cache) -> BTreeMap<String, Origin> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    origin::source(&sources(cache), &facts.release)
        .map_or_else(BTreeMap::new, |source| origin::search(&source, names))
}

fn advice(name: &str, origin: Option<&Origin>, facts: &Facts) -> String {
    if let Some(Origin { file, config }) = origin {
        let file = file.display();
        let unset: Vec<&str> = config
            .iter()
            .map(String::as_str)
            .filter(|symbol| !facts.has(symbol.trim_start_matches("CONFIG_")))
            .collect();
        return match &unset[..] {
            [] => format!("{file} would export it, under a condition that this configuration does not meet"),
            symbols => {
                let lines: Vec<String> = symbols.iter().map(|symbol| format!("{symbol}=y")).collect();
                format!("{file} exports it: put {} into a configuration fragment", lines.join(" and "))
            }
        };
    }
    if facts.knows(name) {
        return "the kernel has it, but does not export it to modules".into();
    }
    let known = facts.exports.iter().flat_map(Exports::names);
    match diagnostic::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            "mend the name, or name the module that exports it in the scenario's `modules:`, before this one"
                .into()
        }
    }
}

/// Folders that may hold a kernel's whole source.
fn sources(cache: &Cache) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let entries = inside(cache.root().join("sources"));
    entries.into_iter().flat_map(|entry| [vec![entry.clone()], inside(entry)].concat()).collect()
}

/// Modules that need each other: none can be loaded first.
fn cycle(modules: &[(&Candidate, Module)]) -> Option<Problem> {
    let owner = |name: &String| {
        modules.iter().position(|(_, other)| other.exports.iter().any(|export| export.name == *name))
    };
    let next: Vec<BTreeSet<usize>> =
        modules.iter().map(|(_, module)| module.needs.iter().filter_map(owner).collect()).collect();
    // Whoever waits for nobody can be loaded, and then nobody waits for it. Who is left waits in a circle,
    // or for one.
    let mut waiting: BTreeSet<usize> = (0..modules.len()).collect();
    while let Some(free) = waiting.iter().copied().find(|index| next[*index].is_disjoint(&waiting)) {
        waiting.remove(&free);
    }
    let mut path = vec![*waiting.first()?];
    loop {
        let last = *path.last()?;
        let following = *next[last].intersection(&waiting).next()?;
        if let Some(at) = path.iter().position(|index| *index == following) {
            path.drain(..at);
            path.push(following);
            break;
        }
        path.push(following);
    }
    let names: Vec<&str> = path.iter().map(|index| &*modules[*index].0.name).collect();
    Some(problem(
        modules[path[0]].0,
        format!(
            "can't be loaded: the modules need each other in a circle, {}; move what both need into a third one",
            names.join(" -> ")
        ),
    ))
}
