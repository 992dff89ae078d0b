//! The small values of the language: numbers, sizes, times, bytes, types.

use super::model::{Data, Interval, Num, Span, Type};
use super::node::{Node, Value};
use super::reader::Reader;
use super::template::{is_dollars_and_name, is_name, placeholders, reference};
use base::diagnostic::Diagnostic;
use regex::Regex;
use std::time::Duration;

/// The integer types by their names in C (LP64) and in Rust.
pub const TYPES: &[(&str, Type)] = &[
    ("int", Type { size: 4, signed: true }),
    ("unsigned int", Type { size: 4, signed: false }),
    ("long", Type { size: 8, signed: true }),
    ("unsigned long", Type { size: 8, signed: false }),
    ("short", Type { size: 2, signed: true }),
    ("char", Type { size: 1, signed: true }),
    ("size_t", Type { size: 8, signed: false }),
    ("u8", Type { size: 1, signed: false }),
    ("i8", Type { size: 1, signed: true }),
    ("u16", Type { size: 2, signed: false }),
    ("i16", Type { size: 2, signed: true }),
    ("u32", Type { size: 4, signed: false }),
    ("i32", Type { size: 4, signed: true }),
    ("u64", Type { size: 8, signed: false }),
    ("i64", Type { size: 8, signed: true }),
];

/// Other names for them, in C and in the kernel's headers.
const ALIASES: &[(&str, Type)] = &[
    ("long long", Type { size: 8, signed: true }),
    ("unsigned long long", Type { size: 8, signed: false }),
    ("unsigned short", Type { size: 2, signed: false }),
    ("unsigned char", Type { size: 1, signed: false }),
    ("signed char", Type { size: 1, signed: true }),
    ("unsigned", Type { size: 4, signed: false }),
    ("ssize_t", Type { size: 8, signed: true }),
    ("uint8_t", Type { size: 1, signed: false }),
    ("int8_t", Type { size: 1, signed: true }),
    ("uint16_t", Type { size: 2, signed: false }),
    ("int16_t", Type { size: 2, signed: true }),
    ("uint32_t", Type { size: 4, signed: false }),
    ("int32_t", Type { size: 4, signed: true }),
    ("uint64_t", Type { size: 8, signed: false }),
    ("int64_t", Type { size: 8, signed: true }),
    ("__u8", Type { size: 1, signed: false }),
    ("__s8", Type { size: 1, signed: true }),
    ("__u16", Type { size: 2, signed: false }),
    ("__s16", Type { size: 2, signed: true }),
    ("__u32", Type { size: 4, signed: false }),
    ("__s32", Type { size: 4, signed: true }),
    ("__u64", Type { size: 8, signed: false }),
    ("__s64", Type { size: 8, signed: true }),
    ("usize", Type { size: 8, signed: false }),
    ("isize", Type { size: 8, signed: true }),
];

/// The type of a name.
pub fn type_named(text: &str) -> Option<Type> {
    TYPES.iter().chain(ALIASES).find(|(name, _)| *name == text).map(|(_, int)| *int)
}

/// The first of a type's names.
pub fn type_name(int: Type) -> &'static str {
    TYPES.iter().find(|(_, known)| *known == int).map_or("", |(name, _)| name)
}

/// Buffers and reads are at most so long: what comes back must fit into one message of the agent.
pub const MAX_BUFFER: u32 = 1 << 20;

