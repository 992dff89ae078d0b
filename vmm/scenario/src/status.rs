//! Exit statuses of programs, and the signals that some of them tell of.

use nix::sys::signal::Signal;
use std::str::FromStr;

/// A status above this tells that a signal ended the program, as in a shell.
pub const SIGNALLED: i32 = 128;

/// The largest number of a signal (include/uapi/asm-generic/signal.h, `_NSIG`).
const LAST: i32 = 64;

/// `SIGSEGV`, or `signal 35` for one without a name.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// The status that a signal's name stands for.
pub fn named(name: &str) -> Option<i32> {
    Some(SIGNALLED + Signal::from_str(name).ok()? as i32)
}

/// The status that a person means by a number: -11 is what some programs say of the end by signal 11.
pub fn meant(number: i128) -> i128 {
    if (-i128::from(LAST)..0).contains(&number) { i128::from(SIGNALLED) - number } else { number }
}

/// Whether a status tells of a signal.
pub fn is_signal(status: i32) -> bool {
    (SIGNALLED + 1..=SIGNALLED + LAST).contains(&status)
}

/// `3`, or `139 (SIGSEGV)`.
pub fn show(status: i128) -> String {
    let signal = status - i128::from(SIGNALLED);
    match i32::try_from(signal) {
        Ok(signal @ 1..=LAST) => format!("{status} ({})", signal_name(signal)),
        _ => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_name_the_signals_that_they_tell_of() {
        assert_eq!((show(139), show(137)), ("139 (SIGSEGV)".into(), "137 (SIGKILL)".into()));
        assert_eq!((show(0), show(128), show(255)), ("0".into(), "128".into(), "255".into()));
        assert_eq!(show(163), "163 (signal 35)");
        assert_eq!((meant(-11), meant(-65), meant(3)), (139, -65, 3));
        assert_eq!((named("SIGSEGV"), named("SIGNOTHING")), (Some(139), None));
    }
}
