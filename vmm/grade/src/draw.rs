//! Test data that is another one for each student, and the same whenever that student is graded.

use sha2::{Digest, Sha256};

/// Letters that look like no others, so that a student can read what was expected.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

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

/// So many letters and digits.
pub fn text(seed: &str, student: &str, name: &str, length: usize) -> String {
    let letter = |number: u64| char::from(LETTERS[(number % LETTERS.len() as u64) as usize]);
    numbers(seed, student, name).take(length).map(letter).collect()
}

/// A number from `low` to `high`, both included.
pub fn int(seed: &str, student: &str, name: &str, low: i64, high: i64) -> i64 {
    let span = i128::from(high) - i128::from(low) + 1;
    let number = numbers(seed, student, name).next().unwrap_or_default();
    (i128::from(low) + i128::from(number).rem_euclid(span)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_student_has_data_of_its_own_and_keeps_it() {
        let of = |student| text("seed", student, "greeting", 12);
        assert_eq!((of("s1"), of("s1").len()), (of("s1"), 12));
        assert_ne!(of("s1"), of("s2"));
        assert_ne!(of("s1"), text("seed", "s1", "other", 12));
        assert_ne!(of("s1"), text("another", "s1", "greeting", 12));
        let all: Vec<i64> = (0..200).map(|it| int("seed", &it.to_string(), "major", -2, 2)).collect();
        assert!((-2..=2).all(|wanted| all.contains(&wanted)) && all.iter().all(|it| (-2..=2).contains(it)));
        int("seed", "s", "all", i64::MIN, i64::MAX);
    }
}
