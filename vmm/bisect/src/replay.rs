//! The log of `git bisect`, read and written, so that git and vmm can take over from one another.

use crate::{
    search::{Observation, Seen},
    state::{Asked, Entry},
};
use std::collections::BTreeMap;
use thiserror::Error;

/// A log that makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line} of the log of `git bisect` makes no sense: {text}")]
pub struct LogError {
    line: usize,
    text: String,
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

/// Reads what `git bisect log` prints.
///
/// # Errors
/// See [`LogError`].
pub fn read(log: &str) -> Result<Told, LogError> {
    let mut told = Told::default();
    let (mut new, mut old) = ("bad".to_owned(), "good".to_owned());
    for (at, line) in log.lines().enumerate() {
        let wrong = || LogError { line: at + 1, text: line.to_owned() };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let rest = line.strip_prefix("git bisect ").or_else(|| line.strip_prefix("git-bisect "));
        let mut words = rest.ok_or_else(wrong)?.split_whitespace().map(|word| word.trim_matches('\''));
        let verb = words.next().ok_or_else(wrong)?;
        let words: Vec<String> = words.map(str::to_owned).collect();
        match verb {
            "start" => {
                let mut revisions = Vec::new();
                let mut words = words.into_iter().take_while(|word| word != "--").peekable();
                while let Some(word) = words.next() {
                    let mut value = |name: &str| match word.split_once('=') {
                        Some((option, value)) if option == name => Some(value.to_owned()),
                        _ => (word == name).then(|| words.next()).flatten(),
                    };
                    if let Some(term) = value("--term-new").or_else(|| value("--term-bad")) {
                        new = term;
                    } else if let Some(term) = value("--term-old").or_else(|| value("--term-good")) {
                        old = term;
                    } else if !word.starts_with("--") {
                        revisions.push(word);
                    }
                }
                let mut revisions = revisions.into_iter();
                told.new.extend(revisions.next());
                told.old.extend(revisions);
            }
            "terms" => {}
            "skip" => told.skipped.extend(words),
            _ if verb == new || verb == "bad" || verb == "new" => told.new.extend(words),
            _ if verb == old || verb == "good" || verb == "old" => told.old.extend(words),
            _ => return Err(wrong()),
        }
    }
    // The words of the change decide; git itself knows only old and new.
    told.fixed = new != "bad" && (new.starts_with("fix") || old == "bad" || old == "broken");
    Ok(told)
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
        assert_eq!(read("git bisect start\n\nnonsense\n").unwrap_err().line, 3);
        assert!(read("git bisect frobnicate aaa").is_err());
    }
}
