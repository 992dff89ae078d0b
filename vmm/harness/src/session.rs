//! Scenarios, each from its typed form to its verdict, on one host.

mod checks;
mod home;
mod known;
mod modules;
mod prepare;
mod warm;

pub(crate) use modules::{
    Modules, look as look_at_modules, missing as missing_module, prepare as prepare_modules,
    unwanted as unwanted_modules,
};
use prepare::{Built, built};
pub(crate) use prepare::{Prepared, kernel, kernel_named, kernel_wanted, look, the_rest, wanted};
pub use warm::Starts;

use crate::{Abort, many::Case};
use base::{cache::Cache, interrupt, wanted::Wanted};
use host::{Choice, Chosen, Host};
use judge::{Began, Judge, Judged, RunReport, Verdict};
use plan::Warm;
use report::Reporters;
use scenario::model::{Scenario, Watchfulness};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where.
    pub host: Choice,
    /// Tell system calls one by one; with names, those alone.
    pub trace: Option<Vec<String>>,
    /// The kernel, where it is not the scenario's choice.
    pub kernel: Wanted,
    /// Whether guests boot.
    pub starts: Starts,
    /// Whoever goes back to a saved machine compares everything with it.
    pub verify_reset: bool,
    /// How closely guests are watched, where it is not the scenario's choice.
    pub evidence: Option<Watchfulness>,
    /// The most memory that a guest will have, in MiB: a host is started for all runs of a session.
    pub guests_mib: u32,
}

impl Options {
    /// The scenario as it is run.
    pub(crate) fn applied_to<'a>(&self, scenario: &'a Scenario) -> Cow<'a, Scenario> {
        let mut scenario = Cow::Borrowed(scenario);
        // Who asks for less is not to be told that it is missing.
        if let Some(evidence) = self.evidence {
            scenario.to_mut().evidence = evidence;
        }
        scenario
    }
}

/// What several runs share: the cache, and the host, which is chosen and started when the first run needs it.
pub struct Session {
    cache: Cache,
    options: Options,
    chosen: Option<Chosen>,
    host: Option<Host>,
    /// No other session has this.
    number: u64,
    /// Whether another run may follow.
    more: bool,
    /// The last run ended so well that its machine may be used again.
    healthy: bool,
    /// The run is, or ended, where its host is at work.
    on_host: bool,
    /// Kernels that can't be had, by what was asked for: they could not be had the next time either.
    missing: BTreeMap<String, Abort>,
    /// Whether what was asked for is the same the next time.
    files_stay: bool,
}

impl Session {
    /// A session in the user's cache.
    ///
    /// # Errors
    /// There is no place for the cache.
    pub fn open(options: Options) -> Result<Self, Abort> {
        Ok(Self::in_cache(Cache::open()?, options))
    }

    fn in_cache(cache: Cache, options: Options) -> Self {
        Self {
            cache,
            options,
            chosen: None,
            host: None,
            number: warm::number(),
            more: false,
            healthy: false,
            on_host: false,
            missing: BTreeMap::new(),
            files_stay: false,
        }
    }

    /// Whether another run may follow the next one: its machine is then kept for that, if it ends well.
    pub fn expect_more(&mut self, more: bool) {
        self.more = more;
    }

    /// From now on a kernel that can't be had is not asked for again. Not for who changes sources and patches between runs, as a bisection does:
    /// what goes by the same names is another kernel then.
    pub fn files_stay(&mut self) {
        self.files_stay = true;
    }

    /// The next run gets a machine that nobody has used.
    pub fn fresh_machine(&mut self) {
        self.healthy = false;
    }

    /// Runs one scenario, and tells how it goes.
    ///
    /// [`interrupt::install`] makes Ctrl-C end a run in order. Whatever happens, there is a report.
    pub fn run(&mut self, scenario: &Scenario, reporters: &mut Reporters) -> RunReport {
        let kernel = self.options.kernel.clone();
        self.run_case(
            &Case { scenario: Arc::new(scenario.clone()), variant: String::new(), kernel },
            1,
            reporters,
        )
    }

    /// The same for one of several kernels, and for one attempt of several, counted from 1.
    pub fn run_case(&mut self, case: &Case, attempt: u32, reporters: &mut Reporters) -> RunReport {
        let scenario = &*self.options.applied_to(&case.scenario);
        let mut judge = Judge::new(scenario);
        let mut end = None;
        let mut tell = |judged: &Judged| {
            if let Judged::Ended(report) = judged {
                end = Some((**report).clone());
            }
            reporters.tell(judged);
        };
        tell(&match judge.begin() {
            Judged::Began(began) => Judged::Began(Began { variant: case.variant.clone(), attempt, ..began }),
            other => other,
        });
        // The engine's last event brings the verdict. It always comes; if it did not, that's our fault.
        let missing = || Abort::infra("the run has no end");
        let abort =
            self.carry_out(scenario, &case.kernel, &mut judge, &mut tell).err().unwrap_or_else(missing);
        for judged in judge.abort(abort.verdict, abort.why) {
            tell(&judged);
        }
        let end = end.expect("a judge that is told to end has an end");
        self.healthy = is_healthy(&end);
        end
    }

