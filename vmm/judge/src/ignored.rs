//! Parameters that no module has. The kernel loads a module in spite of them, and says so in its log alone.

use crate::{Failure, Names, check::log_match};
use base::diagnostic::nearest;
use board::wire::LogRecord;
use scenario::{
    Scenario, Step,
    model::{Action, LogWant, Params, Want},
};

/// So many of a module's parameters are named.
const NAMED: usize = 12;

/// What the kernel ignored in a step.
#[derive(Default)]
pub struct Ignored(Vec<Parameter>);

#[derive(PartialEq)]
struct Parameter {
    name: String,
    /// As the kernel calls it.
    module: String,
}

impl Ignored {
    /// Takes what the kernel logged in a step. What the scenario wants logged is meant.
    pub fn see(&mut self, record: &LogRecord, step: &Step, scenario: &Scenario) {
        // `unknown_module_param_cb` in kernel/module/main.c; a step may load other modules as well.
        let ignored = |name: &String| {
            let module = record.text.strip_suffix(&*format!(": unknown parameter '{name}' ignored"))?;
            Some(Parameter { name: name.clone(), module: module.to_owned() })
        };
        let mut given = params(&step.action).iter().map(|(name, _)| name);
        let Some(parameter) = given.find_map(ignored).filter(|_| !record.user) else { return };
        let of_step = step.checks.iter().filter_map(|check| match &check.want {
            Want::Log(want) => Some(want),
            _ => None,
        });
        let meant = of_step
            .chain(scenario.expect.log.iter().map(|(want, _)| want))
            .any(|want| !matches!(want, LogWant::Lacks(_)) && log_match(want, record));
        if !meant && !self.0.contains(&parameter) {
            self.0.push(parameter);
        }
    }

    /// One for each of them.
    pub fn failures(self, step: &Step, names: &dyn Names) -> Vec<Failure> {
        let failure = |Parameter { name, module }: Parameter| Failure {
            what: format!("parameter `{name}`"),
            expected: wanted(&name, &module, names.parameters(&module)),
            got: "one that it does not have, so that the kernel ignored it".to_owned(),
            line: step.line,
        };
        self.0.into_iter().map(failure).collect()
    }
}

fn params(action: &Action) -> &Params {
    const NONE: &Params = &Vec::new();
    match action {
        Action::Insmod { params, .. } | Action::Reload { params, .. } | Action::Modprobe { params, .. } => {
            params
        }
        _ => NONE,
    }
}

/// What could be given instead.
fn wanted(name: &str, module: &str, known: Option<&[String]>) -> String {
    match known {
        None => format!("one that {module} has"),
        // One may have some that it does not tell of (`module_param_cb` has no type).
        Some([]) => format!("one that {module} has, which tells of none"),
        Some(known) => {
            let mut list: Vec<&str> = known.iter().take(NAMED).map(String::as_str).collect();
            list.extend((known.len() > NAMED).then_some("..."));
            let near = nearest(name, known.iter().map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            format!("one that {module} has ({}{near})", list.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        RunReport, StepVerdict, Verdict,
        fixture::{booted, run},
    };
    use board::wire::{Evidence, LogRecord};
    use engine::event::{Ended, Event, RunEnd, StepOutcome};
    use scenario::fixture::scenario;
    use std::time::Duration;

    /// A module that is loaded by this step while the kernel says this.
    fn loaded(step: &str, lines: &[&str], user: bool, rest: &str) -> RunReport {
        let scenario = scenario(&format!("modules: [../modules/hello]\nsteps:\n- {step}\n{rest}"));
        let line = |(seq, text): (usize, &&str)| {
            let (seq, time, text) = (seq as u64, Duration::ZERO, (*text).to_owned());
            Event::Log(LogRecord { seq, time, level: 4, user, caller: None, text })
        };
        let took = Duration::ZERO;
        let program = step.contains("modprobe");
        let outcome = match program {
            true => StepOutcome::Exited { code: 0, stdout: "".into(), stderr: "".into(), took },
            false => StepOutcome::Returned { value: 0, data: Vec::new(), took, cut: false },
        };
        let why = RunEnd::Completed;
        let end = Ended { why, evidence: Evidence::default(), ran: took, steps: Vec::new() };
        let mut events = vec![booted(), Event::StepStarted { index: 0 }];
        events.extend(lines.iter().enumerate().map(line));
        events.extend([Event::StepEnded { index: 0, outcome }, Event::Ended(end)]);
        run(&scenario, &events)
    }

    const LINE: &str = "helloModule: unknown parameter 'time' ignored";

    #[test]
    fn a_parameter_that_the_module_does_not_have_fails_the_step() {
        for step in ["insmod", "reload", "modprobe"] {
            let step = format!("{{{step}: helloModule, params: {{times: 1, time: 2}}}}");
            let report = loaded(&step, &[LINE, LINE], false, "");
            assert_eq!(report.verdict, Verdict::Fail, "{step}");
            let [failure] = &report.steps[0].failures[..] else { panic!("{:?}", report.steps[0]) };
            assert_eq!(failure.what, "parameter `time`");
            assert_eq!(failure.expected, "one that helloModule has (times, whom; did you mean `times`?)");
            assert_eq!(failure.line, 3);
        }
    }

    #[test]
    fn what_another_module_has_not_is_told_without_its_list() {
        let report = loaded(
            "{modprobe: helloModule, params: {time: 2}}",
            &["bare: unknown parameter 'time' ignored", "new: unknown parameter 'time' ignored"],
            false,
            "",
        );
        let expected: Vec<&str> = report.steps[0].failures.iter().map(|failure| &*failure.expected).collect();
        assert_eq!(expected, ["one that bare has, which tells of none", "one that new has"]);
    }

    #[test]
    fn what_is_no_such_line_or_is_meant_fails_nothing() {
        let insmod = "{insmod: helloModule, params: {time: 2}}";
        let verdict = |step: &str, line: &str, user, rest: &str| {
            let report = loaded(step, &[line], user, rest);
            (report.verdict, report.steps[0].verdict)
        };
        let pass = (Verdict::Pass, StepVerdict::Pass);
        assert_eq!(verdict(insmod, LINE, true, ""), pass, "a program wrote it");
        assert_eq!(verdict(insmod, "helloModule: unknown parameter 'other' ignored", false, ""), pass);
        assert_eq!(verdict("{insmod: helloModule}", LINE, false, ""), pass);
        let wants = "{insmod: helloModule, params: {time: 2}, expect: {log: unknown parameter}}";
        assert_eq!(verdict(wants, LINE, false, ""), pass);
        assert_eq!(verdict(insmod, LINE, false, "expect: {log: {matches: 'unknown \\w+'}}\n"), pass);
        let lacks = "{insmod: helloModule, params: {time: 2}, expect: {log: {lacks: BUG}}}";
        assert_eq!(verdict(lacks, LINE, false, "").0, Verdict::Fail);
    }
}
