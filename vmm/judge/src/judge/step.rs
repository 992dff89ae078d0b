//! One step's outcome against its expectations.

use super::Judge;
use crate::check::{self, Got, check};
use crate::compare::Came;
use crate::excerpt::Excerpt;
use crate::findings::{meets, speaks_of};
use crate::judged::{Finding, Gravity, JudgedStep, StepResult};
use crate::standing::{self, Hang, describe};
use crate::subtests::{Results, said_skip};
use crate::unknown::Holes;
use crate::verdict::StepVerdict;
use crate::{clean, needs};
use crate::{
    quote::quote,
    title::{result, title},
};
use base::text::time;
use engine::event::StepOutcome;
use engine::output::Output;
use scenario::errno::Errno;
use scenario::model::{Action, Ending, EndingKind, Ktap, Step, Want, When};
use scenario::status;

impl Judge {
    pub(super) fn judge_step(&mut self, index: usize, outcome: &StepOutcome) -> JudgedStep {
        let step = self.scenario.steps[index].clone();
        let mut judged = JudgedStep {
            index,
            title: title(&self.scenario, &step, &self.values),
            line: step.line,
            user: step.action.user(),
            verdict: StepVerdict::Fail,
            why: None,
            result: None,
            took: None,
            failures: Vec::new(),
            expectations: step.checks.len().max(1),
            subtests: Vec::new(),
            log: Vec::new(),
            log_left_out: 0,
        };
        let course = self.what_came(&step, outcome, &mut judged);
        if let Some(ending) = &step.ending {
            self.judge_ending(&step, ending, course, &mut judged);
        } else if judged.verdict == StepVerdict::Fail && judged.why.is_none() && judged.failures.is_empty() {
            judged.verdict = StepVerdict::Pass;
        } else if judged.verdict == StepVerdict::Fail
            && let Some(ending) = self.scenario.expect.ending.clone()
        {
            self.excuse(&ending, outcome, &mut judged);
        }
        self.judge_tests(&step, outcome, &mut judged);
        self.judge_parameters(&step, &mut judged);
        if ends_process(&step, outcome) {
            self.lose_names(index);
        }
        // The end of a run has the end of the log.
        let last = matches!(outcome, StepOutcome::Lost | StepOutcome::TimedOut { .. });
        if judged.verdict.is_bad() && !last {
            (judged.log, judged.log_left_out) = std::mem::take(&mut self.said).lines();
            for line in &mut judged.log {
                line.text = self.names.line(&line.text);
            }
        }
        judged
    }

