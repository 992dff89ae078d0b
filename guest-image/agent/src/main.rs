//! PID 1 in the guest: does what the harness asks, and judges nothing.
//!
//! The harness sends requests over a virtio-console port. PID 1 itself only passes messages on, starts
//! programs and collects children; system calls that a step asks for are made by the [`worker`], which
//! may die of them.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod buffers;
#[allow(unsafe_code)]
mod call;
#[allow(unsafe_code)]
mod clock;
mod early;
mod kill;
#[allow(unsafe_code)]
mod perform;
mod pipe;
mod place;
mod port;
#[allow(unsafe_code)]
mod process;
mod program;
mod serve;
#[cfg(test)]
mod serve_test;
mod setup;
#[allow(unsafe_code)]
mod wake;
mod worker;

use clock::Clock;
use protocol::{FromAgent, Hello, VERSION, encode};
use serve::Control;
use std::io::Write;

fn main() {
    if std::process::id() != 1 {
        eprintln!("error: vmm-agent runs as PID 1 of a guest that `vmm` boots, nowhere else");
        std::process::exit(2);
    }
    process::close_to_others();
    call::touch();
    setup::mount_dev();
    early::load();
    let mut port = port::open();
    // Waits until the host's end is open; until then there is nothing else to do.
    let hello = encode(&FromAgent::Hello(hello())).map_err(std::io::Error::other);
    let why = match hello.and_then(|hello| port.write_all(&hello)).and_then(|()| Control::new(port)) {
        Ok(control) => {
            setup::mount_the_rest();
            setup::open_console();
            serve::serve(control, Clock::detect())
        }
        Err(error) => format!("the control port takes no hello: {error}"),
    };
    // PID 1 must not end: that would be a panic, and hide what went wrong. The harness notices the
    // silence.
    setup::say(&why);
    loop {
        nix::unistd::pause();
    }
}

fn hello() -> Hello {
    let release = nix::sys::utsname::uname();
    let release = release.as_ref().map(|name| name.release().to_string_lossy().into_owned());
    Hello {
        version: VERSION,
        release: release.unwrap_or_default(),
        call_returns: call::return_addresses().to_vec(),
        text: call::text(),
    }
}
