//! All of it, in one host: its jobs, and what comes of them.

use super::{
    Figures,
    hello::{FROM_SAVED, RUNS, Whole},
    process::{self, PROCESSES, WARM},
};
use crate::{
    Abort,
    session::{self, Prepared},
};
use base::{cache::Cache, interrupt, project, wanted::Wanted};
use engine::event::{Event, StepOutcome};
use host::{
    Choice, HostError,
    boot_bench::{BootBench, Sample},
    emulated::{self, HostFile},
    emulated_intel::{self, Job, Said},
};
use judge::Verdict;
use kernel::KernelError;
use plan::{Op, Plan, Role, Warm, What};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
};

/// The figures of an earlier build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// There is none.
    None,
    /// In this file.
    Compare(PathBuf),
    /// They are written into this file.
    Write(PathBuf),
}

/// Measures everything of [`super`].
///
/// # Errors
/// No kernel, no host, or one that failed; or something is dearer than the table allows.
pub fn measure(table: &Table) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let chosen = host::choose(Choice::EmulatedIntel, cache.root().join("emulator"))?;
    let Work { parts, jobs, files, guests_mib, stages: _kept } = prepare(&cache)?;
    let taken = RefCell::new(Taken::default());
    let mut take = |job: usize, said| taken.borrow_mut().take(parts[job], said);
    // Minutes are left when the first job fails.
    let stop = || interrupt::requested() || taken.borrow().failed.is_some();
    let intel = cache.root().join("intel");
    let worked = emulated_intel::work(&intel, &jobs, files, guests_mib, &stop, &mut take);
    let taken = taken.into_inner();
    if taken.failed.is_none() {
        worked.map_err(HostError::from)?;
    }
    let figures = taken.figures().map_err(|why| Abort::infra(format!("failed to measure: {why}")))?;
    let named = |path: &Path, error: &dyn Display| Abort::input(format!("{}: {error}", path.display()));
    let head = format!("instructions, on {}\n", chosen.description);
    match table {
        Table::None => Ok(head + &figures.text()),
        Table::Write(path) => {
            fs::write(path, figures.to_json()).map_err(|error| named(path, &error))?;
            Ok(head + &figures.text())
        }
        Table::Compare(path) => {
            let table = fs::read_to_string(path).map_err(|error| named(path, &error))?;
            let (text, dear) = figures.compare(&table).map_err(|error| named(path, &error))?;
            if dear.is_empty() {
                return Ok(head + &text);
            }
            let why = format!(
                "{head}{text}dearer than {} allows: {}; if that is to be, say so in the commit and write the table anew by --update",
                path.display(),
                dear.join(", ")
            );
            Err(Abort { verdict: Verdict::Fail, why })
        }
    }
}

/// What a job is for.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Calls and steps.
    Steps,
    /// The boot of a bare guest.
    Boot,
    /// Hello's plan, by the number of the run.
    Run(usize),
    /// Hello as a process, by its number.
    Process(usize),
}

/// Everything for the host.
struct Work {
    parts: Vec<Part>,
    jobs: Vec<Job>,
    files: Vec<HostFile>,
    /// For a guest, and a saved machine in memory.
    guests_mib: u32,
    /// Hold what the plans name.
    stages: [base::cache::Stage; 2],
}

fn prepare(cache: &Cache) -> Result<Work, Abort> {
    let project = project::find(None).map_err(KernelError::from);
    let project = project.map_err(|error| Abort::fault(&error, error.fault()))?;
    if !project.join("modules/hello").is_dir() {
        return Err(Abort::input(format!(
            "{}: the benchmark runs scenarios/hello.yaml and modules/hello of this project, which are not here; run it in its checkout",
            project.display()
        )));
    }
    let stage = cache.stage()?;
    let cannot = |error: io::Error| Abort::infra(format!("failed to prepare the benchmark: {error}"));
    let prepared = |path: &Path| -> Result<Prepared, Abort> {
        let scenario = scenario::load(path).map_err(|why| Abort::input(why.to_string()))?;
        let kernel = session::kernel(&scenario, &Wanted::default(), cache)?;
        session::the_rest(&scenario, kernel, None, cache)
    };

    let path = super::scenario(stage.path(), &project.join("modules")).map_err(cannot)?;
    let Prepared { mut plan, stage: of_steps, .. } = prepared(&path)?;
    // At the end of the step before: a step's ops know each other by their places in it.
    let way = super::way;
    plan.watch = way(0).watch();
    for (index, step) in plan.steps.iter_mut().enumerate().filter(|(index, _)| way(*index) != way(index + 1))
    {
        step.ops.push(Op { role: Role::Cleanup, what: What::Watch(way(index + 1).watch()) });
    }

    let path = project.join("scenarios/hello.yaml");
    let text = fs::read_to_string(&path).map_err(cannot)?;
    let hello = prepared(&path)?;
    // What a guest gets, and not what lines are read from.
    let of_cache = session::kernel_wanted(&Wanted::default(), &path, cache)?;
    let built = module::build(&project.join("modules/hello"), &[], &of_cache, cache)
        .map_err(|error| Abort::fault(&error, error.fault()))?;
    let module = built.modules.first().ok_or_else(|| Abort::infra("hello has no module".to_owned()))?;
    let agent = base::program::path().map_err(cannot)?.with_file_name("vmm-agent");
    let kernel = hello.plan.machine.kernel.parent().unwrap_or(Path::new(""));
    let mut files = process::files(&text, &module.ko, &agent, kernel).map_err(cannot)?;
    // Where QEMU was never set up, nothing stands beside ours.
    let qemu = emulated::qemu_files(&cache.root().join("emulator")).ok().map(|(qemu, its)| {
        files.extend(its);
        qemu
    });
    // The same in all runs, as all that the host gets: it knows no other.
    let session = 1;
    let runs = RUNS.iter().enumerate().map(|(index, run)| {
        let (reset, keep) = (run.reset, run.keep);
        let warm = Warm { session, reset, keep, verify: run.verify, ..hello.warm.clone() };
        let warm = run.warm.then_some(warm);
        (Part::Run(index), Job::Plan(Plan { warm, ..hello.plan.clone() }.into()))
    });
    let hash = kernel.file_name().unwrap_or_default().to_string_lossy();
    let processes = PROCESSES.iter().enumerate();
    let processes =
        processes.map(|(index, (_, arguments))| (Part::Process(index), process::job(arguments, &hash)));
    let guests_mib = 2 * plan.machine.memory_mib;
    let boot = BootBench { machine: plan.machine.clone(), runs: 1, qemu };
    let steps = Plan { warm: None, ..plan };
    let (parts, jobs) = [(Part::Steps, Job::Plan(steps.into())), (Part::Boot, Job::Boot(boot))]
        .into_iter()
        .chain(runs)
        .chain(processes)
        .unzip();
    Ok(Work { parts, jobs, files, guests_mib, stages: [of_steps, hello.stage] })
}

