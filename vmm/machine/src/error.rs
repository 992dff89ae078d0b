//! What can go wrong while a machine is set up or run.

/// A failure of this machine or of what it was given to boot. KVM may refuse something that it did before because of what
/// a guest made of itself, so once a guest runs, an error need not be the machine's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/dev/kvm` can't be opened.
    #[error("can't open /dev/kvm: {0}")]
    Open(#[source] kvm_ioctls::Error),
    /// This KVM is too old or too small.
    #[error("this KVM lacks {0}, which every x86 KVM since Linux 5.10 has")]
    Missing(&'static str),
    /// An ioctl failed.
    #[error("KVM refused {what}: {source}")]
    Kvm {
        /// The ioctl, in KVM's own name.
        what: &'static str,
        /// Its errno.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// Guest memory could not be had.
    #[error("can't get {mib} MiB of guest memory: {why}")]
    Memory {
        /// What was asked for.
        mib: u32,
        /// What the system said.
        why: String,
    },
    /// The guest's memory was taken away to be protected in parts, and can't be given back.
    #[error("the guest's memory can't be given back to it: {0}")]
    MemoryLost(#[source] Box<Error>),
    /// Out of file descriptors, or of memory for them.
    #[error("can't make a socket pair: {0}")]
    Descriptors(#[source] std::io::Error),
    /// Out of threads, or of what they take.
    #[error("can't start a thread for each vCPU: {0}")]
    Threads(#[source] std::io::Error),
    /// The kernel or initramfs can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no ELF vmlinux for x86-64.
    #[error("{path} is no x86-64 kernel: {why} (expected an uncompressed ELF `vmlinux`)")]
    NotAKernel {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Kernel, initramfs and tables don't fit in guest memory.
    #[error("{what} doesn't fit in the guest's memory: give the machine more than {mib} MiB")]
    TooSmall {
        /// What was placed last.
        what: &'static str,
        /// The size of guest memory.
        mib: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel command line has {0} bytes, the kernel takes 2047")]
    CommandLine(usize),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the ioctl that failed.
pub(crate) trait Named<T> {
    fn named(self, what: &'static str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, kvm_ioctls::Error> {
    fn named(self, what: &'static str) -> Result<T> {
        self.map_err(|source| Error::Kvm { what, source })
    }
}
