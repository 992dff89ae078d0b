//! What came of a bisection, for people ([`Report::text`]), for a mail ([`Report::markdown`]), and as data.

use crate::git::About;
use serde::Serialize;

/// What came of a bisection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The commit that mended it was looked for.
    pub fixed: bool,
    /// One culprit, or all that can't be told apart.
    pub commits: Vec<About>,
    /// They did it together.
    pub together: bool,
    /// The probability that it is one of them, or all.
    pub odds: f64,
    /// It is one, it is as sure as was asked for, and proven.
    pub certain: bool,
    /// Whether and how it was proven.
    pub proof: String,
    /// What runs before it came to.
    pub before: String,
    /// What runs with it came to.
    pub after: String,
    /// In so many runs the fault was seen.
    pub seen: u32,
    /// In so many it was not, though it was there.
    pub missed: u32,
    /// Commits between the ends.
    pub all: usize,
    /// Those of them that can matter to what is built.
    pub matter: usize,
    /// Things that were built.
    pub builds: usize,
    /// Runs.
    pub runs: usize,
    /// In seconds.
    pub seconds: f64,
    /// Commits that can't be judged.
    pub skipped: Vec<Skipped>,
    /// What the newest commit without this one comes to.
    pub revert: Option<String>,
    /// What else has to be known of the answer.
    pub notes: Vec<String>,
    /// The line that a mending commit is to have, if the answer is certain.
    pub fixes: Option<String>,
    /// What repeats it.
    pub command: String,
}

/// A commit that can't be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its short hash, or its name.
    pub commit: String,
    /// Its subject.
    pub subject: String,
    /// Why.
    pub why: String,
}

