//! The end of a session of several runs for a person: what did not pass by its name, a table where there are several kernels,
//! and in the last line how many came to what.

use crate::{
    Reporter,
    record::{Run, Session},
};
use base::text::escape;
use judge::{Began, Judged};
use std::io::{self, Write};

/// Writes it when all is over.
pub struct Summary {
    out: Box<dyn Write + Send>,
    session: Session,
}

impl Summary {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, session: Session::default() }
    }
}

impl Reporter for Summary {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        self.session = Session::planned(all);
        Ok(())
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        self.session.event(judged);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.session.runs.len() != 1 {
            self.out.write_all(text(&self.session).as_bytes())?;
        }
        self.out.flush()
    }
}

/// All of it.
pub fn text(session: &Session) -> String {
    let runs = &session.runs;
    let mut text = "\n".to_owned();
    for run in runs.iter().filter(|run| run.begun && run.word() != "pass") {
        let word = run.word().to_uppercase();
        text += &format!("{word}  {}  ({})\n", escape(&run.title()), escape(&run.path()));
    }
    text += &table(runs);
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for run in runs {
        let word = if run.word() == "not-run" { "not run" } else { run.word() };
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    counts.sort_by_key(|(word, _)| *word == "not run");
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let what = if variants(runs).len() > 1 { "runs" } else { "scenarios" };
    let counts = if counts.is_empty() { "none here".to_owned() } else { counts.join(", ") };
    text + &format!("{} {what}: {counts}\n", runs.len())
}

fn variants(runs: &[Run]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for run in runs {
        if !all.contains(&run.began.variant.as_str()) {
            all.push(&run.began.variant);
        }
    }
    all
}

/// Scenarios by kernels, where there are several.
fn table(runs: &[Run]) -> String {
    let variants = variants(runs);
    if variants.len() < 2 {
        return String::new();
    }
    let mut rows: Vec<(String, &std::path::Path)> = Vec::new();
    for run in runs {
        let row = (escape(&run.began.scenario), &*run.began.path);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let first = width(&mut rows.iter().map(|(name, _)| name.chars().count()));
    let cell = |(name, path): &(String, &std::path::Path), variant: &str| {
        let is = |run: &&Run| run.began.path == *path && escape(&run.began.scenario) == *name;
        let run = runs.iter().filter(is).find(|run| run.began.variant == variant);
        run.map_or("-".to_owned(), |run| match run.word() {
            word @ ("pass" | "not-run") => word.to_owned(),
            word => word.to_uppercase(),
        })
    };
    let columns: Vec<(String, usize)> = variants
        .iter()
        .map(|variant| {
            let head = if variant.is_empty() { "default".to_owned() } else { escape(variant) };
            let cells = width(&mut rows.iter().map(|row| cell(row, variant).len()));
            let wide = cells.max(head.chars().count());
            (head, wide)
        })
        .collect();
    let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> =
            cells.zip(&columns).map(|(cell, (_, wide))| format!("{cell:<wide$}")).collect();
        format!("{}\n", format!("  {name:<first$}  {}", cells.join("  ")).trim_end())
    };
    let mut text = line("", &mut columns.iter().map(|(head, _)| head.clone()));
    for row in &rows {
        text += &line(&row.0, &mut variants.iter().map(|variant| cell(row, variant)));
    }
    text
}
