use super::*;
use judge::{Finding, Gravity, Reason, StepVerdict};

const GOOD: &str =
    "- scenario: hello\n  verdict: fail\n  reason: it is late\n  owner: ann\n  until: 2026-12-31\n";

fn read(text: &str) -> Result<Quarantine, String> {
    Quarantine::parse(&Source::new(Path::new("q.yaml"), text)).map_err(|errors| errors.to_string())
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

#[test]
fn an_entry_says_what_why_who_and_until_when() {
    assert!(read(GOOD).is_ok());
    assert!(read("# none yet\n").is_ok());
    for (line, instead, expected) in [
        ("  reason: it is late\n", "", "needs the field `reason`"),
        ("  reason: it is late\n", "  reason: ' '\n", "a reason, in words"),
        ("hello", "''", "a scenario's name or path"),
        ("verdict: fail", "step: []", "at least one of"),
        ("  owner: ann\n", "", "needs the field `owner`"),
        ("  until: 2026-12-31\n", "", "needs the field `until`"),
        ("2026-12-31", "2026-02-30", "a day, like"),
        ("2026-12-31", "soon", "a day, like"),
        ("  verdict: fail\n", "", "at least one of"),
        ("verdict: fail", "verdict: infra", "that can be excused"),
        ("verdict: fail", "verdict: tampered", "that can be excused"),
        ("verdict: fail", "verdict: fial", "did you mean `fail`?"),
        ("verdict: fail", "fingerprint: abc", "16 hexadecimal digits"),
        ("owner", "onwer", "unknown field"),
    ] {
        let error = read(&GOOD.replace(line, instead)).unwrap_err();
        assert!(error.contains(expected) && error.contains("q.yaml"), "{instead}: {error}");
    }
}

/// A run of two steps that came to this.
fn came(verdict: Verdict) -> RunReport {
    let scenario = scenario::fixture::scenario("name: hello\nsteps:\n- sleep: 1 s\n- sleep: 1 s\n");
    let report = judge::fixture::run(&scenario, &judge::fixture::good_run(&scenario));
    let reason = Reason::Unmet(judge::Unmet::default());
    RunReport { verdict, reason, path: "scenarios/hello.yaml".into(), ..report }
}

/// The same with this step failed.
fn failed(step: usize) -> RunReport {
    let mut report = came(Verdict::Fail);
    report.steps[step].verdict = StepVerdict::Fail;
    report
}

/// With a finding.
fn with(gravity: Gravity, step: usize, mut report: RunReport) -> RunReport {
    let log = include_str!("../../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
    let splat = splat::scan(log.as_bytes()).remove(0);
    report.findings.push(Finding { splat, gravity, step: Some(step), count: 1, excuse: None });
    report
}

fn excuses(fields: &str, report: &RunReport) -> bool {
    let quarantine = read(&GOOD.replace("verdict: fail", fields)).unwrap();
    quarantine.excuses_on(day("2026-01-01"), report).is_some()
}

fn fingerprint() -> String {
    with(Gravity::Splat, 0, came(Verdict::Splat)).findings[0].splat.fingerprint.clone()
}

#[test]
fn a_failure_is_excused_until_its_day_is_over_and_in_its_scenario() {
    let quarantine = read(GOOD).unwrap();
    let excused = |date: &str, report: &RunReport| quarantine.excuses_on(day(date), report).is_some();
    assert!(excused("2026-12-31", &failed(0)));
    assert!(!excused("2027-01-01", &failed(0)), "its day is over");
    let other = RunReport { scenario: "other".into(), path: "scenarios/other.yaml".into(), ..failed(0) };
    assert!(!excused("2026-12-31", &other));
    let by_path = read(&GOOD.replace("hello", "scenarios/hello.yaml")).unwrap();
    assert!(by_path.excuses_on(day("2026-01-01"), &failed(0)).is_some());
}

#[test]
fn a_verdict_excuses_what_makes_it_and_nothing_beside_it() {
    assert!(!excuses("verdict: panic", &failed(0)), "that is another failure");
    assert!(!excuses("verdict: fail", &came(Verdict::Tampered)), "nothing excuses a guest that lied");
    assert!(!excuses("verdict: fail", &with(Gravity::Splat, 0, failed(0))), "a new warning");
    let reset = RunReport { reason: Reason::SwitchedOff, ..failed(0) };
    assert!(!excuses("verdict: fail", &reset), "it failed otherwise than by an expectation");
    let reason = Reason::AndThen { known: Box::default(), end: Box::new(Reason::SwitchedOff) };
    assert!(!excuses("verdict: fail", &RunReport { reason, ..failed(0) }), "and then it ended");
    let unseen = RunReport { doubt: Some(Reason::LogLost(7)), ..failed(0) };
    assert!(!excuses("verdict: fail", &unseen), "nobody knows what else there was");
    assert!(excuses("verdict: splat", &with(Gravity::Splat, 0, came(Verdict::Splat))));
    let oops = with(Gravity::Oops, 1, RunReport { verdict: Verdict::Oops, ..failed(1) });
    assert!(excuses("verdict: oops", &oops), "the step in which it died");
    assert!(!excuses("verdict: oops", &with(Gravity::Splat, 0, oops)), "a warning before it");
    let elsewhere = with(Gravity::Oops, 1, RunReport { verdict: Verdict::Oops, ..failed(0) });
    assert!(!excuses("verdict: oops", &elsewhere), "another step failed as well");
}

#[test]
fn a_hang_excuses_the_step_that_hangs() {
    let mut hung = RunReport { verdict: Verdict::HangIdle, ..failed(1) };
    hung.steps[1].result = None;
    assert!(excuses("verdict: hang-idle", &hung));
    assert!(!excuses("step: '2'", &hung), "that step was to fail, and not to hang");
    let mut failures = vec![judge::fixture::failure("end of the run")];
    assert!(excuses("verdict: hang-idle", &RunReport { failures: failures.clone(), ..hung.clone() }));
    failures.push(judge::fixture::failure("kernel log"));
    assert!(!excuses("verdict: hang-idle", &RunReport { failures, ..hung.clone() }));
    hung.steps[0].verdict = StepVerdict::Fail;
    assert!(!excuses("verdict: hang-idle", &hung), "a step before it failed as well");
}

#[test]
fn a_step_excuses_no_other_step_no_finding_and_no_expectation_of_the_run() {
    assert!(excuses("step: '2'", &failed(1)));
    assert!(!excuses("step: '2'", &failed(0)));
    let mut both = failed(0);
    both.steps[1].verdict = StepVerdict::Timeout;
    assert!(!excuses("step: '2'", &both) && excuses("step: ['1', '2']", &both));
    assert!(!excuses("step: '2'", &with(Gravity::Splat, 1, failed(1))), "a new warning");
    let failures = vec![judge::fixture::failure("kernel log")];
    assert!(!excuses("step: '2'", &RunReport { failures, ..failed(1) }));
    assert!(!excuses("step: '2'", &RunReport { verdict: Verdict::Panic, ..failed(1) }));
}

#[test]
fn a_fingerprint_excuses_its_finding_and_what_came_of_it() {
    let named = format!("fingerprint: '{}'", fingerprint());
    let splat = || with(Gravity::Splat, 0, came(Verdict::Splat));
    assert!(excuses(&named, &splat()));
    assert!(!excuses("fingerprint: '0123456789abcdef'", &splat()));
    let both = format!("fingerprint: ['0123456789abcdef', '{}']", fingerprint());
    assert!(excuses(&both, &splat()));
    assert!(!excuses(&named, &with(Gravity::Splat, 1, failed(1))), "a step failed as well");
    let fail = format!("{named}\n  verdict: fail");
    assert!(excuses(&fail, &with(Gravity::Splat, 1, failed(1))) && !excuses(&fail, &failed(1)));
    let hung = RunReport { verdict: Verdict::HangIdle, ..splat() };
    assert!(!excuses(&named, &hung), "it hangs as well");
    let failures = vec![judge::fixture::failure("kernel log")];
    assert!(!excuses(&named, &RunReport { failures, ..splat() }));
}

#[test]
fn an_entry_that_matches_nothing_any_more_is_told() {
    let told = |verdict: Option<Verdict>, today: &str| {
        let ran = |verdict| Ran {
            settled: Settled::of(vec![judge::fixture::attempt(verdict)]),
            report: came(verdict),
            on_host: true,
        };
        read(GOOD)
            .unwrap()
            .complaints_on(day(today), &verdict.map(ran).into_iter().collect::<Vec<_>>())
            .concat()
    };
    assert_eq!(told(None, "2026-01-01"), "", "it did not run, so nobody knows");
    assert_eq!(told(Some(Verdict::Fail), "2026-01-01"), "");
    for nothing in [Verdict::Infra, Verdict::Interrupted, Verdict::BadInput, Verdict::BuildFailed] {
        assert_eq!(told(Some(nothing), "2026-01-01"), "", "{}: no step was done", nothing.name());
    }
    let gone = told(Some(Verdict::Pass), "2026-01-01");
    assert!(gone.contains("q.yaml:1") && gone.contains("remove it"), "{gone}");
    assert!(told(Some(Verdict::Fail), "2027-01-01").contains("ended on 2026-12-31"));
}

#[test]
fn an_entry_that_concerns_several_scenarios_or_none_is_told() {
    let scenarios = ["a/hello.yaml", "b/hello.yaml"].map(|path| ("x".to_owned(), PathBuf::from(path)));
    let entries = |name: &str| read(&GOOD.replace("hello", name)).unwrap();
    let wide = entries("hello.yaml").too_wide(&scenarios).concat();
    assert!(wide.contains("a/hello.yaml, b/hello.yaml") && wide.contains("q.yaml:1"), "{wide}");
    assert_eq!(entries("a/hello.yaml").too_wide(&scenarios), Vec::<String>::new());
    assert!(entries("hallo.yaml").astray(&scenarios).concat().contains("concerns no scenario"));
    assert_eq!(entries("hello.yaml").astray(&scenarios), Vec::<String>::new());
}
