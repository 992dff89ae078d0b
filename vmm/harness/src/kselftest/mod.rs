//! The kernel's own selftests (tools/testing/selftests) as ordinary scenarios: one for each collection, one step for each test.
//!
//! A kernel is built that has what the collections ask for; they are built from its source, in a box; and what comes of that is
//! written down as scenarios (`lower`), which are run like all others.

mod build;
mod config;
mod lower;
mod select;

use crate::{Abort, session};
use base::{
    cache::{Cache, Kind},
    project::{self, PATCHES},
    wanted::Wanted,
};
use kernel::{KernelError, wanted::Meant};
use scenario::Scenario;
use std::path::Path;

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// On which kernel; its source has the tests.
    pub kernel: Wanted,
    /// Collections, and tests of them: `timers`, `timers:posix_timers`, `timers:*_timers`.
    pub tests: Vec<String>,
    /// A time limit for each test, in seconds, instead of what the collections say.
    pub timeout: Option<u32>,
    /// The guest's memory.
    pub memory_mib: u32,
    /// Its processors.
    pub vcpus: u8,
}

/// The ready-made fragment with what all collections expect.
const FRAGMENT: &str = "config/kselftest.config";

/// Builds kernel and tests, and makes a scenario for each collection.
///
/// # Errors
/// There is no such collection or test, one has none at all, nothing builds, or this machine is at fault.
pub fn scenarios(wish: &Wish) -> Result<Vec<Scenario>, Abort> {
    let cache = Cache::open()?;
    let asked = select::parse(&wish.tests)?;
    let fault = |error: KernelError| Abort::fault(&error, error.fault());
    let project = project::find(None).map_err(|error| fault(error.into()))?;
    let meant = kernel::wanted::meant(&wish.kernel, &project, &cache.place(Kind::Kernel, ""));
    let Meant::Recipe(recipe) = meant.map_err(|error| fault(error.into()))? else {
        return Err(Abort::input(
            "selftests are built from a kernel's source: name it by --source, or a series like `6.12` by --kernel",
        ));
    };
    let source = kernel::source(&recipe, &cache).map_err(fault)?;
    select::check(&asked, &source)?;
    let fragment = config::fragment(&source, &asked, &project.join(PATCHES).join(FRAGMENT), &cache)?;
    let mut wanted = wish.kernel.clone();
    wanted.fragments.insert(0, fragment.display().to_string());
    let kernel = session::kernel_wanted(&wanted, Path::new("."), &cache)?;
    let built = build::build(&source, &kernel, &asked, &cache)?;
    let lacking = config::lacking(&source, &asked, &kernel)?;
    asked.iter().map(|asked| lower::scenario(asked, &built, &kernel, &lacking, wish)).collect()
}
