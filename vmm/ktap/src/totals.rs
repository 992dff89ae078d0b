//! Lines that count results, in the forms that there are.

/// Whose results are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Those of the same indentation: kselftest's.
    Same,
    /// The parts of the test whose result comes next: KUnit's.
    Parts,
}

/// What a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub counted: Counted,
    pub passed: u64,
    /// Passed though nobody expected that; whether they say `ok` is not settled.
    pub passed_oddly: u64,
    pub failed: u64,
    pub all: u64,
}

/// What stands behind a `#`: `Totals: pass:1 ...`, `Pass 1 Fail 0 ...`, `suite: pass:1 fail:0 skip:0 total:1`.
pub fn parse(text: &str) -> Option<Totals> {
    if let Some(counts) = text.strip_prefix("Totals:") {
        return sum(counts.split_whitespace().filter_map(|word| word.split_once(':')));
    }
    if let Some(found) = old(text) {
        return Some(found);
    }
    // Such a line may hold any name, but it ends with these four and nothing else.
    let (_, counts) = text.rsplit_once(": pass:")?;
    let words: Vec<_> = counts.split_whitespace().collect();
    let [pass, fail, skip, total] = words.as_slice() else { return None };
    let words = [
        ("pass", *pass),
        ("fail", fail.strip_prefix("fail:")?),
        ("skip", skip.strip_prefix("skip:")?),
        ("total", total.strip_prefix("total:")?),
    ];
    if words.iter().any(|(_, count)| number(count).is_none()) {
        return None;
    }
    sum(words.into_iter())
}

/// `Pass 1 Fail 1 Xfail 0 Xpass 0 Skip 0 Error 0`: kselftest.h before Linux 5.2, at first without a `#`.
pub fn old(text: &str) -> Option<Totals> {
    const NAMES: [&str; 6] = ["Pass", "Fail", "Xfail", "Xpass", "Skip", "Error"];
    let words: Vec<_> = text.split_whitespace().collect();
    let same = words.len() == 2 * NAMES.len() && words.iter().step_by(2).eq(NAMES.iter());
    let pairs: Vec<_> = words
        .chunks_exact(2)
        .filter(|pair| same && number(pair[1]).is_some())
        .map(|pair| (pair[0].to_ascii_lowercase(), pair[1]))
        .collect();
    (pairs.len() == NAMES.len()).then(|| sum(pairs.iter().map(|(name, count)| (name.as_str(), *count))))?
}

fn sum<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Totals> {
    let mut found = Totals { counted: Counted::Same, passed: 0, passed_oddly: 0, failed: 0, all: 0 };
    let mut any = false;
    for (name, count) in pairs {
        let Some(count) = number(count) else { continue };
        let place = match name {
            "pass" => &mut found.passed,
            "xpass" => &mut found.passed_oddly,
            "fail" | "error" => &mut found.failed,
            "skip" | "xfail" => &mut 0,
            "total" => {
                found.counted = Counted::Parts;
                continue;
            }
            _ => continue,
        };
        *place = place.saturating_add(count);
        found.all = found.all.saturating_add(count);
        any = true;
    }
    any.then_some(found)
}

/// A number of any length. No list is so long that the largest ones must differ.
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}
