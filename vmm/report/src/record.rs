//! What reporters that write a whole file remember of the runs so far.

use board::wire::SeenCall;
use engine::event::Booted;
use judge::{
    Attempt, Began, BoundedLog, Build, Judged, JudgedStep, Kernel, RunReport, Settled, Subtest, Then,
    Verdict, deciding, untold_calls,
};
use std::{collections::BTreeMap, time::Duration};

/// Traced calls beyond so many are only counted.
const MOST_CALLS: usize = 10_000;
/// Of so many of the log's lines it is remembered in which step they came: as many as the log can hold.
const MOST_LINES: usize = 5000;

/// All scenarios of a session: those that ended, the one that runs, and those that wait.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// In the order in which they run.
    pub runs: Vec<Run>,
    /// Nothing more comes.
    pub finished: bool,
    /// Why it ended before anything ran.
    pub aborted: Option<Aborted>,
    /// The part of a greater whole that it is.
    pub shard: Option<Shard>,
    /// Which of them runs, or ran last.
    current: Option<usize>,
}

/// Why nothing could be run, or not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// What it comes to.
    pub verdict: Verdict,
    /// In words.
    pub reason: String,
}

/// A part of a run that several machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Counted from 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
    /// A hash of the whole, and of who does what: parts of one run agree on it.
    pub plan: String,
    /// What the run is called, where it has a name: a former one of the same may have left its parts.
    pub run: Option<String>,
}

/// One scenario, on one kernel.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was to be done.
    pub began: Began,
    /// It was begun.
    pub begun: bool,
    /// Where, and why there.
    pub host: Option<String>,
    /// The kernel, once it was found.
    pub kernel: Option<Kernel>,
    /// The modules.
    pub builds: Vec<Build>,
    /// How long it took to look at them.
    pub preflight: Option<Duration>,
    /// The guest's hello.
    pub booted: Option<Booted>,
    /// All steps, as far as they came.
    pub steps: Vec<JudgedStep>,
    /// The kernel's log.
    pub log: BoundedLog,
    /// The step in which a line of it came, by the line's number.
    pub step_log: BTreeMap<u64, usize>,
    /// Traced calls by their names, the first of them, and how many more there were.
    pub trace: Vec<(String, SeenCall)>,
    /// So many more were traced.
    pub untold: u64,
    /// The end, once there is one.
    pub report: Option<RunReport>,
    /// The attempts before this one.
    pub earlier: Vec<Attempt>,
    /// What all attempts together came to.
    pub settled: Option<Settled>,
    /// The attempt that decides so far, if it is an earlier one.
    decided: Option<Box<Run>>,
}

impl Session {
    /// Before anything runs.
    pub fn planned(all: &[Began]) -> Self {
        Self { runs: all.iter().map(Run::planned).collect(), ..Self::default() }
    }

    /// What a session without an end comes to, and why it has none; nothing for one that has.
    pub fn unfinished(&self) -> Option<Aborted> {
        let cut_off = || Aborted {
            verdict: Verdict::Infra,
            reason: "the run is not over, or was cut off before its end".to_owned(),
        };
        (!self.finished).then(|| self.aborted.clone().unwrap_or_else(cut_off))
    }

    /// Takes what happened. Returns whether there is something new for a file.
    pub fn event(&mut self, judged: &Judged) -> bool {
        if let Judged::Began(began) = judged {
            let again = began.attempt > 1 && self.current.is_some();
            let next = self.current.map_or(0, |current| if again { current } else { current + 1 });
            if self.runs.len() <= next {
                self.runs.push(Run::planned(began));
            }
            self.runs[next].begin(began);
            self.current = Some(next);
            return true;
        }
        let Some(run) = self.current.and_then(|current| self.runs.get_mut(current)) else { return false };
        run.event(judged)
    }
}

impl Run {
    /// Nothing was done yet.
    pub fn planned(began: &Began) -> Self {
        Self {
            began: began.clone(),
            begun: false,
            host: None,
            kernel: None,
            builds: Vec::new(),
            preflight: None,
            booted: None,
            steps: began.steps.clone(),
            log: BoundedLog::default(),
            step_log: BTreeMap::new(),
            trace: Vec::new(),
            untold: 0,
            report: None,
            earlier: Vec::new(),
            settled: None,
            decided: None,
        }
    }

    /// Tests that the kernel ran by itself, outside of all steps.
    pub fn own_tests(&self) -> &[Subtest] {
        self.report.as_ref().map_or(&[], |report| &report.subtests)
    }

    fn begin(&mut self, began: &Began) {
        let mut before = std::mem::replace(self, Self::planned(began));
        self.begun = true;
        if !before.begun {
            return;
        }
        self.earlier = std::mem::take(&mut before.earlier);
        self.decided = before.decided.take();
        // There may be thousands: all but one are only counted.
        if deciding(&self.earlier) == self.earlier.len().checked_sub(1) {
            self.decided = Some(Box::new(before));
        }
    }

