//! The commits between the ends of a search, and who comes from whom.

use std::collections::HashMap;

/// A commit, or whatever else stands in its place: a patch of a series, a symbol of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its name: a whole hash, for git.
    pub id: String,
    /// Places of its parents in the history, the first parent first. Parents outside of the range are the old end.
    pub parents: Vec<usize>,
    /// The names of its parents as they are, also of those that are outside of the range or count as one with another.
    pub own_parents: Vec<String>,
}

/// The commits of a range: parents before children, the old end (all that is outside) first, the new end last.
#[derive(Clone, Debug)]
pub struct History {
    commits: Vec<Commit>,
    places: HashMap<String, usize>,
}

/// A set of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set(Vec<u64>);

impl Set {
    pub fn contains(&self, commit: usize) -> bool {
        self.0[commit / 64] >> (commit % 64) & 1 == 1
    }

    fn insert(&mut self, commit: usize) -> bool {
        let (word, bit) = (&mut self.0[commit / 64], 1 << (commit % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

impl History {
    /// The old end.
    pub const OLD: usize = 0;

    /// A history of the old end and these commits, given as name and parents' names; parents come before children, and the
    /// new end is the last. Parents that are not among them count as the old end.
    pub fn new(old: &str, commits: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let first = Commit { id: old.to_owned(), parents: Vec::new(), own_parents: Vec::new() };
        let mut history = Self { commits: vec![first], places: HashMap::from([(old.to_owned(), Self::OLD)]) };
        for (id, own_parents) in commits {
            let mut parents: Vec<usize> = own_parents.iter().map(|parent| history.place(parent)).collect();
            if parents.is_empty() {
                // A root commit is as old as can be.
                parents.push(Self::OLD);
            }
            history.places.insert(id.clone(), history.commits.len());
            history.commits.push(Commit { id, parents, own_parents });
        }
        history
    }

    /// A history without branches.
    pub fn line(ids: impl IntoIterator<Item = String>) -> Self {
        let mut ids = ids.into_iter();
        let old = ids.next().unwrap_or_default();
        let mut before = old.clone();
        let pairs: Vec<_> = ids
            .map(|id| {
                let parent = std::mem::replace(&mut before, id.clone());
                (id, vec![parent])
            })
            .collect();
        Self::new(&old, pairs)
    }

    /// The same with every commit for which `same` holds counted as one with its parent. Merges stay.
    pub fn collapse(&self, same: impl Fn(&str) -> bool) -> Self {
        let mut stands_for: Vec<usize> = (0..self.commits.len()).collect();
        let (mut commits, mut places) = (vec![self.commits[Self::OLD].clone()], self.places.clone());
        let mut new_place = vec![Self::OLD; self.commits.len()];
        for (place, commit) in self.commits.iter().enumerate().skip(1) {
            match commit.parents[..] {
                [parent] if same(&commit.id) => stands_for[place] = stands_for[parent],
                _ => {
                    let parents = commit.parents.iter().map(|it| new_place[stands_for[*it]]).collect();
                    new_place[place] = commits.len();
                    commits.push(Commit { parents, ..commit.clone() });
                }
            }
        }
        for (id, place) in &self.places {
            places.insert(id.clone(), new_place[stands_for[*place]]);
        }
        Self { commits, places }
    }

    /// Where a commit is; what is not in the range is at the old end.
    pub fn place(&self, id: &str) -> usize {
        self.places.get(id).copied().unwrap_or(Self::OLD)
    }

    /// Whether this name is one of the range's, or the old end's.
    pub fn knows(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// Whether what was seen of this name says something of the range: it is one of its, or one of its commits comes from it.
    pub fn concerns(&self, id: &str) -> bool {
        self.knows(id) || self.commits.iter().any(|commit| commit.own_parents.iter().any(|it| it == id))
    }

    /// The commit there.
    pub fn commit(&self, place: usize) -> &Commit {
        &self.commits[place]
    }

    /// The new end.
    pub fn new_end(&self) -> usize {
        self.commits.len() - 1
    }

    /// So many, the old end among them; never 0.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// A commit with all that it comes from.
    pub(crate) fn reach(&self, commit: usize) -> Set {
        let mut set = Set(vec![0; self.commits.len().div_ceil(64)]);
        self.add_reach(&mut set, commit, |_| ());
        set
    }

    /// Adds a commit and all that it comes from, and tells of each that is new.
    pub(crate) fn add_reach(&self, set: &mut Set, commit: usize, mut new: impl FnMut(usize)) {
        let mut todo = vec![commit];
        while let Some(commit) = todo.pop() {
            if set.insert(commit) {
                new(commit);
                todo.extend(&self.commits[commit].parents);
            }
        }
    }

    pub(crate) fn empty_set(&self) -> Set {
        Set(vec![0; self.commits.len().div_ceil(64)])
    }

    /// A commit, its first parent, that one's first parent, and so on to the old end.
    pub(crate) fn first_parents(&self, commit: usize) -> Vec<usize> {
        let next = |place: &usize| self.commits[*place].parents.first().copied();
        std::iter::successors(Some(commit), next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(list: &[(&str, &[&str])]) -> History {
        let owned = list.iter().map(|(id, parents)| {
            ((*id).to_owned(), parents.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        });
        History::new("old", owned)
    }

    #[test]
    fn what_is_outside_is_the_old_end() {
        let history = named(&[("a", &["old"]), ("b", &["elsewhere"]), ("m", &["a", "b"])]);
        assert_eq!(history.commit(2).parents, [History::OLD]);
        assert_eq!(history.commit(2).own_parents, ["elsewhere"]);
        assert_eq!(history.first_parents(3), [3, 1, 0]);
        assert!((0..4).all(|it| history.reach(3).contains(it)));
        assert!(!history.reach(1).contains(2));
        assert!(history.concerns("elsewhere") && !history.concerns("nowhere"), "only the one is a parent");
    }

    #[test]
    fn commits_that_change_nothing_count_as_their_parents() {
        let history = named(&[
            ("a", &["old"]),
            ("doc", &["a"]),
            ("side", &["a"]),
            ("m", &["doc", "side"]),
            ("b", &["m"]),
        ]);
        let less = history.collapse(|id| ["doc", "b", "m"].contains(&id));
        assert_eq!(less.len(), 4, "the merge stays");
        assert_eq!(less.place("doc"), less.place("a"));
        assert_eq!(less.place("b"), less.place("m"));
        assert_eq!(less.commit(less.place("m")).parents, [less.place("a"), less.place("side")]);
    }
}
