//! All vCPUs of a machine, each with its thread, and the machine's life: it is one for all of them.

use crate::{
    cpu::{Ask, Cpu, Remains},
    wire::MissingVcpu,
};
use jail::cell::{self, Work};
use machine::{Kicker, state::VcpuState};
use std::{
    any::Any,
    io,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A vCPU answers within this time, or something is wrong with KVM. All are asked at once, so it is the time for all.
const PATIENCE: Duration = Duration::from_secs(2);

/// No wait counts as more than this at once: a process that is stopped meanwhile, with its whole container or machine, has not waited.
const PIECE: Duration = Duration::from_millis(50);

/// What is left of a time to wait, in which this process is not stopped.
pub struct Patience(Duration);

impl Patience {
    /// So much.
    pub fn new(time: Duration) -> Self {
        Self(time)
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_zero()
    }

    /// Does something that takes a moment.
    pub fn spend<T>(&mut self, doing: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = doing();
        self.0 = self.0.saturating_sub(began.elapsed().min(PIECE));
        done
    }

    fn receive<T>(&mut self, from: &Receiver<T>) -> Result<T, RecvTimeoutError> {
        loop {
            let piece = self.0.min(PIECE);
            match self.spend(|| from.recv_timeout(piece)) {
                Err(RecvTimeoutError::Timeout) if !self.is_over() => {}
                received => return received,
            }
        }
    }
}

/// What a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has not run yet.
    Created,
    /// Its vCPUs run.
    Running,
    /// They are held, each between two instructions.
    Paused,
    /// They are gone.
    Ended,
}

/// The vCPUs.
pub struct Vcpus {
    all: Vec<Running>,
    life: Life,
}

struct Running {
    thread: JoinHandle<()>,
    asks: Sender<Ask>,
    /// None where a vCPU looks by itself.
    kicker: Option<Kicker>,
    remains: Receiver<Remains>,
}

impl Running {
    fn kick(&self) {
        if let Some(kicker) = &self.kicker {
            kicker.kick(&self.thread);
        }
    }
}

