//! File and line for code that a person is to look at. They are added when a finding is complete: its fingerprint
//! has to be the same with and without debug info.

use super::Names;
use kernel::lines::{Code, Place, Stands};

/// Adds them to frames that have none.
pub fn add(splat: &mut splat::Finding, names: &dyn Names) {
    let excerpt = &splat.excerpt;
    for frame in splat.frames.iter_mut().filter(|frame| frame.file.is_none()) {
        let Some(offset) = frame.offset else { continue };
        let code = Code::Named {
            function: frame.function.clone(),
            offset,
            size: frame.size,
            module: frame.module.clone(),
        };
        // The place where a processor was is in the report's own line of it; all others are places that calls
        // return to.
        let place = format!("+{offset:#x}/{:#x}", frame.size.unwrap_or(0));
        let was_here = |line: &String| line.starts_with("RIP: ") && line.contains(&place);
        let stands = if excerpt.iter().any(was_here) { Stands::Here } else { Stands::BehindCall };
        if let Some(Place { file, line }) = at_home(names.source(&code, stands), names) {
            (frame.file, frame.line) = (Some(file), Some(line));
        }
    }
}

/// `file:line` of an address that has this name, such as `foo+0x12 [module]`.
pub fn of_address(address: u64, name: &str, stands: Stands, names: &dyn Names) -> Option<String> {
    let code = match name.split_once(" [") {
        None => Code::Linked(address),
        Some((place, module)) => {
            let (function, offset) = place.rsplit_once("+0x")?;
            Code::Named {
                function: splat::base_name(function),
                offset: u64::from_str_radix(offset, 16).ok()?,
                size: None,
                module: Some(module.strip_suffix(']')?.to_owned()),
            }
        }
    };
    let Place { file, line } = at_home(names.source(&code, stands), names)?;
    Some(format!("{file}:{line}"))
}

/// A module's file, as the user knows it.
fn at_home(place: Option<Place>, names: &dyn Names) -> Option<Place> {
    let place = place?;
    Some(Place { file: names.line(&place.file), ..place })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARN: &str = include_str!("../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");

    /// Knows the module's functions, and how it was asked.
    struct Knows;

    impl Names for Knows {
        fn syscall(&self, _: board::wire::Door, _: u64) -> Option<String> {
            None
        }

        fn symbol(&self, _: u64) -> Option<String> {
            None
        }

        fn at_home(&self, line: &str) -> Option<String> {
            crate::fixture::Known.at_home(line)
        }

        fn source(&self, code: &Code, stands: Stands) -> Option<Place> {
            let line = match stands {
                Stands::Here => 1,
                Stands::BehindCall => 2,
            };
            let file = match code {
                Code::Named { module: Some(_), .. } => "/cache/foo.c",
                Code::Named { function, .. } if function == "__x64_sys_ioctl" => "fs/ioctl.c",
                Code::Linked(0x1000) => "mm/page.c",
                _ => return None,
            };
            Some(Place { file: file.to_owned(), line })
        }
    }

    #[test]
    fn frames_get_lines_and_the_fingerprint_stays() {
        let [before] = &splat::scan(WARN.as_bytes())[..] else { panic!("one finding") };
        let mut after = before.clone();
        add(&mut after, &Knows);
        let line = |function: &str| {
            let frame = after.frames.iter().find(|frame| frame.function == function).unwrap();
            (frame.file.as_deref(), frame.line)
        };
        assert_eq!(line("foo_ioctl"), (Some("/home/my work/foo.c"), Some(1)), "where the processor was");
        assert_eq!(line("__x64_sys_ioctl"), (Some("fs/ioctl.c"), Some(2)), "where a call returns to");
        assert_eq!(line("do_syscall_64"), (None, None));
        assert_eq!(after.fingerprint, before.fingerprint);
        assert!(
            after.frames[0].to_string().ends_with(" [foo]  /home/my work/foo.c:1"),
            "{}",
            after.frames[0]
        );
    }

    #[test]
    fn what_the_log_already_names_stays() {
        let mut finding = splat::scan(WARN.as_bytes()).remove(0);
        (finding.frames[0].file, finding.frames[0].line) = (Some("decoded.c".to_owned()), Some(7));
        add(&mut finding, &Knows);
        assert_eq!(finding.frames[0].file.as_deref(), Some("decoded.c"));
    }

    #[test]
    fn addresses_of_a_hang_are_looked_for_where_their_names_say() {
        let place = |address, name: &str| of_address(address, name, Stands::Here, &Knows);
        assert_eq!(place(0x1000, "wait+0x4").as_deref(), Some("mm/page.c:1"));
        assert_eq!(place(0x2000, "wait+0x4"), None);
        assert_eq!(place(0x1000, "foo_write+0x10 [foo]").as_deref(), Some("/home/my work/foo.c:1"));
        // The guest's memory says what a module's function is called.
        for name in [" [foo]", " [", "+0x [foo]", "f+0xzz [foo]", "f+0x1 [foo", "f [foo]"] {
            assert_eq!(place(0x2000, name), None, "{name}");
        }
    }
}
