//! What failed, as plain text, for reports that hold a few lines of it.

use crate::record::Run;
use base::text::escape;
use judge::JudgedStep;

/// The first thing that is wrong with a step.
pub fn in_a_line(step: &JudgedStep) -> String {
    match (step.failures.first(), &step.why) {
        (Some(first), _) => {
            format!(
                "{}: expected {}, got {}",
                escape(&first.what),
                escape(&first.expected),
                escape(&first.got)
            )
        }
        (None, Some(why)) => escape(why),
        (None, None) => step.verdict.to_string(),
    }
}

/// All that is wrong with a step, a line each, with the scenario's line.
pub fn in_full(step: &JudgedStep, path: &str) -> String {
    let failures = step.failures.iter().map(|failure| {
        let (what, expected, got) = (escape(&failure.what), escape(&failure.expected), escape(&failure.got));
        format!("{what}: expected {expected}, got {got}\n  at {}:{}\n", escape(path), failure.line)
    });
    let why = step.why.iter().map(|why| format!("{}\n  at {}:{}\n", escape(why), escape(path), step.line));
    failures.chain(why).collect()
}

/// What a run came to beside its steps: findings, expectations of the run, where a hang stood, the end of the log.
pub fn of_the_run(run: &Run) -> String {
    let Some(report) = &run.report else { return String::new() };
    let mut lines = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.counts()) {
        lines.push(escape(&finding.splat.title));
        lines.extend(finding.splat.file_line.iter().map(|place| format!("  at {}", escape(place))));
        lines.extend(
            finding.splat.frames.iter().take(8).map(|frame| format!("    {}", escape(&frame.to_string()))),
        );
        lines.push(format!("  fingerprint {}", finding.splat.fingerprint));
    }
    for failure in &report.failures {
        let (what, expected, got) = (escape(&failure.what), escape(&failure.expected), escape(&failure.got));
        lines.push(format!("{what}: expected {expected}, got {got}"));
        lines.push(format!("  at {}:{}", escape(&run.path()), failure.line));
    }
    lines.extend(report.standing.iter().map(|line| escape(line)));
    lines.extend(report.log_tail.iter().map(|record| escape(&record.text)));
    lines.join("\n")
}
