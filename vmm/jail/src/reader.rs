//! Reading what others wrote, in a process of its own: parsers of archives, modules, kernels and debug info.
//!
//! The process is this program again (`vmm reader NAME`). It opens the one file that it was given, if any, and then gives up
//! all else ([`cell::give_up`]): files, network, rights, and all system calls but those of somebody who computes. What it may have of memory and
//! of processor time is limited, so that a file which takes too much of either ends its reader and nothing else. Questions come in by its standard
//! input, answers go out by its standard output.
//!
//! In a program that is not `vmm`, such as a unit test, the same functions are called as they are, unless a box is required.

use crate::{
    Budget,
    cell::{self, Files, Work},
    confined::program,
    intake, is_required, killed_for_memory,
    limits::Bytes,
};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};
use thiserror::Error;

/// The hidden command of this program's that does it.
pub const COMMAND: &str = "reader";
/// The most of processor time, in seconds: whoever takes it ends by SIGXCPU.
const TIME: u64 = 120;
/// So much later, in seconds, the kernel would end it by SIGKILL. That is what others end processes by, and says nothing of a file.
const LATER: u64 = 5;
/// What a process says once it has given up all else, before it reads anything.
const READY: &[u8] = b".";

/// Answers questions: to what is asked, with bytes beside it, what is answered, with bytes beside it.
pub type Answers = Box<dyn FnMut(&[u8], Vec<u8>) -> (Vec<u8>, Vec<u8>) + Send>;

/// Something that reads.
#[derive(Debug)]
pub struct Reader {
    /// Its name, by which the process knows what it is to be.
    pub name: &'static str,
    /// The most of memory, in bytes; `VMM_LIMITS=memory=...` says otherwise.
    pub memory: u64,
    /// Makes it, with its file, if it was given one.
    pub open: fn(Option<File>) -> Answers,
}

/// Nothing was answered.
#[derive(Debug, Error)]
pub enum Unread {
    /// This machine gave no process for it, or took that away again: nothing is known of what was to be read.
    #[error(
        "there is no process that reads it: {0}; try again where more processes (`ulimit -u`) and more memory are to be had"
    )]
    Machine(#[source] io::Error),
    /// The process ended, by what it read.
    #[error("its reader {0}: it is damaged, or made to do harm (VMM_LIMITS=memory=8GiB gives more memory)")]
    Ended(String),
}

/// What is called by a reader: of a question and bytes it makes an answer and bytes.
pub fn answers<Q: DeserializeOwned, A: Serialize>(
    mut answer: impl FnMut(Q, Vec<u8>) -> (A, Vec<u8>) + Send + 'static,
) -> Answers {
    Box::new(move |question, bytes| {
        let question = postcard::from_bytes(question).expect("this program itself asks");
        let (answer, bytes) = answer(question, bytes);
        (postcard::to_allocvec(&answer).expect("answers are plain data"), bytes)
    })
}

/// A reader that runs.
pub struct Reading {
    budget: Budget,
    by: By,
}

enum By {
    Process {
        child: Child,
        to: ChildStdin,
        from: ChildStdout,
        /// So many processes had been ended for want of memory when it was started.
        killed: u64,
    },
    Itself(Answers),
}

impl Reader {
    /// Starts it. It reads this file, which was looked at before.
    ///
    /// # Errors
    /// [`Unread::Machine`].
    pub fn start(&self, file: Option<&Path>) -> Result<Reading, Unread> {
        let budget = Budget { memory: self.memory, ..Budget::TOOL }.wanted();
        let budget = budget.map_err(|error| Unread::Machine(io::Error::other(error)))?;
        let Some(program) = program() else {
            if is_required() {
                let why = "this program is not vmm, and has no command for it";
                return Err(Unread::Machine(io::Error::other(why)));
            }
            let file = file.map(File::open).transpose().map_err(Unread::Machine)?;
            return Ok(Reading { budget, by: By::Itself((self.open)(file)) });
        };
        let file = file.map(std::path::absolute).transpose().map_err(Unread::Machine)?;
        let mut command = Command::new(program);
        command
            .args([COMMAND, self.name, &budget.given().to_string()])
            .args(file)
            .env_clear()
            .current_dir("/");
        Reading::begin(command, budget)
    }

