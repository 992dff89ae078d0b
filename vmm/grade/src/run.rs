//! Runs a test: on a fresh machine, again on a fresh host where a host failed, and once more where the student failed.

use crate::{
    again::{Hangs, Patience},
    assignment::{self, Assignment, Award, Visibility},
    build,
    record::{self, Doubt, Failure, Finding, Run, Step, Test},
    score,
    syscall::PLACE,
};
use base::{module::kernels_name, wanted::Wanted};
use harness::{Options, Session};
use judge::{Reason, RunReport, StepVerdict, Verdict};
use report::Reporters;
use scenario::{
    Scenario, Settings,
    model::{self, Action, Ending, ModuleSource, NOBODY, Want},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A host that fails gets so many successors.
const HOSTS: usize = 2;
/// What a step has once a student's time is up.
pub const LEAST: Duration = Duration::from_secs(1);
/// With little patience, a step that does not have to take its time may take so much less than the scenario says.
const SHORT: u32 = 4;
/// Kept of a finding's frames.
const FRAMES: usize = 8;
/// Kept of what a step printed, in bytes, from its end.
const OUTPUT: usize = 4096;

/// Nothing more is to be done: the user said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Runs scenarios one after the other, on a host of its own.
pub struct Runner {
    options: Options,
    session: Option<Session>,
}

/// A submission, as its tests see it.
pub struct Subject<'a> {
    /// The values of parameters.
    pub params: &'a Settings,
    /// The folder that was written; its path is no student's concern.
    pub folder: &'a Path,
    /// The module's name; empty where there is none.
    pub module: &'a str,
    /// What it runs on.
    pub kernel: &'a Wanted,
    /// It is the student's.
    pub own_kernel: bool,
}

impl Runner {
    /// Its host is started by the first test.
    pub fn new(options: Options) -> Self {
        Self { options, session: None }
    }

    /// Who comes now gets a machine that nobody else has used.
    pub fn another_student(&mut self) {
        self.session.iter_mut().for_each(Session::fresh_machine);
    }

    /// Runs a test. All of a student's tests have so much time `left`; `hangs` are those of the tests before.
    ///
    /// # Errors
    /// The user pressed Ctrl-C.
    pub fn test(
        &mut self,
        wanted: &assignment::Test,
        subject: &Subject<'_>,
        assignment: &Assignment,
        left: Duration,
        hangs: &mut Hangs,
    ) -> Result<Test, Stopped> {
        let mut test = Test {
            name: wanted.name.clone(),
            visibility: wanted.visibility.name().to_owned(),
            hint: wanted.hint.clone(),
            points: crate::Points::NONE,
            of: wanted.award.points(),
            run: None,
            other: None,
            not_graded: None,
        };
        // A scenario takes the parameters that it knows.
        let scenario = scenario::parameters(&wanted.scenario).and_then(|declared| {
            let own = |name: &str| declared.iter().any(|it| it.name == name);
            let params = subject.params.iter().filter(|(name, _)| own(name));
            let params: Settings = params.map(|(name, value)| (name.clone(), value.clone())).collect();
            let mut values: Settings =
                declared.iter().filter_map(|it| Some((it.name.clone(), it.default.clone()?))).collect();
            values.extend(params.clone());
            Ok((scenario::load_with(&wanted.scenario, &params)?, wanted.award.with_values(&values)))
        });
        let (scenario, award) = match scenario {
            Ok((mut scenario, award)) => {
                for step in &mut scenario.steps {
                    step.action.run_as(NOBODY);
                }
                shorten(&mut scenario, |time| time.min(left.max(LEAST)));
                // Whatever a scenario says of counting: without evidence a grade can be bought.
                scenario.count = true;
                (Scenario { kernel: subject.kernel.clone(), ..scenario }, award)
            }
            Err(errors) => {
                test.not_graded = Some(at_home(&errors.to_string(), subject.folder));
                return Ok(test);
            }
        };
        let mut short = scenario.clone();
        shorten(&mut short, |time| time / SHORT);
        let mut run = |patience| {
            let scenario = if patience == Patience::Short { &short } else { &scenario };
            self.once(scenario, &award, subject)
        };
        match hangs.settle(test.of, assignment.unstable, subject.module, &mut run)? {
            Ok((run, other)) => {
                test.points = run.points;
                test.run = Some(run);
                test.other = other;
            }
            Err(why) => test.not_graded = Some(why),
        }
        Ok(test)
    }

