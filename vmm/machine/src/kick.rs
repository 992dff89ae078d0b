//! Getting a vCPU thread out of KVM_RUN.

use crate::{Result, error::Named};
use std::{os::unix::thread::JoinHandleExt, sync::Once, thread::JoinHandle};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

extern "C" fn nothing(_: i32, _: *mut nix::libc::siginfo_t, _: *mut nix::libc::c_void) {}

/// Interrupts vCPU threads: KVM_RUN in them returns with [`crate::Exit::Interrupted`].
///
/// A signal that arrives just before the thread enters KVM_RUN is lost, so whoever waits for a vCPU
/// kicks again until it has an answer.
pub struct Kicker(());

impl Kicker {
    /// Installs the (empty) signal handler of this process, once.
    pub fn new() -> Result<Self> {
        static INSTALL: Once = Once::new();
        let mut result = Ok(());
        INSTALL.call_once(|| {
            result = register_signal_handler(SIGRTMIN(), nothing)
                .map_err(|e| kvm_ioctls::Error::new(e.errno()))
                .named("a signal handler");
        });
        result.map(|()| Self(()))
    }

    /// Interrupts the thread if it still runs.
    pub fn kick<T>(&self, thread: &JoinHandle<T>) {
        if !thread.is_finished() {
            // ESRCH, for a thread that ended in between, is the only error.
            let _ = Thread(thread).kill(SIGRTMIN());
        }
    }
}

struct Thread<'a, T>(&'a JoinHandle<T>);

// SAFETY: the handle is borrowed and not joined, so its pthread_t stays valid even when the thread ended.
unsafe impl<T> Killable for Thread<'_, T> {
    fn pthread_handle(&self) -> nix::libc::pthread_t {
        self.0.as_pthread_t()
    }
}