    fn what_came(&mut self, step: &Step, outcome: &StepOutcome, judged: &mut JudgedStep) -> Course {
        match outcome {
            StepOutcome::Returned { value, data, took, cut } => {
                let log = std::mem::take(&mut self.step_log);
                let mut got = Got::returned(step, *value, data, *took, &log);
                (got.tainted, got.holes, got.cut) = (self.tainted(), self.step_holes(), *cut);
                judged.took = Some(*took);
                // Other buffers are numbers and structures, which are no text.
                let text =
                    matches!(step.action, Action::Read { .. } | Action::ReadFile { .. } | Action::Lsmod);
                let output = got.data.first().filter(|_| text).map(|data| Excerpt::of(data, *cut));
                self.compare(step, &got, judged, output);
                if let Action::Look { at, when } = &step.action {
                    let data = clean::known(at, data, self.taint.after);
                    match when {
                        When::Before => self.before = data,
                        When::After => {
                            judged.failures = clean::compare(at, &self.before, &data, step.line);
                            let listed = clean::modules(at, &self.before, &data);
                            self.modules_listed = listed.map(|listed| (listed, step.line));
                        }
                    }
                    judged.failures.extend(cut.then(|| clean::unknown("a list", step.line)));
                }
                let shown = got.data.first().copied();
                let values = judged.result.as_ref().map(|result| result.values.clone()).unwrap_or_default();
                judged.title.push_str(&result(step, *value, shown, &values));
                if let Some(length) = check::short_of(step, *value, &self.values) {
                    judged.title.push_str(&format!(" = {value} of {length} bytes"));
                }
                return Course::Whole;
            }
            // Whatever became of it then, the call did not return.
            StepOutcome::Exited { code, .. } if !may_end(step) => {
                judged.why = Some(format!(
                    "the calling process ended in this call, with exit status {}",
                    status::show((*code).into())
                ));
            }
            StepOutcome::Exited { code, stdout, stderr, took } => {
                let log = std::mem::take(&mut self.step_log);
                let got = Got {
                    value: None,
                    exit: Some(*code),
                    data: Vec::new(),
                    cut: false,
                    printed: Some((stdout, stderr)),
                    took: *took,
                    log: &log,
                    tainted: self.tainted(),
                    holes: self.step_holes(),
                };
                judged.took = Some(*took);
                self.compare(step, &got, judged, Some(stdout.into()));
                printed(judged, stdout, stderr);
                if *code != 0 {
                    judged.title.push_str(&format!(" = exit status {}", status::show((*code).into())));
                }
                return Course::Whole;
            }
            StepOutcome::Died { signal } => {
                judged.why =
                    Some(format!("the calling process was killed by {}", status::signal_name(*signal)));
            }
            StepOutcome::Skipped { why } => {
                let missing =
                    needs::needs(&step.action).into_iter().find(|name| !self.values.contains_key(*name));
                if let Some(name) = missing {
                    judged.verdict = StepVerdict::Skipped;
                    judged.expectations = 0;
                    judged.why = Some(format!("`${name}` has no value: {}", self.giver(name)));
                } else {
                    judged.why = Some(why.clone());
                }
            }
            StepOutcome::Ended { limit, stdout, stderr, standing, inside } => {
                judged.took = Some(*limit);
                judged.result = Some(StepResult::default());
                printed(judged, stdout, stderr);
                if let Some(check) = step.checks.iter().find(|check| matches!(check.want, Want::Blocks)) {
                    judged.failures = self.evidence(step);
                    match inside {
                        true => {
                            judged.title.push_str(&format!(": blocked for {}, as expected", time(*limit)))
                        }
                        false => judged.failures.push(crate::Failure {
                            what: "return value".into(),
                            expected: format!("none within {}, as it was to block", time(*limit)),
                            got: "a call that was seen to return, or was never made".into(),
                            line: check.line,
                        }),
                    }
                    return Course::Whole;
                }
                judged.verdict = StepVerdict::Timeout;
                let waits = standing::waits(&self.explanation, &*self.names)
                    .filter(|_| Hang::of(standing) == Hang::Idle && !standing.is_empty());
                let waits = waits.map_or(String::new(), |waits| format!(": {waits}"));
                judged.why = Some(format!("not done within {}, so it was ended{waits}", time(*limit)));
            }
            StepOutcome::TimedOut { limit, standing } => {
                self.hang = Some(Hang::of(standing));
                self.standing = describe(standing, &self.explanation, &*self.names);
                // Only a step that waits for itself is given up before its time.
                judged.why = Some(match *limit < step.timeout {
                    true => format!("a deadlock, found after {}", time(*limit)),
                    false => format!("no answer within {}", time(*limit)),
                });
            }
            StepOutcome::Lost => judged.why = Some("the machine ended in this step".into()),
        }
        Course::Cut
    }

    /// The tests that a step runs, by what it printed and by what the kernel logged.
    fn judge_tests(&mut self, step: &Step, outcome: &StepOutcome, judged: &mut JudgedStep) {
        let log = std::mem::take(&mut self.step_ktap).finish();
        // What was cut off is not complete, which is known already.
        let done = matches!(outcome, StepOutcome::Exited { .. } | StepOutcome::Returned { .. });
        if step.ktap == Ktap::Ignored || !done && !matches!(outcome, StepOutcome::Ended { .. }) {
            return;
        }
        let mut results = Results::default();
        let mut output: Vec<Came<'_>> = Vec::new();
        if let StepOutcome::Exited { stdout, stderr, .. } | StepOutcome::Ended { stdout, stderr, .. } =
            outcome
            && step.action.is_program()
        {
            output = vec![stdout.into(), stderr.into()];
            results.output(output.iter().copied());
        }
        results.log(log);
        if done {
            let failures = results.failures(step.ktap, step.line);
            judged.expectations += usize::from(results.are_there() || step.ktap == Ktap::Required);
            if !failures.is_empty() {
                judged.verdict = StepVerdict::Fail;
            }
            judged.failures.extend(failures);
            self.skip(step, outcome, &results, &output, judged);
            self.tests_seen |= !results.tests.is_empty();
            if let Some(counts) = results.counts() {
                judged.title.push_str(&format!(": {counts}"));
            }
        }
        judged.subtests = results.tests;
    }

