//! Running one of the tools that builds are made of, with its output in a log.
//!
//! The tool gets a process group of its own, so that Ctrl-C at a terminal reaches only us and we end it
//! and everything that it started; and it dies with us (`setpriv --pdeathsig`) when we are killed. What others wrote runs
//! in a box ([`run_in`]).

use base::{
    cache::{CacheError, Lock},
    interrupt,
    progress::note,
};
use jail::{Refused, Sandbox, Watch, Way, killed_for_memory, way};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Once,
        mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Between two looks at the interrupt flag.
const POLL: Duration = Duration::from_millis(100);
/// From SIGTERM, upon which make removes half-written targets, to SIGKILL. Who pressed Ctrl-C waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of output that are kept for diagnosis; a build that fails says why near its end.
const KEPT_LINES: usize = 20_000;
/// And no more bytes of them than this.
const KEPT_BYTES: usize = 32 << 20;
/// So many polls output is waited for when the command has ended: its reader may be slow.
const LINGER: u32 = 20;
/// A shorter line counts as so many bytes: what shouts empty lines takes as much time as what shouts long ones.
const LINE_COST: u64 = 64;
/// A longer line is cut: a program may print without ever ending one.
const LONGEST_LINE: usize = 64 << 10;

/// A tool that ran to its end.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of what it said, standard output and standard error in their order.
    pub lines: Vec<String>,
}

/// Leads the group and waits for the command; told to end, it tells the whole group, and does not wait for ever. (make
/// alone would end the shells that it started, but not what they started.) The lock that is its standard input stays
/// with it: who has the descriptor could unlock it.
const LEADER: &str = r#"exec 3<&0 </dev/null
(trap "" TERM; exec "$@" 3<&-) & child=$!
trap 'trap "" TERM; kill -TERM 0; { sleep 1; kill -KILL 0; } >/dev/null 2>&1 3<&- & wait $child; exit 143' TERM
wait $child"#;

/// A command that ends with us, and everything that it started with it. `setpriv`, which has the kernel
/// send the leader a signal when we die, is part of util-linux, which every Debian has; without it the
/// command only ends with us when we live long enough to say so.
pub fn tied(program: &str) -> Command {
    led(["env", "--default-signal=TERM", program].map(OsString::from))
}

/// As [`tied`], inside of a box: for what others wrote. To be run by [`run_in`].
pub fn boxed(sandbox: &Sandbox, program: &str) -> Command {
    let mut command = led(sandbox.prefix().into_iter().chain([program.into()]));
    command.env_clear().envs(sandbox.environment());
    speak_plainly(&mut command);
    command
}

/// As [`boxed`], of a command that reads its standard input. Its starter starts it, feeds it and waits for it.
pub fn boxed_and_fed(sandbox: &Sandbox, program: &str) -> Command {
    let words = sandbox.prefix().into_iter().chain([program.into()]);
    // The leader lets go of the input: else nobody would learn that the command reads no more.
    let leader =
        LEADER.replace(r#"exec "$@" 3<&-) & child=$!"#, r#"exec "$@" <&3 3<&-) & child=$!; exec 3<&-"#);
    let mut command = led_by(&leader, words);
    command.env_clear().envs(sandbox.environment());
    speak_plainly(&mut command);
    command
}

/// make's option that keeps together what each of its targets says. With it make 4.3 crashes where it may not write to /tmp,
/// whatever TMPDIR says.
pub fn together() -> Option<&'static str> {
    (!matches!(way(), Way::Landlock(_))).then_some("--output-sync=target")
}

fn led(words: impl IntoIterator<Item = OsString>) -> Command {
    led_by(LEADER, words)
}

fn led_by(script: &str, words: impl IntoIterator<Item = OsString>) -> Command {
    // A session of its own has no terminal that it could type on.
    let mut leader: Vec<&str> = vec!["setsid", "sh", "-c", script, "sh"];
    if super::toolchain::find("setpriv").is_some() {
        leader.splice(0..0, ["setpriv", "--pdeathsig", "TERM", "--"]);
    }
    let mut command = Command::new(leader[0]);
    command.args(&leader[1..]).args(words);
    speak_plainly(&mut command);
    command
}

