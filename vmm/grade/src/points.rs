//! Points, in hundredths, so that adding them up makes no errors.

use serde::{Deserialize, Serialize};
use std::{fmt, iter::Sum, ops::Add};

/// Points, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Points(u32);

impl Points {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// The most that one thing can be worth.
    pub const MOST: Self = Self(1_000_000);

    /// Reads `5`, `2.5` or `0.25`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('-') {
            return Err("they can't be negative");
        }
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return Err("they are no number");
        }
        if part.len() > 2 {
            return Err("they have more than two decimals");
        }
        let whole: u32 = whole.parse().map_err(|_| "they are too many")?;
        let part: u32 = format!("{part:0<2}").parse().map_err(|_| "they are no number")?;
        let points = whole.checked_mul(100).and_then(|whole| whole.checked_add(part)).map(Self);
        points.filter(|points| *points <= Self::MOST).ok_or("they are too many")
    }

    /// Without these, and never below none.
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times these.
    pub fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// As a number for JSON.
    pub fn number(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// How much of `of` these are, from 0 to 100; all, if there was nothing to have.
    pub fn percent(self, of: Self) -> u32 {
        match of.0 {
            0 => 100,
            of => (u64::from(self.0) * 100 / u64::from(of)).min(100) as u32,
        }
    }
}

impl Add for Points {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Points {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::NONE, Add::add)
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => f.pad(&whole.to_string()),
            (part, 0) => f.pad(&format!("{whole}.{}", part / 10)),
            (part, _) => f.pad(&format!("{whole}.{part:02}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_and_written_alike_and_nonsense_is_refused() {
        for text in ["0", "5", "2.5", "0.25", "10000"] {
            assert_eq!(Points::parse(text).unwrap().to_string(), text);
        }
        for (text, why) in [
            ("-1", "negative"),
            ("-0", "negative"),
            ("many", "no number"),
            ("", "no number"),
            ("1e3", "no number"),
            (".5", "no number"),
            ("nan", "no number"),
            ("inf", "no number"),
            ("1.234", "decimals"),
            ("10001", "too many"),
            ("99999999999", "too many"),
        ] {
            assert!(Points::parse(text).unwrap_err().contains(why), "{text}");
        }
        assert_eq!(Points::parse("1").unwrap().less(Points::MOST), Points::NONE);
    }
}
