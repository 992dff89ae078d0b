//! What the worker does with a request: the calls, with their buffers.

use crate::{
    buffers::{Arena, Buffers},
    call,
    clock::Clock,
};
use protocol::{Action, Call, Door, Outcome};

/// Makes the calls, and says how many nanoseconds that took. A call that is alone has its buffers in the arena.
pub fn perform(action: &Action, clock: Clock, arena: Option<&mut Arena>) -> (Outcome, u64) {
    let refused = |why: String| (Outcome::Refused { why }, 0);
    let Action::Calls { calls, times } = action else {
        return refused("the worker makes system calls only".into());
    };
    let mut arena = arena.filter(|_| calls.len() == 1);
    let prepare = |call| prepare(call, *times > 1 || calls.len() > 1, arena.take());
    let prepared = match calls.iter().map(prepare).collect::<Result<Vec<_>, _>>() {
        Ok(buffers) => buffers,
        Err(why) => return refused(why),
    };
    let mut last = None;
    // What a call that is alone returns may be an error each time.
    let mut wanted = if calls.len() == 1 { None } else { Some(0) };
    let before = clock.now();
    'over: for _ in 0..*times {
        for (call, (buffers, registers)) in calls.iter().zip(&prepared) {
            let value = make(call.door, call.nr, registers);
            last = Some((value, buffers, call));
            if errno(value) != *wanted.get_or_insert(errno(value)) {
                break 'over;
            }
        }
    }
    let nanos = clock.now().saturating_sub(before);
    match last {
        Some((value, buffers, call)) => {
            (Outcome::Returned { value, data: buffers.collect(&call.args) }, nanos)
        }
        None => refused("there is no call to make".into()),
    }
}

/// The buffers of a call, and what goes into its registers. `more` calls are made with it.
fn prepare<'a>(
    call: &Call,
    more: bool,
    arena: Option<&'a mut Arena>,
) -> Result<(Buffers<'a>, [u64; 6]), String> {
    if call.args.len() > 6 {
        return Err(format!("{} arguments (a system call takes at most 6)", call.args.len()));
    }
    if more && makes_processes(call.door, call.nr) {
        return Err("a call that makes a process can't be repeated: the new ones would go on with it".into());
    }
    let buffers = Buffers::new(call.door, &call.args, arena)?;
    let registers = buffers.registers(&call.args);
    Ok((buffers, registers))
}

/// Makes one call.
fn make(door: Door, nr: u64, registers: &[u64; 6]) -> i64 {
    // SAFETY: the call may break every promise of the language in this process. It is the worker: it holds no state of
    // value, each of its answers is checked by PID 1, and it is replaced when it dies.
    unsafe { call::raw(door, nr, registers) }
}

/// fork, vfork, clone and clone3 (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
fn makes_processes(door: Door, nr: u64) -> bool {
    match door {
        Door::Syscall64 => matches!(nr, 56..=58 | 435),
        Door::Int80 => matches!(nr, 2 | 120 | 190 | 435),
    }
}