/// The kernel's makefile takes LC_ALL out of the environment: then LANG would say in which language compilers speak.
/// LANGUAGE goes before all of them.
fn speak_plainly(command: &mut Command) {
    command.env("LC_ALL", "C").env("LANG", "C").env_remove("LANGUAGE").env_remove("LC_MESSAGES");
}

/// Runs a command made by [`tied`], appends its output to the file `log`, hands every line to `on_line`.
/// `lock`, if given, is held until the command and its last descendant are gone.
///
/// # Errors
/// It can't be started, the log can't be written, or the user pressed Ctrl-C. It was killed, or failed while the machine
/// was out of memory.
pub fn run(
    command: Command,
    log: &Path,
    lock: Option<&Lock>,
    on_line: impl FnMut(&str),
) -> Result<Ran, CacheError> {
    run_to_end(command, None, log, lock, on_line)
}

/// As [`run`], of a command made by [`boxed`] with the same box.
///
/// # Errors
/// As [`run`]; or it took more than it may.
pub fn run_in(
    sandbox: &Sandbox,
    command: Command,
    log: &Path,
    lock: Option<&Lock>,
    on_line: impl FnMut(&str),
) -> Result<Ran, CacheError> {
    static SAID: Once = Once::new();
    if let Some(lacks) = way().lacks() {
        SAID.call_once(|| note(&lacks));
    }
    let ran = run_to_end(command, Some(sandbox), log, lock, on_line)?;
    sandbox.wrote_too_much(ran.status)?;
    Ok(ran)
}

