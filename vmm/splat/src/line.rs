//! Takes off what consoles, loggers and terminals put before a kernel message.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// Longest part of a line that is looked at, in bytes. printk's own limit is 1 KiB (LOG_LINE_MAX); a longer line is rubbish.
pub const MAX_LINE: usize = 4096;

/// So many prefixes of loggers and tools are taken off one line.
const MAX_PREFIXES: usize = 4;

/// Who printed a line, where the kernel says so (CONFIG_PRINTK_CALLER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Task(u32),
    Cpu(u32),
}

/// A kernel message without its prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The message, leading and trailing space taken off; valid UTF-8 without control characters.
    pub text: Cow<'a, str>,
    pub caller: Option<Caller>,
    /// Whether a kernel time stamp or level was there: a user program's output seldom has one.
    pub from_kernel: bool,
    /// Whether something unprintable was taken out.
    pub dirty: bool,
    /// Whether the text sits behind another message on the same line, which began without a newline.
    pub glued: bool,
    /// Whether it is a record of the kernel's, in which no other message can be.
    pub whole: bool,
}

/// `[   12.345678]`, perhaps with the CPU of some vendors (`@1`), followed by up to one caller id.
static STAMP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)\[ *[0-9]{1,10}\.[0-9]{3,9}(?:@(?<at>[0-9]{1,4}))?\] ?(?:\[ *(?<what>[TC])(?<id>[0-9]{1,9})\])?(?:\([0-9]+\)\[[0-9]+:[^\]]{0,20}\])?",
    )
    .expect("a constant pattern")
});

/// One record of /dev/kmsg (Linux Documentation/ABI/testing/dev-kmsg).
static KMSG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)^[0-9]{1,4},[0-9]+,[0-9]+,[^;,]{1,4}(?:,caller=(?<what>[TC])(?<id>[0-9]{1,9}))?[^;]{0,64};",
    )
    .expect("a constant pattern")
});

/// syslog and journald (`Nov 23 09:01:02 host kernel: `), ISO dates, `dmesg -T` and `dmesg -x`.
static LOGGER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u)^(?:(?:[A-Z][a-z]{2} +[0-9]{1,2} [0-9:.]{8,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{5,18}(?:Z|[+-][0-9:]{4,6})?)",
        r" +(?:[^ ]{1,64} +)?kernel(?:\[[0-9]+\])?: ?",
        r"|kern *:[a-z]+ *: ?",
        r"|\[[A-Z][a-z]{2} [A-Z][a-z]{2} +[0-9]{1,2} [0-9:]{8} [0-9]{4}\] ?)+",
    ))
    .expect("a constant pattern")
});

/// What tools put before whole lines: dates and times of CI systems (GitHub Actions, `ts`) and of `dmesg --time-format`
/// (iso, reltime, delta), Android's logcat.
static TOOL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u)^(?:",
        r"\[?[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?\]?[ \t]+",
        r"|\[?[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?\]?[ \t]+",
        r"|\[[A-Z][a-z]{2} ?[0-9]{1,2} [0-9]{2}:[0-9]{2}\] ?",
        r"|\[ *\+[0-9]{1,10}\.[0-9]{3,9}\] ?",
        r"|\[ *[0-9]{1,10}\.[0-9]{3,9} < *[0-9]{1,10}\.[0-9]{3,9}>\] ?",
        r"|[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3,9} +(?:[a-z]+ +)?[0-9]{1,7} +[0-9]{1,7} [VDIWEF] [^:]{0,32}: ?",
        r")",
    ))
    .expect("a constant pattern")
});

/// What may stand before a kernel time stamp and is no message: a KTAP comment, and the name of whose output it is
/// (`vm1  | `).
static BEFORE_STAMP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)^(?:#[ \t]+|[0-9A-Za-z_.-]{1,32} *\| )+(?:<[0-9]{1,4}>)?\[ *[0-9]{1,10}\.")
        .expect("a constant pattern")
});

static ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])").expect("a constant pattern")
});

