//! The log of `git bisect`, read and written, so that git and vmm can take over from one another.

use crate::{
    belief::faulty,
    history::History,
    search::{Observation, Seen},
    state::{Asked, Entry},
};
use std::collections::BTreeMap;
use thiserror::Error;

/// A log that can't be gone on from.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LogError {
    /// It is none.
    #[error("line {line} of the log of `git bisect` makes no sense: {text}")]
    Nonsense {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A revision by a name that has moved since: `git bisect` checks out one commit after the other.
    #[error(
        "line {line} of the log of `git bisect` says `{revision}`, which is another commit by now; write the commit's hash there"
    )]
    Moves {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        revision: String,
    },
}

/// What a log says: revisions as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Those with the change: bad ones. The last is the newest.
    pub new: Vec<String>,
    /// Those without.
    pub old: Vec<String>,
    /// Those that can't be judged.
    pub skipped: Vec<String>,
    /// The change is a mending.
    pub fixed: bool,
}

/// Whether a revision goes by where the work tree is: `HEAD`, `HEAD~4`, `@`, `@{1}`.
fn moves(revision: &str) -> bool {
    let rest = revision.strip_prefix("HEAD").or_else(|| revision.strip_prefix('@'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['~', '^', '@', '{']))
}

/// The hash in a comment such as `# bad: [HASH] subject`.
fn commented(line: &str) -> Option<(&str, &str)> {
    let (term, rest) = line.strip_prefix("# ")?.split_once(": [")?;
    let is_hash = |hash: &&str| hash.len() >= 40 && hash.chars().all(|c| c.is_ascii_hexdigit());
    let hash = rest.split(']').next().filter(is_hash)?;
    // `# first bad commit: [HASH]` is an answer.
    (!term.contains(' ')).then_some((term, hash))
}

/// A log as it is read.
struct Log {
    told: Told,
    /// What git calls a commit with the change, and one without.
    terms: [String; 2],
    /// What stands in the comments above the next command.
    commented: Vec<(String, String)>,
}

impl Log {
    /// The hashes that git wrote above a command, with its words for them; where it wrote none, what was typed.
    fn revisions(&mut self, line: usize, typed: Vec<(String, String)>) -> Result<(), LogError> {
        let commented = std::mem::take(&mut self.commented);
        let revisions = if commented.len() == typed.len() { commented } else { typed };
        for (term, revision) in revisions {
            if moves(&revision) {
                return Err(LogError::Moves { line, revision });
            }
            match &*term {
                "skip" => self.told.skipped.push(revision),
                term if term == self.terms[0] || term == "bad" || term == "new" => {
                    self.told.new.push(revision);
                }
                _ => self.told.old.push(revision),
            }
        }
        Ok(())
    }

    /// `git bisect start` with its options and revisions: the first one has the change.
    fn start(&mut self, words: Vec<String>) -> Vec<(String, String)> {
        let mut revisions = Vec::new();
        let mut words = words.into_iter().take_while(|word| word != "--").peekable();
        while let Some(word) = words.next() {
            let mut value = |name: &str| match word.split_once('=') {
                Some((option, value)) if option == name => Some(value.to_owned()),
                _ => (word == name).then(|| words.next()).flatten(),
            };
            if let Some(term) = value("--term-new").or_else(|| value("--term-bad")) {
                self.terms[0] = term;
            } else if let Some(term) = value("--term-old").or_else(|| value("--term-good")) {
                self.terms[1] = term;
            } else if !word.starts_with("--") {
                revisions.push(word);
            }
        }
        let terms = &self.terms;
        let term = |at: usize| terms[usize::from(at > 0)].clone();
        revisions.into_iter().enumerate().map(|(at, revision)| (term(at), revision)).collect()
    }
}

