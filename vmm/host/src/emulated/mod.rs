//! A KVM host under emulation: QEMU's TCG runs a Linux whose KVM is sound, and in it this very program.
//!
//! A host has several slots. Each carries one run at a time, and a second run finds the kernel that the
//! first one brought.

mod bench;
pub(crate) mod initrd;
mod inside;
mod own;
mod qemu;
mod qmp;
mod room;
mod slot;
mod talk;

pub use bench::{bench_boot, qemu_files};
pub use inside::{init, is_init};
pub(crate) use qemu::{tail, tied_to_us};
pub use slot::{EmulatedHost, Serving};
pub(crate) use talk::Key;

use crate::emulated_intel::IntelError;
use base::cache::CacheError;
use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// A file in a host's initrd: where, mode, content.
pub type HostFile = (String, u32, Vec<u8>);

/// Names of our ports begin with this.
const PORT_PREFIX: &str = "vmm.slot.";

/// Where files that were sent to a host are kept: in memory, like everything there.
const BLOBS: &str = "/blobs";

/// So many runs at once.
pub const SLOTS: usize = 4;

/// What turns Debian's cloud kernel into a KVM host with our ports, in the order of loading.
const MODULES: [&str; 9] = [
    "irqbypass.ko",
    "kvm.ko",
    "kvm-amd.ko",
    "virtio_ring.ko",
    "virtio.ko",
    "virtio_pci_modern_dev.ko",
    "virtio_pci_legacy_dev.ko",
    "virtio_pci.ko",
    "virtio_console.ko",
];

/// Why there is no emulated host, or it did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum EmulatedError {
    /// It was never set up.
    #[error("find {}; `./setup emulator` puts it there", .0.display())]
    Missing(PathBuf),
    /// The system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The attempt, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no place for its sockets.
    #[error(transparent)]
    Folder(CacheError),
    /// The initrd can't be written.
    #[error("assemble the host's initrd: {0}")]
    Initrd(#[from] initramfs::Error),
    /// QEMU is gone.
    #[error("keep the emulated host running: QEMU ended ({status}); it said last:\n  {tail}")]
    Died {
        /// How.
        status: ExitStatus,
        /// The end of its console.
        tail: String,
    },
    /// It runs, and does nothing.
    #[error("hear from the emulated host within {seconds} s; it said last:\n  {tail}")]
    Silent {
        /// How long it had.
        seconds: u64,
        /// The end of its console.
        tail: String,
    },
    /// The host that is being served is another program's.
    #[error(
        "use the emulated host in {}: it runs another build of vmm than this one; \
         end that `vmm host serve` and start it anew",
        .0.display()
    )]
    OtherBuild(PathBuf),
    /// Nobody serves there.
    #[error(
        "use the emulated host in {} (VMM_HOST_DIR): {source}; \
         start it with `vmm host serve --socket {}`, or unset VMM_HOST_DIR",
        folder.display(), folder.display()
    )]
    NotServed {
        /// Where it should be.
        folder: PathBuf,
        /// What is wrong there.
        source: io::Error,
    },
    /// The machine inside could not be started.
    #[error("run the plan in the emulated host: {0}")]
    Failed(String),
    /// The one with an Intel processor.
    #[error(transparent)]
    Intel(Box<IntelError>),
    /// The conversation broke off or went wrong.
    #[error("talk to the emulated host: {0}; it said last:\n  {1}")]
    Talk(String, String),
    /// The caller gave up.
    #[error("finish: interrupted")]
    Interrupted,
}

impl From<IntelError> for EmulatedError {
    fn from(error: IntelError) -> Self {
        Self::Intel(Box::new(error))
    }
}

impl EmulatedError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Whether everything is there that [`EmulatedHost::start`] needs.
///
/// # Errors
/// [`EmulatedError::Missing`].
pub fn check(files: &Path) -> Result<(), EmulatedError> {
    let modules = MODULES.map(|name| files.join("modules").join(name));
    let programs = ["qemu-system-x86_64", "vmlinuz"].map(|name| files.join(name));
    match programs.into_iter().chain(modules).find(|path| !path.exists()) {
        Some(path) => Err(EmulatedError::Missing(path)),
        None => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn key_from_hex(text: &str) -> Option<Key> {
    let mut key = Key::default();
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (text.len() == 2 * key.len()).then_some(key)
}