fn run_to_end(
    mut command: Command,
    sandbox: Option<&Sandbox>,
    log: &Path,
    lock: Option<&Lock>,
    mut on_line: impl FnMut(&str),
) -> Result<Ran, CacheError> {
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(log)
        .map_err(CacheError::io("open the log", log))?;
    let program = PathBuf::from(command.get_program());
    let start = CacheError::io("start", &program);
    let stdin = match lock {
        Some(lock) => Stdio::from(lock.share().map_err(CacheError::io("share a lock for", &program))?),
        None => Stdio::null(),
    };
    let (reader, writer) = io::pipe().map_err(CacheError::io("make a pipe for", &program))?;
    let both = writer.try_clone().map_err(CacheError::io("make a pipe for", &program))?;
    command.stdin(stdin).stdout(writer).stderr(both);
    let killed_before = killed_for_memory();
    let mut group = Group::start(command, sandbox).map_err(start)?;

    // Bounded: a build that shouts faster than the disk takes it has to wait.
    let (send, lines) = sync_channel(1024);
    thread::spawn(move || pass_lines(reader, &send));
    let (mut kept, mut kept_bytes, mut silent) = (VecDeque::new(), 0, 0);
    loop {
        if interrupt::requested() {
            return Err(CacheError::Interrupted);
        }
        if let Some(watch) = &mut group.watch {
            watch.look()?;
        }
        match lines.recv_timeout(POLL) {
            Ok((line, length)) => {
                writeln!(file, "{line}").map_err(CacheError::io("write the log", log))?;
                if let Some(watch) = &mut group.watch {
                    watch.printed(length.max(LINE_COST))?;
                }
                on_line(&line);
                kept_bytes += line.len();
                kept.push_back(line);
                while kept.len() > KEPT_LINES || kept_bytes > KEPT_BYTES {
                    kept_bytes -= kept.pop_front().map_or(0, |line: String| line.len());
                }
            }
            // What it left in the background may hold the pipe for ever.
            Err(RecvTimeoutError::Timeout) if sandbox.is_some() && group.has_ended() => {
                silent += 1;
                if silent > LINGER {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = group.child.wait().map_err(CacheError::io("wait for", &program))?;
    group.watch.as_mut().map_or(Ok(()), Watch::look_at_the_disk)?;
    let log = log.to_owned();
    match status.signal() {
        Some(signal) => Err(CacheError::Killed { signal, log }),
        None if !status.success() && killed_for_memory() > killed_before => {
            Err(CacheError::OutOfMemory { log })
        }
        None => Ok(Ran { status, lines: kept.into() }),
    }
}

/// Passes lines on, with the number of bytes that were read for each; what is too long is cut.
fn pass_lines(reader: impl Read, send: &SyncSender<(String, u64)>) {
    let mut reader = BufReader::with_capacity(LONGEST_LINE, reader);
    let (mut line, mut length) = (Vec::new(), 0u64);
    loop {
        let Ok(bytes) = reader.fill_buf() else { return };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
        let used = end.map_or(part.len(), |end| end + 1);
        let is_last = used == 0;
        length += used as u64;
        reader.consume(used);
        // A line without end is told of every now and then, so that somebody counts it.
        let is_long = length >= 16 * LONGEST_LINE as u64;
        if (end.is_some() || is_long || is_last) && length > 0 {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if send.send((text, length)).is_err() {
                return;
            }
            line.clear();
            length = 0;
        }
        if is_last {
            return;
        }
    }
}

/// What somebody feeds by hand: started inside, watched, and gone when it is dropped.
pub struct Fed(Group);

impl Fed {
    /// Starts a command made by [`boxed_and_fed`] with the same box.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(command: Command, sandbox: &Sandbox) -> io::Result<Self> {
        Group::start(command, Some(sandbox)).map(Self)
    }

    /// The process, with its streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0.child
    }

    /// Sees whether it takes more than it may.
    ///
    /// # Errors
    /// It does.
    pub fn look(&mut self) -> Result<(), Refused> {
        self.0.watch.as_mut().map_or(Ok(()), Watch::look)
    }

    /// The same once it has ended, of what it has written.
    ///
    /// # Errors
    /// It is too much.
    pub fn ended(&mut self) -> Result<(), Refused> {
        self.0.watch.as_mut().map_or(Ok(()), Watch::look_at_the_disk)
    }
}

/// A child that leads a process group. Whatever is left of the group ends when this is dropped.
struct Group {
    child: Child,
    watch: Option<Watch>,
    sandbox: Option<Sandbox>,
    /// Dropped, it lets the thread go that started the child: the child dies with it.
    _starter: Option<Sender<()>>,
}

impl Group {
    fn start(mut command: Command, sandbox: Option<&Sandbox>) -> io::Result<Self> {
        let Some(sandbox) = sandbox else {
            return Ok(Self { child: command.spawn()?, watch: None, sandbox: None, _starter: None });
        };
        sandbox.prepare();
        let watch = Watch::new(sandbox.budget, sandbox.writes().to_vec());
        let (child, starter) = match sandbox.is_open() {
            true => start_inside(command, sandbox.clone()).map(|(child, starter)| (child, Some(starter)))?,
            false => (command.spawn()?, None),
        };
        let watch = watch.begin(child.id());
        Ok(Self { child, watch: Some(watch), sandbox: Some(sandbox.clone()), _starter: starter })
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

/// Starts a command from a thread that has given up what the box does not have.
fn start_inside(mut command: Command, sandbox: Sandbox) -> io::Result<(Child, Sender<()>)> {
    let (starter, until) = channel::<()>();
    let (tell, told) = channel();
    thread::spawn(move || {
        let started = sandbox.enter().map_err(io::Error::other).and_then(|()| command.spawn());
        // The command keeps the pipe's other end open in this process too, and its reader would wait for ever.
        drop(command);
        let _ = tell.send(started);
        // Never sent to: this ends when the sender is gone.
        let _ = until.recv();
    });
    let child = told.recv().map_err(io::Error::other)??;
    Ok((child, starter))
}

impl Drop for Group {
    fn drop(&mut self) {
        // After an ordinary end the leader's number is no longer ours to signal.
        if !self.has_ended()
            && let Ok(id) = i32::try_from(self.child.id()).map(Pid::from_raw)
        {
            let _ = kill(id, Signal::SIGTERM);
            let end = Instant::now() + PATIENCE;
            while !self.has_ended() {
                if Instant::now() > end {
                    let _ = killpg(id, Signal::SIGKILL);
                    let _ = self.child.wait();
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        if let Some(watch) = &mut self.watch {
            watch.end();
        }
        if let Some(sandbox) = &self.sandbox {
            sandbox.tidy();
        }
    }
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
