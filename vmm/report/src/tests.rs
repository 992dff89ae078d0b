//! What users and programs see of hand-written runs.

mod ci;
mod diff;
mod files;
mod terminal;

use super::{Files, Reporter, json, terminal::Terminal};
use board::wire::{LogRecord, VcpuStanding};
use engine::event::{Ended, Event, RunEnd, Start, StepOutcome};
use judge::{
    Build, Judge, Judged, Kernel, Verdict,
    fixture::{Known, any_event, good_run, judged},
};
use proptest::prelude::*;
use scenario::fixture::{CHARDEV, SYSCALL, scenario};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn shown(all: &[Judged], colour: bool) -> String {
    let page = Page::default();
    let mut terminal = Terminal::new(Box::new(page.clone()), colour);
    all.iter().for_each(|judged| terminal.event(judged).unwrap());
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn json_file(path: &std::path::Path) -> Files {
    let mut files = Files::default();
    files.add(path, json::render).unwrap();
    files
}

/// The only scenario of a report.
fn written(all: &[Judged]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.json");
    let mut json = json_file(&path);
    all.iter().for_each(|judged| json.event(judged).unwrap());
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(files.len(), 1, "nothing else is left in the folder");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    fits_the_schema(&whole);
    whole["scenarios"][0].clone()
}

#[track_caller]
fn fits_the_schema(object: &serde_json::Value) {
    use std::sync::LazyLock;
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        jsonschema::validator_for(&serde_json::from_str(json::JSON_SCHEMA).unwrap()).unwrap()
    });
    let errors: Vec<String> =
        SCHEMA.iter_errors(object).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn log(text: &str, level: u8) -> Event {
    Event::Log(LogRecord {
        seq: 0,
        time: Duration::from_micros(1_234_567),
        level,
        user: false,
        caller: None,
        text: text.into(),
    })
}

/// The run of chardev.yaml up to a step, which ends otherwise.
fn broken_at(step: usize, mut instead: Vec<Event>, why: RunEnd) -> Vec<Judged> {
    let scenario = scenario(CHARDEV);
    let mut events = good_run(&scenario);
    let Some(Event::Ended(Ended { evidence, .. })) = events.pop() else { panic!("no end") };
    let counted = events.pop().unwrap();
    let at =
        events.iter().position(|event| matches!(event, Event::StepEnded { index, .. } if *index == step));
    events.truncate(at.unwrap());
    events.append(&mut instead);
    events.push(counted);
    events.push(Event::Ended(Ended { why, evidence, ran: Duration::from_secs(11), steps: Vec::new() }));
    judged(&scenario, &events)
}

/// Three steps: a program that fails, one that takes too long, and one whose tests are skipped.
fn troubled() -> Vec<Judged> {
    let text = "steps:\n- run: /bin/fails\n- run: /bin/lasts\n- run: /bin/skips\n";
    let scenario = scenario(text);
    let lines = |count| (1..=count).map(|line| format!("line {line}\n")).collect::<String>();
    let took = Duration::from_micros(4100);
    let fails = StepOutcome::Exited {
        code: 1,
        stdout: format!("{}{}\nok 1 a\nnot ok 2 b # exit=1\n1..2\n", lines(20), "long ".repeat(100))[..]
            .into(),
        stderr: "evil\u{1b}[2J\n".into(),
        took,
    };
    let lasts = StepOutcome::Ended {
        limit: Duration::from_secs(2),
        stdout: lines(3)[..].into(),
        stderr: "".into(),
        standing: Vec::new(),
        inside: false,
    };
    let skips =
        StepOutcome::Exited { code: 4, stdout: "1..0 # SKIP needs root\n".into(), stderr: "".into(), took };
    let mut events = vec![judge::fixture::booted()];
    for (index, outcome) in [fails, lasts, skips].into_iter().enumerate() {
        events.push(Event::StepStarted { index });
        for line in 0..[20, 2, 0][index] {
            let seq = (20 * index + line) as u64;
            let (level, text) =
                (if line == 1 { 3 } else { 6 }, format!("driver: line {line} of step {index}"));
            events.push(Event::Log(LogRecord {
                seq,
                time: Duration::ZERO,
                level,
                user: false,
                caller: None,
                text,
            }));
        }
        events.push(Event::StepEnded { index, outcome });
    }
    let evidence = Default::default();
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence,
        ran: Duration::from_secs(3),
        steps: Vec::new(),
    }));
    judged(&scenario, &events)
}

