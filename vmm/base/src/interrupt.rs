//! Ctrl-C: whoever waits for something long asks here whether the user still wants it.
//!
//! A handler can't clean up; a loop that polls can. So the handler only sets a flag, and every wait
//! looks at it a few times a second, ends what it started and returns an error.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ, TERM_SIGNALS},
    iterator::Signals,
    low_level,
};
use std::{
    fs,
    io::{self, Write},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What waits has this long to end in order. Somebody who wants it to stop is not to wait for a read that never returns.
const PATIENCE: Duration = Duration::from_millis(1700);

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

static PATIENT: AtomicBool = AtomicBool::new(false);

/// The number of the signal that came; 0 for none.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Makes SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process. A second SIGINT or
/// SIGTERM ends it at once, for a user whose patience is at its end; and what has not ended by itself within two seconds
/// is ended. Children are tied to us, and go as well; reports are whole at every moment. A SIGHUP that is ignored, as by nohup(1),
/// stays so.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn install() -> io::Result<()> {
    use signal_hook::flag;
    // In this order: the first signal finds the flag unset, the second finds it set.
    for &signal in TERM_SIGNALS {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&REQUESTED))?;
        flag::register_usize(signal, Arc::clone(&SIGNAL), signal.unsigned_abs() as usize)?;
        flag::register(signal, Arc::clone(&REQUESTED))?;
    }
    let mut waited_for = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP, &fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        flag::register_usize(SIGHUP, Arc::clone(&SIGNAL), SIGHUP.unsigned_abs() as usize)?;
        flag::register(SIGHUP, Arc::clone(&REQUESTED))?;
        waited_for.push(SIGHUP);
    }
    // A file that may not become so long (`ulimit -f`) is an error of whoever writes it, and no end without a word.
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new(waited_for)?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            thread::sleep(PATIENCE);
            if PATIENT.load(Ordering::Relaxed) {
                return;
            }
            // Whoever would have read it may be gone, and this has to end all the same.
            let _ = writeln!(io::stderr(), "error: {}, and did not end by itself", reason());
            low_level::exit(128 + signal);
        }
    });
    Ok(())
}

/// Whether whoever started this process has it ignore a signal, by its `status` (proc_pid_status(5)).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

/// From now on a signal waits for whoever is at the terminal: a menu that asks whether to save.
pub fn leave_to_the_terminal() {
    PATIENT.store(true, Ordering::Relaxed);
}

/// Whether one of the signals of [`install`] came.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The number of the signal that came last; SIGINT's if none did.
pub fn signal() -> u8 {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => SIGINT.unsigned_abs() as u8,
        signal => signal as u8,
    }
}

/// Why the run ends, for its report.
pub fn reason() -> String {
    match i32::from(signal()) {
        SIGTERM => "ended by SIGTERM: somebody else, such as a CI system, wanted it to stop".to_owned(),
        SIGHUP => "ended by SIGHUP: its terminal is gone".to_owned(),
        SIGINT => "interrupted by the user".to_owned(),
        other => format!("ended by signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_known() {
        let status = "Name:\tvmm\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(SIGHUP, status) && !is_ignored(SIGTERM, status) && !is_ignored(SIGHUP, ""));
    }
}
