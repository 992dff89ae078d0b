//! Ctrl-C: whoever waits for something long asks here whether the user still wants it.
//!
//! A handler can't clean up; a loop that polls can. So the handler only sets a flag, and every wait in
//! this crate looks at it a few times a second, ends what it started and returns an error.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Makes SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process. A second SIGINT or
/// SIGTERM ends it at once, for a user whose patience is at its end.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn install() -> std::io::Result<()> {
    use signal_hook::{consts::TERM_SIGNALS, flag};
    // In this order: the first signal finds the flag unset, the second finds it set.
    for &signal in TERM_SIGNALS {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&REQUESTED))?;
        flag::register(signal, Arc::clone(&REQUESTED))?;
    }
    flag::register(signal_hook::consts::SIGHUP, Arc::clone(&REQUESTED))?;
    Ok(())
}

/// Whether one of the signals of [`install`] came.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
