//! What users and programs see of hand-written runs.

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

#[test]
fn a_pass_on_the_terminal() {
    let scenario = scenario(CHARDEV);
    insta::assert_snapshot!(shown(&judged(&scenario, &good_run(&scenario)), false));
}

#[test]
fn failures_on_the_terminal_show_expected_got_and_the_line() {
    let mut scenario = scenario(SYSCALL);
    let events = good_run(&scenario);
    scenario.steps[0].checks[1].want = scenario::model::Want::Success;
    let mut events = events;
    for event in &mut events {
        if let Event::StepEnded { index: 3 | 5, outcome: StepOutcome::Returned { value, .. } } = event {
            *value = -22;
        }
    }
    insta::assert_snapshot!(shown(&judged(&scenario, &events), false));
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
            events.push(Event::Log(LogRecord { seq, time: Duration::ZERO, level, user: false, text }));
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
    let said = LogRecord { seq: 7, time: Duration::ZERO, level: 6, user: true, text: "I am init".into() };
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
fn where_a_guest_began_is_said_and_what_was_wrong_with_what_was_saved() {
    let scenario = scenario(SYSCALL);
    let (name, cold) = ("3f9c1a2".to_owned(), Duration::from_millis(1290));
    let starts = [
        (
            Start::Saved { name: name.clone(), cold },
            "boot      saved machine 3f9c1a2, ready in 38.0 ms (cold: 1.29 s)\n",
        ),
        (
            Start::Back { name, cold, reset: Default::default() },
            "boot      saved machine 3f9c1a2, reset in 38.0 ms (cold: 1.29 s)\n",
        ),
    ];
    for (start, line) in starts {
        let mut events = good_run(&scenario);
        if let Event::Booted(booted) = &mut events[0] {
            (booted.ready, booted.start) = (Duration::from_millis(38), start);
            booted.notes = vec!["the machine is not saved: /c/machines: no space left".to_owned()];
        }
        let all = judged(&scenario, &events);
        let text = shown(&all, false);
        assert!(text.contains(line), "{text}");
        assert!(text.contains("warning   the machine is not saved: /c/machines: no space left\n"), "{text}");
        let start = &written(&all)["start"];
        assert_eq!((&start["machine"], &start["cold_ms"]), (&"3f9c1a2".into(), &1290.0.into()), "{start}");
    }
}

#[test]
fn what_goes_wrong_is_shown_with_what_was_printed_and_logged() {
    let text = shown(&troubled(), false);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
    // Every other report has the same, and takes nobody's words for results.
    let mut all = crate::record::Session::default();
    troubled().iter().for_each(|judged| _ = all.event(judged));
    insta::assert_snapshot!(crate::ktap::render(&all));
    insta::assert_snapshot!(crate::junit::render(&all));
    insta::assert_snapshot!(crate::markdown::render(&all));
    let steps = written(&troubled())["steps"].clone();
    insta::assert_snapshot!(serde_json::to_string_pretty(&steps).unwrap());
}

#[test]
fn a_panic_on_the_terminal_shows_the_log_and_steers_no_terminal() {
    let end = vec![
        log("evil\u{1b}[2J\u{1b}]0;title\u{7} \u{202e}text", 6),
        log("BUG: kernel NULL pointer dereference, address: 0000000000000000", 1),
        log("Kernel panic - not syncing: Fatal exception", 0),
        Event::StepEnded { index: 9, outcome: StepOutcome::Lost },
    ];
    let text = shown(&broken_at(9, end, RunEnd::Panicked), false);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
}

#[test]
fn a_splat_on_the_terminal_shows_where_it_was_and_how_it_came_there() {
    let warning = include_str!("../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
    let lines = warning.lines().filter_map(|line| line.split_once("] "));
    let mut middle: Vec<Event> = lines.map(|(_, text)| log(text, 4)).collect();
    middle.push(Event::StepEnded {
        index: 9,
        outcome: StepOutcome::Returned {
            value: 0,
            data: Vec::new(),
            took: Duration::from_micros(77),
            cut: false,
        },
    });
    let text = shown(&broken_at(9, middle.clone(), RunEnd::Completed), false);
    let findings: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("splat ")).take(8).collect();
    insta::assert_snapshot!(findings.join("\n"));
    let object = written(&broken_at(9, middle, RunEnd::Completed));
    insta::assert_snapshot!(serde_json::to_string_pretty(&object["findings"]).unwrap());
}

#[test]
fn a_hang_on_the_terminal_shows_where_the_vcpu_stood() {
    let vcpu = |rip, cpl| VcpuStanding { index: 0, rip, cpl, halted: false, interrupts: false };
    let standing = vec![vec![vcpu(0x1034, 0)], vec![vcpu(0x1034, 0)], vec![vcpu(0xffff_ffff_8100_0000, 0)]];
    let outcome = StepOutcome::TimedOut { limit: Duration::from_secs(10), standing };
    let end = vec![Event::StepEnded { index: 9, outcome }];
    insta::assert_snapshot!(shown(&broken_at(9, end, RunEnd::StepTimedOut { index: 9 }), false));
}

#[test]
fn colours_are_the_only_difference() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    let coloured = shown(&all, true);
    assert!(coloured.contains("\u{1b}[1m\u{1b}[32mPASS\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), shown(&all, false));
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

#[test]
fn json_of_a_run_that_was_cut_off_is_whole_and_no_pass() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    for length in 1..all.len() {
        let object = written(&all[..length]);
        assert_eq!(object["verdict"], "infra");
        let steps = object["steps"].as_array().unwrap();
        assert_eq!(steps.len(), scenario.steps.len());
        let done = all[..length].iter().filter(|judged| matches!(judged, Judged::Step(_))).count();
        let listed = steps.iter().filter(|step| step["verdict"] == "pass").count();
        assert_eq!(listed, done);
    }
    assert_eq!(written(&all)["verdict"], "pass");
}

#[test]
fn a_report_that_can_not_be_written_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let create = |path: &std::path::Path| Files::default().add(path, json::render);
    assert!(create(folder.path()).is_err_and(|why| why.contains("it is a folder")));
    assert!(create(&folder.path().join("missing/out.json")).is_err());
    let fine = folder.path().join("out.json");
    create(&fine).unwrap();
    assert!(!fine.exists(), "nothing is written before the run begins");
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
        (all, judge::Attempt { verdict, reason, ran, then: judge::Then::Counts })
    };
    let settled = |attempts: Vec<judge::Attempt>| judge::Settled::of(attempts);
    let mut all = Vec::new();
    let one =
        |all: &mut Vec<Judged>, scenario: &scenario::Scenario, passes: bool, variant: &str, known: bool| {
            let (events, attempt) = attempt(events(scenario, passes), 1, variant);
            all.extend(events);
            let quarantined = known.then(|| judge::Quarantined {
                reason: "it is slow".into(),
                owner: "ann".into(),
                until: "2026-12-31".into(),
            });
            all.push(Judged::Settled(Box::new(judge::Settled { quarantined, ..settled(vec![attempt]) })));
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
fn a_report_that_is_read_again_gives_the_same_reports() {
    let session = recorded();
    let text = json::render(&session);
    fits_the_schema(&serde_json::from_str(&text).unwrap());
    let again = json::read(&text).unwrap();
    for render in [
        json::render,
        crate::junit::render,
        crate::ktap::render,
        crate::markdown::render,
        crate::html::render,
    ] {
        assert_eq!(render(&again), render(&session));
    }
    assert_eq!(crate::summary::text(&again), crate::summary::text(&session));
}

#[test]
fn what_is_no_report_or_another_versions_is_refused() {
    let error = |text: &str| json::read(text).unwrap_err().to_string();
    assert!(error("{").contains("no JSON"));
    assert!(error("{}").contains("no report of vmm"));
    assert!(error("{\"schema\": 1}").contains("schema 1, and this vmm reads 2"));
    let text = json::render(&recorded());
    assert!(
        error(&text.replace("\"flaky\": false", "\"x\": 1").replace("\"variant\"", "\"v\""))
            .contains("`variant`")
    );
    assert!(error(&text.replace("\"verdict\": \"fail\"", "\"verdict\": \"green\"")).contains("`green`"));
    // Numbers that are cut off would name another part.
    let shard = |shard: &str| error(&text.replacen("\"shard\": null", &format!("\"shard\": {shard}"), 1));
    assert!(shard(r#"{"index": 4294967297, "of": 2, "plan": "p"}"#).contains("`index` is too large"));
    for index in [0, 3] {
        let wrong = shard(&format!(r#"{{"index": {index}, "of": 2, "plan": "p"}}"#));
        assert!(wrong.contains(&format!("no shard {index} of 2")), "{wrong}");
    }
}

#[test]
fn the_end_of_many_runs_is_a_table_and_a_last_line_with_all_counts() {
    insta::assert_snapshot!(crate::summary::text(&recorded()));
}

#[test]
fn each_scenario_leaves_a_folder_with_what_is_needed_to_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut artifacts = crate::artifacts::Artifacts::create(&folder.path().join("a/b")).unwrap();
    let (began, all) = session();
    artifacts.begin(&began).unwrap();
    all.iter().for_each(|judged| artifacts.event(judged).unwrap());
    let place = |name: &str| folder.path().join("a/b").join(name);
    let mut names: Vec<String> = std::fs::read_dir(place(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["001-good@6.12", "002-bad___b____x_@6.12", "003-good@7.3", "004-bad___b____x_@7.3"]);
    let read = |name: &str| std::fs::read_to_string(place("002-bad___b____x_@6.12").join(name)).unwrap();
    assert!(read("repeat.sh").contains("exec vmm run scenarios/test.yaml --kernel 3f9c1a2b7d"));
    assert!(read("verdict").starts_with("fail\n1 of 1 steps failed"));
    let report = json::read(&read("report.json")).unwrap();
    assert_eq!(report.runs.len(), 1);
    assert!(
        crate::artifacts::Artifacts::create(&place("001-good@6.12/verdict")).is_err(),
        "a file is no folder"
    );
}

/// What a real browser makes of the page, where there is one.
#[test]
fn a_browser_shows_the_page_and_its_filter_and_runs_nothing_of_a_guests() {
    let Some(browser) = ["chromium", "google-chrome", "chromium-browser"].into_iter().find(|name| {
        std::process::Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success())
    }) else {
        eprintln!("there is no Chromium here: the page was not looked at");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    let page = crate::html::render(&recorded());
    assert!(!page.contains("<b>|"), "a scenario's name is text");
    // A script of somebody else's would change the title, if it ran.
    let evil = page.replacen(
        "<h1>",
        "<script>document.title = 'evil'</script><img src=x onerror=\"document.title='evil'\"><h1>",
        1,
    );
    std::fs::write(&path, evil).unwrap();
    let output = std::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("<title>vmm: 2 of 5 scenarios passed</title>"), "{dom}");
    assert!(dom.contains("5 of 5 shown"), "its own script ran: {dom}");
    assert!(dom.matches("class=\"scenario\"").count() == 5, "{dom}");
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
fn a_file_is_whole_from_the_beginning_and_after_everything_that_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junit.xml");
    let (began, all) = session();
    let mut file = Files::default();
    file.add(&path, crate::junit::render).unwrap();
    let read =
        || quick_junit::Report::deserialize_from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file.begin(&began).unwrap();
    assert_eq!((read().tests, read().errors), (10, 5), "nothing has run, and nothing passes");
    for judged in &all {
        file.event(judged).unwrap();
        assert_eq!(read().tests, 10);
    }
    file.finish().unwrap();
    assert_eq!((read().failures, read().errors), (2, 1));
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
    assert_eq!((lines[0], lines[1]), ("::stop-commands::secret", "::secret::"));
    let expected = "::error file=scenarios/test.yaml,line=5,title=bad%2C <b>|`@x` [6.12]%3A it # fails";
    assert!(lines[2].starts_with(expected), "{text}");
    assert!(lines[2].contains("%0A") && lines.len() == 5, "{text}");
    let summary = std::fs::read_to_string(summary).unwrap();
    assert!(summary.starts_with("before\n## vmm: 2 of 5 scenarios passed"), "{summary}");
}

#[test]
fn who_wants_to_see_everything_sees_what_a_good_step_logged_and_printed() {
    let scenario = scenario("steps:\n- run: /bin/x\n- sleep: 1 s\n");
    let mut events = vec![judge::fixture::booted(), Event::StepStarted { index: 0 }, log("hello, world", 6)];
    let output = |text: &str| engine::output::Output::from(text.as_bytes());
    events.push(Event::StepEnded {
        index: 0,
        outcome: StepOutcome::Exited {
            code: 0,
            stdout: output("one\ntwo\n"),
            stderr: output(""),
            took: Duration::from_millis(1),
        },
    });
    let all = judged(&scenario, &events);
    let page = Page::default();
    let mut terminal = Terminal::new(Box::new(page.clone()), false).with(crate::terminal::Detail::Everything);
    all.iter().for_each(|judged| terminal.event(judged).unwrap());
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let wanted =
        "\n      it printed\n        one\n        two\n      the kernel logged\n        hello, world\n";
    assert!(text.contains(wanted), "{text}");
    assert!(!shown(&all, false).contains("hello, world"), "nobody asked for that");
}

#[test]
fn an_old_run_is_shown_as_it_was() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    let mut session = crate::record::Session::default();
    all.iter().for_each(|judged| _ = session.event(judged));
    session.finished = true;
    let again = json::read(&json::render(&session)).unwrap();
    let page = Page::default();
    let mut terminal = Terminal::new(Box::new(page.clone()), false);
    crate::show::show(&again, &mut terminal, &mut std::io::sink()).unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    // The running kernel told its release later than that line.
    let others = |text: &str| {
        text.lines().filter(|it| !it.starts_with("kernel ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(others(&text), others(&shown(&all, false)));
}

fn part(index: u32, of: u32, plan: &str, runs: std::ops::Range<usize>) -> crate::record::Session {
    let mut session = recorded();
    session.runs = session.runs.drain(runs).collect();
    session.shard = Some(crate::record::Shard { index, of, plan: plan.into() });
    session
}

#[test]
fn only_all_parts_of_one_run_make_a_whole() {
    use crate::merge::{MergeError, merge};
    let named = |parts: Vec<crate::record::Session>| {
        parts.into_iter().enumerate().map(|(at, part)| (format!("{at}.json"), part)).collect::<Vec<_>>()
    };
    let whole = merge(named(vec![part(2, 2, "p", 2..5), part(1, 2, "p", 0..2)])).unwrap();
    assert_eq!((whole.runs.len(), whole.finished, whole.shard), (5, true, None));
    let error = |parts| merge(named(parts)).unwrap_err();
    let names = ("0.json".to_owned(), "1.json".to_owned());
    assert_eq!(error(vec![]), MergeError::Nothing);
    let missing = MergeError::Missing { of: 3, missing: "1, 3".into() };
    assert_eq!(error(vec![part(2, 3, "p", 0..2)]), missing);
    let MergeError::Missing { missing, .. } = error(vec![part(1, u32::MAX, "p", 0..2)]) else { panic!() };
    assert!(missing.starts_with("2, 3, ") && missing.ends_with("17, 4294967278 more"), "{missing}");
    let twice = error(vec![part(1, 2, "p", 0..2), part(1, 2, "p", 2..5)]);
    assert_eq!(twice, MergeError::Twice(names.0.clone(), names.1.clone()));
    let other = error(vec![part(1, 2, "p", 0..2), part(2, 2, "q", 2..5)]);
    assert_eq!(other, MergeError::Other(names.0.clone(), names.1.clone()));
    let mixed = error(vec![part(1, 1, "p", 0..2), recorded()]);
    assert_eq!(mixed, MergeError::Mixed(names.0.clone(), names.1.clone()));
    assert!(matches!(error(vec![recorded(), recorded()]), MergeError::Again { .. }));
}

#[test]
fn a_difference_says_what_fails_and_passes_now_and_what_is_new() {
    let (old, mut new) = (recorded(), recorded());
    assert_eq!(crate::diff::diff(&old, &old).text, "No difference.\n\n2 of 5 passed before, 2 of 5 now.\n");
    // The first fails now as the second did, which passes now as the first did.
    let [first, second, ..] = &mut new.runs[..] else { panic!("five runs") };
    std::mem::swap(&mut first.report, &mut second.report);
    std::mem::swap(&mut first.settled, &mut second.settled);
    second.report.as_mut().unwrap().ran = Duration::from_secs(3);
    let warning = include_str!("../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
    let splat = splat::scan(warning.as_bytes()).remove(0);
    let finding =
        judge::Finding { splat, gravity: judge::Gravity::Splat, step: Some(0), count: 1, excuse: None };
    first.report.as_mut().unwrap().findings.push(finding);
    new.runs.pop();
    let difference = crate::diff::diff(&old, &new);
    assert!(difference.is_worse);
    insta::assert_snapshot!(difference.text);
}