    fn event(&mut self, judged: &Judged) -> bool {
        match judged {
            Judged::Host(host) => self.host = Some(host.clone()),
            Judged::Kernel(kernel) => self.kernel = Some(kernel.clone()),
            Judged::Modules(builds, took) => {
                self.builds.clone_from(builds);
                self.preflight = Some(*took);
            }
            Judged::Booted(booted) => {
                if let Some(kernel) = &mut self.kernel {
                    kernel.release = Some(booted.release.clone());
                }
                self.booted = Some(booted.clone());
            }
            Judged::Step(step) => {
                if let Some(place) = self.steps.get_mut(step.index) {
                    place.clone_from(step);
                }
            }
            Judged::Ended(report) => {
                self.steps.clone_from(&report.steps);
                self.report = Some((**report).clone());
            }
            Judged::Attempt(attempt) => self.earlier.push((**attempt).clone()),
            Judged::Settled(settled) => self.settle(settled),
            Judged::Log(record, step) => {
                if let Some(step) = step {
                    self.step_log.insert(record.seq, *step);
                    if self.step_log.len() > MOST_LINES {
                        self.step_log.pop_first();
                    }
                }
                self.log.push(record);
                return false;
            }
            Judged::Call(name, seen) => {
                if self.trace.len() < MOST_CALLS {
                    self.trace.push((name.clone(), (**seen).clone()));
                } else {
                    self.untold += 1;
                }
                return false;
            }
            Judged::LeftOut(left_out) => {
                self.log.leave_out(left_out.log_lines);
                self.untold += left_out.calls;
                return false;
            }
            Judged::Began(_) | Judged::StepBegan(_) | Judged::Console(_) => return false,
        }
        true
    }

    /// Of several attempts, the one is shown that decided.
    fn settle(&mut self, settled: &Settled) {
        let number = deciding(&settled.attempts).map(|index| index + 1);
        if let Some(decided) = self.decided.take()
            && Some(decided.began.attempt as usize) == number
        {
            *self = *decided;
        }
        self.settled = Some(settled.clone());
    }

    /// The verdict; a run without an end was cut off, or not begun.
    pub fn verdict(&self) -> Option<Verdict> {
        match &self.settled {
            Some(settled) => Some(settled.verdict),
            None => self.report.as_ref().map(|report| report.verdict),
        }
    }

    /// What the exit code is made of. What did not run is nobody's pass.
    pub fn counted(&self) -> Verdict {
        match &self.settled {
            Some(settled) => settled.counted,
            None => self.verdict().unwrap_or(Verdict::Infra),
        }
    }

    /// Whether it passed, at once or not.
    pub fn is_good(&self) -> bool {
        self.verdict() == Some(Verdict::Pass) && !self.is_bad()
    }

    /// Whether it is held against somebody: it did not pass, and nobody knew of it; or not at once, where that is asked for.
    pub fn is_bad(&self) -> bool {
        self.counted() != Verdict::Pass
    }

    /// The verdict in a word.
    pub fn word(&self) -> &'static str {
        match &self.settled {
            Some(settled) => settled.word(),
            None => self.verdict().map_or(if self.begun { "infra" } else { "not-run" }, Verdict::name),
        }
    }

    /// Why it did not pass, in one line.
    pub fn reason(&self) -> String {
        match &self.report {
            Some(report) => report.reason.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "),
            None => "the run was cut off before its end, or did not begin".to_owned(),
        }
    }

    /// What a reader should know of the verdict beside the reason: other attempts, and the quarantine.
    pub fn remarks(&self) -> Vec<String> {
        let untold = self.report.as_ref().and_then(|report| untold_calls(&report.unknown));
        let of_attempts = self.settled.as_ref().map(remarks).unwrap_or_default();
        of_attempts.into_iter().chain(untold).collect()
    }

    /// The guest's time from the agent's hello to the end.
    pub fn ran(&self) -> Duration {
        self.report.as_ref().map_or(Duration::ZERO, |report| report.ran)
    }

    /// What a step is called, the same in every run: its title has its result, too.
    pub fn name(&self, step: &JudgedStep) -> String {
        let began = self.began.steps.get(step.index).unwrap_or(step);
        format!("{}: {}", step.index + 1, began.title)
    }

    /// The scenario's name, with the kernel's where there are several.
    pub fn title(&self) -> String {
        match self.began.variant.as_str() {
            "" => self.began.scenario.clone(),
            variant => format!("{} [{variant}]", self.began.scenario),
        }
    }

    /// The scenario's file, as the user named it.
    pub fn path(&self) -> String {
        self.began.path.display().to_string()
    }
}

/// Other attempts, and the quarantine, a line each.
pub(crate) fn remarks(settled: &Settled) -> Vec<String> {
    let mut remarks = Vec::new();
    if settled.attempts.len() > 1 {
        let one = |attempt: &Attempt| match attempt.then {
            Then::FreshHost => format!("{} (not counted: on a fresh host again)", attempt.verdict),
            Then::Counts | Then::Retried => attempt.verdict.name().to_owned(),
        };
        let all: Vec<String> = match settled.passed() {
            // Hundreds of passes say no more than their number.
            (passed, count) if count > 8 => vec![format!("{passed} of {count} passed")],
            _ => settled.attempts.iter().map(one).collect(),
        };
        let first = settled.attempts.iter().find(|attempt| attempt.then == Then::Retried);
        let why = first.map_or(String::new(), |attempt| {
            let reason = attempt.reason.to_string();
            format!("; the first: {}", reason.lines().map(str::trim).collect::<Vec<_>>().join(" "))
        });
        remarks.push(format!("{} attempts: {}{why}", settled.attempts.len(), all.join(", ")));
    }
    if let Some(known) = &settled.quarantined {
        let (reason, owner, until) = (&known.reason, &known.owner, &known.until);
        remarks.push(format!("quarantined until {until} for {owner}: {reason}"));
    }
    remarks
}
