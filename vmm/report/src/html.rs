//! `--report html=FILE`: one page that needs nothing else, for a browser.
//!
//! Everything in it that a guest made is text: `maud` escapes it, and a policy in the page's head keeps a browser from loading
//! or running anything that is not in the page by our own hand.

use crate::{
    failure::{self, Circumstance},
    record::{Run, Session},
};
use base::text::{escape, time};
use base64::{Engine, engine::general_purpose::STANDARD};
use judge::{Finding, JudgedStep, Outcome, StepVerdict, Subtest, SyscallRow};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::time::Duration;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/page.js");
/// So many system calls are shown of a scenario; JSON has all.
const CALLS: usize = 40;
/// So many lines of the log are shown of one step.
const LINES: usize = 200;

/// All runs as one page.
pub fn render(session: &Session) -> String {
    let good = session.runs.iter().filter(|run| run.is_good()).count();
    let all = session.runs.len();
    // Only this script may run (CSP level 3, section 2.3.1: a hash of what is between the tags).
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'",
        STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()))
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { "vmm: " (good) " of " (all) " scenarios passed" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "vmm: " (good) " of " (all) " scenarios passed" }
                @if let Some(why) = session.unfinished() {
                    p.bad { (why.verdict.name()) ": " (escape(&why.reason)) }
                }
                @if let Some(shard) = &session.shard {
                    p { "Part " (shard.index) " of " (shard.of) "." }
                }
                nav {
                    input id="filter" type="search" placeholder="words of a name, a verdict, a function" aria-label="filter";
                    label { input id="only-bad" type="checkbox"; " only what did not pass" }
                    " " span.note id="count" {}
                }
                @for run in &session.runs { (scenario(run)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn scenario(run: &Run) -> Markup {
    let longest = run.steps.iter().filter_map(|step| step.took).max().unwrap_or_default();
    html! {
        details.scenario data-word=(run.word()) open[run.is_bad() && run.begun] {
            summary {
                span class=(format!("word {}", colour(run))) { (run.word()) } " "
                strong { (escape(&run.title())) } " "
                span.note { (escape(&run.path())) " " (time(run.ran())) }
                @if !run.is_good() { div { (escape(&run.reason())) } }
            }
            @for remark in run.remarks() { p.odd { (escape(&remark)) } }
            p.note {
                @if let Some(kernel) = &run.kernel {
                    "kernel " (escape(kernel.release.as_deref().unwrap_or("?"))) " " (kernel.hash) "; "
                }
                @if let Some(host) = &run.host { "host " (escape(host)) "; " }
                @if let Some(booted) = &run.booted { "agent ready in " (time(booted.ready)) }
            }
            @if let Some(report) = &run.report {
                @for finding in &report.findings { (trouble(finding)) }
                @for failure in &report.failures {
                    p.bad { (escape(&failure.what)) ": expected " code { (escape(&failure.expected)) } ", got "
                        code { (escape(&failure.got)) } " (line " (failure.line) ")" }
                }
                @if !report.standing.is_empty() { pre { @for line in &report.standing { (escape(line)) "\n" } } }
            }
            @for step in &run.steps { (a_step(run, step, longest)) }
            (own_tests(run))
            (outside(run))
            @if let Some(report) = &run.report { (calls(&report.syscalls)) }
        }
    }
}

fn colour(run: &Run) -> &'static str {
    match (run.is_good(), run.is_bad()) {
        (true, _) if run.word() == "pass" => "good",
        (false, true) if run.begun => "bad",
        _ => "odd",
    }
}

fn part(of: Duration, all: Duration) -> String {
    let percent = if all.is_zero() { 0.0 } else { 100.0 * of.as_secs_f64() / all.as_secs_f64() };
    format!("width:{percent:.1}%")
}

fn a_step(run: &Run, step: &JudgedStep, longest: Duration) -> Markup {
    let class = match step.verdict {
        StepVerdict::Pass => "good",
        StepVerdict::Fail | StepVerdict::Timeout => "bad",
        StepVerdict::Skipped | StepVerdict::NotRun => "odd",
    };
    html! {
        div.step {
            span class=(format!("word {class}")) { (step.verdict) } " " (escape(&step.title)) " "
            @if let Some(took) = step.took {
                span.note { (time(took)) }
                div.track { div.bar style=(part(took, longest)) {} }
            }
            @for failure in &step.failures {
                div.failure { (escape(&failure.what)) ": expected " code { (escape(&failure.expected)) } ", got "
                    code { (escape(&failure.got)) } " (line " (failure.line) ")" }
            }
            @if let Some(why) = &step.why { div.failure { (escape(why)) } }
            @for subtest in &step.subtests {
                div.failure { (subtest.test.outcome.name()) " " (escape(&subtest.test.name())) }
            }
            @if step.verdict.is_bad() {
                @for circumstance in failure::circumstances(step) {
                    @match circumstance {
                        Circumstance::Heading(text) => div.failure { (text) },
                        Circumstance::Quoted { text, bad } => div class=(if bad { "log bad" } else { "log" }) { (text) },
                    }
                }
            } @else { (log(run, Some(step.index))) }
        }
    }
}

/// The kernel's lines of a step, or of none.
fn log(run: &Run, step: Option<usize>) -> Markup {
    let lines: Vec<_> = run.log.iter().filter(|line| run.step_log.get(&line.seq).copied() == step).collect();
    let more = lines.len().saturating_sub(LINES);
    html! {
        @if !lines.is_empty() {
            div.log {
                @for line in lines.iter().take(LINES) {
                    span class=[(line.level <= 3).then_some("bad")] {
                        (format!("[{:>11.6}] ", line.time.as_secs_f64())) (escape(&line.text)) "\n"
                    }
                }
                @if more > 0 { "... " (more) " lines more ..." }
            }
        }
    }
}

/// Tests that the kernel ran by itself, as it booted.
fn own_tests(run: &Run) -> Markup {
    html! {
        @for Subtest { test, .. } in run.own_tests() {
            @let class = match test.outcome {
                Outcome::Passed => "good",
                Outcome::Failed => "bad",
                Outcome::Skipped | Outcome::ExpectedFailure => "odd",
            };
            div.step {
                span class=(format!("word {class}")) { (test.outcome.name()) } " " (escape(&test.name()))
                @if let Some(why) = &test.why { div.failure { (escape(why)) } }
            }
        }
    }
}

fn outside(run: &Run) -> Markup {
    let lines = run.log.iter().filter(|line| !run.step_log.contains_key(&line.seq)).count();
    html! {
        @if lines > 0 {
            details { summary { "The kernel's log outside of steps (" (lines) " lines)" } (log(run, None)) }
        }
    }
}

fn trouble(finding: &Finding) -> Markup {
    let splat = &finding.splat;
    html! {
        div.finding {
            strong { (escape(&splat.title)) } " "
            span.note { (finding.gravity.name()) ", fingerprint " (splat.fingerprint)
                @if finding.count > 1 { ", " (finding.count) " times" }
                @if !finding.counts() { ", not held against it" } }
            @if let Some(place) = &splat.file_line { div { "at " code { (escape(place)) } } }
            pre { @for frame in splat.frames.iter().take(32) { (escape(&frame.to_string())) "\n" } }
            details { summary { "the report as the kernel wrote it" }
                pre { @for line in &splat.excerpt { (escape(line)) "\n" } } }
        }
    }
}

fn calls(rows: &[SyscallRow]) -> Markup {
    let most = rows.iter().map(SyscallRow::count).max().unwrap_or(0).max(1);
    let shown: Vec<&SyscallRow> = rows.iter().filter(|row| row.count() > 0).collect();
    html! {
        @if !shown.is_empty() {
            details {
                summary { "System calls seen by the hypervisor (" (shown.len()) ")" }
                table.calls {
                    @for row in shown.iter().take(CALLS) {
                        tr {
                            td { code { (escape(&row.name)) } }
                            td { (row.count()) }
                            td { div.track { div.bar style=(format!("width:{:.1}%", 100.0 * row.count() as f64 / most as f64)) {} } }
                            td.note { @for (errno, count) in &row.errors { (count) " " (escape(errno)) " " } }
                        }
                    }
                }
            }
        }
    }
}
