//! Text that was wanted against what came, of which a part may be missing.

use crate::quote::{place, quote_around, quote_long};
use engine::output::Output;
use scenario::model::Text;

/// What came: all of it, or its beginning and its end.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    head: &'a [u8],
    /// What is behind a gap, or behind the head.
    tail: &'a [u8],
    /// Why that is not all.
    lacks: Option<Lacks>,
}

/// What is not there.
#[derive(Clone, Copy, Debug)]
enum Lacks {
    /// What is between head and tail, or behind the head, of so many bytes in all.
    Part(u64),
    /// What is behind the head.
    Rest,
    /// What was printed after nobody listened any more.
    Later,
}

impl<'a> Came<'a> {
    /// All of it.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { head: bytes, tail: &[], lacks: None }
    }

    /// The beginning of something longer.
    pub fn beginning(bytes: &'a [u8]) -> Self {
        Self { head: bytes, tail: &[], lacks: Some(Lacks::Rest) }
    }

    /// All of it, or its beginning.
    pub fn part(bytes: &'a [u8], cut: bool) -> Self {
        if cut { Self::beginning(bytes) } else { Self::whole(bytes) }
    }

    /// What is known of it.
    pub fn pieces(self) -> [&'a [u8]; 2] {
        [self.head, self.tail]
    }

    /// Its beginning.
    pub fn head(self) -> &'a [u8] {
        self.head
    }

    /// What can't be known, in words; `None` if all is known.
    pub fn unknown(self) -> Option<String> {
        let kept = (self.head.len() + self.tail.len()) as u64;
        Some(match self.lacks? {
            Lacks::Part(length) => format!("not known: it was cut, {kept} of its {length} bytes are there"),
            Lacks::Rest => format!("not known: it was cut behind {kept} bytes"),
            Lacks::Later => {
                "not known: a process that the program left behind could still print here when it ended; \
                             `wait` for it, or give it another output (`>/dev/null 2>&1`)"
                    .to_owned()
            }
        })
    }
}

impl<'a> From<&'a Output> for Came<'a> {
    fn from(output: &'a Output) -> Self {
        let lacks = match output.is_cut() {
            true => Some(Lacks::Part(output.length())),
            false => output.is_open().then_some(Lacks::Later),
        };
        Self { head: output.head(), tail: output.tail(), lacks }
    }
}

/// What was expected and what is there, if they differ or that can't be known. `program`: a program's last line end may be left
/// out.
pub fn compare(want: &Text, came: Came<'_>, program: Ends) -> Option<(String, String)> {
    match want {
        Text::Equals(text) => equals(&text.written(), came, program),
        Text::Contains(text) => {
            let text = &text.written();
            let found = came.pieces().into_iter().any(|piece| find(piece, text).is_some());
            (!found).then(|| (format!("{} in it", quote_long(text)), missing(came)))
        }
        Text::Lacks(text) => {
            let text = &text.written();
            let found = came.pieces().into_iter().find_map(|piece| Some((piece, find(piece, text)?)));
            let got = match found {
                Some((piece, at)) => Some(format!("it at {}: {}", place(piece, at), quote_around(piece, at))),
                None => came.unknown(),
            };
            got.map(|got| (format!("no {} in it", quote_long(text)), got))
        }
        Text::Matches(regex) => {
            // What a cut begins with is no beginning of a line.
            let tail =
                came.tail.iter().position(|byte| *byte == b'\n').map_or(&[][..], |at| &came.tail[at + 1..]);
            let held = [came.head, tail].iter().any(|piece| regex.is_match(&String::from_utf8_lossy(piece)));
            (!held).then(|| (format!("a match of /{}/", show_regex(regex)), missing(came)))
        }
    }
}

/// What does not matter at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Everything matters.
    Exact,
    /// A line end may be there or not.
    LineEnd,
}

fn equals(text: &[u8], came: Came<'_>, ends: Ends) -> Option<(String, String)> {
    let has_one_more = |one: &[u8], other: &[u8]| one.strip_suffix(b"\n") == Some(other);
    let alike = ends == Ends::LineEnd && (has_one_more(came.head, text) || has_one_more(text, came.head));
    if came.head == text || alike {
        return came.unknown().map(|unknown| (quote_long(text), unknown));
    }
    let at = text.iter().zip(came.head).take_while(|(wanted, got)| wanted == got).count();
    let short = |bytes: &[u8]| bytes.len() <= SHORT;
    if short(text) && short(came.head) || at == 0 && came.head.is_empty() {
        return Some((quote_long(text), missing(came)));
    }
    let length = match came.lacks {
        None | Some(Lacks::Later) => came.head.len().to_string(),
        Some(Lacks::Part(length)) => length.to_string(),
        Some(Lacks::Rest) => format!("more than {}", came.head.len()),
    };
    Some((
        format!("{} ({} bytes)", quote_around(text, at), text.len()),
        format!(
            "{} ({length} bytes), first different at {}",
            quote_around(came.head, at),
            place(came.head, at)
        ),
    ))
}