    /// A step whose tests say that they could not run does not fail for that, and does not pass either.
    fn skip(
        &self,
        step: &Step,
        outcome: &StepOutcome,
        results: &Results,
        output: &[Came<'_>],
        judged: &mut JudgedStep,
    ) {
        if step.ending.is_some() {
            return;
        }
        // Of whom more is wanted than to be well has to do it: any program can say that it has skipped that.
        let well = |want: &Want| want.is_of_evidence() || matches!(want, Want::Success | Want::Within(_));
        let asked = step.checks.iter().any(|check| !well(&check.want));
        let by_status =
            !asked && matches!(outcome, StepOutcome::Exited { code, .. } if results.says_skip(*code, output));
        if by_status {
            // Its status tells that it did nothing.
            judged.failures.retain(|failure| [check::LOG, check::TAINT].contains(&&*failure.what));
        }
        if (by_status || results.are_skipped()) && judged.failures.is_empty() && judged.why.is_none() {
            judged.verdict = StepVerdict::Skipped;
            judged.why = results.why_skipped().or_else(|| said_skip(output));
        }
    }

    /// With the process that makes the calls go its descriptors, in this step.
    pub(super) fn lose_names(&mut self, index: usize) {
        if self.scenario.steps.get(index).is_none() {
            return;
        }
        let gone: Vec<String> =
            self.values.keys().filter(|name| self.scenario.goes_with_process(name)).cloned().collect();
        for name in gone {
            self.values.remove(&name);
            self.gone.insert(name, index);
        }
    }

    /// What a module was given and does not have.
    fn judge_parameters(&mut self, step: &Step, judged: &mut JudgedStep) {
        let failures = std::mem::take(&mut self.ignored).failures(step, &*self.names);
        if !failures.is_empty() && judged.verdict == StepVerdict::Pass {
            judged.verdict = StepVerdict::Fail;
        }
        judged.expectations += failures.len();
        judged.failures.extend(failures);
    }

    /// What of the kernel's log in this step is not known.
    fn step_holes(&self) -> Holes {
        self.holes.since(self.holes_before)
    }

    /// What came newly to the kernel's taint in this step.
    fn tainted(&self) -> Option<u64> {
        Some(self.taint.after? & !self.step_taint?)
    }

    fn compare(&mut self, step: &Step, got: &Got<'_>, judged: &mut JudgedStep, output: Option<Excerpt>) {
        let values = got.values(step);
        values.keys().for_each(|name| _ = self.gone.remove(name));
        self.values.extend(values.clone());
        let checks = step.checks.iter().enumerate();
        judged.failures =
            checks.filter_map(|(position, one)| check(one, position, step, got, &self.values)).collect();
        let errno = got.value.and_then(Errno::of).map(|errno| errno.to_string());
        judged.result =
            Some(StepResult { value: got.value, errno, exit: got.exit, values, output, stderr: None });
    }

    /// Which step should have given a name its value.
    fn giver(&self, name: &str) -> String {
        if let Some(index) = self.gone.get(name) {
            let line = self.scenario.steps[*index].line;
            let findings = self.findings();
            let oops = findings
                .iter()
                .find(|finding| finding.step == Some(*index) && finding.gravity >= Gravity::Oops)
                .map_or(String::new(), |oops| format!(" ({})", oops.splat.title));
            return format!("the process that it belonged to ended in the step of line {line}{oops}");
        }
        let gives = |step: &&Step| step.binds.iter().any(|bind| bind.name == name);
        match self.scenario.steps.iter().find(gives) {
            Some(step) => format!("the step of line {} gave it none", step.line),
            None => "no step gives it one".into(),
        }
    }

    /// What is expected of a step's evidence, where that is all that it left.
    fn evidence(&mut self, step: &Step) -> Vec<crate::Failure> {
        let log = std::mem::take(&mut self.step_log);
        let got = Got { tainted: self.tainted(), holes: self.step_holes(), ..Got::cut(&log) };
        let checks = step.checks.iter().enumerate().filter(|(_, one)| one.want.is_of_evidence());
        checks.filter_map(|(position, one)| check(one, position, step, &got, &self.values)).collect()
    }

    /// A step that should bring about an end: nothing but that, and what is expected beside it, makes it pass.
    fn judge_ending(&mut self, step: &Step, ending: &Ending, course: Course, judged: &mut JudgedStep) {
        if judged.verdict == StepVerdict::Skipped {
            return;
        }
        judged.expectations = 1 + step.checks.len();
        if course == Course::Cut {
            judged.failures = self.evidence(step);
        }
        let in_step = |finding: &Finding| finding.step == Some(judged.index);
        if self.ending_is(ending, in_step, &[]) {
            self.final_end_came |= ending.kind.is_final();
            // A splat ends nothing: what became of its step counts beside it.
            if course == Course::Whole || ending.kind != EndingKind::Splat {
                judged.why = None;
                judged.verdict =
                    if judged.failures.is_empty() { StepVerdict::Pass } else { StepVerdict::Fail };
            }
            judged.title.push_str(&format!(": {}, as expected", ending.kind.name()));
        } else {
            let mut otherwise = judged.why.take().unwrap_or_else(|| "the step returned".into());
            if judged.verdict == StepVerdict::Timeout && ending.kind.is_hang() {
                otherwise.push_str(" (nothing can end a hang: write `expect: blocks` for what can be ended)");
            }
            judged.verdict = StepVerdict::Fail;
            judged.failures.push(crate::Failure {
                what: "end of the step".into(),
                expected: wanted(ending),
                got: self.seen(in_step, &otherwise),
                line: ending.line,
            });
        }
    }

    /// Whether the end that a scenario asks for is in the evidence so far: in the findings that are concerned, in where
    /// the vCPUs stood, or, for a boot that fails, in `others`, what there is beside these.
    pub(super) fn ending_is(
        &self,
        ending: &Ending,
        concerns: impl Fn(&Finding) -> bool,
        others: &[String],
    ) -> bool {
        match ending.kind {
            EndingKind::Splat | EndingKind::Oops | EndingKind::Panic => {
                self.findings().iter().any(|finding| concerns(finding) && meets(ending, finding))
            }
            EndingKind::Hang | EndingKind::HangSpinning | EndingKind::HangIdle => {
                self.hang.is_some_and(|hang| hang.is(ending.kind))
                    && speaks_of(&ending.pattern, &self.standing)
            }
            EndingKind::BootFailed => {
                self.booted.is_none() && speaks_of(&ending.pattern, &[&self.standing[..], others].concat())
            }
        }
    }

    /// What came instead of an expected end: the troubles that there were, or how it ended otherwise.
    pub(super) fn seen(&self, concerns: impl Fn(&Finding) -> bool, otherwise: &str) -> String {
        let findings = self.findings();
        let mut seen: Vec<String> = findings
            .iter()
            .filter(|finding| concerns(finding))
            .take(SEEN)
            .map(|finding| format!("{}: {}", finding.gravity.name(), finding.splat.title))
            .collect();
        match seen.is_empty() {
            true => return format!("none: {otherwise}"),
            false if self.hang.is_some() => seen.push(otherwise.to_owned()),
            false => {}
        }
        seen.join("; ")
    }

    /// Where the whole run should end badly, the step in which it does is no failure of its own.
    fn excuse(&mut self, ending: &Ending, outcome: &StepOutcome, judged: &mut JudgedStep) {
        let cut = match outcome {
            // Nobody dies of a splat, and of an oops only who had it.
            StepOutcome::Died { .. } => {
                let in_step = |finding: &Finding| finding.step == Some(judged.index);
                ending.kind != EndingKind::Splat && self.ending_is(ending, in_step, &[])
            }
            // After that there is no other step.
            StepOutcome::TimedOut { .. } | StepOutcome::Lost => true,
            _ => false,
        };
        if cut {
            judged.verdict = StepVerdict::NotRun;
            judged.expectations = 0;
            self.cut.push(judged.index);
        }
    }
}

/// How far a step went.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    /// To its own end, which was compared with all that is expected.
    Whole,
    /// It was cut off: only its evidence can be compared.
    Cut,
}

