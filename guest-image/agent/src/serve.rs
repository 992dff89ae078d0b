//! PID 1's loop: requests in, answers out, and never a wait for anything else.

use crate::{
    clock::Clock,
    kill,
    pipe::{self, AtEnd, Sink},
    place::place,
    process::{self, End},
    program::{Program, Room},
    setup::say,
    wake::wake,
    worker::Worker,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    unistd::Pid,
};
use protocol::{Action, Frames, FromAgent, Outcome, Reply, Request, encode};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
};

/// While more bytes wait to be taken, no request is: more than a program's output comes to at a time.
const BACKLOG: usize = 256 << 10;

/// The control port, which may have no room for what is said.
pub struct Control {
    port: File,
    out: Sink,
}

impl Control {
    /// Takes over the port.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(port: File) -> io::Result<Self> {
        pipe::set_nonblocking(&port)?;
        let out = Sink::new(port.try_clone()?.into(), Vec::new(), AtEnd::Stay)?;
        Ok(Self { port, out })
    }

    /// Whether what programs print can be passed on.
    fn room(&self) -> Room {
        if self.out.is_behind() { Room::None } else { Room::Free }
    }

    /// Says something once [`Sink::fill`] finds room.
    fn queue(&mut self, message: &FromAgent) {
        // A piece of output is far shorter than a frame may be.
        self.out.push(&encode(message).unwrap_or_default());
    }

    /// Answers, as soon as there is room.
    ///
    /// # Errors
    /// As write(2).
    pub fn reply(&mut self, reply: Reply) -> io::Result<()> {
        let (id, nanos) = (reply.id, reply.nanos);
        // One that is too long for a frame becomes another that says so.
        let frame = encode(&FromAgent::Reply(reply)).or_else(|error| {
            let outcome = Outcome::Refused { why: format!("the answer makes {error}") };
            encode(&FromAgent::Reply(Reply { id, outcome, nanos }))
        });
        self.out.push(&frame.map_err(io::Error::other)?);
        Ok(self.out.fill()?)
    }
}

/// Serves the control port until its stream ends or breaks; then says why it did.
pub fn serve(control: Control, clock: Clock) -> String {
    let mut agent = Agent {
        control,
        clock,
        frames: Frames::new(),
        worker: None,
        retired: Vec::new(),
        call: None,
        program: None,
    };
    match agent.run() {
        Ok(()) => "the control port was closed".into(),
        Err(error) => format!("the control port failed: {error}"),
    }
}

struct Agent {
    control: Control,
    clock: Clock,
    frames: Frames,
    worker: Option<Worker>,
    /// Those that are asked for nothing more. They live as long as their pipes do, and what they have open stays open.
    retired: Vec<Worker>,
    /// The request that the worker has not answered yet.
    call: Option<Call>,
    program: Option<Program>,
}

struct Call {
    id: u32,
    since: u64,
}

