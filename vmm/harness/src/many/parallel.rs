//! Several cases at once, told as if they had been run one after the other.

use super::{Case, Policy, Quarantine, Ran, attempt};
use crate::Session;
use base::progress;
use judge::Judged;
use report::{Reporter, Reporters};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// What a case has to say.
enum Word {
    Judged(Box<Judged>),
    /// The last one.
    Ran(Option<Box<Ran>>),
}

/// Passes on what happens in a case.
struct Forward {
    index: usize,
    to: mpsc::Sender<(usize, Word)>,
}

impl Reporter for Forward {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        // Whoever listens does so to the end.
        let _ = self.to.send((self.index, Word::Judged(Box::new(judged.clone()))));
        Ok(())
    }
}

/// Each session takes the next case that nobody has taken. The first one that is not over is told as it goes.
pub(super) fn run(
    sessions: Vec<Session>,
    cases: &[Case],
    policy: Policy,
    quarantine: &Quarantine,
    settle: &mut dyn FnMut(Ran, &mut Reporters),
    reporters: &mut Reporters,
) {
    progress::share();
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (to, from) = mpsc::channel();
    thread::scope(|scope| {
        for mut session in sessions {
            let (to, next, over) = (to.clone(), &next, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    let mut reporters = Reporters::default();
                    reporters.add(Forward { index, to: to.clone() });
                    let more = index + 1 < cases.len();
                    let ran = attempt(&mut session, case, policy, quarantine, more, &mut reporters);
                    if ran.as_ref().is_some_and(|ran| ran.settled.is_interrupted()) {
                        over.store(true, Ordering::Relaxed);
                    }
                    let _ = to.send((index, Word::Ran(ran.map(Box::new))));
                }
            });
        }
        drop(to);
        in_order(from, |_, word| match word {
            Word::Judged(judged) => {
                reporters.tell(&judged);
                false
            }
            Word::Ran(ran) => {
                ran.into_iter().for_each(|ran| settle(*ran, reporters));
                true
            }
        });
    });
}

/// Hands out what comes by its number: all of the first one, then all of the second, as early as that can be. `take` says
/// whether it was a number's last word.
fn in_order<T>(from: mpsc::Receiver<(usize, T)>, mut take: impl FnMut(usize, T) -> bool) {
    let mut waiting: BTreeMap<usize, Vec<T>> = BTreeMap::new();
    let mut turn = 0;
    for (index, word) in from {
        waiting.entry(index).or_default().push(word);
        while let Some(words) = waiting.remove(&turn) {
            let mut last = false;
            words.into_iter().for_each(|word| last |= take(turn, word));
            if !last {
                break;
            }
            turn += 1;
        }
    }
    // A number was left out: its thread is no more. What others had to say is told all the same.
    for (index, words) in waiting {
        words.into_iter().for_each(|word| _ = take(index, word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[(usize, &'static str)]) -> Vec<(usize, &'static str)> {
        let (to, from) = mpsc::channel();
        words.iter().for_each(|word| to.send(*word).unwrap());
        drop(to);
        let mut told = Vec::new();
        in_order(from, |index, word| {
            told.push((index, word));
            word == "end"
        });
        told
    }

    #[test]
    fn each_is_told_whole_and_in_its_turn() {
        let words = [(1, "a"), (0, "a"), (2, "a"), (2, "end"), (0, "b"), (1, "end"), (0, "end")];
        let want = [(0, "a"), (0, "b"), (0, "end"), (1, "a"), (1, "end"), (2, "a"), (2, "end")];
        assert_eq!(told(&words), want);
    }

    #[test]
    fn the_first_one_is_told_as_it_goes() {
        let (to, from) = mpsc::channel();
        let (seen, sees) = mpsc::channel();
        thread::spawn(move || in_order(from, |_, word: &str| seen.send(word).is_err()));
        to.send((0, "a")).unwrap();
        assert_eq!(sees.recv(), Ok("a"));
        to.send((1, "b")).unwrap();
        to.send((0, "c")).unwrap();
        assert_eq!(sees.recv(), Ok("c"));
    }

    #[test]
    fn what_waits_for_one_that_never_ends_is_not_lost() {
        assert_eq!(told(&[(0, "a"), (1, "end")]), [(0, "a"), (1, "end")]);
    }
}