fn percent(odds: f64) -> String {
    // 100 % would be a lie.
    format!("{:.2} %", (odds * 100.0).min(99.99))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl Report {
    /// Adds what has to be there as well for the fault.
    pub(crate) fn join(&mut self, more: Self) {
        self.commits.extend(more.commits);
        self.odds *= more.odds;
        self.certain &= more.certain;
        self.runs += more.runs;
        self.builds += more.builds;
        self.seconds += more.seconds;
        self.skipped.extend(more.skipped);
        self.together = true;
    }

    fn work(&self) -> String {
        let seconds = self.seconds.round() as u64;
        let time =
            if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
        let matter = match self.matter < self.all {
            true => format!(", {} of which can matter", self.matter),
            false => String::new(),
        };
        let (runs, builds) = (count(self.runs, "run"), count(self.builds, "build"));
        format!("{builds} and {runs} in {time}; {}{matter}", count(self.all, "commit"))
    }

    fn rate(&self) -> String {
        let all = self.seen + self.missed;
        if self.missed == 0 {
            format!("in all {all} runs")
        } else {
            format!("in {} of {all} runs", self.seen)
        }
    }

    fn what(&self) -> &'static str {
        match (self.fixed, self.commits.len() == 1 || self.together) {
            (_, false) => "one of",
            (_, true) if !self.certain => "suspect",
            (false, true) => "culprit",
            (true, true) => "mended by",
        }
    }

    /// As rows of a name and a text.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        for about in &self.commits {
            let name = if about.short.is_empty() { &about.commit } else { &about.short };
            rows.push((self.what(), format!("{name}  {}", about.subject).trim_end().to_owned()));
        }
        if let [about] = &self.commits[..] {
            if !about.author.is_empty() {
                rows.push(("author", format!("{}, {}", about.author, about.date)));
            }
            const SHOWN: usize = 10;
            let more = about.files.len().saturating_sub(SHOWN);
            let mut files = about.files.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
            files += &if more > 0 { format!(" and {more} more") } else { String::new() };
            if !files.is_empty() {
                rows.push(("files", files));
            }
        }
        rows.push(("before", self.before.clone()));
        rows.push(("after", self.after.clone()));
        rows.push(("seen", self.rate()));
        rows.push(("sure", format!("{}; {}", percent(self.odds), self.proof)));
        rows.extend(self.revert.iter().map(|text| ("reverted", text.clone())));
        rows.extend(self.notes.iter().map(|text| ("note", text.clone())));
        rows.push(("work", self.work()));
        for Skipped { commit, subject, why } in &self.skipped {
            let name = format!("{commit}  {subject}");
            rows.push(("skipped", format!("{}: {why}", name.trim_end())));
        }
        rows.push(("again", self.command.clone()));
        rows
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let row = |(name, text): (&str, String)| format!("{name:<10}{}\n", base::text::escape(&text));
        let mut text: String = self.rows().into_iter().map(row).collect();
        text +=
            &self.fixes.iter().map(|line| format!("\n{}\n", base::text::escape(line))).collect::<String>();
        text
    }

    /// For a mail.
    pub fn markdown(&self) -> String {
        // Whatever a commit's author wrote is text.
        let plain = |text: &str| {
            let text = base::text::escape(text).replace('`', "'").replace('&', "&amp;").replace('<', "&lt;");
            text.replace('|', "\\|").replace('[', "\\[")
        };
        let row = |(name, text): (&str, String)| format!("| {name} | {} |\n", plain(&text));
        let title = match &self.commits[..] {
            [about] => format!("{}: {}", self.what(), plain(&about.subject)),
            commits => format!("{} can't be told apart", count(commits.len(), "commit")),
        };
        let rows: String = self.rows().into_iter().map(row).collect();
        let fixes = self.fixes.iter().map(|line| format!("\n    {}\n", base::text::escape(line)));
        format!(
            "## {title}\n\n`{}`\n\n| | |\n|---|---|\n{rows}{}",
            plain(&self.scenario),
            fixes.collect::<String>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let text = |text: &str| text.to_owned();
        let about = About {
            commit: text("1a2b3c4d5e6f00112233445566778899aabbccdd"),
            short: text("1a2b3c4d5e6f"),
            author: text("A U Thor <author@example.com>"),
            date: text("2026-11-26T15:00:00+00:00"),
            subject: text("driver: count `faster`"),
            files: vec![text("driver/count.c"), text("driver/count.h")],
        };
        let skipped = Skipped {
            commit: text("0f1e2d3c4b5a"),
            subject: text("driver: rework"),
            why: text("build-failed: failed to build the module in driver"),
        };
        Report {
            scenario: text("scenarios/count.yaml"),
            commits: vec![about],
            odds: 0.99941,
            certain: true,
            proof: text("proven on fresh builds of the commit and its parents"),
            before: text("pass"),
            after: text("splat: WARNING in count_add"),
            seen: 7,
            missed: 2,
            all: 40,
            matter: 12,
            builds: 8,
            runs: 25,
            seconds: 130.0,
            skipped: vec![skipped],
            revert: Some(text("the fault is gone (3 runs)")),
            fixes: Some(text("Fixes: 1a2b3c4d5e6f (\"driver: count `faster`\")")),
            command: text("vmm bisect --modules driver --good v1 scenarios/count.yaml"),
            ..Report::default()
        }
    }

    #[test]
    fn reports_are_as_people_know_them() {
        insta::assert_snapshot!("text", report().text());
        insta::assert_snapshot!("markdown", report().markdown());
        let mut several = report();
        several.commits.push(About { short: "2b".into(), subject: "driver: fix".into(), ..About::default() });
        several.fixes = None;
        insta::assert_snapshot!("several", several.text());
        let suspect = Report {
            certain: false,
            odds: 0.7,
            proof: "not proven: 0f1e2d3c4b5a driver: rework can't be judged".to_owned(),
            notes: vec!["it is a shallow clone".to_owned()],
            fixes: None,
            ..report()
        };
        insta::assert_snapshot!("suspect", suspect.text());
        assert_eq!(serde_json::to_value(report()).unwrap()["commits"][0]["short"], "1a2b3c4d5e6f");
    }
}
