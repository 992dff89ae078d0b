//! What goes into reports of something that may be long: its beginning and its end.

use engine::output::Output;
use serde::{Deserialize, Serialize};

/// So much of the beginning, in bytes.
const HEAD: usize = 16 << 10;
/// So much of the end.
const TAIL: usize = 16 << 10;

/// A part of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The text, with a line in the middle that says so where something was left out.
    pub text: String,
    /// So many bytes are left out, as far as that is known.
    pub left_out: u64,
    /// There is more behind what is known.
    pub goes_on: bool,
}

impl Excerpt {
    /// Of bytes that are all there, or go on behind what is there.
    pub fn of(bytes: &[u8], goes_on: bool) -> Self {
        let mut excerpt = Self::join(bytes, bytes, bytes.len() as u64);
        if goes_on {
            excerpt.goes_on = true;
            excerpt.text.push_str("\n[... it goes on; what follows is not known ...]\n");
        }
        excerpt
    }

    /// The last lines, each cut where it is too long for a person, and whether that is not all.
    pub fn last_lines(&self, count: usize) -> (Vec<&str>, bool) {
        let lines: Vec<&str> = self.text.lines().rev().take(count + 1).collect();
        let more = lines.len() > count;
        (lines.into_iter().take(count).rev().collect(), more)
    }

    fn join(head: &[u8], tail: &[u8], length: u64) -> Self {
        if length <= (HEAD + TAIL) as u64 {
            return Self { text: String::from_utf8_lossy(head).into_owned(), left_out: 0, goes_on: false };
        }
        let (head, tail) = (&head[..head.len().min(HEAD)], &tail[tail.len().saturating_sub(TAIL)..]);
        let left_out = length.saturating_sub((head.len() + tail.len()) as u64);
        let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(tail));
        Self {
            text: format!("{head}\n[... {left_out} bytes are left out here ...]\n{tail}"),
            left_out,
            goes_on: false,
        }
    }
}

impl From<&Output> for Excerpt {
    fn from(output: &Output) -> Self {
        match output.is_cut() {
            // What is behind the head may be shorter than what is shown of the end.
            true => {
                let end = &output.head()[output.head().len().saturating_sub(TAIL)..];
                let end = [end, output.tail()].concat();
                let end = if output.lost() > 0 { output.tail() } else { &end };
                Self::join(output.head(), end, output.length())
            }
            false => Self::join(output.head(), output.head(), output.length()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_kept_and_a_gap_is_marked() {
        let text = format!("first{}last", "x".repeat(40_000));
        let excerpt = Excerpt::of(text.as_bytes(), false);
        assert!(excerpt.text.starts_with("firstx") && excerpt.text.ends_with("xlast"));
        assert_eq!(excerpt.left_out, 40_009 - 32_768);
        assert!(excerpt.text.contains("\n[... 7241 bytes are left out here ...]\n"));
        assert_eq!(
            Excerpt::of(b"short", false),
            Excerpt { text: "short".into(), left_out: 0, goes_on: false }
        );
        assert!(Excerpt::of(b"short", true).text.contains("it goes on"));
    }

    #[test]
    fn the_end_of_a_flood_is_its_own() {
        for length in [engine::output::KEPT, engine::output::KEPT - 4, 2 * engine::output::KEPT] {
            let mut output = Output::from("first");
            output.push(&vec![b'x'; length]);
            output.push(b"last");
            let excerpt = Excerpt::from(&output);
            assert!(excerpt.text.starts_with("firstx") && excerpt.text.ends_with("xlast"), "{length}");
            assert_eq!(excerpt.left_out, output.length() - 32_768);
        }
    }

    #[test]
    fn a_persons_view_has_the_last_lines() {
        let text: String = (0..30).map(|line| format!("line {line}\n")).collect();
        let excerpt = Excerpt::of(text.as_bytes(), false);
        assert_eq!(excerpt.last_lines(2), (vec!["line 28", "line 29"], true));
        assert_eq!(Excerpt::of(b"a\nb\n", false).last_lines(2), (vec!["a", "b"], false));
    }
}
