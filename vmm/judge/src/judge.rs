//! The judge of a run: takes events one by one, and gives judged values.

mod calls;
mod reports;
mod run;
mod step;

use crate::ignored::Ignored;
use crate::names::Nameless;
use crate::tampered::Tampered;
use crate::unknown::Holes;
use crate::{
    Began, BoundedLog, Judged, JudgedStep, Kernel, Names, Reason, StepVerdict, Taint, Verdict, check,
    findings, standing, tail::Said, title,
};
use board::wire::{Explanation, LogRecord, Reports, SyscallCount};
use engine::event::{Booted, Event, StepOutcome};
use scenario::Scenario;
use scenario::model::Want;
use std::collections::{BTreeMap, VecDeque};

/// So many of the console's newest bytes are kept, for a guest that left nothing else.
const CONSOLE: usize = 4096;
/// So much of what was tampered with is told.
const TAMPERED: usize = 64;
/// So many rows of system calls are taken: more than a machine process tells.
const COUNTED: usize = 32 << 10;

/// Judges one run.
pub struct Judge {
    scenario: Scenario,
    names: Box<dyn Names>,
    steps: Vec<JudgedStep>,
    /// The step that is being done.
    current: Option<usize>,
    values: check::Values,
    /// What the places that must be clean held before the first step.
    before: Vec<Vec<u8>>,
    /// By how much the kernel's list of modules is longer in the end, if that was looked at, and the line that wants it.
    modules_listed: Option<(i64, usize)>,
    /// Names whose values went with the process that they belonged to, and the step in which that ended.
    gone: BTreeMap<String, usize>,
    /// For each of the current step's checks: the log line that decides it.
    step_log: Vec<Option<String>>,
    /// What the kernel logged in the current step.
    said: Said,
    /// Parameters that the kernel ignored in the current step.
    ignored: Ignored,
    /// Test results in what the kernel logs in the current step, and outside of steps.
    step_ktap: ktap::Parser,
    run_ktap: ktap::Parser,
    /// Some step had test results.
    tests_seen: bool,
    /// For each of the run's log expectations: the line that decides it.
    run_log: Vec<Option<String>>,
    findings: findings::Findings,
    taint: Taint,
    /// What the kernel counted of its reports: when it was booted, and last.
    reports: [Reports; 2],
    /// The taint when the current step began.
    step_taint: Option<u64>,
    /// So many lines of the log were not known when the current step began.
    holes_before: Holes,
    /// When the guest was booted.
    holes_booted: Holes,
    /// So far.
    holes: Holes,
    log: BoundedLog,
    console: VecDeque<u8>,
    booted: Option<Booted>,
    standing: Vec<String>,
    /// What the kernel's structures said of a hang.
    explanation: Explanation,
    /// How the guest hung, if it did, and in which step it is expected to.
    hang: Option<standing::Hang>,
    /// An end that a step was to bring about came, and nothing can come after it.
    final_end_came: bool,
    /// Steps that were cut off where the run should end badly.
    cut: Vec<usize>,
    verdict: Option<Verdict>,
    /// What system calls were counted.
    counted: Vec<SyscallCount>,
    /// The step in which the machine ended.
    lost: Option<usize>,
    tampered: Vec<Tampered>,
}

