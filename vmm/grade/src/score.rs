//! From runs to points.

use crate::{
    assignment::{Award, Penalties, Rule},
    points::Points,
    record::{Build, Part, Penalty, Run, Test},
    run::is_shown,
};

/// The part that is the run as a whole.
pub const WHOLE: &str = "the whole run";
/// What a failure of the kernel's taint is called (`judge`).
const TAINT: &str = "taint";

/// What each part of a run gets.
pub fn parts(run: &Run, award: &Award) -> Vec<Part> {
    let part = |name: &str, of: Points, held: bool| Part {
        name: name.to_owned(),
        // Nothing that such a guest said is worth a point.
        points: if held && !run.is_tampered() { of } else { Points::NONE },
        of,
    };
    match award {
        Award::Whole(points) => vec![part(WHOLE, *points, run.verdict == "pass")],
        Award::Parts { steps, run: whole } => {
            let step = |(name, points): &(String, Points)| {
                let mut named = run.steps.iter().filter(|step| step.name.as_ref() == Some(name)).peekable();
                let held = named.peek().is_some() && named.all(|step| step.verdict == "pass");
                part(name, *points, held)
            };
            let mut parts: Vec<Part> = steps.iter().map(step).collect();
            if *whole > Points::NONE {
                // Whatever the steps came to: nothing stayed behind, nothing broke, nothing hung, and all of it was seen.
                let ended = run.is_complete && run.doubt.is_none();
                let unheld =
                    run.failures.is_empty() && !run.steps.iter().any(|step| step.bad && step.of_the_run);
                parts.push(part(WHOLE, *whole, ended && unheld && !run.findings.iter().any(|it| it.counts)));
            }
            parts
        }
    }
}

/// Of two runs of one test, the one that counts and, if they came to different things, the other one.
pub fn choose(first: Run, second: Run, rule: Rule) -> (Run, Option<Run>) {
    if first.verdict == second.verdict && first.parts == second.parts {
        return (first, None);
    }
    // Who is caught once is caught, whatever the rule.
    let first_counts = match rule {
        _ if first.is_tampered() != second.is_tampered() => first.is_tampered(),
        Rule::Best => first.points >= second.points,
        Rule::Worst => first.points <= second.points,
    };
    if first_counts { (first, Some(second)) } else { (second, Some(first)) }
}

/// What is deducted, each once.
pub fn penalties(rules: &Penalties, build: &Build, license_mended: bool, tests: &[Test]) -> Vec<Penalty> {
    // What a student may see comes first, and of what he may not only that it is there.
    let seen = || tests.iter().filter(|test| is_shown(test)).map(|test| (test, true));
    let all = || seen().chain(tests.iter().filter(|test| !is_shown(test)).map(|test| (test, false)));
    let runs = || all().filter_map(|(test, shown)| Some((test.run.as_ref()?, shown)));
    let told =
        |shown: bool, what: String| if shown { what } else { "in a test that is not shown".to_owned() };
    let mut list = Vec::new();
    let mut deduct = |what: String, points: Option<Points>| {
        list.extend(points.filter(|it| *it > Points::NONE).map(|points| Penalty { what, points }));
    };
    let count = harness::module::count_of_warnings(&build.warnings);
    if let Some((each, most)) = rules.warnings
        && count > 0
    {
        let s = if count == 1 { "" } else { "s" };
        deduct(format!("{count} warning{s} of the compiler"), Some(each.times(count).min(most)));
    }
    if license_mended {
        deduct("there is no MODULE_LICENSE; one was put in".to_owned(), rules.license);
    }
    let complaint = runs().find_map(|(run, shown)| {
        let finding = run.findings.iter().find(|finding| finding.counts).map(|finding| &finding.title);
        let unlogged = || run.doubt.as_ref().filter(|doubt| doubt.is_report).map(|doubt| &doubt.why);
        Some((finding.or_else(unlogged)?, shown))
    });
    if let Some((what, shown)) = complaint {
        deduct(format!("the kernel complained: {}", told(shown, what.clone())), rules.splat);
    }
    let failures = || {
        runs().flat_map(|(run, shown)| {
            let looks = run.steps.iter().filter(|step| step.of_the_run);
            let all = run.failures.iter().chain(looks.flat_map(|step| &step.failures));
            all.map(move |failure| (failure, shown))
        })
    };
    let left = |what: &str| {
        ["modules (", "devices (", "nodes (", "memory ("].iter().any(|place| what.starts_with(place))
    };
    if let Some((failure, shown)) = failures().find(|(failure, _)| left(&failure.what)) {
        let what = told(shown, format!("{}: {}", failure.what, failure.got));
        deduct(format!("something stayed behind: {what}"), rules.leak);
    }
    if let Some((failure, shown)) = failures().find(|(failure, _)| failure.what.starts_with(TAINT)) {
        let what = told(shown, format!("expected {}, got {}", failure.expected, failure.got));
        deduct(format!("the kernel's taint: {what}"), rules.taint);
    }
    list
}

#[cfg(test)]
#[path = "score_test.rs"]
mod tests;
