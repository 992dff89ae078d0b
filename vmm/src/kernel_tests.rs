//! `vmm kselftest` and `vmm kunit`: the tests that a kernel's source has, made scenarios and run like all others.

use crate::{cli::HowArgs, exit, kernel::RecipeArgs, many::Asked, run::carry_out};
use base::wanted::Wanted;
use clap::{Args, value_parser};
use harness::{Abort, Guest, kselftest, kunit, many};
use scenario::Scenario;
use std::{path::PathBuf, time::Duration};

/// Run the kernel's selftests, collection by collection.
///
/// The kernel is built with what the collections ask for (their `config` files and a fragment of ours), and they are built from the
/// same source, in a box. Each collection is run in a guest of its own, each test as a step, with its collection's time limit
/// (`settings`, or 45 seconds) and the exit statuses and KTAP of the kernel's own runner. Programs that scripts name come from this
/// machine, with their libraries; for all others busybox has to do. What can't run here is skipped, with the reason.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vmm kselftest --source ~/linux timers futex size
  vmm kselftest --source ~/linux timers:posix_timers 'exec:load_address*'
  vmm kselftest --kernel 6.12 timers --report ktap=out.ktap --retry 1")]
pub struct KselftestArgs {
    /// Collections: folders of tools/testing/selftests; or tests of them, by name or pattern
    #[arg(required = true, value_name = "COLLECTION[:TEST]")]
    tests: Vec<String>,
    /// Give each test so many seconds, whatever its collection says; 0 for an hour
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(0..=86_400))]
    timeout: Option<u32>,
    #[command(flatten)]
    on: OnArgs,
}

/// Run the kernel's unit tests.
///
/// What kunit.py does: builds the kernel with the tests that are asked for, boots it, and reads their results from its log, which is
/// read from outside. Suites and cases are in every report. A crash among them is a finding, and what did not come is told.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vmm kunit --source ~/linux                              all tests that this configuration allows
  vmm kunit --source ~/linux --kunitconfig fs/ext4        those of a .kunitconfig
  vmm kunit --source ~/linux --filter 'list*' --report junit=out.xml")]
pub struct KunitArgs {
    /// Turn on what this file says, or the .kunitconfig in this folder, here or in the source; as often as you like
    #[arg(long = "kunitconfig", value_name = "FILE|DIR")]
    configs: Vec<PathBuf>,
    /// Run only suites of this name, or SUITE.CASE; `*` stands for anything
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// Give all of them together so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    #[command(flatten)]
    on: OnArgs,
}

/// The kernel, the machine, and what is as with `vmm run`.
#[derive(Debug, Args)]
struct OnArgs {
    /// On this kernel: a series, such as 6.12
    #[arg(long, value_name = "KERNEL", conflicts_with = "source")]
    kernel: Option<String>,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The guest's memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = value_parser!(u32).range(32..=65_536))]
    memory: u32,
    /// The guest's processors [default: 1; for selftests 2, but on an emulated host]
    #[arg(long, value_name = "N", value_parser = value_parser!(u8).range(1..=32))]
    cpus: Option<u8>,
    #[command(flatten)]
    how: HowArgs,
}

impl OnArgs {
    /// Runs what is made of a kernel's tests, on the kernel that goes with it.
    fn run(&self, make: impl FnOnce(Guest) -> Result<(Vec<Scenario>, Wanted), Abort>) -> u8 {
        let how = &self.how;
        if let Some(complaint) = how.complaint() {
            crate::usage(&complaint);
        }
        let kernel = self.recipe.wanted(self.kernel.as_ref(), None);
        let made = make(Guest { kernel, memory_mib: self.memory, vcpus: self.cpus });
        let planned = made.and_then(|(scenarios, kernel)| {
            how.many.plan(Asked { scenarios, of_folders: false, options: Vec::new() }, |scenarios| {
                many::cases(scenarios, &[], &kernel)
            })
        });
        carry_out(how, how.options(), planned, |verdicts, _| exit::of_all(verdicts))
    }
}

/// Runs them, and returns the exit code.
pub fn kselftest(args: &KselftestArgs) -> u8 {
    args.on.run(|guest| {
        let wish = kselftest::Wish { guest, tests: args.tests.clone(), timeout: args.timeout };
        // Each names its kernel itself.
        Ok((kselftest::scenarios(&wish, args.on.how.options().host)?, Wanted::default()))
    })
}

/// Runs them, and returns the exit code.
pub fn kunit(args: &KunitArgs) -> u8 {
    args.on.run(|guest| {
        let timeout = Duration::from_secs(args.timeout.into());
        let wish = kunit::Wish { guest, configs: args.configs.clone(), filter: args.filter.clone(), timeout };
        let (scenario, kernel) = kunit::scenario(&wish, args.on.how.options().host)?;
        Ok((vec![scenario], kernel))
    })
}