#[test]
fn whose_work_it_was_comes_back_with_a_report() {
    let scenario = scenario("steps:\n- run: /bin/id\n  user: nobody\n- run: /bin/id\n");
    let mut events = good_run(&scenario);
    let said = LogRecord {
        seq: 7,
        time: Duration::ZERO,
        level: 6,
        user: true,
        caller: None,
        text: "I am init".into(),
    };
    events.insert(1, Event::Log(said));
    let all = judged(&scenario, &events);
    assert!(shown(&all, false).contains("run as user 65534 /bin/id"), "{}", shown(&all, false));
    let json = written(&all);
    assert_eq!((&json["steps"][0]["user"], &json["steps"][1]["user"]), (&65534.into(), &().into()));
    let line = json["log"].as_array().unwrap().iter().find(|line| line["seq"] == 7).unwrap();
    assert_eq!(line["user"], true);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.json");
    let mut file = json_file(&path);
    all.iter().for_each(|judged| file.event(judged).unwrap());
    let again = json::read(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let run = &again.runs[0];
    assert_eq!((run.steps[0].user, run.steps[1].user), (Some(65534), None));
    assert!(run.log.iter().any(|record| record.user && record.seq == 7));
}

#[test]
fn json_has_the_promised_fields() {
    let scenario = scenario(SYSCALL);
    let object = written(&judged(&scenario, &good_run(&scenario)));
    insta::assert_snapshot!(serde_json::to_string_pretty(&object).unwrap());
}

#[test]
fn warnings_of_a_build_are_a_line_on_the_terminal_and_whole_in_the_report() {
    let scenario = scenario(SYSCALL);
    let warning = "hello.c:3:6: warning: unused variable 'x'\n    3 |  int x;\n      |      ^".to_owned();
    let build = Build {
        source: "mods/hello".into(),
        modules: vec!["hello".into()],
        files: vec!["/cache/hello.ko".into()],
        cached: true,
        warnings: vec![warning],
    };
    let mut all = judged(&scenario, &good_run(&scenario));
    all.insert(3, Judged::Modules(vec![build], Duration::from_millis(7)));
    let text = shown(&all, false);
    assert!(text.contains("warning   hello.c:3:6: warning: unused variable 'x'\n"), "{text}");
    assert!(!text.contains("int x;"), "{text}");
    let object = written(&all);
    let build = &object["builds"][0];
    assert_eq!((&build["source"], &build["modules"][0]), (&"mods/hello".into(), &"hello".into()));
    assert!(build["warnings"][0].as_str().unwrap().contains("int x;"));
    assert_eq!(object["timing"]["preflight_ms"], 7.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_events_make_reporters_panic_or_write_half_a_report(events in prop::collection::vec(any_event(), 0..40)) {
        let scenario = scenario(CHARDEV);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        let mut terminal = Terminal::new(Box::new(std::io::sink()), true);
        let mut json = json_file(&path);
        let mut judge = Judge::new(&scenario);
        let mut all = vec![judge.begin()];
        judge.kernel(
            Kernel {
                release: None,
                hash: String::new(),
                cached: false,
                build: Duration::ZERO,
                warnings: Vec::new(),
            },
            Box::new(Known),
        );
        all.extend(events.iter().flat_map(|event| judge.event(event)));
        for judged in &all {
            terminal.event(judged).unwrap();
            json.event(judged).unwrap();
        }
        json.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        fits_the_schema(&whole);
        let again = json::read(&text).unwrap();
        prop_assert_eq!(again.runs[0].word(), whole["scenarios"][0]["verdict"].as_str().unwrap());
        prop_assert_eq!(again.runs[0].steps.len(), scenario.steps.len());
        let object = &whole["scenarios"][0];
        let verdict = judge.verdict().map_or("infra", Verdict::name);
        prop_assert_eq!(object["verdict"].as_str(), Some(verdict));
    }
}

/// Five scenarios in a session: one that passes, one in which a step fails, one that passes in its second attempt, one whose
/// failure is known, and one that was not begun.
fn session() -> (Vec<judge::Began>, Vec<Judged>) {
    let good = scenario("name: good\nsteps:\n- sleep: 1 s\n");
    let bad = scenario(
        "name: \"bad, <b>|`@x`\"\nsteps:\n- name: \"it # fails\"\n  open: /dev/null\n  expect: {returns: 7}\n",
    );
    let events = |scenario: &scenario::Scenario, passes: bool| {
        let mut events = good_run(scenario);
        for event in &mut events {
            if let Event::StepEnded { outcome: StepOutcome::Returned { value, .. }, .. } = event {
                *value = if passes { *value } else { -2 };
            }
        }
        judged(scenario, &events)
    };
    let attempt = |all: Vec<Judged>, number: u32, variant: &str| -> (Vec<Judged>, judge::Attempt) {
        let renamed = |judged| match judged {
            Judged::Began(began) => {
                Judged::Began(judge::Began { attempt: number, variant: variant.into(), ..began })
            }
            other => other,
        };
        let all: Vec<Judged> = all.into_iter().map(renamed).collect();
        let Some(Judged::Ended(report)) = all.last() else { panic!("no end") };
        let (verdict, reason, ran) = (report.verdict, report.reason.clone(), report.ran);
        (all, judge::Attempt { verdict, reason, ran, then: judge::Then::Counts, known: None })
    };
    let settled = |attempts: Vec<judge::Attempt>| judge::Settled::of(attempts);
    let mut all = Vec::new();
    let one = |all: &mut Vec<Judged>,
               scenario: &scenario::Scenario,
               passes: bool,
               variant: &str,
               known: bool| {
        let (events, attempt) = attempt(events(scenario, passes), 1, variant);
        all.extend(events);
        let quarantined = known.then(|| judge::Quarantined {
            reason: "it is slow".into(),
            owner: "ann".into(),
            until: "2026-12-31".into(),
        });
        all.push(Judged::Settled(Box::new(settled(vec![judge::Attempt { known: quarantined, ..attempt }]))));
    };
    one(&mut all, &good, true, "6.12", false);
    one(&mut all, &bad, false, "6.12", false);
    let (first, mut failed) = attempt(events(&bad, false), 1, "7.3");
    failed.then = judge::Then::Retried;
    let (second, passed) = attempt(judged(&good, &good_run(&good)), 2, "7.3");
    all.extend(first.into_iter().chain(second));
    all.push(Judged::Settled(Box::new(settled(vec![failed, passed]))));
    one(&mut all, &bad, false, "7.3", true);
    let third = scenario("name: third\nsteps:\n- sleep: 1 s\n");
    let planned = [(&good, "6.12"), (&bad, "6.12"), (&good, "7.3"), (&bad, "7.3"), (&third, "6.12")];
    let began = planned.map(|(scenario, variant)| match Judge::new(scenario).begin() {
        Judged::Began(began) => judge::Began { variant: variant.into(), ..began },
        other => panic!("{other:?}"),
    });
    (began.into(), all)
}

fn recorded() -> crate::record::Session {
    let (began, all) = session();
    let mut session = crate::record::Session::planned(&began);
    all.iter().for_each(|judged| _ = session.event(judged));
    session.finished = true;
    session
}

fn rendered(render: crate::Render) -> String {
    render(&recorded())
}

#[test]
fn junit_has_a_suite_for_each_scenario_and_what_did_not_run_is_an_error() {
    let text = rendered(crate::junit::render);
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (10, 2, 1), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn ktap_has_a_test_for_each_scenario_with_its_steps_below() {
    insta::assert_snapshot!(rendered(crate::ktap::render));
}

#[test]
fn markdown_shows_what_a_scenario_says_as_text() {
    insta::assert_snapshot!(rendered(crate::markdown::render));
}

#[test]
fn events_are_lines_of_json_that_say_what_happened_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let (began, all) = session();
    let mut events = crate::events::Events::create(&path).unwrap();
    let read = || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    events.begin(&began).unwrap();
    assert_eq!(read()[0]["scenarios"].as_array().unwrap().len(), 5);
    all.iter().for_each(|judged| events.event(judged).unwrap());
    let ends: Vec<serde_json::Value> = read().into_iter().filter(|line| line["event"] == "ended").collect();
    assert_eq!(
        ends.iter().map(|end| end["verdict"].as_str().unwrap()).collect::<Vec<_>>(),
        ["pass", "fail", "fail", "pass", "fail"]
    );
    events.finish().unwrap();
    let last = read().pop().unwrap();
    assert_eq!((&last["event"], &last["passed"], &last["ended"]), (&"finished".into(), &2.into(), &4.into()));
}

#[test]
fn github_gets_annotations_at_lines_and_a_guest_can_make_none() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    std::fs::write(&summary, "before\n").unwrap();
    let page = Page::default();
    let (began, all) = session();
    let mut github =
        crate::github::GitHub::new(Box::new(page.clone()), Some(summary.clone()), "secret".to_owned());
    github.begin(&began).unwrap();
    // What stands between is the guest's: no command is taken from it.
    all.iter().for_each(|judged| github.event(judged).unwrap());
    github.finish().unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[4]), ("::secret::", "::stop-commands::secret"));
    let expected = "::error file=scenarios/test.yaml,line=5,title=bad%2C <b>|`@x` [6.12]%3A it # fails";
    assert!(lines[1].starts_with(expected), "{text}");
    assert!(lines[1].contains("%0A") && lines.len() == 5, "{text}");
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(summary.starts_with("before\n## vmm: 2 of 5 scenarios passed"), "{summary}");
}

/// Else a typo in a scenario is a red job with nothing at the line where it stands.
#[test]
fn github_is_told_at_which_lines_why_nothing_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, page) = (folder.path().join("summary"), Page::default());
    let wrong = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "name: a\nsteps:\n- slep: 1 s\n").unwrap();
        scenario::load(&path).unwrap_err().to_string()
    };
    let reason = format!("{}\n{}", wrong("a.yaml"), wrong("b.yaml"));
    let why = crate::record::Aborted { verdict: Verdict::BadInput, reason };
    let mut github =
        crate::github::GitHub::new(Box::new(page.clone()), Some(summary.clone()), "secret".to_owned());
    github.abandon(&why).unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[3], lines.len()), ("::secret::", "::stop-commands::secret", 4), "{text}");
    for (line, name) in [(lines[1], "a.yaml"), (lines[2], "b.yaml")] {
        assert!(line.starts_with("::error file=") && line.contains(&format!("{name},line=3,")), "{text}");
    }
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(
        summary.contains("**bad-input**:\n\n```text\nerror: ") && summary.contains("\n3 | - slep: 1 s\n"),
        "{summary}"
    );
}
