//! `vmm bench`: what is measured, on the host where runs would be.

use crate::bench::{self};
use crate::{
    Abort,
    session::{self, Prepared},
};
use base::{
    cache::{Cache, Kind},
    interrupt, project,
    wanted::Wanted,
};
use engine::event::{Booted, Ended, Event, StepOutcome};
use host::Choice;
use kernel::{
    KernelError,
    wanted::{Meant, WantedError, meant},
};
use plan::{Op, Plan, Role, Warm, Watch, What};
use scenario::model::Scenario;
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

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

/// Measures what it takes until a guest answers; see [`bench::warm`]. `hello` is run as a whole process.
///
/// # Errors
/// As [`measure_calls`].
pub fn measure_warm(hello: &Path, rounds: u32, choice: Choice) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let chosen = host::choose(choice, cache.root().join("emulator"))?;
    let stage = cache.stage()?;
    let cannot = |error: io::Error| Abort::infra(format!("failed to prepare the benchmark: {error}"));
    let paths = bench::warm::scenarios(stage.path()).map_err(cannot)?;
    let prepared = |path: &Path| -> Result<Prepared, Abort> {
        let scenario = scenario::load(path).map_err(|why| Abort::input(why.to_string()))?;
        let kernel = session::kernel(&scenario, &Wanted::default(), &cache)?;
        session::the_rest(&scenario, kernel, None, &cache)
    };
    let [bare, brings] = [prepared(&paths[0])?, prepared(&paths[1])?];
    let mut host = chosen.start(0, &interrupt::requested)?;
    let mut samples = bench::warm::Samples::default();
    let mut run = |prepared: &Prepared, warm: Option<Warm>| -> Result<Option<(Booted, u64)>, Abort> {
        let plan = Plan { warm, ..prepared.plan.clone() };
        let (mut up, mut memory) = (None, 0);
        host.execute(&plan, &interrupt::requested, &mut |event| match event {
            Event::Booted(booted) => up = Some(booted),
            Event::Ended(Ended { evidence, .. }) => {
                memory = evidence.own_memory_kib + evidence.guest_memory_kib;
            }
            _ => {}
        })?;
        Ok(up.map(|up| (up, memory)))
    };
    let session = u64::from(std::process::id());
    let warm = |reset, keep, verify| Some(Warm { session, reset, keep, verify, ..bare.warm.clone() });
    // Makes it, and is no sample of anything.
    run(&brings, warm(false, false, false))?;
    for _ in 0..rounds {
        if let Some((up, _)) = run(&brings, warm(false, false, false))? {
            samples.brought(up.files);
        }
        if let Some((up, memory)) = run(&bare, warm(false, false, false))? {
            samples.fork(memory);
            samples.up(&up);
        }
        for warm in [None, warm(false, true, false), warm(true, true, false), warm(true, false, true)] {
            run(&bare, warm)?.iter().for_each(|(up, _)| samples.up(up));
        }
    }
    drop(host);
    let program = base::program::path().map_err(cannot)?;
    let place = match choice {
        Choice::Auto => "auto",
        Choice::Kvm => "kvm",
        Choice::Emulated => "emulated",
        Choice::EmulatedIntel => "emulated-intel",
    };
    // The first makes what the others start from.
    for round in 0..=rounds.div_ceil(2) {
        for cold in [false, true] {
            let mut command = Command::new(&program);
            command.arg("run").arg(hello).args(["--host", place]).args(cold.then_some("--cold"));
            let start = Instant::now();
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(cannot)?;
            if !status.success() {
                return Err(Abort::infra(format!("failed to measure: {} does not pass", hello.display())));
            }
            if round > 0 {
                samples.whole(cold, start.elapsed());
            }
        }
    }
    Ok(samples.table(&chosen.description))
}
