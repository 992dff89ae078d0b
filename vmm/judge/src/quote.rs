//! Bytes as a person can read them: quoted, harmless, and short.

use base::text::escape;

/// Longer texts are cut in a step's title, in characters.
const SHORT: usize = 40;
/// Longer texts are cut in what is expected and what came, in characters.
const LONG: usize = 160;
/// So many characters are shown before the place that matters.
const BEFORE: usize = 30;

/// Bytes as a quoted, cut, harmless text, for a title.
pub fn quote(bytes: &[u8]) -> String {
    head(bytes, SHORT)
}

/// The same with more of it: its beginning, and its end if it is long.
pub fn quote_long(bytes: &[u8]) -> String {
    let pieces = pieces(bytes);
    if pieces.len() <= LONG {
        return format!("\"{}\"", pieces.concat());
    }
    let (head, tail) = (&pieces[..LONG * 3 / 4], &pieces[pieces.len() - LONG / 4..]);
    format!("\"{}\"...\"{}\" ({} bytes)", head.concat(), tail.concat(), bytes.len())
}

/// What stands around a place in a text, counted in bytes, and which place that is if it is not all of it.
pub fn quote_around(bytes: &[u8], at: usize) -> String {
    // A character has four bytes at the most; a cut one is shown by its bytes.
    let start = boundary(bytes, at.saturating_sub(4 * BEFORE));
    let end = boundary(bytes, at.saturating_add(4 * LONG));
    let before = pieces(&bytes[start..at.min(bytes.len())]);
    let behind = pieces(&bytes[at.min(bytes.len())..end]);
    let first = before.len().saturating_sub(BEFORE);
    let last = behind.len().min(LONG - BEFORE);
    let cut_before = if start > 0 || first > 0 { "..." } else { "" };
    let cut_behind = if end < bytes.len() || last < behind.len() { "..." } else { "" };
    format!("{cut_before}\"{}{}\"{cut_behind}", before[first..].concat(), behind[..last].concat())
}

/// Line and column of a place, counted from 1; the column in bytes.
pub fn place(bytes: &[u8], at: usize) -> String {
    let before = &bytes[..at.min(bytes.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    match line {
        1 => format!("byte {at}"),
        line => format!("byte {at}, line {line}, column {column}"),
    }
}

fn head(bytes: &[u8], most: usize) -> String {
    let end = boundary(bytes, 4 * most);
    let pieces = pieces(&bytes[..end]);
    let cut = pieces.len() > most || end < bytes.len();
    format!("\"{}\"{}", pieces[..pieces.len().min(most)].concat(), if cut { "..." } else { "" })
}

/// The nearest place at or before this one where no character is cut; bytes that are no text have one everywhere.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let Some(byte) = bytes.get(at) else { return bytes.len() };
    let continues = |byte: &u8| byte & 0xc0 == 0x80;
    if !continues(byte) {
        return at;
    }
    (at.saturating_sub(3)..at).rev().find(|at| !continues(&bytes[*at])).unwrap_or(at)
}

/// One text for each character, such that no two different ones look alike: what is no text is shown by its bytes.
fn pieces(bytes: &[u8]) -> Vec<String> {
    let mut pieces = Vec::new();
    for chunk in bytes.utf8_chunks() {
        pieces.extend(chunk.valid().chars().map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\0' => "\\0".to_owned(),
            ' ' => " ".to_owned(),
            // Spaces of other kinds, and what has no width at all.
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => format!("\\u{{{:x}}}", c as u32),
            c if c.is_whitespace() && !c.is_control() => format!("\\u{{{:x}}}", c as u32),
            c => escape(c.encode_utf8(&mut [0; 4])),
        }));
        pieces.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_marked_and_no_two_texts_look_alike() {
        assert_eq!(quote(b"short"), "\"short\"");
        assert_eq!(quote("ä".repeat(41).as_bytes()), format!("\"{}\"...", "ä".repeat(40)));
        let alike: [&[u8]; 9] = [
            b"a b",
            "a\u{a0}b".as_bytes(),
            b"a\\nb",
            b"a\nb",
            b"a\xffb",
            b"a\xfeb",
            "a\u{200b}b".as_bytes(),
            b"a\0b",
            b"a\"b",
        ];
        let shown: std::collections::BTreeSet<String> = alike.iter().map(|bytes| quote_long(bytes)).collect();
        assert_eq!(shown.len(), alike.len(), "{shown:?}");
    }

    #[test]
    fn long_texts_show_their_end_and_their_length() {
        let shown = quote_long(&[&[b'a'; 1000][..], b"the end"].concat());
        assert!(shown.ends_with("the end\" (1007 bytes)") && shown.len() < 250, "{shown}");
    }

    #[test]
    fn a_place_is_shown_with_what_stands_around_it() {
        let text = format!("{}HERE{}", "x".repeat(100), "y".repeat(1000));
        let shown = quote_around(text.as_bytes(), 100);
        assert_eq!(shown, format!("...\"{}HERE{}\"...", "x".repeat(30), "y".repeat(126)));
        assert_eq!(quote_around(b"abc", 3), "\"abc\"");
        assert_eq!(quote_around(b"abc", 1), "\"abc\"");
        assert_eq!(place(b"ab\ncd\nef", 7), "byte 7, line 3, column 2");
        // No place makes it panic, and no character is torn apart that is whole.
        let text = "äöü€😀".repeat(100);
        for at in 0..text.len() + 2 {
            if text.is_char_boundary(at) {
                assert!(!quote_around(text.as_bytes(), at).contains("\\x"), "{at}");
            } else {
                quote_around(text.as_bytes(), at);
            }
        }
    }
}