/// Texts up to this length are shown whole, in bytes.
const SHORT: usize = 60;

/// What is there instead of what was wanted.
fn missing(came: Came<'_>) -> String {
    match came.unknown() {
        Some(unknown) => unknown,
        None if came.head.is_empty() => "nothing".into(),
        None => quote_long(came.head),
    }
}

/// Where a part of some bytes is.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, part)
}

/// As the scenario has it: without the flag that its reader puts in front.
pub fn show_regex(regex: &regex::Regex) -> &str {
    regex.as_str().trim_start_matches("(?m)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(want: Text, came: Came<'_>) -> (String, String) {
        compare(&want, came, Ends::Exact).expect("they differ")
    }

    fn holds(want: Text, came: Came<'_>) -> bool {
        compare(&want, came, Ends::Exact).is_none()
    }

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let text =
            |n: u32| format!("{}\nvalue {n} of many that follow\n{}", "same ".repeat(100), "x".repeat(500));
        let (expected, got) = failure(Text::Equals((&*text(1)).into()), Came::whole(text(2).as_bytes()));
        assert!(expected.contains("value 1 of many") && got.contains("value 2 of many"), "{expected} {got}");
        assert!(got.ends_with("(1029 bytes), first different at byte 507, line 2, column 7"), "{got}");
        let (expected, got) =
            failure(Text::Equals((&*text(1)).into()), Came::whole(&text(1).as_bytes()[..300]));
        assert!(got.contains("(300 bytes), first different at byte 300"), "{expected} {got}");
        let (_, got) = failure(Text::Lacks("value".into()), Came::whole(text(7).as_bytes()));
        assert!(got.starts_with("it at byte 501, line 2, column 1: ...") && got.contains("value 7"), "{got}");
    }

    #[test]
    fn a_programs_last_line_end_may_be_left_out_on_either_side() {
        let equal = |want: &str, came: &str, ends| {
            compare(&Text::Equals(want.into()), Came::whole(came.as_bytes()), ends).is_none()
        };
        for (want, came) in [("hello\n", "hello"), ("hello", "hello\n"), ("a\nb\n", "a\nb"), ("", "\n")] {
            assert!(equal(want, came, Ends::LineEnd), "{want:?} {came:?}");
            assert!(!equal(want, came, Ends::Exact), "{want:?} {came:?}");
        }
        assert!(!equal("hello\n\n", "hello", Ends::LineEnd));
        assert!(!equal("hello\n", "hell", Ends::LineEnd));
    }

    #[test]
    fn what_is_behind_a_cut_is_not_known() {
        let mut long = Output::from("head: found\n");
        long.push(&vec![b'-'; engine::output::KEPT + 2 * engine::output::TAIL]);
        long.push(b"\ntail: seen\n");
        let came = || Came::from(&long);
        assert!(
            holds(Text::Contains("found".into()), came()) && holds(Text::Contains("seen".into()), came())
        );
        assert!(holds(Text::Matches(regex::Regex::new("(?m)^tail: (seen)$").unwrap()), came()));
        let unknown = "not known: it was cut, 16842752 of its 16908312 bytes are there";
        for want in [
            Text::Contains("nowhere".into()),
            Text::Lacks("nowhere".into()),
            Text::Matches(regex::Regex::new("(?m)^nowhere").unwrap()),
        ] {
            assert_eq!(failure(want, came()).1, unknown);
        }
        assert!(failure(Text::Lacks("found".into()), came()).1.starts_with("it at byte 6:"));
        assert!(failure(Text::Lacks("seen".into()), came()).1.starts_with("it at "));
        assert!(!holds(Text::Equals(long.head().to_vec().into()), came()));
        let file = Came::beginning(b"abc");
        assert_eq!(failure(Text::Lacks("x".into()), file).1, "not known: it was cut behind 3 bytes");
    }

    #[test]
    fn what_is_printed_behind_the_programs_end_is_not_known() {
        let mut output = Output::from("ready\n");
        output.leave_open();
        let came = || Came::from(&output);
        assert!(holds(Text::Contains("ready".into()), came()));
        for want in [Text::Lacks("BUG".into()), Text::Equals("ready\n".into())] {
            let (_, got) = failure(want, came());
            assert!(got.starts_with("not known: a process that the program left behind"), "{got}");
        }
        // What differs so far differs.
        assert_eq!(failure(Text::Lacks("ready".into()), came()).1, "it at byte 0: \"ready\\n\"");
    }

    #[test]
    fn short_texts_are_shown_whole() {
        assert_eq!(
            failure(Text::Equals("a b".into()), Came::whole(b"a\tb")),
            ("\"a b\"".into(), "\"a\\tb\"".into())
        );
        assert_eq!(failure(Text::Equals("x".into()), Came::whole(b"")).1, "nothing");
    }
}