impl Agent {
    fn run(&mut self) -> io::Result<()> {
        let mask = process::watch_children()?;
        loop {
            if self.worker.is_none() {
                // If this fails, requests are refused, and the next turn tries again.
                self.worker = Worker::start(self.clock).ok();
            }
            // Who does not take answers has nothing more to ask: so they don't pile up here. Behind what programs print
            // there may be the request to end one.
            let listen =
                if self.control.out.backlog() > BACKLOG { PollFlags::empty() } else { PollFlags::POLLIN };
            let room = self.control.room();
            let mut fds = vec![PollFd::new(self.control.port.as_fd(), listen)];
            fds.extend(self.control.out.interest());
            let workers = fds.len();
            fds.extend(self.worker.iter().flat_map(Worker::interests));
            let programs = fds.len();
            fds.extend(self.program.iter().flat_map(|program| program.interests(room)));
            let interrupted = match ppoll(&mut fds, None, Some(mask)) {
                Ok(_) => false,
                Err(Errno::EINTR) => true,
                Err(errno) => return Err(errno.into()),
            };
            // Each call from here on is seen, and counted, from outside, which takes its time: none is made for nothing.
            let ready = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.any().unwrap_or(true));
            let (asked, answered, pumps) =
                (ready(&fds[..1]), ready(&fds[workers..programs]), ready(&fds[programs..]));

            self.control.out.fill()?;
            if asked && !self.take_requests()? {
                return Ok(());
            }
            if answered {
                self.take_answers()?;
            }
            if let Some(program) = self.program.as_mut().filter(|_| pumps) {
                program.pump(room, |printed| self.control.queue(printed));
                self.control.out.fill()?;
            }
            // While a program's children keep its pipes busy nothing interrupts the wait.
            if interrupted || self.program.is_some() {
                while let Some((pid, end)) = process::reap() {
                    self.ended(pid, end)?;
                }
            }
        }
    }

    /// Reads what the control port has; `false` at its end.
    fn take_requests(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let length = match self.control.port.read(&mut bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                return Ok(true);
            }
            length => length?,
        };
        self.frames.push(&bytes[..length]);
        while let Some(request) = self.frames.next().map_err(io::Error::other)? {
            self.take(request)?;
        }
        Ok(length > 0)
    }

    fn take(&mut self, request: Request) -> io::Result<()> {
        let id = request.id;
        let done = match request.action {
            Action::Calls { .. } | Action::Chain(_) => self.call(&request),
            Action::Run { argv, env, stdin, user } => self.start(id, argv, env, stdin, user),
            Action::Renew => {
                let renewed = self.renew();
                return self.done(id, renewed);
            }
            Action::Wake { now, seed } => return self.done(id, wake(now, &seed)),
            Action::Place(files) => return self.done(id, place(files)),
            Action::End { request } => {
                self.end(request);
                return Ok(());
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(why) => self.reply(Reply { id, outcome: Outcome::Refused { why }, nanos: 0 }),
        }
    }

    fn done(&mut self, id: u32, done: Result<(), String>) -> io::Result<()> {
        let outcome = done.map_or_else(|why| Outcome::Refused { why }, |()| Outcome::Done);
        self.reply(Reply { id, outcome, nanos: 0 })
    }

    fn call(&mut self, request: &Request) -> Result<(), String> {
        if self.call.is_some() {
            return Err("the worker is still in a call".into());
        }
        let worker = self.worker.as_mut().ok_or("there is no worker, and no memory to start one")?;
        self.call = Some(Call { id: request.id, since: self.clock.now() });
        worker.ask(request);
        Ok(())
    }

    /// Puts another worker into the place of the one that there is.
    fn renew(&mut self) -> Result<(), String> {
        if self.call.is_some() {
            return Err("the worker is still in a call".into());
        }
        let worker = Worker::start(self.clock);
        let worker = worker.map_err(|error| format!("no other worker can be started: {error}"))?;
        self.retired.extend(self.worker.replace(worker));
        Ok(())
    }

    /// Ends what is done for this request, if it is still being done. Its answer comes when the process has ended.
    fn end(&self, request: u32) {
        let worker = self.worker.as_ref();
        if self.call.as_ref().is_some_and(|call| call.id == request) {
            worker.inspect(|worker| worker.kill());
        }
        if let Some(program) = self.program.as_ref().filter(|program| program.id() == request) {
            kill::tree(program.pid(), worker.map(Worker::pid));
        }
    }

    fn start(
        &mut self,
        id: u32,
        argv: Vec<String>,
        env: Vec<String>,
        stdin: Vec<u8>,
        user: Option<u32>,
    ) -> Result<(), String> {
        if self.program.is_some() {
            return Err("a program is still running".into());
        }
        self.program = Some(Program::start(id, argv, env, stdin, user, self.clock)?);
        Ok(())
    }

    /// Passes on what the worker has answered.
    fn take_answers(&mut self) -> io::Result<()> {
        if let Some(worker) = &mut self.worker {
            worker.listen();
        }
        while let Some(worker) = &mut self.worker {
            match worker.answer() {
                Ok(None) => break,
                // An answer that nobody asked for: a forked child's, or forged by who overwrote it.
                Ok(Some(reply)) if self.call.as_ref().is_none_or(|call| call.id != reply.id) => {}
                Ok(Some(reply)) => {
                    self.call = None;
                    self.reply(reply)?;
                }
                Err(error) => {
                    worker.kill();
                    self.worker = None;
                    // A refusal says nothing of descriptors, and there may have been no call.
                    self.control.queue(&FromAgent::WorkerEnded);
                    let why = format!("the worker sent no valid answer ({error}), and was ended");
                    self.fail_call(Outcome::Refused { why })?;
                }
            }
        }
        Ok(())
    }

    /// A child has ended: one of ours, or an orphan that PID 1 inherited.
    fn ended(&mut self, pid: Pid, end: End) -> io::Result<()> {
        if let Some(program) = self.program.take_if(|program| program.pid() == pid) {
            let reply = program.end(end, |printed| self.control.queue(printed));
            return self.reply(reply);
        }
        if self.worker.as_ref().is_some_and(|worker| worker.pid() == pid) {
            // It may have answered in its last moment.
            self.take_answers()?;
            // One that sent no answer was ended for it, and that was said.
            if self.worker.take().is_none() {
                return Ok(());
            }
            if self.call.is_none() {
                say(&format!("the worker ended between two calls ({end:?}); its descriptors are lost"));
                self.control.queue(&FromAgent::WorkerEnded);
                self.control.out.fill()?;
            }
            return self.fail_call(match end {
                End::Killed(signal) => Outcome::Died { signal },
                // The call was an exit, or an execve of a program that has now ended.
                End::Exited(code) => Outcome::Exited { code, open: Vec::new() },
            });
        }
        Ok(())
    }

    /// Answers the call under way, if there is one.
    fn fail_call(&mut self, outcome: Outcome) -> io::Result<()> {
        let Some(Call { id, since }) = self.call.take() else { return Ok(()) };
        let nanos = self.clock.now().saturating_sub(since);
        self.reply(Reply { id, outcome, nanos })
    }

    fn reply(&mut self, reply: Reply) -> io::Result<()> {
        self.control.reply(reply)
    }
}