impl<'a> Line<'a> {
    /// Reads one line of a log, with or without its line end.
    pub fn parse(raw: &'a [u8]) -> Line<'a> {
        let raw = &raw[..raw.len().min(MAX_LINE)];
        if memchr::memchr(0x1b, raw).is_none() {
            return Line::stripped(raw);
        }
        let plain = ESCAPE.replace_all(raw, &b""[..]);
        let line = Line::stripped(&plain);
        Line { text: Cow::Owned(line.text.into_owned()), ..line }
    }

    /// A line of a record as the kernel keeps it: nothing stands before the message.
    pub fn record(text: &'a str, caller: Option<Caller>) -> Line<'a> {
        let raw = &text.as_bytes()[..text.len().min(MAX_LINE)];
        let plain = ESCAPE.replace_all(raw, &b""[..]);
        let (text, dirty) = match plain {
            Cow::Borrowed(plain) => printable(plain),
            Cow::Owned(plain) => {
                let (text, dirty) = printable(&plain);
                (Cow::Owned(text.into_owned()), dirty)
            }
        };
        Line { text, caller, from_kernel: true, dirty, glued: false, whole: true }
    }

    fn stripped(raw: &'a [u8]) -> Line<'a> {
        let mut rest = raw;
        let mut line = Line {
            text: Cow::Borrowed(""),
            caller: None,
            from_kernel: false,
            dirty: false,
            glued: false,
            whole: false,
        };
        // A CI system's time may stand before a logger's.
        for _ in 0..MAX_PREFIXES {
            rest = rest.trim_ascii_start();
            if let Some(found) = LOGGER.find(rest) {
                rest = &rest[found.end()..];
                line.from_kernel = true;
            } else if let Some(found) = TOOL.find(rest) {
                rest = &rest[found.end()..];
            } else {
                break;
            }
        }
        if let Some(found) = BEFORE_STAMP.find(rest) {
            let stamp = found.as_bytes().iter().rposition(|byte| b"<[".contains(byte)).unwrap_or(0);
            // A level belongs to the stamp.
            let level = found.as_bytes()[..stamp].iter().rposition(|byte| *byte == b'<').unwrap_or(stamp);
            rest = &rest[level..];
        }
        if let Some(found) = KMSG.captures(rest) {
            line.caller = caller(&found);
            line.from_kernel = true;
            rest = &rest[found[0].len()..];
        }
        if let Some(after) = level(rest) {
            rest = after;
            line.from_kernel = true;
        }
        // A serial server's own prefix may stand before the stamp, so it need not be at the very beginning.
        let window = &rest[..rest.len().min(160)];
        if let Some(found) = STAMP.captures(window) {
            let (start, end) = found.get(0).map_or((0, 0), |all| (all.start(), all.end()));
            line.caller = caller(&found).or(line.caller);
            line.from_kernel = true;
            line.glued = start > 0 && !rest[..start].iter().all(|b| b" \t\r".contains(b));
            rest = &rest[end..];
        }
        (line.text, line.dirty) = printable(rest);
        line
    }

    /// The same, to keep.
    pub fn into_owned(self) -> Line<'static> {
        Line { text: Cow::Owned(self.text.into_owned()), ..self }
    }

    /// What follows the next time stamp inside this message: a message that began in the middle of the line
    /// because the one before lost its newline.
    pub fn glued_on(&self) -> Option<Line<'_>> {
        let found = STAMP.captures(self.text.as_bytes()).filter(|_| !self.whole)?;
        let (text, dirty) = printable(&self.text.as_bytes()[found[0].len() + found.get(0)?.start()..]);
        Some(Line {
            text,
            caller: caller(&found).or(self.caller),
            from_kernel: true,
            dirty,
            glued: true,
            whole: false,
        })
    }
}

fn caller(found: &regex::bytes::Captures<'_>) -> Option<Caller> {
    let number = |name: &str| std::str::from_utf8(found.name(name)?.as_bytes()).ok()?.parse().ok();
    match found.name("what").map(|m| m.as_bytes()) {
        Some(b"T") => number("id").map(Caller::Task),
        Some(_) => number("id").map(Caller::Cpu),
        None => number("at").map(Caller::Cpu),
    }
}

/// Takes off `<4>`, as the console prints it with the level and as syslog(2) hands it out.
fn level(raw: &[u8]) -> Option<&[u8]> {
    let rest = raw.strip_prefix(b"<")?;
    let digits = rest.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 { None } else { rest[digits..].strip_prefix(b">") }
}

/// Space trimmed, and everything that could harm a terminal or break a pattern taken out.
fn printable(raw: &[u8]) -> (Cow<'_, str>, bool) {
    let raw = raw.trim_ascii();
    let clean = |c: char| !c.is_control() || c == '\t';
    match std::str::from_utf8(raw) {
        Ok(text) if text.chars().all(clean) => (Cow::Borrowed(text), false),
        // A carriage return inside of a line is a terminal's doing and harms nothing.
        _ => {
            let text = String::from_utf8_lossy(raw);
            let dirty = text.chars().any(|c| !clean(c) && c != '\r' || c == char::REPLACEMENT_CHARACTER);
            let kept: String =
                text.chars().filter(|&c| clean(c) && c != char::REPLACEMENT_CHARACTER).collect();
            (Cow::Owned(kept.trim().to_owned()), dirty)
        }
    }
}