/// A number in decimal, hexadecimal (0x), octal (0o) or binary (0b), with an optional sign, `_` between
/// digits, and an optional size (KiB, MiB, GiB) behind. One that begins with a nought is none: it may be meant in octal.
pub fn parse_int(text: &str) -> Option<i128> {
    let (digits, unit) = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits.trim_end(), unit)))
        .unwrap_or((text, 1));
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (digits, radix) = [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| digits.strip_prefix(prefix).map(|digits| (digits, radix)))
        .unwrap_or((digits, 10));
    // from_str_radix takes a second sign; a person who writes one made a mistake.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric())
        || radix == 10 && leading_nought(digits).is_some()
    {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?.checked_mul(unit)?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

/// The digits of a number behind the nought that it begins with: C has those in octal, YAML does not.
pub fn leading_nought(text: &str) -> Option<&str> {
    let digits = text.trim_start_matches(['-', '+']).strip_prefix('0')?;
    let number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    number
        .then(|| digits.trim_start_matches(['0', '_']))
        .map(|digits| if digits.is_empty() { "0" } else { digits })
}

/// A time with its unit: `10 s`, `200 ms`, `1.5 s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        _ => return None,
    };
    (seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

impl Reader<'_> {
    /// A name as `as` gives it.
    pub fn new_name(&mut self, node: &Node) -> Option<(String, Span)> {
        let name = self.text(node, "a name")?;
        if is_name(&name) {
            return Some((name, node.span.clone()));
        }
        let plain = name.trim_start_matches('$');
        let error = Diagnostic::new(&node.span, format!("`{name}` is no name: letters, digits and `_`"));
        self.error(if is_name(plain) { error.label(format!("write `as: {plain}`")) } else { error })
    }

    /// A number that must be known now.
    pub fn int(&mut self, node: &Node, what: &str, low: i128, high: i128) -> Option<i128> {
        let number = node.text().and_then(parse_int);
        match number {
            Some(number) if (low..=high).contains(&number) => Some(number),
            Some(number) => {
                self.error(Diagnostic::new(&node.span, format!("{what} is {low} to {high}, found {number}")))
            }
            None => self.expected(node, &format!("{what}, a number like `42` or `0x2a`")),
        }
    }

    /// A number or a name's value.
    pub fn num(&mut self, node: &Node, what: &str) -> Option<Num> {
        let text = node.text().unwrap_or_default();
        if let Some(name) = reference(text) {
            self.errors.extend(self.names.uses(name, &node.span));
            return Some(Num::Name(name.to_owned()));
        }
        match parse_int(text) {
            Some(number) => Some(Num::Int(number)),
            None => self.expected(node, &format!("{what}, a number like `42` or a name like `$fd`")),
        }
    }

    /// A time.
    pub fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        match node.text().and_then(parse_duration) {
            Some(time) if !time.is_zero() => Some(time),
            _ => self.expected(node, &format!("{what}, a time like `10 s` or `200 ms` (up to one day)")),
        }
    }

    /// A number of bytes for a buffer.
    pub fn size(&mut self, node: &Node, what: &str) -> Option<u32> {
        self.int(node, what, 1, MAX_BUFFER.into()).map(|size| size as u32)
    }

    /// Text as bytes, or `{bytes: "68 65"}`; no name stands for its value in it.
    pub fn bytes(&mut self, node: &Node, what: &str) -> Option<Vec<u8>> {
        let data = self.data(node, what)?;
        match data.names().next() {
            None => Some(data.written().into_owned()),
            Some(name) => self.error(
                Diagnostic::new(
                    &node.span,
                    format!("the value of `${name}` has no place in bytes of a fixed length"),
                )
                .help(format!("write `{{in: int, value: ${name}}}` for a pointer to the number")),
            ),
        }
    }

    /// Text as bytes, in which names may stand for values, or `{bytes: "68 65"}`.
    pub fn data(&mut self, node: &Node, what: &str) -> Option<Data> {
        match &node.value {
            Value::Scalar { .. } => Some(Data::of_text(&self.filling(node, what)?)),
            Value::Map(_) => {
                let mut fields = self.fields(node, "data")?;
                let bytes = fields.need(self, "bytes").and_then(|node| self.hex(node));
                fields.end(self, &["bytes"]);
                bytes.map(Data::from)
            }
            _ => self.expected(node, &format!("{what}, text or `{{bytes: \"68 65\"}}`")),
        }
    }

    /// Whether `\xff` or the like stands in it, between double quotes.
    fn has_escaped_byte(&self, node: &Node) -> bool {
        let literal = self.source.text().get(node.span.clone()).unwrap_or_default();
        let mut escapes = literal.split('\\').skip(1);
        let mut found = false;
        while let Some(escape) = escapes.next() {
            match escape.strip_prefix('x') {
                Some(digits) => found |= digits.starts_with(|c: char| c.to_digit(16) >= Some(8)),
                // A backslash that stands for itself: what follows is no escape.
                None if escape.is_empty() => _ = escapes.next(),
                None => {}
            }
        }
        found && literal.starts_with('"')
    }

    /// Bytes in hexadecimal.
    pub fn hex(&mut self, node: &Node) -> Option<Vec<u8>> {
        let text = node.text().unwrap_or_default();
        let pairs = text.split_ascii_whitespace().flat_map(|word| word.as_bytes().chunks(2));
        let byte = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |byte: &u8| (*byte as char).to_digit(16);
                Some((digit(high)? * 16 + digit(low)?) as u8)
            }
            _ => None,
        };
        match pairs.map(byte).collect() {
            Some(bytes) if node.text().is_some() => Some(bytes),
            _ => self.expected(node, "bytes in hexadecimal, two digits each, like `\"68 65 6c\"`"),
        }
    }

    /// A regular expression.
    pub fn regex(&mut self, node: &Node) -> Option<Regex> {
        let text = self.raw(node, "a regular expression in quotes")?;
        if let Some(name) = placeholders(&text).next() {
            return self.error(
                Diagnostic::new(
                    &node.span,
                    format!("the result `${name}` of a step can't stand in an expression"),
                )
                .help("look for it with `contains`, or `has` in the log"),
            );
        }
        // The flag is in the text, so that the engine, which gets the text, matches alike: `^` and `$`
        // stand for the ends of lines, as in grep.
        match regex::RegexBuilder::new(&format!("(?m){text}")).size_limit(1 << 20).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.error(Diagnostic::new(&node.span, format!("not a regular expression: {why}")))
            }
        }
    }

    /// The same, where one that every text matches would say nothing.
    pub fn telling_regex(&mut self, node: &Node) -> Option<Regex> {
        let regex = self.regex(node)?;
        // `^$` matches an empty text alone, `.*` and `ok|` whatever there is.
        if regex.is_match("") && regex.is_match("\u{1}") {
            let error = Diagnostic::new(&node.span, "every text matches this expression, so it says nothing");
            return self.error(error.help("write what must be there, like `\\d+` for `\\d*`"));
        }
        Some(regex)
    }

    /// A number, or `{at-least: 1, at-most: 3}`.
    pub fn interval(&mut self, node: &Node, what: &str) -> Option<Interval> {
        let Value::Map(_) = node.value else {
            let number = self.num(node, &format!("{what} or `{{at-least: 1, at-most: 3}}`"))?;
            return Some(Interval { low: Some(number.clone()), high: Some(number) });
        };
        let mut fields = self.fields(node, "a range")?;
        let low = fields.take("at-least");
        let high = fields.take("at-most");
        fields.end(self, &["at-least", "at-most"]);
        if low.is_none() && high.is_none() {
            return self.expected(node, "a range like `{at-least: 1, at-most: 3}`");
        }
        let mut bound = |node: Option<&Node>| match node {
            Some(node) => self.num(node, "a bound").map(Some),
            None => Some(None),
        };
        let (low, high) = (bound(low)?, bound(high)?);
        if let (Some(Num::Int(low)), Some(Num::Int(high))) = (&low, &high)
            && low > high
        {
            return self.error(Diagnostic::new(
                &node.span,
                format!("no number is at least {low} and at most {high}"),
            ));
        }
        Some(Interval { low, high })
    }

    /// The same of something that is `low` to `high`; whoever names another bound waits for what never comes, or always does.
    pub fn interval_within(&mut self, node: &Node, what: &str, low: i128, high: i128) -> Option<Interval> {
        let interval = self.interval(node, what)?;
        for bound in [&interval.low, &interval.high].into_iter().flatten() {
            if let Num::Int(number) = bound
                && !(low..=high).contains(number)
            {
                let why = format!("{what} is {low} to {high}, found {number}");
                return self.error(Diagnostic::new(&node.span, why));
            }
        }
        Some(interval)
    }

    /// Text in which `${name}` stands for a value, as `$name` does where it is all of it.
    fn filling(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.raw(node, what)?;
        if self.has_escaped_byte(node) {
            return self.error(
                Diagnostic::new(
                    &node.span,
                    "`\\x80` to `\\xff` are characters of two bytes each here, as in all YAML",
                )
                .help("write `{bytes: \"ff 00\"}` for bytes, where there is data; a character can be written as it is"),
            );
        }
        if let Some(name) = reference(&text) {
            self.errors.extend(self.names.uses_in(name, &node.span, Some(format!("$${name}"))));
            return Some(format!("${{{name}}}"));
        }
        for name in placeholders(&text) {
            self.errors.extend(self.names.uses_in(name, &node.span, Some(format!("$${{{name}}}"))));
        }
        Some(match text.strip_prefix('$').filter(|rest| is_dollars_and_name(rest)) {
            Some(rest) => rest.to_owned(),
            None => text,
        })
    }

    /// The same, for what can hold no NUL.
    pub fn template(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.filling(node, what)?;
        if text.contains('\0') {
            return self.error(
                Diagnostic::new(&node.span, "a string can't hold a NUL")
                    .help("write `{bytes: \"68 00 65\"}` for a pointer to exactly these bytes"),
            );
        }
        Some(text)
    }

    /// A path in the guest.
    pub fn guest_path(&mut self, node: &Node, what: &str) -> Option<String> {
        let path = self.template(node, what)?;
        if !path.starts_with('/') {
            return self.expected(node, &format!("{what}, an absolute path like `/dev/chardev0`"));
        }
        if path.len() >= 4096 {
            return self.error(Diagnostic::new(&node.span, "a path has less than 4096 bytes"));
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_signs_bases_and_sizes() {
        assert_eq!(parse_int("42"), Some(42));
        assert_eq!(parse_int("-0x10"), Some(-16));
        assert_eq!(parse_int("0o755"), Some(0o755));
        assert_eq!(parse_int("128 MiB"), Some(128 << 20));
        assert_eq!(parse_int("1_000"), Some(1000));
        assert_eq!(parse_int("18446744073709551615"), Some(u64::MAX.into()));
        assert_eq!(parse_int("-9223372036854775808"), Some(i64::MIN.into()));
        assert_eq!((parse_int("0"), parse_int("0XFF")), (Some(0), Some(255)));
        for wrong in
            ["", "-", "--1", "0x", "0x-1", "+-1", "1.5", "abc", "18446744073709551616", "99999999999 GiB"]
        {
            assert_eq!(parse_int(wrong), None, "{wrong}");
        }
        for octal in ["0644", "-010", "00", "0_7", "010 KiB"] {
            assert_eq!(parse_int(octal), None, "{octal}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("10 s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse_duration("1.5 s"), Some(Duration::from_millis(1500)));
        for wrong in ["10", "s", "", "10 h", "-1 s", "1..2 s", "999999999 min"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
