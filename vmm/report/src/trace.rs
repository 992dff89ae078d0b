//! One system call in a line, as strace shows it: names, the arguments of common calls decoded, the result.

use base::text::{escape, time};
use board::wire::{Door, SeenCall};
use scenario::errno::Errno;

/// So many bytes of a buffer or a string are shown.
const SHOWN: usize = 32;

/// The arguments of common calls, a letter each (Linux man-pages, section 2):
/// `d` a number, `x` hexadecimal, `o` octal, `p` an address, `s` a string, `f` a descriptor or AT_FDCWD, `b` a
/// buffer whose length is the next argument's.
const SIGNATURES: &[(&str, &str)] = &[
    ("access", "sd"),
    ("arch_prctl", "xp"),
    ("brk", "p"),
    ("chdir", "s"),
    ("chmod", "so"),
    ("clock_gettime", "dp"),
    ("clock_nanosleep", "ddpp"),
    ("clone", "xpppp"),
    ("close", "d"),
    ("delete_module", "sx"),
    ("dup", "d"),
    ("dup2", "dd"),
    ("execve", "spp"),
    ("exit", "d"),
    ("exit_group", "d"),
    ("faccessat", "fsd"),
    ("fcntl", "ddx"),
    ("finit_module", "dsx"),
    ("fstat", "dp"),
    ("getcwd", "px"),
    ("getdents64", "dpd"),
    ("getegid", ""),
    ("geteuid", ""),
    ("getgid", ""),
    ("getpid", ""),
    ("getppid", ""),
    ("gettid", ""),
    ("getuid", ""),
    ("getrandom", "pdx"),
    ("init_module", "pds"),
    ("ioctl", "dxp"),
    ("kill", "dd"),
    ("lseek", "ddd"),
    ("mkdir", "so"),
    ("mkdirat", "fso"),
    ("mknodat", "fsox"),
    ("mmap", "pdxxdx"),
    ("mount", "sssxs"),
    ("mprotect", "pdx"),
    ("munmap", "pd"),
    ("nanosleep", "pp"),
    ("newfstatat", "fspx"),
    ("open", "sxo"),
    ("openat", "fsxo"),
    ("pipe2", "px"),
    ("poll", "pdd"),
    ("prctl", "dxxxx"),
    ("pread64", "dpdd"),
    ("pwrite64", "dbdd"),
    ("read", "dpd"),
    ("readlink", "spd"),
    ("rename", "ss"),
    ("rmdir", "s"),
    ("rt_sigaction", "dppd"),
    ("rt_sigprocmask", "dppd"),
    ("sched_yield", ""),
    ("set_robust_list", "pd"),
    ("set_tid_address", "p"),
    ("stat", "sp"),
    ("symlink", "ss"),
    ("umount2", "sx"),
    ("uname", "p"),
    ("unlink", "s"),
    ("unlinkat", "fsx"),
    ("wait4", "dpxp"),
    ("write", "dbd"),
];

/// The call as text, without time and process.
pub fn call(name: &str, seen: &SeenCall) -> String {
    let signature = SIGNATURES.iter().find(|(known, _)| *known == name && seen.door == Door::Syscall64);
    let args: Vec<String> = match signature {
        Some((_, letters)) => {
            letters.chars().enumerate().map(|(at, letter)| shown(letter, at, seen)).collect()
        }
        // What a call that nobody knows takes is its own business: numbers, up to the last that is not 0.
        None => {
            let used = seen.args.iter().rposition(|arg| *arg != 0).map_or(0, |last| last + 1);
            (0..used).map(|at| shown('d', at, seen)).collect()
        }
    };
    format!("{name}({})", args.join(", "))
}

/// The result as text.
pub fn result(seen: &SeenCall) -> String {
    match seen.result {
        None => "?".to_owned(),
        Some((value, took)) => {
            let value = match Errno::of(value) {
                Some(errno) => format!("-1 {errno} ({})", errno.meaning()),
                // Addresses are large.
                None if value > 1 << 32 => format!("{value:#x}"),
                None => value.to_string(),
            };
            format!("{value} <{}>", time(took))
        }
    }
}

