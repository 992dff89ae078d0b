//! Texts and times as a person should see them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Text that comes from a guest or a file, with control characters made visible: it must not steer the
/// reader's terminal. Line ends are made visible too.
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            // Bidirectional controls reorder what a person reads.
            // The last two are no characters, and XML has no way to say them.
            '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                shown.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

/// The same of several lines: their ends and tabs stay.
pub fn escape_lines(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(escape).collect::<Vec<_>>().join("\t");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// An I/O error in the system's words, without the number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// An error of a temporary file without that file's name, which means nothing to anybody.
pub fn unnamed(error: io::Error) -> io::Error {
    let text = error.to_string();
    // As tempfile writes it.
    io::Error::new(error.kind(), text.split(" at path \"").next().unwrap_or_default())
}

/// A path without detours, from the current folder where it is in it.
pub fn path(path: &Path) -> PathBuf {
    let Ok(whole) = fs::canonicalize(path) else { return path.to_owned() };
    let here = env::current_dir().and_then(fs::canonicalize).unwrap_or_default();
    match whole.strip_prefix(&here) {
        Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
        Ok(below) => below.to_owned(),
        Err(_) => whole,
    }
}

/// A time with its unit, at most three digits unless it is a whole number of seconds.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 && s.fract() == 0.0 => format!("{s:.0} s"),
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.0995 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} us", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_can_steer_a_terminal() {
        let hostile: String =
            (0..=0xff).map(char::from).chain(['\u{202e}', '\u{2066}', '\u{ffff}']).collect();
        let shown = escape(&hostile);
        assert!(shown.chars().all(|c| !c.is_control() && !['\u{202e}', '\u{2066}', '\u{ffff}'].contains(&c)));
        assert!(shown.contains("\\x1b") && shown.contains("\\x9b"), "{shown}");
        assert_eq!(escape("größe 1"), "größe 1");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(escape_lines("a\tb\x1b\r\n\nc\u{202e}"), "a\tb\\x1b\\r\n\nc\\u{202e}");
    }

    #[test]
    fn paths_begin_here_or_at_the_root() {
        let here = env::current_dir().unwrap();
        let shown = |text: &str| path(Path::new(text)).display().to_string();
        assert_eq!(
            (shown("."), shown("src/../src"), shown("src/..")),
            (".".into(), "src".into(), ".".into())
        );
        assert_eq!(shown(here.join("src").to_str().unwrap()), "src");
        assert_eq!((shown("/usr/../usr"), shown("/nowhere/..")), ("/usr".into(), "/nowhere/..".into()));
    }

    #[test]
    fn times_are_short() {
        let shown = |micros| time(Duration::from_micros(micros));
        assert_eq!(shown(10_000_000), "10 s");
        assert_eq!(shown(1_310_200), "1.31 s");
        assert_eq!(shown(123_456), "123 ms");
        assert_eq!(shown(4_100), "4.1 ms");
        assert_eq!(shown(200), "200 us");
    }
}
