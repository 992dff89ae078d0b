//! The end of a process that was started here.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

/// Whoever is not gone by then waits in the kernel for something that may never come, as a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// It is looked so often whether it is gone.
const LOOK: Duration = Duration::from_millis(1);

/// Kills a process and waits until it is gone, or for ten seconds: one that still waits for a disk then ends by itself once that
/// answers, and nobody has to wait for it.
pub fn end(child: &mut Child) {
    // It fails only where the process has been reaped before.
    let _ = child.kill();
    gone_within(child, PATIENCE);
}

/// Whether it is, or soon is.
fn gone_within(child: &mut Child, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_that_does_not_go_is_waited_for_no_longer_than_that() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let start = Instant::now();
        // As one that a signal does not reach.
        assert!(!gone_within(&mut child, Duration::from_millis(30)));
        assert!(start.elapsed() < PATIENCE);
        end(&mut child);
        assert!(child.try_wait().unwrap().is_some());
        // Again, as it is dropped.
        end(&mut child);
    }
}