    /// Starts it for one question.
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        question: &Q,
        bytes: &[u8],
    ) -> Result<(A, Vec<u8>), Unread> {
        self.start(None)?.ask(question, bytes)
    }
}

impl Reading {
    /// Starts a process, and waits until it is ready to read.
    fn begin(mut command: Command, budget: Budget) -> Result<Self, Unread> {
        let killed = killed_for_memory();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(Unread::Machine)?;
        let (Some(to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Unread::Machine(io::ErrorKind::BrokenPipe.into()));
        };
        let ready = from.read_exact(&mut [0; READY.len()]);
        let mut reading = Self { budget, by: By::Process { child, to, from, killed } };
        match (ready, &mut reading.by) {
            // It has read nothing yet that could be to blame.
            (Err(error), By::Process { child, .. }) => {
                let how = how(child.wait().ok(), &error, budget.given());
                Err(Unread::Machine(io::Error::other(format!("before it began it {how}"))))
            }
            _ => Ok(reading),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// See [`Unread`]. Who asks once more is answered the same.
    pub fn ask<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        question: &Q,
        bytes: &[u8],
    ) -> Result<(A, Vec<u8>), Unread> {
        let question = postcard::to_allocvec(question).expect("questions are plain data");
        let (answer, bytes) = match &mut self.by {
            By::Itself(answers) => answers(&question, bytes.to_vec()),
            By::Process { child, to, from, killed } => {
                let asked = send(to, &question, bytes).and_then(|()| receive(from, self.budget.given()));
                asked.map_err(|error| ended(child, *killed, &error, &self.budget))?
            }
        };
        // What a guest's or a student's file made of the process may answer anything.
        let answer = postcard::from_bytes(&answer);
        Ok((answer.map_err(|error| Unread::Ended(format!("answered nonsense ({error})")))?, bytes))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let By::Process { child, .. } = &mut self.by {
            crate::end(child);
        }
    }
}

/// Why a process answers no more; so many had been ended for want of memory when it was started.
fn ended(child: &mut Child, killed: u64, error: &io::Error, budget: &Budget) -> Unread {
    if error.kind() == io::ErrorKind::InvalidData {
        let _ = child.kill();
        return Unread::Ended(format!("answered nonsense ({error})"));
    }
    let status = child.wait().ok();
    // Its own limit of memory ends it otherwise.
    let by = |signal: Signal| status.is_some_and(|status| status.signal() == Some(signal as i32));
    let how = how(status, error, budget.given());
    if by(Signal::SIGABRT) && budget.given() < budget.memory {
        let why = format!("it {how}, and this machine, or its container, has no more for one");
        return Unread::Machine(io::Error::other(why));
    }
    if by(Signal::SIGXCPU) && time() < TIME {
        let why = format!("it {how}, and no process has more here (ulimit -t)");
        return Unread::Machine(io::Error::other(why));
    }
    if by(Signal::SIGKILL) {
        let why = match killed_for_memory() == killed {
            true => "somebody killed it, as earlyoom and systemd-oomd do for want of memory",
            false => {
                "it was killed while this machine's kernel ended processes for want of memory (dmesg names them)"
            }
        };
        return Unread::Machine(io::Error::other(why));
    }
    Unread::Ended(how)
}

/// How a process ended.
fn how(status: Option<ExitStatus>, error: &io::Error, memory: u64) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        // As Rust has it of memory that is not given, and of a stack that overflows.
        Some((_, Some(signal))) if signal == Signal::SIGABRT as i32 => {
            format!("took more than its {} of memory, or its stack", Bytes(memory))
        }
        Some((_, Some(signal))) if signal == Signal::SIGXCPU as i32 => {
            format!("took longer than {} seconds", time())
        }
        Some((_, Some(signal))) => format!("was ended by signal {signal}"),
        Some((Some(code), _)) => format!("ended with status {code}"),
        _ => format!("answers no more ({error})"),
    }
}