/// The errno that a result stands for, 0 for none (MAX_ERRNO of include/linux/err.h).
fn errno(value: i64) -> i64 {
    if (-4095..0).contains(&value) { -value } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Arg;

    fn call(nr: i64, args: &[Arg]) -> Outcome {
        perform(&one(nr, args).into(), Clock::detect(), None).0
    }

    fn one(nr: i64, args: &[Arg]) -> Call {
        Call { door: Door::Syscall64, nr: nr as u64, args: args.to_vec() }
    }

    #[test]
    fn data_comes_back_from_out_buffers() {
        // The fields of uname are 65 bytes each; the first one is the system's name.
        let Outcome::Returned { value: 0, data } = call(libc::SYS_uname, &[Arg::Out(6 * 65)]) else {
            panic!("uname failed")
        };
        assert!(data[0].starts_with(b"Linux\0"));
    }

    #[test]
    fn a_bad_pointer_is_efault() {
        for pointer in [0, 1, 0xffff_8000_0000_0000] {
            let outcome = call(libc::SYS_uname, &[Arg::Int(pointer)]);
            let efault = -i64::from(libc::EFAULT);
            assert_eq!(outcome, Outcome::Returned { value: efault, data: vec![] }, "at {pointer:#x}");
        }
    }

    #[test]
    fn a_repeated_call_is_over_when_it_ends_in_another_way() {
        let file = nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::empty()).unwrap();
        nix::unistd::ftruncate(&file, 3).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as u64;
        let repeated = |nr: i64, args: &[Arg], times| {
            let action = Action::Calls { calls: vec![one(nr, args)], times };
            let (Outcome::Returned { value, .. }, _) = perform(&action, Clock::detect(), None) else {
                panic!()
            };
            value
        };
        let place = |fd: u64| repeated(libc::SYS_lseek, &[Arg::Int(fd), Arg::Int(0), Arg::Int(1)], 1);
        let read = [Arg::Int(fd), Arg::Out(1), Arg::Int(1)];
        assert_eq!((repeated(libc::SYS_read, &read, 2), place(fd)), (1, 2));
        // An error that comes each time ends nothing; one that comes later does.
        assert_eq!(repeated(libc::SYS_close, &[Arg::Int(u64::MAX)], 5), -i64::from(libc::EBADF));
        let copy = nix::unistd::dup(&file).unwrap();
        let copy = std::os::fd::IntoRawFd::into_raw_fd(copy) as u64;
        assert_eq!(repeated(libc::SYS_close, &[Arg::Int(copy)], 1000), -i64::from(libc::EBADF));
    }

    #[test]
    fn no_call_that_makes_processes_is_repeated() {
        let fork = || one(libc::SYS_fork, &[]);
        for action in [
            Action::Calls { calls: vec![fork()], times: 2 },
            Action::Calls { calls: vec![one(libc::SYS_getpid, &[]), fork()], times: 1 },
            Action::Calls { calls: vec![], times: 1 },
            Action::Calls { calls: vec![one(libc::SYS_getpid, &[])], times: 0 },
        ] {
            assert!(
                matches!(perform(&action, Clock::detect(), None).0, Outcome::Refused { .. }),
                "{action:?}"
            );
        }
    }

    #[test]
    fn several_calls_are_over_with_the_first_that_fails() {
        let file = nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::empty()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as u64;
        let write = one(libc::SYS_write, &[Arg::Int(fd), Arg::In(b"x".to_vec()), Arg::Int(1)]);
        let seek = one(libc::SYS_lseek, &[Arg::Int(fd), Arg::Int(0), Arg::Int(1)]);
        let value = |calls: &[&Call], times| {
            let calls = calls.iter().map(|call| (*call).clone()).collect();
            match perform(&Action::Calls { calls, times }, Clock::detect(), None).0 {
                Outcome::Returned { value, .. } => value,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(value(&[&write, &seek], 5), 5);
        let bad = one(libc::SYS_close, &[Arg::Int(u64::MAX)]);
        assert_eq!(value(&[&write, &bad, &seek], 3), -i64::from(libc::EBADF));
        assert_eq!(value(&[&seek], 1), 6, "nothing came after it");
    }

    #[test]
    fn seven_arguments_are_refused() {
        let outcome = call(libc::SYS_getpid, &vec![Arg::Int(0); 7]);
        assert_eq!(outcome, Outcome::Refused { why: "7 arguments (a system call takes at most 6)".into() });
    }

    #[test]
    fn time_is_the_time_of_the_call() {
        // 20 ms, as struct timespec.
        let span = [0u64, 20_000_000].map(u64::to_le_bytes).concat();
        let args = vec![Arg::In(span), Arg::Int(0)];
        let (outcome, nanos) = perform(&one(libc::SYS_nanosleep, &args).into(), Clock::detect(), None);
        assert_eq!(outcome, Outcome::Returned { value: 0, data: vec![] });
        assert!((20_000_000..10_000_000_000).contains(&nanos), "{nanos} ns");
    }
}
