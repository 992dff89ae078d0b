//! What is told of two reports.

use super::{files::attempts, recorded};
use crate::{
    diff::diff,
    record::{Aborted, Run, Session},
};
use judge::Verdict;
use std::time::Duration;

#[test]
fn a_difference_says_what_fails_and_passes_now_and_what_is_new() {
    let (old, mut new) = (recorded(), recorded());
    let mut ran = recorded();
    ran.runs.pop();
    let none = diff(&ran, &ran);
    assert_eq!(
        (&*none.text, none.is_worse),
        ("No difference.\n\n2 of 4 passed before, 2 of 4 now.\n", false)
    );
    // The first fails now as the second did, which passes now as the first did.
    let [first, second, ..] = &mut new.runs[..] else { panic!("five runs") };
    std::mem::swap(&mut first.report, &mut second.report);
    std::mem::swap(&mut first.settled, &mut second.settled);
    second.report.as_mut().unwrap().ran = Duration::from_secs(3);
    let warning = include_str!("../../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
    let splat = splat::scan(warning.as_bytes()).remove(0);
    let finding =
        judge::Finding { splat, gravity: judge::Gravity::Splat, step: Some(0), count: 1, excuse: None };
    first.report.as_mut().unwrap().findings.push(finding);
    new.runs.pop();
    let difference = diff(&old, &new);
    assert!(difference.is_worse);
    insta::assert_snapshot!(difference.text);
}

#[test]
fn a_run_that_lost_scenarios_or_its_end_is_worse() {
    let (old, mut new) = (recorded(), recorded());
    new.runs.pop();
    assert!(diff(&old, &new).is_worse);
    let mut cut_off = recorded();
    cut_off.finished = false;
    let difference = diff(&old, &cut_off);
    assert!(difference.is_worse && difference.text.contains("cut off before its end"));
    let mut never = Session::planned(&[]);
    never.aborted = Some(Aborted { verdict: Verdict::Infra, reason: "no place\nfor the cache".into() });
    let difference = diff(&old, &never);
    let told = "The new run did not begin (infra): no place for the cache\n";
    assert!(difference.is_worse && difference.text.contains(told), "{}", difference.text);
}

#[test]
fn what_did_not_run_is_worse_though_it_failed_before() {
    // One fails in both, and in the other report a signal came before it or in it.
    let old = attempts(&[(Verdict::Fail, judge::Then::Counts)]);
    assert!(!diff(&old, &old).is_worse);
    let mut waits = old.clone();
    waits.runs = vec![Run::planned(&old.runs[0].began)];
    let came = |verdict| attempts(&[(verdict, judge::Then::Counts)]);
    let cut_off = "the run was cut off before its end, or did not begin";
    for (new, word, why) in [
        (waits, "not-run", cut_off),
        (came(Verdict::Interrupted), "interrupted", "attempt 0"),
        (came(Verdict::Infra), "infra", "attempt 0"),
        (came(Verdict::BadInput), "bad-input", "attempt 0"),
    ] {
        let difference = diff(&old, &new);
        let line = format!(
            "### Did not run, or not to the end (1)\n\n- again (scenarios/test.yaml): fail → {word}: {why}\n"
        );
        assert!(difference.is_worse && difference.text.contains(&line), "{}", difference.text);
        assert!(diff(&new, &new).is_worse, "{word}");
        let known = diff(&new, &old);
        assert!(known.is_worse && known.text.contains("### Fails now (1)"), "{}", known.text);
        let passes = diff(&new, &came(Verdict::Pass));
        assert!(!passes.is_worse && passes.text.contains("### Passes now (1)"), "{}", passes.text);
    }
}

#[test]
fn another_failure_than_before_is_worse() {
    let came = |verdict| attempts(&[(verdict, judge::Then::Counts)]);
    let fails = came(Verdict::Fail);
    let told = |old: &Session, new: &Session| {
        let difference = diff(old, new);
        assert_eq!(
            difference.is_worse,
            difference.text.contains("### Fails otherwise"),
            "{}",
            difference.text
        );
        difference.is_worse.then_some(difference.text)
    };
    for verdict in [Verdict::HangIdle, Verdict::Tampered, Verdict::BuildFailed] {
        let text = told(&fails, &came(verdict)).unwrap();
        assert!(text.contains(&format!("fail → {verdict}: {verdict}\n")), "{text}");
        assert!(told(&came(verdict), &fails).is_some() && told(&came(verdict), &came(verdict)).is_none());
    }
    // With these failures of the step, by their lines, and of the run.
    let with = |step: &[usize], run: &[&str]| {
        let mut session = fails.clone();
        let one = &mut session.runs[0];
        let failure = |line: usize| judge::Failure { line, ..judge::fixture::failure("return value") };
        one.steps[0].verdict = judge::StepVerdict::Fail;
        one.steps[0].failures = step.iter().map(|line| failure(*line)).collect();
        one.report.as_mut().unwrap().failures = run.iter().map(|it| judge::fixture::failure(it)).collect();
        session
    };
    let text = told(&with(&[4], &[]), &with(&[4, 5], &[])).unwrap();
    assert!(text.contains(": return value: expected this, got that\n"), "{text}");
    assert!(told(&with(&[4], &[]), &with(&[5], &[])).is_some(), "another one");
    assert!(told(&with(&[4, 5], &[]), &with(&[5], &[])).is_none(), "fewer");
    assert!(told(&with(&[4], &[]), &with(&[4], &["kernel log"])).is_some());
    assert!(told(&with(&[], &["kernel log"]), &with(&[], &["kernel log", "kernel log"])).is_some());
    assert!(told(&with(&[], &[]), &with(&[4], &[])).is_some());
    // What came instead, and a step that moved with all of its lines, is nothing new.
    let mut moved = with(&[14], &[]);
    moved.runs[0].steps[0].line += 10;
    moved.runs[0].steps[0].failures[0].got = "something else".into();
    assert!(told(&with(&[4], &[]), &moved).is_none());
}
