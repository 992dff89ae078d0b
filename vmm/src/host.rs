//! `vmm host`: an emulated host that outlives single runs.

use crate::{
    cli::{HostArgs, HostCommand},
    exit,
    say::failed,
};
use base::{
    cache::{Cache, Fault},
    interrupt,
};
use host::{
    SERVED,
    emulated::{EmulatedError, Serving},
};
use judge::Verdict;
use std::io::Write;

/// Does what was asked for, and returns the exit code.
pub fn host(args: &HostArgs) -> u8 {
    let HostCommand::Serve { socket, memory } = &args.command;
    let files = match Cache::open() {
        Ok(cache) => cache.root().join("emulator"),
        Err(error) => return failed(&error, Fault::Machine),
    };
    let serving = match Serving::start(&files, socket, *memory, &interrupt::requested) {
        Ok(serving) => serving,
        Err(EmulatedError::Interrupted) => return exit::code(Verdict::Interrupted),
        Err(error) => return failed(&error, Fault::Machine),
    };
    // Whoever starts this in a script waits for the line.
    let _ = writeln!(std::io::stdout(), "ready: {SERVED}={}", socket.display());
    let _ = std::io::stdout().flush();
    match serving.wait(&interrupt::requested) {
        // Ctrl-C is how it is meant to end.
        Ok(()) => 0,
        Err(error) => failed(&error, Fault::Machine),
    }
}
