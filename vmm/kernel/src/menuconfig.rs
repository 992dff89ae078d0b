//! `make menuconfig` on a recipe's configuration.

use super::{KernelError, Recipe, build, config, prepare};
use base::{
    cache::{Cache, CacheError},
    interrupt,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, path::Path, thread, time::Duration};

/// Between two looks at whether the menus are closed.
const POLL: Duration = Duration::from_millis(50);

/// Shows the kernel's menus on this terminal. Returns what was changed, as a fragment; empty for nothing.
///
/// # Errors
/// As a build's; and when the menus don't run, of which the kernel's makefile has said why.
pub fn menuconfig(recipe: &Recipe, cache: &Cache) -> Result<String, KernelError> {
    let prepared = prepare(recipe, cache)?;
    let (before, after) = build::in_slot(recipe, &prepared, "menuconfig", cache, |slot| {
        let read = |path: &Path| fs::read_to_string(path).map_err(CacheError::io("read", path));
        let config = slot.build.join(".config");
        let before = read(&config)?;
        // On the user's terminal, so without the group that other builds get.
        let mut command = slot.plain_command(&["menuconfig"]);
        interrupt::leave_to_the_terminal();
        let start = || CacheError::io("start", Path::new("make"));
        let mut child = command.spawn().map_err(start())?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(start())? {
                break status;
            }
            // The menus deal with Ctrl-C themselves. But at a terminal that is gone they ask for keys for ever.
            if interrupt::requested() && fs::File::open("/dev/tty").is_err() {
                let id = i32::try_from(child.id()).map(Pid::from_raw);
                // make ends what it started.
                let _ = id.map(|id| kill(id, Signal::SIGTERM));
            }
            thread::sleep(POLL);
        };
        let after = read(&config)?;
        // The slot is the next build's.
        fs::write(&config, &before).map_err(CacheError::io("write", &config))?;
        if !status.success() {
            return Err(KernelError::Menu);
        }
        Ok((before, after))
    })?;
    Ok(config::difference(&before, &after))
}