/// Reads what `git bisect log` prints.
///
/// # Errors
/// See [`LogError`].
pub fn read(log: &str) -> Result<Told, LogError> {
    let terms = ["bad", "good"].map(str::to_owned);
    let mut read = Log { told: Told::default(), terms, commented: Vec::new() };
    for (at, line) in log.lines().enumerate() {
        let wrong = || LogError::Nonsense { line: at + 1, text: line.to_owned() };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            read.commented.extend(commented(line).map(|(term, hash)| (term.to_owned(), hash.to_owned())));
            continue;
        }
        let rest = line.strip_prefix("git bisect ").or_else(|| line.strip_prefix("git-bisect "));
        let mut words = rest.ok_or_else(wrong)?.split_whitespace().map(|word| word.trim_matches('\''));
        let verb = words.next().ok_or_else(wrong)?;
        let words: Vec<String> = words.map(str::to_owned).collect();
        let typed = match verb {
            "start" => read.start(words),
            "terms" => Vec::new(),
            _ if ["skip", "bad", "new", "good", "old"].contains(&verb)
                || read.terms.iter().any(|it| it == verb) =>
            {
                words.into_iter().map(|word| (verb.to_owned(), word)).collect()
            }
            _ => return Err(wrong()),
        };
        read.revisions(at + 1, typed)?;
    }
    let Log { mut told, terms: [new, old], .. } = read;
    // The words of the change decide; git itself knows only old and new.
    told.fixed = new != "bad" && (new.starts_with("fix") || old == "bad" || old == "broken");
    Ok(told)
}

/// Two commits of which it can't be true what was said or seen: the first is without the change, and comes from the second, which has it.
/// Only what somebody said of one of them is held against the other: runs are weighed by the search.
pub(crate) fn contradiction(history: &History, entries: &[Entry], fixed: bool) -> Option<[String; 2]> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for Entry { observation: Observation { commit, seen, .. }, .. } in entries {
        let (has_fault, is_told) = match seen {
            Seen::ToldFaulty => (true, true),
            Seen::Fault => (true, false),
            Seen::ToldClean => (false, true),
            _ => continue,
        };
        if history.knows(commit) {
            let list = if faulty(true, fixed) == has_fault { &mut with } else { &mut without };
            list.push((commit, is_told));
        }
    }
    let clash = |(clean, is_told): &(&String, bool)| {
        let reach = history.reach(history.place(clean));
        let other =
            with.iter().find(|(id, told)| (*is_told || *told) && reach.contains(history.place(id)))?;
        Some([(*clean).clone(), other.0.clone()])
    };
    without.iter().find_map(clash)
}

/// What a commit came to, all runs taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Skip,
    Clean,
    Faulty,
}

/// What `git bisect replay` reads.
pub fn write(asked: &Asked, entries: &[Entry]) -> String {
    let mut words: BTreeMap<&str, Word> = BTreeMap::new();
    let mut order = Vec::new();
    for Entry { observation: Observation { commit, seen, .. }, .. } in entries {
        let word = match seen {
            Seen::Fault | Seen::ToldFaulty => Word::Faulty,
            Seen::Clean | Seen::ToldClean => Word::Clean,
            Seen::Other(_) | Seen::Untestable(_) | Seen::ToldSkip => Word::Skip,
        };
        let known = words.entry(commit).or_insert_with(|| {
            order.push(commit.as_str());
            word
        });
        *known = word.max(*known);
    }
    let terms = if asked.fixed { ("fixed", "broken") } else { ("bad", "good") };
    let mut text = match asked.fixed {
        true => "git bisect start '--term-new=fixed' '--term-old=broken'\n".to_owned(),
        false => "git bisect start\n".to_owned(),
    };
    for commit in order {
        let word = match (words[commit], asked.fixed) {
            (Word::Skip, _) => "skip",
            (Word::Faulty, false) | (Word::Clean, true) => terms.0,
            (Word::Clean, false) | (Word::Faulty, true) => terms.1,
        };
        text += &format!("git bisect {word} {commit}\n");
    }
    text
}

