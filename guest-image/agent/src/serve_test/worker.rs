//! One worker after the other.

use super::*;

/// What a module's exit did in the worker in whose context it ran must not decide what is looked at after it.
#[test]
fn another_worker_has_nothing_of_what_was_done_in_the_one_before() {
    let mut guest = Guest::boot();
    let first = guest.value(libc::SYS_getpid, &[]);
    let root = |guest: &mut Guest| {
        guest.value(libc::SYS_open, &[Arg::In(b"/\0".to_vec()), Arg::Int(libc::O_DIRECTORY as u64)])
    };
    assert_eq!(root(&mut guest), 3);
    let above = 1010;
    assert_eq!(guest.value(libc::SYS_dup2, &[Arg::Int(3), Arg::Int(above)]), above as i64);
    let mask = [Arg::Int(0o77)];
    guest.value(libc::SYS_umask, &mask);
    assert_eq!(guest.ask(Action::Renew), Outcome::Done);
    let second = guest.value(libc::SYS_getpid, &[]);
    assert_ne!(first, second);
    assert_eq!(guest.value(libc::SYS_umask, &mask), 0);
    assert_eq!(guest.value(libc::SYS_close, &[Arg::Int(above)]), -i64::from(libc::EBADF));
    assert_eq!(root(&mut guest), 3);
    // The first one lives, with what it has open, until PID 1 ends.
    assert_eq!(guest.value(libc::SYS_kill, &[Arg::Int(first as u64), Arg::Int(0)]), 0);
    // While a call is under way there is no other worker.
    let kept = KillOnDrop(Pid::from_raw(second as i32));
    let id = guest.send(call(libc::SYS_pause, &[]));
    assert!(matches!(guest.ask(Action::Renew), Outcome::Refused { .. }));
    guest.send(Action::End { request: id });
    let reply = guest.receive();
    assert_eq!((reply.id, reply.outcome), (id, Outcome::Died { signal: libc::SIGKILL }));
    drop(kept);
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
}

#[test]
fn that_a_worker_ended_in_no_call_is_said_before_another_answers() {
    let mut guest = Guest::boot();
    let worker = guest.value(libc::SYS_getpid, &[]);
    kill(Pid::from_raw(worker as i32), Signal::SIGIO).unwrap();
    guest.run("sleep 0.3", b"");
    assert_ne!(guest.value(libc::SYS_getpid, &[]), worker);
    assert_eq!(guest.ended, 1);
    // In a call the answer says so.
    assert!(matches!(guest.call(libc::SYS_exit_group, &[Arg::Int(3)]), Outcome::Exited { code: 3, .. }));
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
    assert_eq!(guest.ended, 1);
}

/// The next worker's descriptors have the same numbers as this one's had.
#[test]
fn that_a_worker_was_ended_for_an_answer_that_is_none_is_said_before_the_refusal() {
    let mut guest = Guest::boot();
    let worker = guest.value(libc::SYS_getpid, &[]);
    let is_written_to = |fd: &u64| {
        let flags = guest.value(libc::SYS_fcntl, &[Arg::Int(*fd), Arg::Int(libc::F_GETFL as u64)]);
        flags >= 0 && flags as i32 & libc::O_ACCMODE == libc::O_WRONLY
    };
    // Its end of the pipe for answers, and a length that no frame has.
    let answers = (1000..1010).find(is_written_to).unwrap();
    let garbage = [Arg::Int(answers), Arg::In(vec![0xff; 4]), Arg::Int(4)];
    let outcome = guest.call(libc::SYS_write, &garbage);
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("no valid answer")), "{outcome:?}");
    assert_eq!(guest.ended, 1);
    assert_ne!(guest.value(libc::SYS_getpid, &[]), worker);
    assert_eq!(guest.ended, 1);
}