    /// One run; why there is none, if it is not the student's fault.
    fn once(
        &mut self,
        scenario: &Scenario,
        award: &Award,
        subject: &Subject<'_>,
    ) -> Result<Result<Run, String>, Stopped> {
        let mut why = String::new();
        for _ in 0..=HOSTS {
            if self.session.is_none() {
                match Session::open(self.options.clone()) {
                    Ok(session) => self.session = Some(session),
                    Err(abort) => return Ok(Err(abort.why)),
                }
            }
            let Some(session) = self.session.as_mut() else { continue };
            let (started, before) = (Instant::now(), build::stalled());
            // A student's next test goes back in the same machine to where that was saved, all of it, if this one passes.
            session.expect_more(true);
            let report = session.run(scenario, &mut Reporters::default());
            if report.verdict != Verdict::Pass {
                session.fresh_machine();
            }
            match report.verdict {
                Verdict::Interrupted => return Err(Stopped),
                verdict if is_nobodys(verdict, &report.reason, subject.own_kernel) => {
                    why = at_home(&report.reason.to_string(), subject.folder);
                    self.session = None;
                }
                // The scenario asks for what this kernel can't: nothing that a student could have done, whose kernel it is not.
                Verdict::BadInput | Verdict::BuildFailed
                    if !subject.own_kernel && !lacks_theirs(&report, scenario, subject) =>
                {
                    return Ok(Err(at_home(&report.reason.to_string(), subject.folder)));
                }
                verdict => {
                    let mut run = of(&report, scenario, subject);
                    if verdict == Verdict::BuildFailed && !subject.own_kernel {
                        run.reason = behind_theirs(&run.reason, &scenario.path);
                    }
                    let (whole, stalled) = (started.elapsed(), build::stalled().saturating_sub(before));
                    let took = took(report.ran, whole);
                    (run.took_ms, run.own_ms) = (in_ms(took), in_ms(own(took, whole, stalled)));
                    run.parts = score::parts(&run, award);
                    run.points = run.parts.iter().map(|part| part.points).sum();
                    return Ok(Ok(run));
                }
            }
        }
        Ok(Err(why))
    }
}

/// Gives steps less time, but for those that are to block or to hang: nothing shows that but that they take all of it.
fn shorten(scenario: &mut Scenario, time: impl Fn(Duration) -> Duration) {
    let hangs = |ending: &Option<Ending>| ending.as_ref().is_some_and(|ending| ending.kind.is_hang());
    let blocks = |step: &model::Step| step.checks.iter().any(|check| matches!(check.want, Want::Blocks));
    let any = hangs(&scenario.expect.ending);
    for step in scenario.steps.iter_mut().filter(|step| !(any || hangs(&step.ending) || blocks(step))) {
        step.timeout = time(step.timeout);
    }
}

/// Whether a run's end is no student's doing: this machine's, whatever was known before, or that of another's kernel that does not come
/// up in time.
fn is_nobodys(verdict: Verdict, reason: &Reason, own_kernel: bool) -> bool {
    let is_hosts = verdict == Verdict::Infra || reason.is_cut_by_the_host();
    is_hosts || verdict == Verdict::BootFailed && !own_kernel
}

/// Whether a module of the tests' does not build for want of what the student's should export: the student's own, and all in front of it,
/// can be had, and a symbol is missing behind.
fn lacks_theirs(report: &RunReport, scenario: &Scenario, subject: &Subject<'_>) -> bool {
    let (Some(many), Some(kernel)) = (up_to(&scenario.modules, subject.folder), &subject.kernel.kernel)
    else {
        return false;
    };
    report.verdict == Verdict::BuildFailed
        && lacks_symbol(&report.reason.to_string())
        && harness::module::are_had(scenario, many, kernel).is_ok()
}

