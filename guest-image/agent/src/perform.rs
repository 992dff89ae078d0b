//! What the worker does with a request: the calls, with their buffers.

use crate::{
    buffers::{Arena, Buffers},
    call,
    clock::Clock,
};
use protocol::{Action, Arg, Call, Door, Link, Made, Outcome, errno};

/// Makes the calls, and says how many nanoseconds that took.
pub fn perform(action: &Action, clock: Clock, arena: Option<&mut Arena>) -> (Outcome, u64) {
    let done = match action {
        Action::Calls { calls, times } => repeated(calls, *times, clock, arena),
        Action::Chain(links) => chain(links, clock, arena),
        _ => Err("the worker makes system calls only".into()),
    };
    done.unwrap_or_else(|why| (Outcome::Refused { why }, 0))
}

/// Of calls in rounds, the last one's result. A call that is alone has its buffers in the arena.
fn repeated(
    calls: &[Call],
    times: u32,
    clock: Clock,
    arena: Option<&mut Arena>,
) -> Result<(Outcome, u64), String> {
    let mut arena = arena.filter(|_| calls.len() == 1);
    let prepare = |call| prepare(call, times > 1 || calls.len() > 1, arena.take());
    let prepared = calls.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
    let mut last = None;
    // What a call that is alone returns may be an error each time.
    let mut wanted = if calls.len() == 1 { None } else { Some(0) };
    let before = clock.now();
    'over: for _ in 0..times {
        for (call, (buffers, registers)) in calls.iter().zip(&prepared) {
            let value = make(call.door, call.nr, registers);
            last = Some((value, buffers, call));
            if errno(value) != *wanted.get_or_insert(errno(value)) {
                break 'over;
            }
        }
    }
    let nanos = clock.now().saturating_sub(before);
    let (value, buffers, call) = last.ok_or("there is no call to make")?;
    let mut data = buffers.collect(&call.args);
    // Of several it is not said which was the last.
    if calls.len() == 1 {
        data.iter_mut().for_each(short);
    }
    Ok((Outcome::Returned { value, data }, nanos))
}

/// Each call's result. Their buffers are in the arena, one call's after the other's.
fn chain(links: &[Link], clock: Clock, mut arena: Option<&mut Arena>) -> Result<(Outcome, u64), String> {
    let mut made: Vec<Made> = Vec::new();
    let mut results = Vec::with_capacity(links.len());
    for (index, link) in (0..).zip(links) {
        let mut result = None;
        if let Some(call) = link.resolved(&results) {
            let mut all = Made { link: index, value: 0, data: Vec::new(), nanos: 0 };
            let mut total = 0_i64;
            loop {
                let (buffers, registers) = prepare(&call, true, arena.as_deref_mut())?;
                let before = clock.now();
                all.value = make(call.door, call.nr, &registers);
                all.nanos += clock.now().saturating_sub(before);
                let data = buffers.collect(&call.args);
                let length = match link.until {
                    Some(_) => usize::try_from(all.value).unwrap_or(0),
                    None => usize::MAX,
                };
                all.data.resize(data.len(), Vec::new());
                for (all, more) in all.data.iter_mut().zip(&data) {
                    all.extend_from_slice(&more[..length.min(more.len())]);
                }
                total = total.saturating_add(all.value);
                if !link.goes_on(all.value, total) {
                    break;
                }
            }
            result = Some(all.value);
            if link.until.is_none() {
                all.data.iter_mut().for_each(short);
            }
            made.push(all);
        }
        results.push(result);
    }
    let nanos = made.iter().map(|made| made.nanos).sum();
    Ok((Outcome::Chained(made), nanos))
}

/// The buffers of a call, and what goes into its registers. `more` calls are made with it.
fn prepare<'a>(
    call: &Call,
    more: bool,
    arena: Option<&'a mut Arena>,
) -> Result<(Buffers<'a>, [u64; 6]), String> {
    if call.args.iter().any(|arg| matches!(arg, Arg::Of(_))) {
        return Err("there is no call before this one whose result it could take".into());
    }
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

/// Most of a large buffer was never written to, and the way out is slow.
fn short(bytes: &mut Vec<u8>) {
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(length);
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn link(nr: i64, args: &[Arg]) -> Link {
        Link { call: one(nr, args), only: None, until: None }
    }

    fn chained(links: &[Link]) -> Vec<(u16, i64, Vec<Vec<u8>>)> {
        let mut arena = Arena::new().unwrap();
        match perform(&Action::Chain(links.to_vec()), Clock::detect(), Some(&mut arena)).0 {
            Outcome::Chained(made) => made.into_iter().map(|it| (it.link, it.value, it.data)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn calls_of_a_chain_take_what_earlier_ones_returned() {
        let (mut file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
        let path = Arg::In(
            std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).iter().copied().chain([0]).collect(),
        );
        let open = link(libc::SYS_open, &[path, Arg::Int(0)]);
        let read = Link { until: Some(8), ..link(libc::SYS_read, &[Arg::Of(0), Arg::Out(4), Arg::Int(4)]) };
        let close = link(libc::SYS_close, &[Arg::Of(0)]);
        let failed = Link { only: Some((1, 4)), ..link(libc::SYS_getpid, &[]) };
        let never = Link { only: Some((1, 5)), ..link(libc::SYS_getpid, &[]) };
        let made = chained(&[open, read.clone(), close.clone(), failed, never]);
        let which: Vec<u16> = made.iter().map(|it| it.0).collect();
        assert_eq!(which, [0, 1, 2, 3]);
        assert_eq!(made[1], (1, 4, vec![b"01234567".to_vec()]), "twice four bytes");
        assert_eq!(made[2].1, 0, "closed");
    }

    #[test]
    fn a_call_without_what_it_takes_is_left_out() {
        let bad = link(libc::SYS_close, &[Arg::Int(u64::MAX)]);
        let takes = |of| link(libc::SYS_close, &[Arg::Of(of)]);
        let made = chained(&[bad, takes(0), takes(1), takes(9), link(libc::SYS_getpid, &[])]);
        assert_eq!(made.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 4]);
    }

    #[test]
    fn what_a_read_did_not_fill_does_not_come_back() {
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let fd = Arg::Int(std::os::fd::AsRawFd::as_raw_fd(&zeros) as u64);
        let read = link(libc::SYS_read, &[fd, Arg::Out(9), Arg::Int(3)]);
        assert_eq!(chained(std::slice::from_ref(&read))[0].2, [vec![]], "zeroes at the end are left out");
        assert_eq!(chained(&[Link { until: Some(1), ..read }]), [(0, 3, vec![vec![0; 3]])]);
    }

    #[test]
    fn what_makes_processes_has_no_place_in_a_chain() {
        let refused = |action| matches!(perform(&action, Clock::detect(), None).0, Outcome::Refused { .. });
        assert!(refused(Action::Chain(vec![link(libc::SYS_fork, &[])])));
        assert!(refused(one(libc::SYS_close, &[Arg::Of(0)]).into()), "a call that is alone takes nothing");
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
