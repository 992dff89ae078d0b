//! Several cases at once, told as if they had been run one after the other.

use super::{Case, Policy, Quarantine, Ran, attempt};
use crate::Session;
use base::progress;
use judge::{Judged, LeftOut};
use report::{Reporter, Reporters};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// So many bytes wait to be told of what guests make as often as they like. A case may wait for its turn as long as those
/// before it run, and for whoever reads what is told.
const ROOM: usize = 64 << 20;

/// How much of that waits, of which case.
#[derive(Default)]
struct Waiting {
    of: BTreeMap<usize, usize>,
    all: usize,
}

impl Waiting {
    /// Whether there is room for more of a case. None takes more than it leaves to the others.
    fn takes(&mut self, index: usize, bytes: usize) -> bool {
        let own = self.of.entry(index).or_default();
        let fits = *own + bytes <= ROOM.saturating_sub(self.all);
        if fits {
            *own += bytes;
            self.all += bytes;
        }
        fits
    }

    /// So much of it was told.
    fn told(&mut self, index: usize, bytes: usize) {
        if let Some(own) = self.of.get_mut(&index) {
            *own -= bytes;
            self.all -= bytes;
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a case has to say.
enum Word {
    Judged(Box<Judged>),
    /// The last one.
    Ran(Option<Box<Ran>>),
}

/// Passes on what happens in a case, without waiting for anybody: a guest's time would go by.
struct Forward {
    index: usize,
    to: mpsc::Sender<(usize, Word)>,
    waiting: Arc<Mutex<Waiting>>,
    /// What there was no room for since the last word.
    left_out: LeftOut,
}

impl Forward {
    fn new(index: usize, to: &mpsc::Sender<(usize, Word)>, waiting: &Arc<Mutex<Waiting>>) -> Self {
        Self { index, to: to.clone(), waiting: waiting.clone(), left_out: LeftOut::default() }
    }

    fn say(&self, judged: Judged) {
        // Whoever listens does so to the end.
        let _ = self.to.send((self.index, Word::Judged(Box::new(judged))));
    }
}

impl Reporter for Forward {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        match judged.bulk() {
            // What is left out is one piece.
            Some(bytes) if !self.left_out.is_nothing() || !lock(&self.waiting).takes(self.index, bytes) => {
                self.left_out.count(judged);
            }
            Some(_) => self.say(judged.clone()),
            None => {
                let left_out = std::mem::take(&mut self.left_out);
                if !left_out.is_nothing() {
                    self.say(Judged::LeftOut(left_out));
                }
                self.say(judged.clone());
            }
        }
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
    let waiting = Arc::<Mutex<Waiting>>::default();
    thread::scope(|scope| {
        for mut session in sessions {
            let (to, waiting, next, over) = (to.clone(), waiting.clone(), &next, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    let mut reporters = Reporters::default();
                    reporters.add(Forward::new(index, &to, &waiting));
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
        in_order(from, |index, word| match word {
            Word::Judged(judged) => {
                reporters.tell(&judged);
                judged.bulk().into_iter().for_each(|bytes| lock(&waiting).told(index, bytes));
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
    fn a_flood_that_waits_leaves_room_for_others_and_it_is_said_what_was_left_out() {
        let (to, from) = mpsc::channel();
        let waiting = Arc::<Mutex<Waiting>>::default();
        let case = |index| Forward::new(index, &to, &waiting);
        let console = Judged::Console(vec![b'x'; 1 << 20]);
        let (mut flood, mut other) = (case(1), case(2));
        (0..ROOM >> 20).for_each(|_| flood.event(&console).unwrap());
        other.event(&console).unwrap();
        [&mut flood, &mut other].into_iter().for_each(|case| case.event(&Judged::StepBegan(0)).unwrap());
        let mut told = BTreeMap::<usize, Vec<Judged>>::new();
        for (index, word) in from.try_iter() {
            let Word::Judged(judged) = word else { panic!("nobody has run") };
            told.entry(index).or_default().push(*judged);
        }
        assert_eq!(told[&2], [console.clone(), Judged::StepBegan(0)]);
        let [kept @ .., Judged::LeftOut(left_out), Judged::StepBegan(0)] = &told[&1][..] else {
            panic!("{} words", told[&1].len())
        };
        assert!(kept.len() <= ROOM >> 21, "{}", kept.len());
        let whole = (kept.len() << 20) as u64 + left_out.console_bytes;
        assert_eq!(whole, ROOM as u64);
        // What was told makes room.
        kept.iter().for_each(|judged| lock(&waiting).told(1, judged.bulk().unwrap()));
        flood.event(&console).unwrap();
        assert_eq!(from.try_iter().count(), 1);
    }

    #[test]
    fn what_waits_for_one_that_never_ends_is_not_lost() {
        assert_eq!(told(&[(0, "a"), (1, "end")]), [(0, "a"), (1, "end")]);
    }
}
