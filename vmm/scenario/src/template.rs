//! Texts in which names stand for values, and how such a text is written in which none does.

/// `name` of `$name`; `$$name` is no name, but this text with a dollar less.
pub fn reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    is_name(name).then_some(name)
}

/// The names in `${name}`, wherever they stand in a text.
pub fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).filter_map(|(_, name)| name)
}

/// A text in pieces: what stands as it is, and the name in the `${name}` behind it, if there is one. `${1:-x}` is no name. Before
/// `{name}` two dollars are one that stands for itself: `$${name}` is `${name}`.
pub fn pieces(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((dollars, brace, name)) = braced(text) else {
            rest = None;
            return Some((text, None));
        };
        let before = &text[..brace - dollars.div_ceil(2)];
        let named = dollars % 2 == 1;
        rest = Some(&text[if named { brace + name.len() + 2 } else { brace }..]);
        Some((before, named.then_some(name)))
    })
}

/// The first `{name}` behind dollars: how many they are, where the brace is, and the name.
fn braced(text: &str) -> Option<(usize, usize, &str)> {
    text.match_indices("${").find_map(|(at, _)| {
        let brace = at + 1;
        let (name, _) = text[brace + 1..].split_once('}')?;
        let dollars = brace - text[..brace].trim_end_matches('$').len();
        is_name(name).then_some((dollars, brace, name))
    })
}

/// A text as it is written where [`pieces`] are read, so that no name is in it.
fn doubled(text: &str) -> String {
    let (mut written, mut rest) = (String::new(), text);
    while let Some((dollars, brace, _)) = braced(rest) {
        written += &rest[..brace];
        written.extend(std::iter::repeat_n('$', dollars));
        rest = &rest[brace..];
    }
    written + rest
}

/// A text as a field is written that holds it, so that nothing of it is a name.
pub fn literal(text: &str) -> String {
    field(&[(text.to_owned(), None)])
}

/// A field of texts, each with the name behind it, as it is written.
pub fn field(parts: &[(String, Option<&str>)]) -> String {
    let part = |(text, name): &(String, Option<&str>)| match name {
        Some(name) => {
            let dollars = &text[text.trim_end_matches('$').len()..];
            format!("{}{dollars}${{{name}}}", doubled(text))
        }
        None => doubled(text),
    };
    match parts {
        [(text, None)] if is_dollars_and_name(text) => format!("${text}"),
        parts => parts.iter().map(part).collect(),
    }
}

/// Whether a text is nothing but a name behind dollars: where it is all of a field, one more stands for none.
pub fn is_dollars_and_name(text: &str) -> bool {
    text.starts_with('$') && is_name(text.trim_start_matches('$'))
}

/// The text of a field, as it is read where no name stands for a value.
pub fn plain(text: &str) -> String {
    let piece = |(before, name): (&str, Option<&str>)| match name {
        Some(name) => format!("{before}${{{name}}}"),
        None => before.to_owned(),
    };
    match text.strip_prefix('$').filter(|rest| is_dollars_and_name(rest)) {
        Some(rest) => rest.to_owned(),
        None => pieces(text).map(piece).collect(),
    }
}

/// Letters, digits and `_`, not a digit first.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_in_pieces() {
        let all = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(all("a${b}${c} d"), [("a", Some("b")), ("", Some("c")), (" d", None)]);
        assert_eq!(all("${1} ${x"), [("${1} ${x", None)]);
        assert_eq!(all("${${a}}"), [("${", Some("a")), ("}", None)]);
        assert_eq!(all("a$${b}${c}"), [("a$", None), ("{b}", Some("c")), ("", None)]);
        assert_eq!(all("$$${b}$$ $$c"), [("$", Some("b")), ("$$ $$c", None)]);
        assert_eq!(all("$$$${b}"), [("$$", None), ("{b}", None)]);
    }

    #[test]
    fn a_text_of_which_nothing_is_a_name_can_be_written() {
        for (text, written) in
            [("${a}", "$${a}"), ("$$${a} ${b}", "$$$$$${a} $${b}"), ("$a$ ${1} $${", "$a$ ${1} $${")]
        {
            assert_eq!(doubled(text), written);
            let read: Vec<_> = pieces(written).collect();
            assert!(read.iter().all(|(_, name)| name.is_none()), "{text}");
            assert_eq!(read.iter().map(|(text, _)| *text).collect::<String>(), text);
        }
        assert_eq!(["$$a", "$$$a", "$a", "$$ a", "$${a}"].map(plain), ["$a", "$$a", "$a", "$$ a", "${a}"]);
    }
}
