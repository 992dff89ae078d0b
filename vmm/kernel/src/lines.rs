//! File and line of kernel code, where there is debug info: of vmlinux and of modules.
//!
//! Nothing is read until somebody asks, and then only the file that is asked for. Modules come from people whose
//! work is judged, so each file and all lookups together have limits, and whatever is wrong means only that no line
//! is known.

mod dwarf;
mod elf;

use base::module::kernels_name;
use dwarf::Line;
pub use dwarf::{KERNEL, MODULE};
use jail::{
    intake,
    reader::{Reader, Reading},
};
use serde::{Deserialize, Serialize};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

/// A line of source code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the root of the kernel's source where it is part of that; else as the compiler was given it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

/// A piece of code.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub enum Code {
    /// As the kernel's traces name it: `function+offset/size [module]`.
    Named {
        /// Without suffixes of the compiler, as [`splat::base_name`] makes it.
        function: String,
        /// Bytes from the function's start.
        offset: u64,
        /// How long the kernel takes the function to be, padding included. Tells functions of one name apart.
        size: Option<u64>,
        /// The module that it is in; `None` for the kernel itself.
        module: Option<String>,
    },
    /// An address in the kernel itself, as it was linked.
    Linked(u64),
}

/// What an address stands for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub enum Stands {
    /// It is the instruction that is meant.
    Here,
    /// A call returns to it: the call is meant, which ends before it.
    BehindCall,
}

/// All lookups of a run take no longer than this; those after it find nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Debug info of one run's kernel and modules.
pub struct Lines {
    kernel: Option<File>,
    modules: BTreeMap<String, File>,
    known: RefCell<HashMap<(Code, Stands), Option<Place>>>,
    spent: Cell<Duration>,
    /// Folders, each with `/` at its end, that file names are shown from.
    roots: Vec<String>,
}

/// A file that is read when it is first asked for, in a process of its own.
struct File {
    path: PathBuf,
    reader: &'static Reader,
    /// `None` once it can't be read.
    reading: RefCell<Option<Reading>>,
    started: Cell<bool>,
}

impl File {
    fn new(path: PathBuf, reader: &'static Reader) -> Self {
        Self { path, reader, reading: RefCell::default(), started: Cell::default() }
    }

    fn find(&self, code: &Code, stands: Stands) -> Option<Line> {
        let mut reading = self.reading.borrow_mut();
        if !self.started.replace(true) {
            // What is no file is not waited for.
            intake::open(&self.path, u64::MAX).ok()?;
            *reading = self.reader.start(Some(&self.path)).ok();
        }
        match reading.as_mut()?.ask::<_, Option<Line>>(&(code, stands), &[]) {
            Ok((line, _)) => line,
            Err(_) => {
                *reading = None;
                None
            }
        }
    }
}

impl Lines {
    /// Of a vmlinux and the files of modules, each by its name. A file that is shown is named from one of the
    /// `roots`, if it is below one: where the kernel's headers are while modules are built.
    pub fn new(
        vmlinux: Option<PathBuf>,
        modules: impl IntoIterator<Item = (String, PathBuf)>,
        roots: &[PathBuf],
    ) -> Self {
        let module = |(name, path): (String, PathBuf)| (kernels_name(&name), File::new(path, &MODULE));
        Self {
            kernel: vmlinux.map(|path| File::new(path, &KERNEL)),
            modules: modules.into_iter().map(module).collect(),
            known: RefCell::default(),
            spent: Cell::default(),
            roots: roots.iter().map(|root| format!("{}/", root.display())).collect(),
        }
    }

    /// The line that this code was compiled from: for code that was inlined, the line in the function that it was
    /// inlined into. `None` where that is not known, or could be one of several.
    pub fn find(&self, code: &Code, stands: Stands) -> Option<Place> {
        let key = (code.clone(), stands);
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        if self.spent.get() >= PATIENCE {
            return None;
        }
        let start = Instant::now();
        let found = self.look_up(code, stands);
        self.spent.set(self.spent.get() + start.elapsed());
        self.known.borrow_mut().insert(key, found.clone());
        found
    }

    fn look_up(&self, code: &Code, stands: Stands) -> Option<Place> {
        let file = match code {
            Code::Named { module: Some(name), .. } => self.modules.get(name)?,
            Code::Named { module: None, .. } | Code::Linked(_) => self.kernel.as_ref()?,
        };
        let Line { file, line, root } = file.find(code, stands)?;
        Some(Place { file: self.shown(&file, root), line })
    }

    /// The name of a source file for a person. `own` is the folder of the kernel's source, as the debug info has it.
    fn shown(&self, file: &str, own: Option<String>) -> String {
        let file = tidy(file);
        // What the build itself wrote is beside the source.
        let generated = own.as_deref().and_then(|own| own.strip_suffix("source/"));
        let generated = generated.map(|both| format!("{both}build/"));
        let roots = self.roots.iter().map(String::as_str).chain(own.as_deref()).chain(generated.as_deref());
        let below = roots.filter_map(|root| file.strip_prefix(root)).find(|rest| !rest.is_empty());
        below.unwrap_or(&file).to_owned()
    }
}

/// A path without `.` and `..`; they are resolved by their names alone, as the folders may be gone.
fn tidy(path: &str) -> String {
    let mut all: Vec<Component> = Vec::new();
    for part in Path::new(path).components() {
        match (part, all.last()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(all.pop()),
            _ => all.push(part),
        }
    }
    all.iter().collect::<PathBuf>().display().to_string()
}

#[cfg(test)]
#[path = "lines_test.rs"]
mod tests;
