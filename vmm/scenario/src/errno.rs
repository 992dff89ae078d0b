//! Error numbers and their names.

use std::fmt;

/// An error number of Linux on x86-64 (include/uapi/asm-generic/errno.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

/// The largest that a system call can return (include/linux/err.h, `MAX_ERRNO`).
pub const MAX_ERRNO: i32 = 4095;

/// Second names, which the library that knows the first ones leaves out.
const SECOND: &[(&str, i32)] = &[("EWOULDBLOCK", 11), ("EDEADLOCK", 35), ("ENOTSUP", 95)];

/// Numbers that the kernel keeps to itself, and that reach user space where it or a module forgets to
/// (include/linux/errno.h).
const INTERNAL: &[(&str, i32, &str)] = &[
    ("ERESTARTSYS", 512, "the kernel's own: the call is to be restarted, or to end with EINTR"),
    ("ERESTARTNOINTR", 513, "the kernel's own: the call is to be restarted"),
    ("ERESTARTNOHAND", 514, "the kernel's own: the call is to be restarted if there is no handler"),
    ("ENOIOCTLCMD", 515, "the kernel's own: no such ioctl"),
    ("ERESTART_RESTARTBLOCK", 516, "the kernel's own: the call is to be restarted by restart_syscall"),
    ("EPROBE_DEFER", 517, "the kernel's own: the driver asks to be probed again later"),
    ("EOPENSTALE", 518, "the kernel's own: a stale dentry was opened"),
    ("ENOPARAM", 519, "the kernel's own: parameter not supported"),
    ("EBADHANDLE", 521, "the kernel's own: illegal NFS file handle"),
    ("ENOTSYNC", 522, "the kernel's own: update synchronization mismatch"),
    ("EBADCOOKIE", 523, "the kernel's own: cookie is stale"),
    ("ENOTSUPP", 524, "the kernel's own: operation is not supported"),
    ("ETOOSMALL", 525, "the kernel's own: buffer or request is too small"),
    ("ESERVERFAULT", 526, "the kernel's own: an untranslatable error occurred"),
    ("EBADTYPE", 527, "the kernel's own: type not supported by server"),
    ("EJUKEBOX", 528, "the kernel's own: request initiated, but will not complete before timeout"),
    ("EIOCBQUEUED", 529, "the kernel's own: iocb queued, will get completion event"),
    ("ERECALLCONFLICT", 530, "the kernel's own: conflict with recalled state"),
    ("ENOGRACE", 531, "the kernel's own: NFS file lock reclaim refused"),
];

impl Errno {
    /// `EFAULT` and the like.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|(known, _)| known == name).map(|(_, errno)| errno)
    }

    /// What a system call returned, if that is an error.
    pub fn of(value: i64) -> Option<Self> {
        (-i64::from(MAX_ERRNO)..0).contains(&value).then(|| Self(-value as i32))
    }

    /// All names, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = (String, Self)> {
        let first = (1..=133).filter_map(|raw| {
            let known = nix::errno::Errno::from_raw(raw);
            (known != nix::errno::Errno::UnknownErrno).then(|| (format!("{known:?}"), Self(raw)))
        });
        let second = SECOND.iter().copied().chain(INTERNAL.iter().map(|(name, raw, _)| (*name, *raw)));
        first.chain(second.map(|(name, raw)| (name.to_owned(), Self(raw))))
    }

    /// What it means, in words.
    pub fn meaning(self) -> &'static str {
        let internal = INTERNAL.iter().find(|(_, raw, _)| *raw == self.0);
        internal.map_or_else(|| nix::errno::Errno::from_raw(self.0).desc(), |(_, _, meaning)| *meaning)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::all().find(|(_, errno)| errno == self) {
            Some((name, _)) => f.write_str(&name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel_header() {
        assert_eq!(Errno::named("EPERM"), Some(Errno(1)));
        assert_eq!(Errno::named("EFAULT"), Some(Errno(14)));
        assert_eq!(Errno::named("EOVERFLOW"), Some(Errno(75)));
        assert_eq!(Errno::named("EWOULDBLOCK"), Errno::named("EAGAIN"));
        assert_eq!(Errno::named("EHWPOISON"), Some(Errno(133)));
        assert_eq!(Errno(11).to_string(), "EAGAIN");
        assert_eq!(Errno(4000).to_string(), "errno 4000");
    }

    #[test]
    fn numbers_that_the_kernel_should_have_kept_to_itself_have_names_and_meanings() {
        for raw in (512..=531).filter(|raw| *raw != 520) {
            let errno = Errno(raw);
            let name = errno.to_string();
            assert_eq!(Errno::named(&name), Some(errno), "{raw}");
            assert!(errno.meaning().starts_with("the kernel's own"), "{name}: {}", errno.meaning());
        }
        assert_eq!(Errno::named("EPROBE_DEFER"), Some(Errno(517)));
        assert_eq!(Errno::of(-512).map(|errno| errno.to_string()).as_deref(), Some("ERESTARTSYS"));
    }

    #[test]
    fn only_the_last_page_of_values_is_an_error() {
        assert_eq!(Errno::of(-14), Some(Errno(14)));
        assert_eq!(Errno::of(-4095), Some(Errno(4095)));
        assert_eq!(Errno::of(-4096), None);
        assert_eq!(Errno::of(0), None);
        assert_eq!(Errno::of(i64::MIN), None);
    }
}