    /// The next run gets a host that nobody has used.
    pub fn fresh_host(&mut self) {
        (self.host, self.chosen) = (None, None);
    }

    /// Whether the last run ended where its host was at work: on another one it may end otherwise. Who has machines compared wants to hear of what
    /// differs, and gets no other host.
    pub fn ended_on_host(&self) -> bool {
        self.on_host && !self.options.verify_reset
    }

    fn kernel(&mut self, scenario: &Scenario, options: &Wanted) -> Result<Built, Abort> {
        look_at_modules(&scenario.modules)?;
        let asked = format!("{:?} {:?}", wanted(scenario, options), scenario.path.parent());
        if let Some(abort) = self.missing.get(&asked) {
            return Err(abort.clone());
        }
        built(scenario, options, &self.cache).inspect_err(|abort| {
            if self.files_stay && abort.verdict != Verdict::Interrupted {
                self.missing.insert(asked, abort.clone());
            }
        })
    }

    fn carry_out(
        &mut self,
        scenario: &Scenario,
        wanted: &Wanted,
        judge: &mut Judge,
        tell: &mut dyn FnMut(&Judged),
    ) -> Result<(), Abort> {
        self.on_host = false;
        if self.chosen.is_none() {
            // Before the kernel is built: to learn after minutes that it can't run would be late.
            self.chosen = Some(host::choose(self.options.host, self.cache.root().join("emulator"))?);
        }
        let chosen = self.chosen.as_ref().expect("it was just chosen");
        tell(&judge.host(chosen.description.clone()));
        let kernel = self.kernel(scenario, wanted)?;
        // It boots while modules and image are made.
        if self.host.is_none() {
            let guests_mib = self.options.guests_mib.max(scenario.machine.memory_mib);
            let chosen = self.chosen.as_ref().expect("it was just chosen");
            self.on_host = true;
            self.host = Some(chosen.start(guests_mib, &interrupt::requested)?);
            self.on_host = false;
        }
        let Prepared { mut plan, kernel, names, builds, preflight, warm, stage: _kept } =
            the_rest(scenario, kernel, self.options.trace.as_deref(), &self.cache)?;
        if self.options.starts == Starts::Warm && warm::may(scenario) {
            let (session, reset, keep) = (self.number, self.healthy, self.more);
            // An emulated host has its machines inside, and one processor wherever it runs.
            let warm = if matches!(self.host, Some(Host::Kvm(_))) { warm::here(warm) } else { warm };
            plan.warm = Some(Warm { session, reset, keep, verify: self.options.verify_reset, ..warm });
        }
        tell(&judge.kernel(kernel, names));
        tell(&Judged::Modules(builds, preflight));
        let host = self.host.as_mut().expect("it was just started");
        self.on_host = true;
        let result = host.execute(&plan, &interrupt::requested, &mut |event| {
            for judged in judge.event(&event) {
                tell(&judged);
            }
        });
        if result.is_err() {
            // Another scenario gets a fresh one.
            self.host = None;
        }
        Ok(result?)
    }
}

/// Whether nothing went wrong that a machine could remember: what a run finds of its kernel's state may be in the next one's.
/// An expectation that did not hold is no harm to anybody.
fn is_healthy(run: &RunReport) -> bool {
    matches!(run.verdict, Verdict::Pass | Verdict::Fail)
        && run.findings.is_empty()
        && run.device_errors.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_can_not_be_had_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let mut session = Session::in_cache(cache, Options::default());
        let scenario = scenario::fixture::scenario("steps:\n- sleep: 1 s\n");
        let options = Wanted { kernel: Some("5.4".into()), ..Wanted::default() };
        let first = session.kernel(&scenario, &options).map(drop).unwrap_err();
        assert!(first.why.contains("5.4"), "{}", first.why);
        assert!(session.missing.is_empty(), "what goes by this name may be another the next time");
        session.files_stay();
        assert!(session.kernel(&scenario, &options).is_err());
        let known = Abort::infra("as it was remembered");
        session.missing.values_mut().for_each(|abort| *abort = known.clone());
        assert_eq!(session.kernel(&scenario, &options).map(drop), Err(known));
    }
}