fn send(to: &mut impl Write, words: &[u8], bytes: &[u8]) -> io::Result<()> {
    for part in [words, bytes] {
        to.write_all(&(part.len() as u64).to_le_bytes())?;
    }
    to.write_all(words)?;
    to.write_all(bytes)?;
    to.flush()
}

fn receive(from: &mut impl Read, most: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut lengths = [[0; 8]; 2];
    for length in &mut lengths {
        from.read_exact(length)?;
    }
    let mut part = |length: [u8; 8]| {
        let length = u64::from_le_bytes(length);
        if length > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes")));
        }
        let mut bytes = Vec::new();
        from.by_ref().take(length).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let words = part(lengths[0])?;
    Ok((words, part(lengths[1])?))
}

/// The process itself: answers until nobody asks any more. `arguments` are those behind [`COMMAND`].
///
/// # Errors
/// It was started otherwise than [`Reader::start`] does, or something is refused that it needs.
pub fn serve(readers: &[&Reader], arguments: &[OsString]) -> io::Result<()> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
    let [name, memory, file @ ..] = arguments else { return Err(wrong()) };
    let reader = readers.iter().find(|reader| name == reader.name).ok_or_else(wrong)?;
    let memory: u64 = memory.to_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let file = match file {
        [] => None,
        [file] => Some(intake::open(Path::new(file), u64::MAX).map_err(io::Error::other)?),
        _ => return Err(wrong()),
    };
    confine(memory)?;
    let (mut questions, mut out) = (io::stdin().lock(), io::stdout().lock());
    out.write_all(READY)?;
    out.flush()?;
    let mut answers = (reader.open)(file);
    loop {
        let (question, bytes) = match receive(&mut questions, u64::MAX) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let (words, bytes) = answers(&question, bytes);
        send(&mut out, &words, &bytes)?;
    }
}

/// From now on this process has what a reader has: so much memory, in bytes, and no more than it reads with.
fn confine(memory: u64) -> io::Result<()> {
    cell::give_up(Files::Open, memory)?;
    limit_time()?;
    // After rights were given up, which undoes it. Who asks may be gone already: then nobody's end tells this one's, and the input's does.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    cell::lock(Work::Read)
}

fn limit_time() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    let time = time_below(hard);
    Ok(setrlimit(Resource::RLIMIT_CPU, time, hard.min(time + LATER))?)
}

/// So much of processor time a reader has here, in seconds.
fn time() -> u64 {
    getrlimit(Resource::RLIMIT_CPU).map_or(TIME, |(_, hard)| time_below(hard))
}