fn shown(letter: char, at: usize, seen: &SeenCall) -> String {
    let value = seen.args[at];
    let bytes =
        || seen.memory.iter().find(|(index, _)| usize::from(*index) == at).map(|(_, bytes)| &bytes[..]);
    match letter {
        's' => match bytes() {
            Some(bytes) => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                quoted(text, text.len() == bytes.len())
            }
            None => pointer(value),
        },
        'b' => match (bytes(), seen.args.get(at + 1)) {
            (Some(bytes), Some(length)) => {
                let whole = usize::try_from(*length).unwrap_or(usize::MAX);
                quoted(&bytes[..whole.min(bytes.len())], whole > bytes.len())
            }
            _ => pointer(value),
        },
        'f' if value as i32 == -100 => "AT_FDCWD".to_owned(),
        // Descriptors are 32 bits wide; the rest of the register is nobody's.
        'f' => (value as i32).to_string(),
        'x' => format!("{value:#x}"),
        'o' => format!("{value:#o}"),
        'p' => pointer(value),
        _ if value > 1 << 47 && (value as i64) > -(1 << 32) => (value as i64).to_string(),
        _ if value > 1 << 32 => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

fn pointer(value: u64) -> String {
    if value == 0 { "NULL".to_owned() } else { format!("{value:#x}") }
}

fn quoted(bytes: &[u8], more: bool) -> String {
    let cut = bytes.len() > SHOWN;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let text: String = text.chars().flat_map(char::escape_debug).collect();
    format!("\"{}\"{}", escape(&text), if cut || more { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Origin;
    use std::time::Duration;

    fn seen(args: &[u64], memory: &[(u8, &[u8])], result: Option<i64>) -> SeenCall {
        let mut six = [0; 6];
        six[..args.len()].copy_from_slice(args);
        SeenCall {
            door: Door::Syscall64,
            nr: 0,
            origin: Origin::Step,
            args: six,
            memory: memory.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect(),
            process: None,
            at: Duration::ZERO,
            result: result.map(|value| (value, Duration::from_micros(12))),
        }
    }

    #[test]
    fn known_calls_are_decoded_and_others_show_numbers() {
        let open = seen(&[-100i64 as u64, 0x7000, 2, 0], &[(1, b"/dev/x\0rest")], Some(-2));
        assert_eq!(call("openat", &open), "openat(AT_FDCWD, \"/dev/x\", 0x2, 0o0)");
        assert_eq!(result(&open), "-1 ENOENT (No such file or directory) <12 us>");
        let write = seen(&[3, 0x7000, 2], &[(1, b"h\n and more")], Some(2));
        assert_eq!(call("write", &write), "write(3, \"h\\n\", 2)");
        let add = seen(&[2, -40i64 as u64, 0x7ffd_0000_1000], &[], None);
        assert_eq!((&*call("csci_add", &add), &*result(&add)), ("csci_add(2, -40, 0x7ffd00001000)", "?"));
    }

    #[test]
    fn text_that_goes_on_or_holds_escapes_is_safe_to_print() {
        let long = [b'a'; 64];
        assert!(call("chdir", &seen(&[0x7000], &[(0, &long)], None)).ends_with("a\"...)"));
        let rude = call("chdir", &seen(&[0x7000], &[(0, b"\x1b[2J\0")], None));
        assert!(!rude.contains('\x1b'), "{rude:?}");
        assert_eq!(call("chdir", &seen(&[0], &[], None)), "chdir(NULL)");
    }

    #[test]
    fn signatures_are_in_order_and_no_longer_than_a_call() {
        assert!(SIGNATURES.iter().all(|(_, letters)| letters.len() <= 6));
    }
}
