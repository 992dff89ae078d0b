//! Getting a vCPU's thread out of KVM_RUN.

use crate::{Result, error::Named};
use std::{
    os::unix::thread::JoinHandleExt,
    ptr::NonNull,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread::JoinHandle,
};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

extern "C" fn nothing(_: i32, _: *mut nix::libc::siginfo_t, _: *mut nix::libc::c_void) {}

/// `immediate_exit` of a vCPU's run page (KVM API, section 5): while it is set, KVM_RUN returns at once.
///
/// A signal alone would not do: one that comes just before KVM_RUN is lost. One that comes then with this set is not.
pub(crate) struct ImmediateExit(NonNull<u8>);

// SAFETY: the byte is only ever accessed atomically, from whatever thread; KVM only reads it.
unsafe impl Send for ImmediateExit {}

impl ImmediateExit {
    /// # Safety
    /// The byte stays mapped for as long as this lives.
    pub(crate) unsafe fn new(byte: NonNull<u8>) -> Self {
        Self(byte)
    }

    pub(crate) fn set(&self, value: u8) {
        // SAFETY: it is mapped, by the contract of `new`, and nobody accesses it otherwise.
        unsafe { AtomicU8::from_ptr(self.0.as_ptr()) }.store(value, Ordering::SeqCst);
    }
}

/// Interrupts one vCPU: KVM_RUN in its thread returns with [`crate::Exit::Interrupted`], or will do so at once when it
/// is called next. Whoever has put a question where the vCPU looks between two runs kicks once, and is heard.
#[derive(Clone)]
pub struct Kicker {
    /// Empty once the vCPU is gone.
    pub(crate) exit: Arc<Mutex<Option<ImmediateExit>>>,
}

impl Kicker {
    /// Installs the (empty) signal handler of this process, once.
    pub(crate) fn new(exit: ImmediateExit) -> Result<Self> {
        static INSTALL: Once = Once::new();
        let mut result = Ok(());
        INSTALL.call_once(|| {
            result = register_signal_handler(SIGRTMIN(), nothing)
                .map_err(|e| kvm_ioctls::Error::new(e.errno()))
                .named("a signal handler");
        });
        result.map(|()| Self { exit: Arc::new(Mutex::new(Some(exit))) })
    }

    /// Interrupts the vCPU, which this thread runs, if it still does.
    pub fn kick<T>(&self, thread: &JoinHandle<T>) {
        if let Some(exit) = &*self.exit.lock().unwrap_or_else(PoisonError::into_inner) {
            exit.set(1);
        }
        if !thread.is_finished() {
            // ESRCH, for a thread that ended in between, is the only error.
            let _ = Thread(thread).kill(SIGRTMIN());
        }
    }

    /// The vCPU's memory is about to go.
    pub(crate) fn forget(&self) {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Thread<'a, T>(&'a JoinHandle<T>);

// SAFETY: the handle is borrowed and not joined, so its pthread_t stays valid even when the thread ended.
unsafe impl<T> Killable for Thread<'_, T> {
    fn pthread_handle(&self) -> nix::libc::pthread_t {
        self.0.as_pthread_t()
    }
}