/// The same where no process has more than that: less, so that the reader is told before it is killed.
fn time_below(hard: u64) -> u64 {
    TIME.min(hard.saturating_sub(LATER)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(_: Option<File>) -> Answers {
        answers(|times: u64, bytes: Vec<u8>| {
            (times * bytes.iter().map(|it| u64::from(*it)).sum::<u64>(), bytes)
        })
    }

    #[test]
    fn questions_and_bytes_come_back_answered() {
        let reader = Reader { name: "sums", memory: 1 << 20, open: sums };
        let mut reading = reader.start(None).unwrap();
        for times in [1, 3] {
            let (sum, bytes): (u64, _) = reading.ask(&times, &[1, 2, 4]).unwrap();
            assert_eq!((sum, bytes), (7 * times, vec![1, 2, 4]));
        }
        assert!(reader.ask::<u64, (u64, String)>(&1, &[1]).is_err(), "that was not answered");
    }

    const BUDGET: Budget = Budget { memory: 1 << 20, ..Budget::TOOL };

    /// What comes of a question to a shell in a reader's place, while so many processes are ended for want of memory.
    fn asked_of(script: &str, ended: u64) -> Unread {
        asked_on(BUDGET, script, ended)
    }

    fn asked_on(budget: Budget, script: &str, ended: u64) -> Unread {
        let ask = || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let mut reading = Reading::begin(command, budget)?;
            if let By::Process { killed, .. } = &mut reading.by {
                *killed = killed.wrapping_sub(ended);
            }
            reading.ask::<(), ()>(&(), &[1])
        };
        ask().unwrap_err()
    }

    #[test]
    fn a_machine_without_a_process_for_it_is_told_from_a_file_that_ends_one() {
        assert!(matches!(Reading::begin(Command::new("/nowhere"), BUDGET), Err(Unread::Machine(_))));
        for script in ["exit 3", "kill -KILL $$"] {
            let said = asked_of(script, 0);
            assert!(matches!(said, Unread::Machine(_)), "{said}");
            assert!(said.to_string().contains("before it began it"), "{said}");
        }
        // The same once it reads.
        for script in ["printf .; exit 3", "printf .; kill -XCPU $$"] {
            assert!(matches!(asked_of(script, 0), Unread::Ended(_)), "{script}");
        }
        // No file ends its reader by that.
        for (ended, why) in [(0, "somebody killed it"), (1, "it was killed while this machine's kernel")] {
            let said = asked_of("printf .; kill -KILL $$", ended);
            assert!(matches!(&said, Unread::Machine(error) if error.to_string().starts_with(why)), "{said}");
        }
        // So it ends by its own limit of memory.
        assert!(matches!(asked_of("printf .; kill -ABRT $$", 1), Unread::Ended(_)));
        // On a machine that has less than files of that kind may take.
        let small = Budget { machine: BUDGET.memory / 2, ..BUDGET };
        let said = asked_on(small, "printf .; kill -ABRT $$", 0);
        assert!(matches!(said, Unread::Machine(_)), "{said}");
        assert!(said.to_string().contains("took more than its 524288 bytes of memory"), "{said}");
        assert!(matches!(asked_on(small, "printf .; kill -SEGV $$", 0), Unread::Ended(_)));
    }

    #[test]
    fn frames_are_whole_and_bounded() {
        let mut sent = Vec::new();
        send(&mut sent, b"words", &[7; 100]).unwrap();
        assert_eq!(receive(&mut &*sent, 100).unwrap(), (b"words".to_vec(), vec![7; 100]));
        assert_eq!(receive(&mut &*sent, 99).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for length in 0..sent.len() {
            let error = receive(&mut &sent[..length], 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
        let huge = [u64::MAX.to_le_bytes(), [0; 8]].concat();
        assert_eq!(receive(&mut &*huge, 1 << 30).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(&mut &*huge, u64::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_process_that_was_started_otherwise_reads_nothing() {
        let reader = Reader { name: "sums", memory: 1 << 20, open: sums };
        for arguments in [&["sums"][..], &["other", "1000"], &["sums", "much"], &["sums", "1", "a", "b"]] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(serve(&[&reader], &arguments).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_reader_is_told_that_its_time_is_over_before_it_is_killed() {
        assert_eq!([u64::MAX, 125, 124, 60, 3, 0].map(time_below), [120, 120, 119, 55, 1, 1]);
        let mut command = Command::new("sh");
        // In a process of its own, since there is no way back.
        command.args(["-c", "ulimit -t 20; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "reader::tests::with_a_limit_of_time", "--ignored", "--nocapture"]);
        assert!(command.status().unwrap().success());
    }

    #[test]
    #[ignore = "the other test starts it"]
    fn with_a_limit_of_time() {
        limit_time().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CPU).unwrap(), (15, 20));
    }

    /// So much is asked for in a process of its own, since there is no way back.
    const ASKED: &str = "JAIL_TEST_MEMORY";

    #[test]
    #[ignore = "the other test starts it"]
    fn in_a_process_of_its_own() {
        let Some(asked) = std::env::var(ASKED).ok().and_then(|text| text.parse().ok()) else { return };
        confine(4 << 30).unwrap();
        // It is promised and not touched.
        let is_there = Vec::<u8>::new().try_reserve_exact(asked).is_ok();
        std::process::exit(if is_there { 0 } else { 7 });
    }

    #[test]
    fn a_reader_has_as_much_memory_as_it_was_given() {
        let ended = |asked: u64| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "reader::tests::in_a_process_of_its_own", "--ignored", "--nocapture"]);
            command.env(ASKED, asked.to_string()).output().unwrap().status.code()
        };
        assert_eq!(ended(3 << 30), Some(0));
        assert_eq!(ended(5 << 30), Some(7));
    }
}