/// The same as observations.
pub fn observations(told: &Told) -> Vec<Observation> {
    let [new, old] = match told.fixed {
        true => [Seen::ToldClean, Seen::ToldFaulty],
        false => [Seen::ToldFaulty, Seen::ToldClean],
    };
    let all = [(&told.new, new), (&told.old, old), (&told.skipped, Seen::ToldSkip)];
    all.iter()
        .flat_map(|(commits, seen)| {
            commits.iter().map(|commit| Observation {
                commit: commit.clone(),
                seen: seen.clone(),
                fresh: false,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As git 2.47 writes it.
    const LOG: &str = "git bisect start\n# status: waiting for both good and bad commits\n# bad: [aaa] third\ngit bisect bad aaa\n# good: [bbb] first\ngit bisect good bbb\n# skip: [ccc] second\ngit bisect skip ccc\n";

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_git_wrote_is_read() {
        let told = read(LOG).unwrap();
        let wanted = Told { new: words("aaa"), old: words("bbb"), skipped: words("ccc"), fixed: false };
        assert_eq!(told, wanted);
        let short = read("git bisect start 'aaa' 'bbb' 'ddd' '--' 'drivers'\n").unwrap();
        assert_eq!((short.new, short.old), (words("aaa"), words("bbb ddd")));
        let fixed = "git bisect start '--term-new=fixed' '--term-old=broken'\ngit bisect fixed aaa\ngit bisect broken bbb\n";
        assert_eq!(
            read(fixed).unwrap(),
            Told { new: words("aaa"), old: words("bbb"), fixed: true, ..Told::default() }
        );
        let nonsense = LogError::Nonsense { line: 3, text: "nonsense".into() };
        assert_eq!(read("git bisect start\n\nnonsense\n"), Err(nonsense));
        assert!(read("git bisect frobnicate aaa").is_err());
    }

    /// By the time that the log is read, HEAD is another commit.
    #[test]
    fn what_head_was_is_taken_from_gits_comments_or_refused() {
        let [bad, good, first] = ["a", "b", "c"].map(|digit| digit.repeat(40));
        let log = format!(
            "# bad: [{bad}] five: [x]\n# good: [{good}] one\ngit bisect start 'HEAD' 'HEAD~4'\n# first bad commit: [{first}] two\n"
        );
        let told = read(&log).unwrap();
        assert_eq!((told.new, told.old), (vec![bad.clone()], vec![good]));
        let fixed =
            format!("# fixed: [{bad}] x\ngit bisect start '--term-new=fixed' '--term-old=broken' '@'\n");
        let told = read(&fixed).unwrap();
        assert_eq!((told.new, told.old.len(), told.fixed), (vec![bad], 0, true));
        for revision in ["HEAD", "HEAD~4", "@", "@{1}", "HEAD^"] {
            let moves = LogError::Moves { line: 1, revision: revision.to_owned() };
            assert_eq!(read(&format!("git bisect start '{revision}' 'v1'\n")), Err(moves));
        }
        assert!(read("git bisect start 'HEADS' 'v1'\n").is_ok());
    }

    #[test]
    fn what_contradicts_itself_is_found() {
        let history = History::line((0..9).map(|it| it.to_string()));
        let entry = |commit: &str, seen: Seen| {
            Entry::told(Observation { commit: commit.to_owned(), seen, fresh: false })
        };
        let of = |entries: &[Entry], fixed| contradiction(&history, entries, fixed);
        let told = [entry("3", Seen::ToldFaulty), entry("5", Seen::ToldClean), entry("x", Seen::ToldClean)];
        assert_eq!(of(&told, false), Some(["5", "3"].map(str::to_owned)));
        assert_eq!(of(&told, true), None);
        assert_eq!(of(&told[1..], false), None);
        let seen = [entry("3", Seen::Fault), entry("3", Seen::ToldClean)];
        assert_eq!(of(&seen, false), Some(["3", "3"].map(str::to_owned)));
        // A run without the fault contradicts nothing: it may not have shown itself.
        assert_eq!(of(&[entry("3", Seen::ToldFaulty), entry("5", Seen::Clean)], false), None);
    }
}
