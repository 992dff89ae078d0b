//! The whole agent but for its start: a real loop, a real worker, real programs.

mod worker;

use crate::{
    clock::Clock,
    process,
    serve::{Control, serve},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protocol::{Action, Arg, Call, Door, Frames, FromAgent, Outcome, Reply, Request, Stream, encode};
use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

/// An agent in a process of its own, so that the children that it reaps are its own.
struct Guest {
    control: UnixStream,
    frames: Frames,
    pid: Pid,
    next: u32,
    /// What was printed since the last answer, both streams.
    printed: [String; 2],
    /// So many workers were said to have ended in no call.
    ended: u32,
}

impl Guest {
    fn boot() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let pid = process::spawn(|| {
            // As PID 1 it inherits orphans.
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            let [control] = process::keep_only([OwnedFd::from(theirs)]).unwrap();
            serve(Control::new(File::from(control)).unwrap(), Clock::detect());
            0
        });
        let (frames, printed) = (Frames::new(), Default::default());
        Self { control: ours, frames, pid: pid.unwrap(), next: 0, printed, ended: 0 }
    }

    fn send(&mut self, action: Action) -> u32 {
        self.next += 1;
        self.control.write_all(&encode(&Request { id: self.next, action }).unwrap()).unwrap();
        self.next
    }

    fn receive(&mut self) -> Reply {
        let mut bytes = [0; 1000];
        loop {
            match self.frames.next().unwrap() {
                Some(FromAgent::Reply(reply)) => return reply,
                Some(FromAgent::Printed { stream, bytes, .. }) => {
                    self.printed[stream as usize].push_str(std::str::from_utf8(&bytes).unwrap());
                    continue;
                }
                Some(FromAgent::WorkerEnded) => {
                    self.ended += 1;
                    continue;
                }
                Some(hello) => panic!("{hello:?}"),
                None => {}
            }
            let length = self.control.read(&mut bytes).expect("an answer within 20 s");
            assert_ne!(length, 0, "the agent is gone");
            self.frames.push(&bytes[..length]);
        }
    }

    fn ask(&mut self, action: Action) -> Outcome {
        let id = self.send(action);
        let reply = self.receive();
        assert_eq!(reply.id, id);
        reply.outcome
    }

    /// A program's exit status and what it printed, to either stream.
    fn run(&mut self, script: &str, stdin: &[u8]) -> (i32, String, String) {
        match self.ask(run(script, stdin)) {
            Outcome::Exited { code, .. } => {
                let [stdout, stderr] = std::mem::take(&mut self.printed);
                (code, stdout, stderr)
            }
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, nr: i64, args: &[Arg]) -> Outcome {
        self.ask(call(nr, args))
    }

    fn value(&mut self, nr: i64, args: &[Arg]) -> i64 {
        match self.call(nr, args) {
            Outcome::Returned { value, .. } => value,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The worker then finds its pipe closed, unless it hangs in a call: see KillOnDrop.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

/// Ends a worker that hangs, also when the test has failed: it would keep the test's output open.
struct KillOnDrop(Pid);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn call(nr: i64, args: &[Arg]) -> Action {
    through(Door::Syscall64, nr as u64, args)
}

fn through(door: Door, nr: u64, args: &[Arg]) -> Action {
    Call { door, nr, args: args.to_vec() }.into()
}

fn run(script: &str, stdin: &[u8]) -> Action {
    let argv = ["/bin/sh", "-c", script].map(String::from).to_vec();
    Action::Run { argv, env: vec!["NAME=value".into()], stdin: stdin.to_vec(), user: None }
}

fn printed(code: i32, stdout: &str, stderr: &str) -> (i32, String, String) {
    (code, stdout.into(), stderr.into())
}

fn path(name: &str) -> Arg {
    Arg::In([name.as_bytes(), b"\0"].concat())
}

#[test]
fn descriptors_live_from_call_to_call_and_begin_at_3() {
    let mut guest = Guest::boot();
    assert_eq!(guest.value(libc::SYS_open, &[path("/dev/zero"), Arg::Int(0)]), 3);
    let read = guest.call(libc::SYS_read, &[Arg::Int(3), Arg::InOut(vec![7; 4]), Arg::Int(3)]);
    assert_eq!(read, Outcome::Returned { value: 3, data: vec![vec![0, 0, 0, 7]] });
    assert_eq!(guest.value(libc::SYS_close, &[Arg::Int(3)]), 0);
    assert_eq!(guest.value(libc::SYS_close, &[Arg::Int(3)]), -i64::from(libc::EBADF));
}

#[test]
fn what_kills_the_worker_is_an_answer_and_the_next_call_works() {
    let mut guest = Guest::boot();
    let worker = guest.value(libc::SYS_getpid, &[]);
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGRTMIN() + 3] {
        let me = guest.value(libc::SYS_getpid, &[]) as u64;
        let died = guest.call(libc::SYS_kill, &[Arg::Int(me), Arg::Int(signal as u64)]);
        assert_eq!(died, Outcome::Died { signal });
    }
    assert_ne!(guest.value(libc::SYS_getpid, &[]), worker);
}

#[test]
fn a_call_that_exits_says_so() {
    let mut guest = Guest::boot();
    assert_eq!(guest.call(libc::SYS_exit_group, &[Arg::Int(3)]), Outcome::Exited { code: 3, open: vec![] });
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
}

#[test]
fn a_call_that_executes_a_program_brings_back_its_status() {
    let mut guest = Guest::boot();
    let outcome = guest.call(libc::SYS_execve, &[path("/bin/false"), Arg::Int(0), Arg::Int(0)]);
    assert_eq!(outcome, Outcome::Exited { code: 1, open: vec![] });
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
}

#[test]
fn a_fork_has_one_answer() {
    let mut guest = Guest::boot();
    let child = guest.value(libc::SYS_fork, &[]);
    assert!(child > 0);
    let waited =
        guest.value(libc::SYS_wait4, &[Arg::Int(child as u64), Arg::Int(0), Arg::Int(0), Arg::Int(0)]);
    assert_eq!(waited, child);
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
}

#[test]
fn a_worker_that_hangs_leaves_the_agent_responsive() {
    let mut guest = Guest::boot();
    let worker = guest.value(libc::SYS_getpid, &[]);
    let worker = KillOnDrop(Pid::from_raw(worker as i32));
    let hanging = guest.send(call(libc::SYS_pause, &[]));
    let refused = guest.call(libc::SYS_getpid, &[]);
    assert_eq!(refused, Outcome::Refused { why: "the worker is still in a call".into() });
    assert_eq!(guest.run("echo on", b""), printed(0, "on\n", ""));
    kill(worker.0, Signal::SIGTERM).unwrap();
    let reply = guest.receive();
    assert_eq!((reply.id, reply.outcome), (hanging, Outcome::Died { signal: libc::SIGTERM }));
}

#[test]
fn int80_reaches_the_32_bit_table_or_says_that_there_is_none() {
    let mut guest = Guest::boot();
    // The 32-bit table has getpid at 20; the 64-bit one has writev there, which would be EBADF here.
    let args = vec![Arg::Int(u64::MAX); 3];
    let worker = guest.value(libc::SYS_getpid, &[]);
    let expected = match guest.ask(through(Door::Int80, 20, &args)) {
        Outcome::Died { signal } => {
            assert_eq!(signal, libc::SIGSEGV);
            return;
        }
        outcome => outcome,
    };
    assert_eq!(expected, Outcome::Returned { value: worker, data: vec![] });
    // write(2, buffer, 5) with a buffer that 32 bits must reach: to a pipe, read back the usual way.
    let pipe = guest.call(libc::SYS_pipe, &[Arg::Out(8)]);
    assert_eq!(pipe, Outcome::Returned { value: 0, data: vec![vec![3, 0, 0, 0, 4]] });
    let args = vec![Arg::Int(4), Arg::In(b"hello".to_vec()), Arg::Int(5)];
    let written = guest.ask(through(Door::Int80, 4, &args));
    assert_eq!(written, Outcome::Returned { value: 5, data: vec![] });
    let read = guest.call(libc::SYS_read, &[Arg::Int(3), Arg::Out(5), Arg::Int(5)]);
    assert_eq!(read, Outcome::Returned { value: 5, data: vec![b"hello".to_vec()] });
}

#[test]
fn programs_get_their_input_and_environment_and_bring_back_output_and_status() {
    let mut guest = Guest::boot();
    let script = "cat; echo $NAME $HOME $PATH >&2; exit 3";
    let expected = printed(3, "some input", "value / /bin:/sbin:/usr/bin:/usr/sbin\n");
    assert_eq!(guest.run(script, b"some input"), expected);
    assert_eq!(guest.run("kill -KILL $$", b""), printed(137, "", ""));
    let by_name = Action::Run { argv: vec!["true".into()], env: vec![], stdin: vec![], user: None };
    assert_eq!(guest.ask(by_name), Outcome::Exited { code: 0, open: vec![] });
}

#[test]
fn a_program_says_whether_somebody_may_still_print_where_it_did() {
    let mut guest = Guest::boot();
    let mut open = |script: &str| match guest.ask(run(script, b"")) {
        Outcome::Exited { code: 0, open } => open,
        other => panic!("{other:?}"),
    };
    assert_eq!(open("sleep 3 & echo early"), [Stream::Stdout, Stream::Stderr]);
    assert_eq!(open("sleep 3 2>/dev/null & echo early"), [Stream::Stdout]);
    assert_eq!(open("sleep 3 >/dev/null 2>&1 & echo early"), []);
    assert_eq!(open("sleep 0.1 & wait; echo done"), []);
}

#[test]
fn programs_start_with_signals_as_usual() {
    let mut guest = Guest::boot();
    let script = "while read a b; do case $a in SigBlk:|SigIgn:) echo $b;; esac; done </proc/self/status";
    let (_, masks, _) = guest.run(script, b"");
    let masks: Vec<u64> = masks.lines().map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect();
    let [blocked, ignored] = masks[..] else { panic!("{masks:?}") };
    let bit = |signal: Signal| 1u64 << (signal as i32 - 1);
    assert_eq!(blocked & bit(Signal::SIGCHLD), 0);
    assert_eq!(ignored & bit(Signal::SIGPIPE), 0);
}

#[test]
fn output_comes_as_it_is_printed_and_none_of_it_is_lost() {
    let mut guest = Guest::boot();
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo 0123456789; echo abc >&2; i=$((i+1)); done; echo $i >&2";
    let (code, stdout, stderr) = guest.run(script, b"");
    assert_eq!((code, stdout.len()), (0, 20_000 * 11));
    assert_eq!((stderr.len(), stderr.lines().last()), (20_000 * 4 + 6, Some("20000")));
    // While it still runs.
    let id = guest.send(run("echo early; sleep 100", b""));
    let mut bytes = [0; 1000];
    let printed = loop {
        if let Some(FromAgent::Printed { bytes, .. }) = guest.frames.next().unwrap() {
            break bytes;
        }
        let length = guest.control.read(&mut bytes).unwrap();
        guest.frames.push(&bytes[..length]);
    };
    assert_eq!(printed, b"early\n");
    guest.send(Action::End { request: id });
    assert!(matches!(guest.receive().outcome, Outcome::Exited { code: 137, .. }));
}

/// A flood must not fill PID 1's memory while nobody takes it, and can be ended all the same.
#[test]
fn a_flood_of_output_waits_for_its_reader_and_can_be_ended() {
    let mut guest = Guest::boot();
    let id = guest.send(run("exec yes", b""));
    std::thread::sleep(Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.pid)).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(memory < 64 << 10, "{memory} KiB");
    guest.send(Action::End { request: id });
    assert!(matches!(guest.receive().outcome, Outcome::Exited { code: 137, .. }));
}

#[test]
fn more_input_than_a_pipe_holds_does_not_lock_up() {
    let mut guest = Guest::boot();
    let input = b"x".repeat(1 << 20);
    let (code, stdout, _) = guest.run("cat", &input);
    assert!(code == 0 && stdout.as_bytes() == input);
    // A program that reads nothing is no reason to wait either.
    assert_eq!(guest.run("exit 4", &input), printed(4, "", ""));
}

#[test]
fn a_program_ends_although_its_child_keeps_the_output_open() {
    let mut guest = Guest::boot();
    assert_eq!(guest.run("sleep 30 & echo started", b""), printed(0, "started\n", ""));
}

#[test]
fn a_program_that_does_not_start_is_refused_with_the_reason() {
    let mut guest = Guest::boot();
    let mut start = |argv: &[&str]| {
        let argv = argv.iter().map(|a| a.to_string()).collect();
        match guest.ask(Action::Run { argv, env: vec![], stdin: vec![], user: None }) {
            Outcome::Refused { why } => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(start(&["/no/such"]), "can't start /no/such: No such file or directory");
    assert_eq!(start(&["no-such"]), "can't start no-such: No such file or directory");
    assert_eq!(start(&["/etc"]), "can't start /etc: Permission denied");
    assert_eq!(
        start(&["/bin/sh", "a\0b"]),
        "can't start /bin/sh: an argument or a variable contains a NUL byte"
    );
    assert_eq!(start(&[]), "there is no program to start: argv is empty");
}

#[test]
fn one_program_at_a_time() {
    let mut guest = Guest::boot();
    let first = guest.send(run("read line; echo $line; sleep 0.2", b"first\n"));
    assert_eq!(guest.ask(run("true", b"")), Outcome::Refused { why: "a program is still running".into() });
    let reply = guest.receive();
    assert_eq!((reply.id, reply.outcome), (first, Outcome::Exited { code: 0, open: vec![] }));
    assert_eq!(guest.printed[0], "first\n");
}

#[test]
fn a_broken_stream_ends_the_service_and_nothing_else() {
    let mut guest = Guest::boot();
    guest.control.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let status = nix::sys::wait::waitpid(guest.pid, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(guest.pid, 0));
}

/// A program is ended with a child, with one that left its session, and with an orphan; what an earlier program left stays.
#[test]
fn a_program_is_ended_with_all_that_it_started_and_its_output_comes_back() {
    let mut guest = Guest::boot();
    let (_, earlier, _) = guest.run("sleep 100 >/dev/null & echo $!", b"");
    let earlier = earlier.trim().parse().unwrap();
    let earlier = KillOnDrop(Pid::from_raw(earlier));
    // The kernel tells in ticks when a process has started; those of one tick count as younger.
    std::thread::sleep(Duration::from_millis(30));
    let script = "sleep 100 & echo $!; setsid sleep 100 & echo $!; (sleep 100 & echo $!); echo go >&2; wait";
    let id = guest.send(run(script, b""));
    // Until it has printed all.
    std::thread::sleep(Duration::from_millis(300));
    let end = guest.send(Action::End { request: id });
    let reply = guest.receive();
    assert!(reply.id == id && matches!(reply.outcome, Outcome::Exited { code: 137, .. }));
    let [children, stderr] = std::mem::take(&mut guest.printed);
    assert_eq!(stderr, "go\n");
    let children: Vec<i32> = children.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(children.len(), 3);
    // They are collected by the time of the next answer, or die a moment later.
    let lives = |pid| std::fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(&b'Z'));
    for _ in 0..100 {
        if !children.iter().any(|pid| lives(*pid)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!children.iter().any(|pid| lives(*pid)), "{children:?}");
    assert!(lives(earlier.0.as_raw()));
    // The next request is taken; the one that ended another has no answer.
    assert!(end > id);
    assert_eq!(guest.run("echo next", b""), printed(0, "next\n", ""));
}

#[test]
fn a_call_is_ended_by_a_new_worker() {
    let mut guest = Guest::boot();
    let id = guest.send(call(libc::SYS_pause, &[]));
    // Neither of these is under way.
    for request in [id - 1, id + 1] {
        guest.send(Action::End { request });
    }
    assert_eq!(guest.run("echo on", b""), printed(0, "on\n", ""));
    guest.send(Action::End { request: id });
    let reply = guest.receive();
    assert_eq!((reply.id, reply.outcome), (id, Outcome::Died { signal: libc::SIGKILL }));
    assert!(guest.value(libc::SYS_getpid, &[]) > 0);
}

/// A harness that does not read must not keep PID 1 from its work, nor make it pile up answers.
#[test]
fn nobody_who_reads_slowly_holds_the_agent() {
    let mut guest = Guest::boot();
    let large = || call(libc::SYS_getpid, &[Arg::InOut(vec![7; 1 << 20])]);
    let first = guest.send(large());
    // The answer is under way, and there is no room for it. Children are collected all the same.
    let answer = PollFd::new(guest.control.as_fd(), PollFlags::POLLIN);
    assert_eq!(poll(&mut [answer], PollTimeout::from(20_000u16)), Ok(1));
    let orphan = "sleep 0.1 & exec sleep 0.1";
    let mut sent = encode(&Request { id: 100, action: run(orphan, b"") }).unwrap();
    sent.extend(encode(&Request { id: 101, action: large() }).unwrap());
    guest.control.set_nonblocking(true).unwrap();
    let mut written = 0;
    // What the agent does not take, the socket holds, or refuses.
    while written < sent.len() {
        match guest.control.write(&sent[written..]) {
            Ok(length) => written += length,
            Err(_) => break,
        }
    }
    assert!(written < sent.len(), "the agent took a request although nobody took its answer");
    guest.control.set_nonblocking(false).unwrap();
    let reply = guest.receive();
    assert_eq!(reply.id, first);
    guest.control.write_all(&sent[written..]).unwrap();
    let mut ids = [guest.receive().id, guest.receive().id];
    ids.sort();
    assert_eq!(ids, [100, 101]);
}

/// The worker has stopped itself: what it is asked next stays with PID 1, which goes on.
#[test]
fn a_worker_that_reads_nothing_holds_nobody() {
    let mut guest = Guest::boot();
    let worker = guest.value(libc::SYS_getpid, &[]);
    let worker = KillOnDrop(Pid::from_raw(worker as i32));
    kill(worker.0, Signal::SIGSTOP).unwrap();
    let id = guest.send(call(libc::SYS_getpid, &[Arg::In(vec![1; 3 << 20])]));
    assert_eq!(guest.run("echo on", b""), printed(0, "on\n", ""));
    kill(worker.0, Signal::SIGCONT).unwrap();
    let reply = guest.receive();
    let value = i64::from(worker.0.as_raw());
    assert_eq!((reply.id, reply.outcome), (id, Outcome::Returned { value, data: vec![] }));
}
