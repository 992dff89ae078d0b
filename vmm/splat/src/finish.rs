//! Turns a collected report into a finding: picks the trace, the function, the title.

use std::sync::LazyLock;

use regex::Regex;

use crate::blame::{Blame, blame};
use crate::fingerprint::fingerprint;
use crate::patterns::Role;
use crate::report::{Closed, Report};
use crate::{Finding, Kind};

/// Longest title in characters.
const TITLE: usize = 160;

/// What differs from run to run: addresses, and numbers that stand alone.
static VARIES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?<hex>\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8,16}\b)|(?<lead>^|[ \t=#(:/\[,'"<>+.@-])(?<num>-?[0-9]+)\b"#,
    )
    .expect("a constant pattern")
});

/// One of the copies of a cache, which a kernel takes by a seed of its boot (CONFIG_RANDOM_KMALLOC_CACHES).
static RANDOM_CACHE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(kmalloc-rnd-)[0-9]+(-)").expect("a constant pattern"));

/// A finding from `report`.
pub fn finish(mut report: Report, why: Closed) -> Finding {
    report.close(why);
    if report.pattern.role == Role::Panic && report.absorbs_nothing() {
        report.hurt("the report that led to this panic is missing");
    }
    let Blame { function, unknown, other, frames, own } = blame(&report);
    let inside = match &function {
        Some(name) => format!(" in {name}"),
        None if unknown => match &report.last_unloaded {
            Some(module) => format!(" in unknown code of a module ({module} was unloaded last)"),
            None => " in unknown code of a module".to_owned(),
        },
        None => String::new(),
    };
    let title = title(&report, &inside, other.as_deref());
    let kind = report.pattern.kind;
    Finding {
        fingerprint: fingerprint(kind, &title, function.as_deref(), &frames[..own.min(frames.len())]),
        kind,
        title,
        function,
        frames,
        corrupted: !report.damage.is_empty(),
        damage: report.damage.iter().map(|what| (*what).to_owned()).collect(),
        file_line: report.file_line,
        taint: report.task.taint,
        cpu: report.task.cpu,
        pid: report.task.pid,
        comm: report.task.comm,
        panicked: report.panicked,
        trapped: report.trapped,
        warned: report.warned,
        lines: report.lines,
        excerpt: report.excerpt,
    }
}

fn title(report: &Report, inside: &str, other: Option<&str>) -> String {
    let what = report.what.as_deref().map(steady).unwrap_or_default();
    let other = other.map(|name| format!(" / {name}")).unwrap_or_default();
    let access = if report.pattern.kind == Kind::Kasan { report.access.as_str() } else { "" };
    let title = report
        .pattern
        .title
        .replace("{what}", &what)
        .replace("{cache}", &RANDOM_CACHE.replace(report.cache.as_deref().unwrap_or("?"), "${1}N${2}"))
        .replace("{access}", access)
        .replace("{in}", inside)
        .replace("{other}", &other);
    title.trim().chars().take(TITLE).collect()
}

/// A message without what differs from run to run.
pub fn steady(text: &str) -> String {
    let text = text.trim().trim_end_matches([':', '.', ',']).to_owned();
    VARIES
        .replace_all(&text, |found: &regex::Captures<'_>| {
            match found.name("hex").map(|hex| hex.as_str()) {
                // A number may be as long as an address of 32 bits.
                Some(hex) if hex.len() < 16 && hex.bytes().all(|digit| digit.is_ascii_digit()) => {
                    "N".to_owned()
                }
                Some(_) => "ADDR".to_owned(),
                // One address in two thousand has no letter.
                None if found["num"].len() == 16 => format!("{}ADDR", &found["lead"]),
                None => format!("{}N", &found["lead"]),
            }
        })
        .into_owned()
}
