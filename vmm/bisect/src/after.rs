//! What follows an answer: whether a symbol is enough by itself, and what there is without the culprit. Whatever becomes of it, the answer stays.

use crate::{
    command::{Request, Say},
    drive::{Build, Start, Tried, tried},
    git::GitError,
    outcome::{Ended, Outcome},
    range::{Range, first_line, input},
    report::Report,
    runner::RealRunner,
    search::{Seen, WrongEnds},
    state::{Asked, State},
    subject::Subject,
};
use harness::Abort;
use kernel::sources::hex;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// An answer, and what is needed to ask further.
pub(crate) struct After<'a> {
    pub range: &'a Range,
    pub found: &'a Outcome,
    pub request: &'a Request,
    pub runner: &'a mut RealRunner,
    pub say: Say<'a>,
}

impl After<'_> {
    /// Asks what there is to ask, and adds it to the report.
    ///
    /// # Errors
    /// Why something is not known; the report says what.
    pub fn answer(&mut self, path: &Path, asked: &Asked, report: &mut Report) -> Result<(), Abort> {
        if let Subject::Config { without, lines, .. } = &self.range.subject {
            let all = (without.as_str(), lines.clone());
            self.together(all, path, asked, report).inspect_err(|abort| {
                let why = first_line(&abort.why);
                report.notes.push(format!("whether that is enough by itself is not known: {why}"));
                report.certain = false;
            })?;
        }
        if let ([culprit], true) = (&report.commits[..], self.request.revert) {
            let culprit = culprit.commit.clone();
            let reverted = self.revert(&culprit);
            report.revert = Some(match &reverted {
                Ok(text) => text.clone(),
                Err(abort) => format!("not known: {}", first_line(&abort.why)),
            });
            reverted?;
        }
        Ok(())
    }

    /// A symbol alone may not be enough: others that stand before it may have to be there as well. So those are searched with it, until
    /// what was found makes the fault by itself.
    fn together(
        &mut self,
        (without, mut lines): (&str, Vec<String>),
        path: &Path,
        asked: &Asked,
        report: &mut Report,
    ) -> Result<(), Abort> {
        let line = |found: &Outcome| match found.commits[..] {
            [one] => Some(found.search.history().commit(one).id.clone()),
            _ => None,
        };
        let (mut always, mut next) = (Vec::new(), line(self.found));
        while let Some(culprit) = next.take() {
            lines.truncate(lines.iter().position(|line| *line == culprit).unwrap_or(0));
            always.push(culprit);
            let Some(last) = lines.last() else { break };
            let subject =
                Subject::Config { without: without.to_owned(), always: always.clone(), lines: lines.clone() };
            let range = Range { new: last.clone(), subject: subject.clone(), ..self.range.clone() };
            self.runner.turn_to(subject);
            (self.say)(&format!("together   is {} enough?", always.join(" with ")));
            let state = State::open(&with(path, &always), asked)?;
            match range.search(self.request, state, self.runner, self.say)? {
                Ended::Found(more) => {
                    next = line(&more);
                    report.join(more.report(&range, &self.runner.scenario, self.request));
                }
                Ended::Wrong(wrong, old) => {
                    if let Some(note) = not_enough(&range, &wrong, &old) {
                        report.notes.push(note);
                        report.certain = false;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs the newest commit without the culprit.
    fn revert(&mut self, culprit: &str) -> Result<String, Abort> {
        let Some(repository) = &self.range.repository else {
            return Ok("only commits can be reverted".to_owned());
        };
        let objects = self.runner.places.work.join("objects");
        let (with, tree) = match repository.reverted(&self.range.new, culprit, &objects) {
            Ok(reverted) => reverted,
            Err(GitError::Input(why)) => return Ok(format!("can't be: {why}")),
            Err(error) => return Err(input(error)),
        };
        self.runner.turn_to(match &self.range.subject {
            Subject::Kernel(_) => Subject::Kernel(with),
            _ => Subject::Modules(with),
        });
        let Outcome { search, state, known, commits, .. } = self.found;
        let runs = search.convincing(commits[0]);
        let booted = state.entries.iter().any(|entry| entry.booted);
        let start = if booted { Start::Boot } else { Start::Saved };
        let say = &mut self.say;
        let mut again = |why: &str| say(&format!("again      this machine's fault: {}", first_line(why)));
        for _ in 0..runs {
            let run = (&*tree, Build::Fresh, start);
            let tried = tried(self.runner, run, &self.request.rule, known.as_ref(), &mut again);
            let Tried { seen, ran, .. } = tried.map_err(|stop| self.range.stopped(stop, state))?;
            match seen {
                Seen::Clean => {}
                Seen::Fault => return Ok("the fault is still there".to_owned()),
                _ => return Ok(format!("something else is wrong: {}", ran.sign.line())),
            }
        }
        Ok(format!("the fault is gone ({runs} runs)"))
    }
}

/// The state of a search in which these symbols are always there.
fn with(path: &Path, always: &[String]) -> PathBuf {
    path.with_extension(format!("with-{}", &hex(Sha256::digest(always.join("\n")))[..8]))
}

/// Why it is not known whether what was found is enough; nothing if it is: then the fault is there without any of the others.
fn not_enough(range: &Range, wrong: &WrongEnds, old: &str) -> Option<String> {
    (*wrong != WrongEnds::Both)
        .then(|| format!("whether that is enough by itself is not known: {}", range.wrong(wrong, old).why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The symbols that were found first may be others when it is asked again with more confidence.
    #[test]
    fn a_search_with_other_symbols_has_another_state() {
        let of = |always: &[&str]| {
            let always: Vec<String> = always.iter().map(|it| (*it).to_owned()).collect();
            with(Path::new("/c/5c4aea69d53f"), &always)
        };
        assert!(of(&["CONFIG_A=y"]).display().to_string().starts_with("/c/5c4aea69d53f.with-"));
        assert_ne!(of(&["CONFIG_A=y"]), of(&["CONFIG_B=y"]));
        assert_ne!(of(&["CONFIG_A=y"]), of(&["CONFIG_A=y", "CONFIG_B=y"]));
    }

    #[test]
    fn only_the_fault_without_all_others_means_that_it_is_enough() {
        let range = Range::of_lines(&["CONFIG_A=y", "CONFIG_B=y"]);
        let of = |wrong: WrongEnds| not_enough(&range, &wrong, "the good configuration");
        assert_eq!(of(WrongEnds::Both), None);
        let untestable = WrongEnds::Untestable("CONFIG_A=y".into(), "it does not build".into());
        for (wrong, why) in [
            (WrongEnds::NotThere(25), "25 runs there showed nothing"),
            (WrongEnds::Swapped, "have they been swapped"),
            (untestable, "CONFIG_A=y: it does not build"),
        ] {
            let note = of(wrong).unwrap();
            assert!(note.contains("not known") && note.contains(why), "{note}");
        }
    }
}