/// What has come of the jobs so far.
#[derive(Default)]
struct Taken {
    figures: Figures,
    /// What programs printed, by step; nothing for other steps that did what they should.
    printed: BTreeMap<usize, Vec<u8>>,
    steps: usize,
    whole: Whole,
    /// Of guests and processes.
    others: Figures,
    failed: Option<String>,
}

impl Taken {
    fn take(&mut self, part: Part, said: Said) {
        match (part, said) {
            (Part::Steps, Said::Event(event)) => self.step(*event),
            (Part::Run(run), Said::Event(event)) => {
                if let Some(why) = self.whole.take(run, &event) {
                    self.failed.get_or_insert(why);
                }
            }
            (Part::Boot, Said::Boot(Sample::Vmm { ready, .. })) => {
                self.others.add("boot to the hello", ready)
            }
            (Part::Boot, Said::Boot(Sample::Qemu { ready })) => {
                self.others.add("the same in QEMU's microvm", ready);
            }
            (Part::Boot, Said::Boot(Sample::Failed { who, why })) => {
                self.failed.get_or_insert(format!("{who} did not boot the guest: {why}"));
            }
            (Part::Process(process), Said::Ended { code: Some(0), took, .. }) => {
                let name = PROCESSES[process].0;
                if !name.is_empty() {
                    self.others.add(name, took);
                }
            }
            (Part::Process(_), Said::Ended { code, last, .. }) => {
                let last = String::from_utf8_lossy(&last).into_owned();
                self.failed
                    .get_or_insert(format!("`vmm run` of hello ended with {code:?} and said:\n{last}"));
            }
            (part, said) => {
                self.failed.get_or_insert(format!("{part:?} said {said:?}"));
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Booted(booted) => {
                self.figures.add("set-up of the machine", booted.setup);
                self.figures.add("from there to the hello", booted.ready.saturating_sub(booted.setup));
            }
            Event::StepEnded { index, outcome: StepOutcome::Exited { code: 0, stdout, .. } } => {
                self.printed.insert(index, stdout.head().to_vec());
            }
            Event::StepEnded { index, outcome: StepOutcome::Returned { value: 0.., .. } } => {
                self.printed.insert(index, Vec::new());
            }
            Event::Ended(ended) => {
                for (index, took) in ended.steps.iter().enumerate() {
                    let Some(printed) = self.printed.get(&index) else { continue };
                    if let Some((name, took)) = super::of_step(index, *took, printed) {
                        self.figures.add(&name, took);
                        self.steps += 1;
                    }
                }
            }
            _ => {}
        }
    }

    /// All of them.
    fn figures(mut self) -> Result<Figures, String> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        if self.steps != super::steps() {
            return Err(format!("{} of {} steps did what they should", self.steps, super::steps()));
        }
        self.whole.figures(&mut self.figures)?;
        self.figures.0.extend(self.others.0);
        // What is not the machine's: kernel, module and image are looked up, the plan made, the verdict and the text.
        let Figures(all) = &mut self.figures;
        let of = |name: &str| all.iter().find(|(known, _)| known == name).map(|(_, count)| *count);
        if let (Some(whole), Some(machine)) = (of(WARM), of(FROM_SAVED)) {
            all.push(("of it the harness's own".to_owned(), whole.saturating_sub(machine)));
        }
        Ok(self.figures)
    }
}