/// Closes the socket when the thread is at its end, however it came to it.
struct Alive(UnixStream);

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Vcpus {
    /// Threads for vCPUs, which are held. `alive` is closed when the first of them ends by itself.
    pub fn create(
        cpus: Vec<(Cpu, Option<Kicker>)>,
        asks: Vec<Sender<Ask>>,
        alive: &UnixStream,
    ) -> io::Result<Self> {
        let one = |((cpu, kicker), asks): ((Cpu, Option<Kicker>), Sender<Ask>)| {
            let alive = Alive(alive.try_clone()?);
            let (to, remains) = mpsc::channel();
            let thread = thread::Builder::new().name(format!("vcpu{}", cpu.index)).spawn(move || {
                let alive = alive;
                // Without the filter no guest's instruction runs; its end is told as a vCPU that is missing.
                cell::lock(Work::Vcpu).expect("the kernel takes a filter that it took before");
                // Nobody waits for them where the machine's end was given up.
                let _ = to.send(cpu.run());
                drop(alive);
            })?;
            Ok(Running { thread, asks, kicker, remains })
        };
        let all = cpus.into_iter().zip(asks).map(one).collect::<io::Result<_>>()?;
        Ok(Self { all, life: Life::Created })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// What the machine does.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Lets held vCPUs run.
    pub fn resume(&mut self) -> Result<(), String> {
        match self.life {
            Life::Created | Life::Paused => {}
            Life::Running => return Ok(()),
            Life::Ended => return Err("the machine has ended".into()),
        }
        self.life = Life::Running;
        all_did(self.ask(|done| Ask::Go { done }))
    }

    /// Holds them. On an error some may be held, and are let go again.
    pub fn pause(&mut self) -> Result<(), String> {
        match self.life {
            Life::Running => {}
            Life::Created | Life::Paused => return Ok(()),
            Life::Ended => return Err("the machine has ended".into()),
        }
        let held = all_did(self.ask(|done| Ask::Hold { done }));
        match held {
            Ok(()) => self.life = Life::Paused,
            Err(_) => drop(self.ask(|done| Ask::Go { done })),
        }
        held
    }

    /// The state of each, in their order. They are held.
    pub fn save(&self) -> Result<Vec<VcpuState>, String> {
        let states = self.ask(|done| Ask::Save { done }).into_iter().enumerate();
        let one = |(index, state): (usize, Option<Result<Box<VcpuState>, String>>)| {
            let state = state.unwrap_or_else(|| Err("it does not answer".into()));
            state.map(|state| *state).map_err(|why| format!("vCPU {index}: {why}"))
        };
        states.map(one).collect()
    }

    /// Puts each into its state. They are held, and have counted nothing then.
    pub fn load(&self, states: &[VcpuState]) -> Result<(), String> {
        if states.len() != self.all.len() {
            return Err(format!("{} vCPUs were saved, and there are {}", states.len(), self.all.len()));
        }
        let mut states = states.iter();
        let state = |done| Ask::Load { state: Box::new(states.next().expect("as many").clone()), done };
        all_did(self.ask(state))
    }

    /// What each has counted; `None` unless all of them tell. They are held, and have counted nothing then.
    pub fn leave(&self) -> Option<Vec<Remains>> {
        self.ask(Ask::Leave).into_iter().collect()
    }

    /// Asks all vCPUs at once, and waits for their answers under one deadline; `None` is one that did not answer.
    pub fn ask<T>(&self, mut ask: impl FnMut(Sender<T>) -> Ask) -> Vec<Option<T>> {
        let mut patience = Patience::new(PATIENCE);
        let asked = self.all.iter().map(|cpu| {
            let (to, answer) = mpsc::channel();
            // A vCPU that has ended takes no more questions.
            let sent = cpu.asks.send(ask(to)).is_ok();
            if sent {
                cpu.kick();
            }
            sent.then_some(answer)
        });
        let asked: Vec<Option<Receiver<T>>> = asked.collect();
        let answer = |answer: Option<Receiver<T>>| patience.receive(&answer?).ok();
        asked.into_iter().map(answer).collect()
    }

    /// Tells them all something, which they do before they run on.
    pub fn tell(&self, mut ask: impl FnMut() -> Ask) {
        for cpu in &self.all {
            // One that has ended has nothing to do with it.
            let _ = cpu.asks.send(ask());
            cpu.kick();
        }
    }

    /// Ends them all. Of each, what it leaves behind, or why there is nothing.
    pub fn end(&mut self) -> (Vec<Remains>, Vec<MissingVcpu>) {
        self.life = Life::Ended;
        for cpu in &self.all {
            let _ = cpu.asks.send(Ask::Stop);
            cpu.kick();
        }
        let mut patience = Patience::new(PATIENCE);
        let (mut remains, mut missing) = (Vec::new(), Vec::new());
        for (index, cpu) in (0..).zip(self.all.drain(..)) {
            let why = match patience.receive(&cpu.remains) {
                Ok(left) => {
                    remains.push(left);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    format!("its thread did not stop within {} s", PATIENCE.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => match cpu.thread.join() {
                    Err(panic) => format!("its thread panicked: {}", words(&*panic)),
                    Ok(()) => "its thread ended without a word".to_owned(),
                },
            };
            missing.push(MissingVcpu { index, why });
        }
        (remains, missing)
    }
}

/// Of several vCPUs, the first that could not.
pub fn all_did(answers: Vec<Option<Result<(), String>>>) -> Result<(), String> {
    answers.into_iter().enumerate().try_for_each(|(index, answer)| {
        answer
            .unwrap_or_else(|| Err("it does not answer".into()))
            .map_err(|why| format!("vCPU {index}: {why}"))
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_all_was_stopped_is_no_time_that_was_waited() {
        let mut patience = Patience::new(Duration::from_millis(120));
        // As long as whoever stops a container likes.
        patience.spend(|| thread::sleep(Duration::from_millis(200)));
        assert!(!patience.is_over());
        let (_to, nothing) = mpsc::channel::<()>();
        assert_eq!(patience.receive(&nothing), Err(RecvTimeoutError::Timeout));
        assert!(patience.is_over());
        let (to, something) = mpsc::channel();
        to.send(7).unwrap();
        assert_eq!(Patience::new(Duration::from_secs(1)).receive(&something), Ok(7));
    }
}
