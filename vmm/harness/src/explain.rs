//! `vmm explain`: one system call in a guest of its own, followed through the kernel.

use crate::{
    Abort,
    session::{self, Prepared},
};
use base::{cache::Cache, diagnostic::Source, interrupt, wanted::Wanted};
use board::wire::Door;
use engine::event::{Event, RunEnd, StepOutcome};
use host::Choice;
use plan::{Call, Watch};
use report::explain::{
    signature::{self, Parameter},
    text::{self, Told},
};
use std::{collections::BTreeMap, path::Path};

/// A call to explain.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Its name or number.
    pub call: String,
    /// Its arguments, as a scenario's `args` has them.
    pub args: Vec<String>,
    /// Where.
    pub host: Choice,
    /// The kernel.
    pub kernel: Wanted,
}

/// Makes one system call in a guest, and says in words which way it took through the kernel. A call that returns an error is
/// no failure.
///
/// # Errors
/// The call can't be made or followed.
pub fn explain(asked: &Explain) -> Result<String, Abort> {
    let cache = Cache::open()?;
    let chosen = host::choose(asked.host, cache.root().join("emulator"))?;
    // The call's name is looked up in the kernel's table, its arguments in the kernel's header.
    let bare = scenario(asked, &[])?;
    let kernel = session::kernel(&bare, &asked.kernel, &cache)?;
    let parameters = signature::find(kernel.build(), &asked.call);
    let parameters = parameters.unwrap_or_default();
    let scenario = scenario(asked, &parameters)?;
    let mut host = chosen.start(scenario.machine.memory_mib, &interrupt::requested)?;
    let Prepared { mut plan, kernel, names, warm, stage: _kept, .. } =
        session::the_rest(&scenario, kernel, None, &cache)?;
    plan.warm = Some(warm);
    let main = plan.steps.iter().flat_map(|step| &step.ops).find_map(|op| op.what.call());
    let Call { nr, .. } = *main.expect("the scenario has one step, which is a call");
    plan.watch = Watch::Walk(nr);
    let (mut walk, mut outcome, mut modules, mut not, mut end) = (None, None, BTreeMap::new(), None, None);
    host.execute(&plan, &interrupt::requested, &mut |event| match event {
        Event::Booted(booted) => not = booted.not_trapping,
        Event::Walked(seen) => walk = Some(seen),
        Event::Explained(explanation) => modules.extend(explanation.symbols),
        Event::StepEnded { outcome: of, .. } => outcome = Some(of),
        Event::Ended(ended) => end = Some(ended.why),
        _ => {}
    })?;
    let infra = |why: String| Abort::infra(why);
    if let Some(why) = not {
        return Err(infra(format!("failed to follow a call in this kernel: {why}")));
    }
    let Some(walk) = walk else {
        let came = format!("{}{}", outcome.map_or(String::new(), came), ended(end));
        return Err(infra(format!("the call was not made: {came}")));
    };
    let symbol = |address: u64| {
        let name = names.symbol(address).or_else(|| modules.get(&address).cloned())?;
        // `function+0x1f`, and ` [module]` behind it for a module's.
        let (function, rest) = name.split_once("+0x")?;
        let (offset, module) = rest.split_once(' ').unwrap_or((rest, ""));
        let offset = u64::from_str_radix(offset, 16).ok()?;
        Some((format!("{function} {module}").trim_end().to_owned(), offset))
    };
    let name = names.syscall(Door::Syscall64, nr).unwrap_or_else(|| "none that this kernel has".to_owned());
    let told = Told {
        name: &name,
        nr,
        parameters: &parameters,
        given: asked.args.len(),
        walk: &walk,
        symbol: &symbol,
    };
    let (release, hash) = (kernel.release.unwrap_or_default(), &kernel.hash[..kernel.hash.len().min(7)]);
    let mut text =
        format!("host      {}\nkernel    {release} {hash}\n\n{}", chosen.description, text::render(&told));
    if !walk.returned {
        text += &format!("{}{}\n", outcome.map_or(String::new(), came), ended(end));
    }
    Ok(text)
}

/// A scenario with this call alone. What is not given and points to memory points to zeroed bytes.
fn scenario(asked: &Explain, parameters: &[Parameter]) -> Result<scenario::Scenario, Abort> {
    let mut args = asked.args.clone();
    if let (false, true) = (parameters.is_empty(), args.len() > parameters.len()) {
        let (takes, given) = (parameters.len(), args.len());
        let why = format!("{} takes {takes} arguments, and {given} are given", asked.call);
        return Err(Abort::input(why));
    }
    for parameter in parameters.iter().skip(args.len()) {
        args.push(if parameter.is_pointer() { "{out: 64}".into() } else { "0".into() });
    }
    let args: String = args.iter().map(|arg| format!("      - {arg}\n")).collect();
    let args = if args.is_empty() { args } else { format!("    args:\n{args}") };
    // The kernel's way is shown as it is where nobody looks for faults.
    let text =
        format!("machine: {{checks: false}}\nsteps:\n  - syscall: {}\n{args}    timeout: 60 s\n", asked.call);
    let source = Source::new(Path::new("explain"), &text);
    scenario::parse(source).map_err(|errors| Abort::input(errors.to_string()))
}

fn came(outcome: StepOutcome) -> String {
    match outcome {
        StepOutcome::Died { signal } => format!("the process was killed by signal {signal}"),
        StepOutcome::Exited { code, .. } => format!("the process exited with {code}"),
        StepOutcome::Skipped { why } => why,
        StepOutcome::TimedOut { limit, .. } | StepOutcome::Ended { limit, .. } => {
            format!("no answer within {} s", limit.as_secs())
        }
        StepOutcome::Returned { .. } | StepOutcome::Lost => String::new(),
    }
}

fn ended(end: Option<RunEnd>) -> String {
    match end {
        None | Some(RunEnd::Completed | RunEnd::StepTimedOut { .. }) => String::new(),
        Some(RunEnd::NoAgent { limit, .. }) => format!("the guest was not up within {} s", limit.as_secs()),
        Some(RunEnd::BadAgent(why)) => format!("the agent sent {why}"),
        Some(RunEnd::Panicked) => "the kernel panicked".to_owned(),
        Some(RunEnd::SwitchedOff) => "the guest halted, or switched itself off".to_owned(),
        Some(RunEnd::Machine(reason)) => format!("the machine ended: {reason:?}"),
    }
}