/// How many modules come up to the one in this folder, with that.
fn up_to(modules: &[ModuleSource], folder: &Path) -> Option<usize> {
    modules.iter().position(|module| module.path.starts_with(folder)).map(|own| own + 1)
}

/// Whether a build failed as no module exports what another one uses (scripts/mod/modpost.c, `check_exports`).
fn lacks_symbol(reason: &str) -> bool {
    reason.lines().any(|line| line.contains("ERROR: modpost: ") && line.trim_end().ends_with("undefined!"))
}

/// What a student is told of such a build; where the tests lie on this machine says nothing of it.
fn behind_theirs(reason: &str, scenario: &Path) -> String {
    let tests = scenario.parent().filter(|folder| folder.is_absolute());
    let reason = tests.map_or(reason.to_owned(), |folder| at_home(reason, folder));
    format!("a module of the tests' that uses yours does not build: {}", build::told(&reason))
}

/// What a run took of a student's time: from the agent's hello on, as hosts and machines start for everybody; of one without a hello all of it.
fn took(ran: Duration, whole: Duration) -> Duration {
    if ran.is_zero() { whole } else { ran }
}

/// What of the time that a run took is a student's. In the `whole` time, with a host's start, somebody waited for a processor for so long;
/// the run has its share of that. It may have been their own processes that waited, so half of the time is theirs at least.
fn own(took: Duration, whole: Duration, stalled: Duration) -> Duration {
    let share = stalled.as_nanos() * took.as_nanos() / whole.as_nanos().max(1);
    took - Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX)).min(took / 2)
}

/// Since then.
pub fn millis(since: Instant) -> u64 {
    in_ms(since.elapsed())
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Text without the folder in which a submission was put for a while.
pub fn at_home(text: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    text.replace(&format!("{folder}/"), "").replace(&folder, ".")
}

/// Text in which a student's file in the kernel has its own name, and not the path by which a compiler knew it.
fn out_of_the_kernel(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, behind)) = rest.split_once(PLACE) {
        // All of these are one byte.
        let begin = before.rfind([' ', '\t', '\n', '(', '"', '\'', '`']).map_or(0, |at| at + 1);
        out += &before[..begin];
        rest = behind;
    }
    out + rest
}

fn of(report: &RunReport, scenario: &Scenario, subject: &Subject<'_>) -> Run {
    let home = |text: &str| out_of_the_kernel(&at_home(text, subject.folder));
    let failure = |it: &judge::Failure| Failure {
        what: it.what.clone(),
        expected: it.expected.clone(),
        got: home(&it.got),
    };
    let step = |it: &judge::JudgedStep| {
        let written = scenario.steps.get(it.index);
        let printed = |excerpt: &Option<judge::Excerpt>| {
            excerpt.as_ref().map(|excerpt| tail(&excerpt.text, OUTPUT)).unwrap_or_default()
        };
        let program = it.result.as_ref().filter(|result| result.value.is_none());
        Step {
            name: written.and_then(|step| step.name.clone()),
            title: it.title.clone(),
            of_the_run: written.is_some_and(|step| matches!(step.action, Action::Look { .. })),
            verdict: it.verdict.to_string(),
            bad: it.verdict.is_bad(),
            why: it.why.clone(),
            failures: it.failures.iter().map(failure).collect(),
            output: program
                .filter(|_| it.verdict != StepVerdict::Pass)
                .map(|result| printed(&result.output) + &printed(&result.stderr))
                .unwrap_or_default(),
            log: it.log.iter().map(|record| home(&record.text)).collect(),
        }
    };
    let finding = |it: &judge::Finding| Finding {
        gravity: it.gravity.name().to_owned(),
        title: it.splat.title.clone(),
        fingerprint: it.splat.fingerprint.clone(),
        place: place(&it.splat.frames, subject.module)
            .or(it.splat.file_line.clone())
            .map(|place| home(&place)),
        function: it.splat.function.clone(),
        step: it.step.and_then(|index| Some(report.steps.get(index)?.title.clone())),
        frames: it.splat.frames.iter().take(FRAMES).map(|frame| home(&frame.to_string())).collect(),
        counts: it.counts(),
    };
    Run {
        verdict: report.verdict.name().to_owned(),
        reason: home(&report.reason.to_string()),
        is_complete: matches!(report.reason, Reason::None | Reason::Unmet(_)),
        doubt: report.doubt.as_ref().map(doubt),
        points: crate::Points::NONE,
        parts: Vec::new(),
        steps: report.steps.iter().map(step).collect(),
        failures: report.failures.iter().map(failure).collect(),
        findings: report.findings.iter().map(finding).collect(),
        standing: report.standing.iter().map(|line| home(line)).collect(),
        log: report.log_tail.iter().map(|record| home(&record.text)).collect(),
        took_ms: 0,
        own_ms: 0,
    }
}

