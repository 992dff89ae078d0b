//! `vmm bench`: what is measured, on the host where runs would be.

use crate::bench;
use crate::{
    Abort,
    session::{self, Prepared},
};
use base::{
    cache::{Cache, Kind},
    interrupt, project,
    wanted::Wanted,
};
use engine::event::{Event, StepOutcome};
use host::Choice;
use kernel::{
    KernelError,
    wanted::{Meant, WantedError, meant},
};
use plan::{Op, Role, Watch, What};
use scenario::model::Scenario;
use std::io;

/// Measures what building one changed file takes beside make alone; see [`bench::build`].
///
/// # Errors
/// It does not build, or is not to be built.
pub fn measure_build(wanted: &Wanted, rounds: u32) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let measure = || -> Result<String, KernelError> {
        let project = project::find(None)?;
        match meant(wanted, &project, &cache.place(Kind::Kernel, ""))? {
            Meant::Recipe(recipe) => {
                let samples = bench::build::measure(&recipe, &cache, rounds)?;
                Ok(bench::build_table(&recipe.source.to_string(), &samples))
            }
            Meant::Built(_) | Meant::Foreign { .. } => {
                Err(WantedError::Conflict("this benchmark", "a finished kernel", "nothing is built then")
                    .into())
            }
        }
    };
    measure().map_err(|error| Abort::fault(&error, error.fault()))
}

/// Measures what a system call costs in each way of [`bench::calls`].
///
/// # Errors
/// No kernel, no host, or a host that failed.
pub fn measure_calls(calls: u32, rounds: u32, choice: Choice) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let chosen = host::choose(choice, cache.root().join("emulator"))?;
    let stage = cache.stage()?;
    let cannot = |error: io::Error| Abort::infra(format!("failed to prepare the benchmark: {error}"));
    let (ways, path) = bench::calls::scenario(stage.path(), calls).map_err(cannot)?;
    let scenario = scenario::load(&path).map_err(|why| Abort::input(why.to_string()))?;
    let kernel = session::kernel(&scenario, &Wanted::default(), &cache)?;
    let Prepared { mut plan, stage: _kept, .. } = session::the_rest(&scenario, kernel, None, &cache)?;
    plan.watch = Watch::Nothing;
    for (way, step) in ways.iter().zip(&mut plan.steps) {
        step.ops.insert(0, Op { role: Role::Setup, what: What::Watch(way.watch()) });
    }
    let mut host = chosen.start(scenario.machine.memory_mib, &interrupt::requested)?;
    let mut found = Vec::new();
    for _ in 0..rounds {
        host.execute(&plan, &interrupt::requested, &mut |event| {
            if let Event::StepEnded { index, outcome: StepOutcome::Exited { code: 0, stdout, .. } } = event {
                found.extend(bench::calls::took(stdout.head()).map(|took| (ways[index], took)));
            }
        })?;
    }
    Ok(bench::calls_table(&chosen.description, &found))
}

/// Measures how long a scenario's guest takes to boot; see [`host::boot_bench`].
///
/// # Errors
/// As [`measure_calls`].
pub fn measure_boot(scenario: &Scenario, runs: u32, choice: Choice) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let chosen = host::choose(choice, cache.root().join("emulator"))?;
    let kernel = session::kernel(scenario, &Wanted::default(), &cache)?;
    let Prepared { plan, stage: _kept, .. } = session::the_rest(scenario, kernel, None, &cache)?;
    let mut samples = Vec::new();
    chosen.bench_boot(plan.machine, runs, &interrupt::requested, &mut |sample| samples.push(sample))?;
    Ok(bench::boot_table(&chosen.description, &samples))
}