/// So many findings explain an end that was not the expected one.
const SEEN: usize = 3;

/// The end that a scenario asks for, in words.
pub fn wanted(ending: &Ending) -> String {
    let article = if ending.kind == EndingKind::Oops { "an" } else { "a" };
    let mut words = match ending.kind {
        EndingKind::BootFailed => "a boot that fails".to_owned(),
        EndingKind::HangSpinning => "a hang that spins".to_owned(),
        EndingKind::HangIdle => "a hang that idles".to_owned(),
        kind => format!("{article} {}", kind.name()),
    };
    let pattern = &ending.pattern;
    if let Some(kind) = pattern.kind {
        words.push_str(&format!(" of the kind {kind}"));
    }
    if let Some(function) = &pattern.function {
        words.push_str(&format!(" in {function}"));
    }
    if let Some(text) = &pattern.contains {
        words.push_str(&format!(" with {}", quote(text.as_bytes())));
    }
    if let Some(regex) = &pattern.matches {
        words.push_str(&format!(" that matches /{}/", regex.as_str().trim_start_matches("(?m)")));
    }
    words
}

/// What a program printed, for reports.
fn printed(judged: &mut JudgedStep, stdout: &Output, stderr: &Output) {
    if let Some(result) = &mut judged.result {
        result.output = Some(stdout.into());
        result.stderr = (stderr.length() > 0).then(|| stderr.into());
    }
}

/// Whether the process that makes the calls ended in this step's call.
fn ends_process(step: &Step, outcome: &StepOutcome) -> bool {
    let ended =
        matches!(outcome, StepOutcome::Died { .. } | StepOutcome::Exited { .. } | StepOutcome::Ended { .. });
    ended && !step.action.is_program() && !matches!(step.action, Action::Sleep { .. })
}

/// Whether the step's process may end by itself: its call asks for it, or the step does.
fn may_end(step: &Step) -> bool {
    step.action.may_end() || step.checks.iter().any(|check| matches!(check.want, Want::Exit(_)))
}
