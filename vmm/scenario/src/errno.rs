//! Error numbers and their names.

use std::fmt;

/// An error number of Linux on x86-64 (include/uapi/asm-generic/errno.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

/// The largest that a system call can return (include/linux/err.h, `MAX_ERRNO`).
pub const MAX_ERRNO: i32 = 4095;

/// Second names, which the library that knows the first ones leaves out; and numbers that should not
/// reach user space but are seen there (include/linux/errno.h).
const OTHERS: &[(&str, i32)] =
    &[("EWOULDBLOCK", 11), ("EDEADLOCK", 35), ("ENOTSUP", 95), ("ERESTARTSYS", 512), ("ENOTSUPP", 524)];

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
        first.chain(OTHERS.iter().map(|(name, raw)| ((*name).to_owned(), Self(*raw))))
    }

    /// What it means, in words.
    pub fn meaning(self) -> &'static str {
        nix::errno::Errno::from_raw(self.0).desc()
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
    fn only_the_last_page_of_values_is_an_error() {
        assert_eq!(Errno::of(-14), Some(Errno(14)));
        assert_eq!(Errno::of(-4095), Some(Errno(4095)));
        assert_eq!(Errno::of(-4096), None);
        assert_eq!(Errno::of(0), None);
        assert_eq!(Errno::of(i64::MIN), None);
    }
}
