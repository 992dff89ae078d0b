//! Values that are drawn: other ones at each run, or for each student, so that nothing under test can know them.

use super::node::Node;
use super::reader::{Fields, Reader};
use base::diagnostic::Diagnostic;
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// So many letters and digits.
    Text(usize),
    /// A number from the first to the last, both included.
    Int(i64, i64),
}

/// Letters that look like no others, so that people can read what was expected.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

impl Draw {
    /// The fields of a map that says to draw this.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Text(_) => &["length"],
            Self::Int(..) => &["at-least", "at-most"],
        }
    }

    /// What a parameter says that is to be drawn; `what` is the value of its `draw`.
    pub fn read(reader: &mut Reader<'_>, what: &Node, fields: &mut Fields<'_>) -> Option<Self> {
        match reader.choice(what, "what to draw", &[("text", true), ("int", false)])? {
            true => {
                let length = fields.take("length").map_or(Some(12), |it| reader.int(it, "`length`", 1, 4096));
                Some(Self::Text(length? as usize))
            }
            false => {
                let mut bound = |name| {
                    let node = fields.need(reader, name)?;
                    reader.int(node, name, i64::MIN.into(), i64::MAX.into()).map(|number| number as i64)
                };
                let (low, high) = (bound("at-least"), bound("at-most"));
                if low? > high? {
                    return reader.error(Diagnostic::new(&what.span, "there is no such number"));
                }
                Some(Self::Int(low?, high?))
            }
        }
    }

    /// A value that is always the same for this seed, student and name, and another one for any other.
    pub fn value(self, seed: &str, student: &str, name: &str) -> String {
        let mut numbers = numbers(seed, student, name);
        match self {
            Self::Text(length) => {
                let letter = |number: u64| char::from(LETTERS[(number % LETTERS.len() as u64) as usize]);
                numbers.take(length).map(letter).collect()
            }
            Self::Int(low, high) => {
                let span = i128::from(high) - i128::from(low) + 1;
                let number = numbers.next().unwrap_or_default();
                (i128::from(low) + i128::from(number).rem_euclid(span)).to_string()
            }
        }
    }

    /// A value that nobody can know before.
    pub fn anew(self, name: &str) -> String {
        // Two keys of the system's, 128 bits.
        let seed = RandomState::new().hash_one(0);
        let more = RandomState::new().hash_one(1);
        self.value(&format!("{seed:x}{more:x}"), "", name)
    }
}

/// Endless numbers from a seed, a student's name and what they are for.
fn numbers(seed: &str, student: &str, name: &str) -> impl Iterator<Item = u64> {
    let begin = format!("{}:{seed}{}:{student}{name}", seed.len(), student.len());
    (0_u64..).map(move |count| {
        let mut digest = Sha256::new();
        digest.update(begin.as_bytes());
        digest.update(count.to_le_bytes());
        let hash = digest.finalize();
        u64::from_le_bytes(std::array::from_fn(|index| hash[index]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_student_has_data_of_its_own_and_keeps_it() {
        let text = |seed, student, name| Draw::Text(12).value(seed, student, name);
        let of = |student| text("seed", student, "greeting");
        assert_eq!((of("s1"), of("s1").len()), (of("s1"), 12));
        assert_ne!(of("s1"), of("s2"));
        assert_ne!(of("s1"), text("seed", "s1", "other"));
        assert_ne!(of("s1"), text("another", "s1", "greeting"));
        let int = |student: i32| Draw::Int(-2, 2).value("seed", &student.to_string(), "major");
        let all: Vec<i64> = (0..200).map(|student| int(student).parse().unwrap()).collect();
        assert!((-2..=2).all(|wanted| all.contains(&wanted)) && all.iter().all(|it| (-2..=2).contains(it)));
        let any: Result<i64, _> = Draw::Int(i64::MIN, i64::MAX).value("seed", "s", "all").parse();
        any.unwrap();
    }

    #[test]
    fn what_is_drawn_anew_is_another_one_each_time() {
        let all: std::collections::BTreeSet<String> = (0..50).map(|_| Draw::Text(12).anew("word")).collect();
        assert_eq!(all.len(), 50);
    }
}
