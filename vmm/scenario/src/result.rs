//! Values of names: what a step's result is a number of. Who carries a scenario out and who judges it have to agree on that.

use regex::Regex;

/// What the first group of an expression matches in the first of some places in which the expression matches at all.
pub fn captured<'a>(regex: &Regex, mut places: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    places.find_map(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        Some(regex.captures(&text)?.get(1)?.as_str().to_owned())
    })
}

/// The number that a program or a file means: decimal, or in hexadecimal behind `0x`, with an optional sign. A leading nought
/// means nothing there.
pub fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    // A second sign would be taken.
    let value = i128::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))?;
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_programs_print_them() {
        let all = ["240", "-0x10", "+3", "007", "0xff"].map(number);
        assert_eq!(all, [Some(240), Some(-16), Some(3), Some(7), Some(255)]);
        assert_eq!(["", "-", "0x", "--1", "0x-1", "rtc", "1 "].map(number), [None; 7]);
    }

    #[test]
    fn the_first_place_that_matches_counts() {
        let regex = Regex::new("(?m)^ *([0-9]+) chardev$").unwrap();
        let places = [&b"12 rtc\n"[..], b"\xff\n 240 chardev\n", b"7 chardev\n"];
        assert_eq!(captured(&regex, places.into_iter()).as_deref(), Some("240"));
        assert_eq!(captured(&regex, places[..1].iter().copied()), None);
    }
}
