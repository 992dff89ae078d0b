//! The kernel's own selftests (tools/testing/selftests) as ordinary scenarios: one for each collection, one step for each test.
//!
//! A kernel is built that has what the collections ask for; they are built from its source, in a box; and what comes of that is
//! written down as scenarios (`lower`), which are run like all others.

mod build;
mod config;
mod lower;
mod select;

use crate::{Abort, Guest, kernel::meant, session};
use base::{
    cache::Cache,
    project::{self, PATCHES},
};
use host::Choice;
use kernel::{KernelError, wanted::Meant};
use scenario::Scenario;
use std::path::Path;

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where; its kernel's source has the tests.
    pub guest: Guest,
    /// Collections, and tests of them: `timers`, `timers:posix_timers`, `timers:*_timers`.
    pub tests: Vec<String>,
    /// A time limit for each test, in seconds, instead of what the collections say.
    pub timeout: Option<u32>,
}

/// The ready-made fragment with what all collections expect, and what each kernel has before it.
const FRAGMENT: &str = "config/kselftest.config";
const BASE: &str = "config/base.config";

/// Builds kernel and tests, and makes a scenario for each collection.
///
/// # Errors
/// There is no such collection or test, one has none at all, nothing builds, or this machine is at fault.
pub fn scenarios(wish: &Wish, host: Choice) -> Result<Vec<Scenario>, Abort> {
    let cache = Cache::open()?;
    // Before anything is built: to learn after minutes that it can't run would be late.
    let slow = host::choose(host, cache.root().join("emulator"))?.slow;
    let asked = select::parse(&wish.tests)?;
    let mut wanted = wish.guest.kernel.clone();
    let Meant::Recipe(recipe) = meant(&wanted, None, &cache)? else {
        return Err(Abort::input(
            "selftests are built from a kernel's source: name it by --source, or a series like `6.12` by --kernel",
        ));
    };
    let source = kernel::source(&recipe, &cache)?;
    select::check(&asked, &source)?;
    let patches = project::find(None).map_err(KernelError::from)?.join(PATCHES);
    let of = |name: &str| project::of_patches(&patches, name);
    let fragment = config::fragment(&source, &asked, &of(BASE), &of(FRAGMENT), &cache)?;
    wanted.fragments.insert(0, fragment.display().to_string());
    let kernel = session::kernel_wanted(&wanted, Path::new("."), &cache)?;
    let one = |asked: &select::Asked| {
        let built = build::build(&source, &kernel, &asked.collection, &cache)?;
        let lacking = config::lacking(&source, asked, &kernel)?;
        lower::scenario(asked, &built, &kernel, &lacking, slow, wish, &cache)
    };
    asked.iter().map(one).collect()
}