impl Judge {
    /// A judge of one run of this scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let steps = scenario.steps.iter().enumerate();
        let steps = steps.map(|(index, step)| JudgedStep {
            index,
            title: title::title(scenario, step, &check::Values::new()),
            line: step.line,
            user: step.action.user(),
            verdict: StepVerdict::NotRun,
            why: Some("the run did not get this far".into()),
            result: None,
            took: None,
            failures: Vec::new(),
            expectations: 0,
            subtests: Vec::new(),
            log: Vec::new(),
            log_left_out: 0,
        });
        Self {
            steps: steps.collect(),
            run_log: vec![None; scenario.expect.log.len()],
            scenario: scenario.clone(),
            names: Box::new(Nameless),
            current: None,
            values: check::Values::new(),
            before: Vec::new(),
            modules_listed: None,
            gone: BTreeMap::new(),
            step_log: Vec::new(),
            said: Said::default(),
            ignored: Ignored::default(),
            step_ktap: ktap::Parser::new(),
            run_ktap: ktap::Parser::new(),
            tests_seen: false,
            findings: findings::Findings::default(),
            taint: Taint::default(),
            reports: Default::default(),
            step_taint: None,
            holes_before: Holes::default(),
            holes_booted: Holes::default(),
            holes: Holes::default(),
            log: BoundedLog::default(),
            console: VecDeque::new(),
            booted: None,
            standing: Vec::new(),
            explanation: Explanation::default(),
            hang: None,
            final_end_came: false,
            cut: Vec::new(),
            verdict: None,
            counted: Vec::new(),
            lost: None,
            tampered: Vec::new(),
        }
    }

    /// The first value for reporters: what is going to be done.
    pub fn begin(&self) -> Judged {
        Judged::Began(Began {
            scenario: self.scenario.name.clone(),
            path: self.scenario.path.clone(),
            variant: String::new(),
            attempt: 1,
            notes: self.scenario.notes.clone(),
            drawn: self.scenario.drawn.clone(),
            steps: self.steps.clone(),
        })
    }

    /// Where machines run, and why there.
    pub fn host(&self, host: String) -> Judged {
        Judged::Host(host)
    }

    /// The kernel is there.
    pub fn kernel(&mut self, kernel: Kernel, names: Box<dyn Names>) -> Judged {
        self.names = names;
        Judged::Kernel(kernel)
    }

    /// The verdict, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// The run ends for a reason that no event tells: the kernel does not build, there is no host, the
    /// user pressed Ctrl-C. Nothing happens if it has ended already.
    pub fn abort(&mut self, verdict: Verdict, why: String) -> Vec<Judged> {
        if self.verdict.is_some() {
            return Vec::new();
        }
        vec![self.aborted(verdict, Reason::Told(why))]
    }

    /// Takes the next event. After [`Event::Ended`] the last value is [`Judged::Ended`]; events that come
    /// still later are dropped.
    pub fn event(&mut self, event: &Event) -> Vec<Judged> {
        if self.verdict.is_some() {
            return Vec::new();
        }
        match event {
            Event::Booted(booted) => {
                self.booted = Some(booted.clone());
                self.taint.before = self.taint.after;
                self.holes_booted = self.holes;
                self.reports[0] = self.reports[1];
                self.findings.begin();
                // What the kernel says while it boots is no word about the steps.
                self.run_log.fill(None);
                vec![Judged::Booted(booted.clone())]
            }
            Event::StepStarted { index } => {
                let Some(step) = self.scenario.steps.get(*index) else { return Vec::new() };
                self.current = Some(*index);
                (self.step_taint, self.holes_before) = (self.taint.after, self.holes);
                self.step_log = vec![None; step.checks.len()];
                (self.said, self.ignored) = Default::default();
                self.step_ktap = ktap::Parser::new();
                vec![Judged::StepBegan(*index)]
            }
            Event::StepEnded { index, outcome } => self.step_ended(*index, outcome),
            Event::Log(record) => {
                self.logged(record);
                vec![Judged::Log(record.clone(), self.current)]
            }
            Event::Taint(mask) => {
                self.taint.after = Some(*mask);
                Vec::new()
            }
            Event::Reports(reports) => {
                self.reports[1] = *reports;
                self.findings.counted();
                Vec::new()
            }
            Event::Tampered(what) => {
                let tampered = Tampered::of(what, self.current, &self.scenario, &*self.names);
                if self.tampered.len() < TAMPERED {
                    self.tampered.push(tampered);
                }
                Vec::new()
            }
            Event::Symbols(symbols) => {
                self.findings.name(symbols);
                Vec::new()
            }
            Event::ProcessEnded { index } => {
                self.lose_names(*index);
                Vec::new()
            }
            Event::Explained(explanation) => {
                self.explanation = (**explanation).clone();
                Vec::new()
            }
            // Nothing that a scenario can expect.
            Event::Walked(_) => Vec::new(),
            Event::Call(call) => {
                let name = self.call_name(call.door, call.nr);
                vec![Judged::Call(name, call.clone())]
            }
            Event::Console(bytes) => {
                self.console.extend(bytes.iter().rev().take(CONSOLE).rev());
                let excess = self.console.len().saturating_sub(CONSOLE);
                self.console.drain(..excess);
                vec![Judged::Console(bytes.clone())]
            }
            Event::Counted(rows) => {
                let room = COUNTED.saturating_sub(self.counted.len());
                self.counted.extend(rows.iter().take(room).cloned());
                Vec::new()
            }
            Event::Ended(ended) => vec![self.ended(ended)],
        }
    }

    fn step_ended(&mut self, index: usize, outcome: &StepOutcome) -> Vec<Judged> {
        if self.scenario.steps.get(index).is_none() {
            return Vec::new();
        }
        if self.current != Some(index) {
            (self.step_taint, self.holes_before) = (self.taint.after, self.holes);
            self.step_log = vec![None; self.scenario.steps[index].checks.len()];
            (self.said, self.ignored) = Default::default();
            self.step_ktap = ktap::Parser::new();
        }
        self.lost = (*outcome == StepOutcome::Lost).then_some(index);
        let judged = self.judge_step(index, outcome);
        self.current = None;
        self.steps[index] = judged.clone();
        vec![Judged::Step(Box::new(judged))]
    }

    fn logged(&mut self, record: &LogRecord) {
        self.findings.log(record, self.current, &self.scenario, &*self.names);
        if self.current.is_some() {
            self.said.push(record);
        }
        // What a program wrote there is no test of the kernel's.
        if !record.user {
            let ktap = if self.current.is_some() { &mut self.step_ktap } else { &mut self.run_ktap };
            // What goes on in a record is a name with a newline in it, as likely as not.
            record.text.split('\n').take(1).for_each(|line| ktap.line(line));
        }
        if let Some(step) = self.current.and_then(|index| self.scenario.steps.get(index)) {
            self.ignored.see(record, step, &self.scenario);
            for (check, line) in step.checks.iter().zip(&mut self.step_log) {
                if line.is_none()
                    && let Ok(want) = check.want.filled(|name| self.values.get(name).copied())
                    && let Want::Log(want) = &*want
                    && check::log_match(want, record)
                {
                    *line = Some(record.text.clone());
                }
            }
        }
        for ((want, _), line) in self.scenario.expect.log.iter().zip(&mut self.run_log) {
            if line.is_none() && check::log_match(want, record) {
                *line = Some(record.text.clone());
            }
        }
        self.log.push(record);
        self.holes.lost = self.log.lost();
        self.holes.see(record);
    }
}