fn doubt(reason: &Reason) -> Doubt {
    let is_report = matches!(reason, Reason::Taint { .. } | Reason::Counted { .. });
    Doubt { why: reason.to_string(), is_report }
}

/// The innermost line of the student's own: of the module, or of what was put into the kernel.
fn place(frames: &[splat::Frame], module: &str) -> Option<String> {
    frames.iter().find_map(|frame| {
        let (file, line) = (frame.file.as_deref()?, frame.line?);
        let file = match frame.module.as_deref() {
            Some(name) => Some(file).filter(|_| name == kernels_name(module)),
            None => file.split_once(PLACE).map(|(_, file)| file),
        };
        Some(format!("{}:{line}", file?))
    })
}

/// The end of a text, from a line's beginning on.
fn tail(text: &str, bytes: usize) -> String {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    let end = if start > 0 { end.split_once('\n').map_or(end, |(_, rest)| rest) } else { end };
    end.to_owned()
}

/// What a student is shown, who is shown this much.
pub fn is_shown(test: &record::Test) -> bool {
    test.visibility == Visibility::Visible.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_students_module_should_export_is_missing_behind_it() {
        let modules = ["t/api", "/stage/s", "t/check"].map(|path| ModuleSource {
            path: path.into(),
            kind: scenario::ModuleKind::Folder,
            names: Vec::new(),
            line: 1,
        });
        assert_eq!(up_to(&modules, Path::new("/stage")), Some(2));
        assert_eq!(up_to(&modules, Path::new("/other")), None);
        let lacking = "failed to build the module in /t/check:\n  ERROR: modpost: \"seven\" [check.ko] undefined!\n  \
                       the whole output is in /home/t/.cache/log";
        assert!(lacks_symbol(lacking) && lacks_symbol("  ERROR: modpost: x.ko: symbol 'seven' undefined!"));
        // Whatever is handed in, this is a mistake of the teacher's.
        assert!(!lacks_symbol("failed to build the module in /t/check:\n  check.c:1: error: 'x' undefined!"));
        let told = behind_theirs(lacking, Path::new("/t/test.yaml"));
        assert!(told.contains("in check:") && told.contains("seven"), "{told}");
        assert!(!told.contains("/t/") && !told.contains("/home"), "{told}");
    }

    /// Else a call that returns after half a second would be one that blocks.
    #[test]
    fn what_is_to_block_or_to_hang_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.yaml");
        let times = |expect: &str| {
            let steps = "  - {open: /dev/x, as: fd, timeout: 8 s}\n  - {read: $fd, timeout: 4 s, expect: blocks}\n  \
                         - {read: $fd, timeout: 2 s, expect: {hang: true}}\n";
            std::fs::write(&path, format!("steps:\n{steps}{expect}")).unwrap();
            let mut scenario = scenario::load(&path).unwrap_or_else(|why| panic!("{why}"));
            shorten(&mut scenario, |time| time / SHORT);
            scenario.steps.iter().map(|step| step.timeout.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(times(""), [2, 4, 2]);
        assert_eq!(times("expect: {hang: true}\n"), [8, 4, 2], "any of them may be the one that hangs");
    }

    #[test]
    fn what_a_host_takes_to_start_is_no_students_time() {
        let [ran, whole] = [2, 90].map(Duration::from_secs);
        assert_eq!(took(ran, whole), ran);
        assert_eq!(
            took(Duration::ZERO, whole),
            whole,
            "who does not come up takes the time that is waited for it"
        );
    }

    #[test]
    fn the_time_for_which_others_had_the_processors_is_no_students_up_to_half_of_it() {
        let own = |whole, stalled| {
            let [took, whole, stalled] = [10, whole, stalled].map(Duration::from_secs);
            super::own(took, whole, stalled).as_secs()
        };
        assert_eq!([0, 3, 60].map(|stalled| own(10, stalled)), [10, 7, 5]);
        // While a host started there was no run that waited.
        assert_eq!([0, 30, 600].map(|stalled| own(100, stalled)), [10, 7, 5]);
        assert_eq!(own(0, 3), 5, "a clock that stands still");
    }

    #[test]
    fn a_report_that_is_not_in_the_log_is_told_from_other_doubts() {
        let hushed = Reason::Taint { letter: 'W', what: "a warning".into(), log_lost: 0 };
        let counted = Reason::Counted { what: "an oops".into(), log_lost: 0 };
        let unseen = Reason::Unseen("3 results".into());
        let is_report = |reason| doubt(&reason).is_report;
        assert_eq!([hushed, counted, unseen, Reason::LogLost(7)].map(is_report), [true, true, false, false]);
    }

    /// A step failed, and then the host died: what the steps behind it are worth is not known.
    #[test]
    fn a_host_that_dies_costs_nobody_a_point_whatever_failed_before() {
        let end = Box::new(Reason::Told("the emulated host ended".into()));
        let cut = Reason::AndThen { known: Box::new(Reason::Unmet(judge::Unmet::default())), end };
        for (verdict, reason, own_kernel, wanted) in [
            (Verdict::Infra, &Reason::None, true, true),
            (Verdict::Fail, &cut, true, true),
            (Verdict::Oops, &cut, false, true),
            (Verdict::BootFailed, &Reason::None, false, true),
            (Verdict::BootFailed, &Reason::None, true, false),
            (Verdict::Fail, &Reason::SwitchedOff, false, false),
        ] {
            assert_eq!(is_nobodys(verdict, reason, own_kernel), wanted, "{verdict:?} {reason}");
        }
    }

    #[test]
    fn the_innermost_line_of_the_students_own_is_told() {
        let frame = |module: Option<&str>, file: Option<&str>| splat::Frame {
            function: "f".into(),
            offset: None,
            size: None,
            module: module.map(str::to_owned),
            file: file.map(str::to_owned),
            line: Some(7),
            inlined: false,
        };
        let kernels = frame(None, Some("mm/slub.c"));
        let own = frame(Some("drv"), Some("drv.c"));
        let other = frame(Some("other"), Some("other.c"));
        let inside = frame(None, Some("../source/arch/x86/kernel/handed_in/kernel/sys.c"));
        let frames = [kernels.clone(), other.clone(), own, frame(None, None)];
        assert_eq!(place(&frames, "drv"), Some("drv.c:7".to_owned()));
        let dashed = frame(Some("my_drv"), Some("drv.c"));
        assert_eq!(place(&[dashed], "my-drv"), Some("drv.c:7".to_owned()));
        assert_eq!(place(&[kernels.clone(), inside], ""), Some("kernel/sys.c:7".to_owned()));
        assert_eq!(place(&[kernels, other], "drv"), None);
        let text = "f+0x1/0x2  /home/t/.cache/source/arch/x86/kernel/handed_in/average.c:10, \"arch/x86/kernel/handed_in/kernel/sys.c\" x";
        assert_eq!(out_of_the_kernel(text), "f+0x1/0x2  average.c:10, \"kernel/sys.c\" x");
    }
}
