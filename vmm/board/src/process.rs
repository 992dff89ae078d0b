//! The machine process: sets the machine up as the harness says, and serves it until either ends.

mod tell;
mod warm;
mod watch;

use crate::{
    command_line,
    cpu::{Ask, Cpu, Shared, Sight},
    evidence,
    guard::Guard,
    log::Log,
    outbox::Outbox,
    saved::{self, Unfit},
    serial_log::SerialLog,
    slots::{self, Connections, Devices},
    vcpus::{Vcpus, all_did},
    wire::{
        Announce, Answer, Blame, Command, EndReason, Evidence, Notice, Question, Reports, Sighting, Spec,
        Start,
    },
};
use jail::cell::{self, Files, Work};
use machine::{AddressSpace, Blank, Bus, GuestVirtualAddress, Memory, Vm, boot, create_memory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::Frames;
use std::{
    io::{self, ErrorKind, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use trap::{Agent, AgentText, KernelLog, Landmarks, Pairs, SeenModules, Witness};
use warm::Origin;

/// The kernel's image begins here in virtual memory (`__START_KERNEL_map`, Documentation/arch/x86/x86_64/mm.rst).
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// What the guest has in its memory is read for so long at once: it may have made up a lot of it.
const BUDGET: Duration = Duration::from_millis(500);
/// The log of a guest that does not run is read for so long.
const LAST_READS: Duration = Duration::from_secs(5);

/// So often it is looked how much of the log waits to be read, in milliseconds, at the most. No kernel prints a million lines a
/// second, and its ring has room for tens of thousands ([`command_line`]).
const LOG_EVERY: u16 = 10;
/// And at the least.
const LOG_SELDOM: u16 = 100;
/// Where a look takes long, as on an emulated processor, a guest's line does so too: in the time of so many looks none prints more
/// lines than there is room for.
const LOOKS: u128 = 1000;
/// The same after the guest was held for what it logs: it goes on logging.
const LOG_SOON: u16 = 1;
/// While much waits for the guest's control port, it is looked so often whether the guest has room, in milliseconds.
const PUMP_EVERY: u16 = 1;
/// So much of the ring may be full before it is read unasked.
const FULL: f64 = 0.125;
/// From this much on the guest is held while it is read: whoever takes the lines may be slow.
const MUCH: f64 = 0.015;

/// Why the process can't serve at all. Whatever comes later is told to the harness in
/// [`Notice::Ended`].
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The standard input is not the socket that a harness gives.
    #[error("this command is for vmm itself: it talks to a harness over a socket ({0})")]
    Socket(#[from] io::Error),
}

/// Serves one machine over the socket that is this process's standard input.
pub fn serve(socket: impl AsFd) -> Result<(), ServeError> {
    let started = Instant::now();
    // Mostly that waits, and so does this thread until it is told what is wanted.
    let blank = thread::Builder::new().spawn(Blank::new);
    let mut socket = UnixStream::from(socket.as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    let mut frames = Frames::new();
    let spec: Spec = loop {
        match frames.next() {
            Ok(Some(spec)) => break spec,
            Ok(None) => {}
            Err(error) => return Err(io::Error::other(error).into()),
        }
        if !receive(&mut socket, &mut frames)? {
            return Ok(());
        }
    };
    let outbox = Outbox::new(socket.try_clone()?);
    let ended = match Machine::create(&spec, &outbox, started, blank) {
        Ok(machine) => match cell::lock(Work::Serve) {
            Ok(()) => machine.serve(&mut socket, &mut frames),
            Err(why) => Notice::Ended { reason: EndReason::host(why), evidence: Box::default() },
        },
        Err(NoMachine::Unusable(unfit)) => Notice::Unusable(unfit),
        Err(NoMachine::Failed(error)) => {
            Notice::Ended { reason: EndReason::host(error), evidence: Box::default() }
        }
    };
    outbox.send(&ended);
    Ok(())
}

/// Where a machine is to be saved whose memory has so many bytes.
fn saved_files(making: &Path, memory: u64) -> io::Result<saved::Files> {
    match cell::longest_file(memory) {
        Some(longest) => Err(io::Error::other(format!(
            "its memory is {} MiB, and no file may have more than {} (ulimit -f)",
            memory >> 20,
            longest >> 20
        ))),
        None => saved::Files::create(making),
    }
}

fn receive(socket: &mut UnixStream, frames: &mut Frames) -> io::Result<bool> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                frames.push(&bytes[..length]);
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Why there is no machine.
enum NoMachine {
    /// What it was to be started from is not what was saved.
    Unusable(Unfit),
    /// This.
    Failed(machine::Error),
}

impl From<machine::Error> for NoMachine {
    fn from(error: machine::Error) -> Self {
        Self::Failed(error)
    }
}

struct Machine {
    outbox: Outbox,
    devices: Devices,
    vcpus: Vcpus,
    /// Is at its end when a vCPU ended by itself: each vCPU's thread holds the other end open.
    ended: UnixStream,
    log: Log,
    space: Option<AddressSpace>,
    /// The kernel's variable of this name.
    tainted_mask: Option<GuestVirtualAddress>,
    /// As last told.
    taint: Option<u64>,
    modules: SeenModules,
    memory: Memory,
    landmarks: Landmarks,
    vm: Arc<Vm>,
    witness: Witness,
    pairs: Pairs,
    agent_text: AgentText,
    /// Where the log's parts are, once something is watched over.
    log_parts: Vec<(&'static str, u64)>,
    /// What the kernel has counted of its own reports, as last told.
    reports: Reports,
    guard: Option<Guard>,
    unguarded: Option<String>,
    /// Why it can't go on, though no vCPU has ended.
    broken: Option<EndReason>,
    shared: Shared,
    /// Where it is to be saved, or why it can't be.
    files: Option<io::Result<saved::Files>>,
    /// [`Spec::forgets`].
    forgets: bool,
    /// What a saved state depends on.
    identity: u64,
    /// None for one that was booted.
    origin: Option<Origin>,
}

impl Machine {
    fn create(
        spec: &Spec,
        outbox: &Outbox,
        started: Instant,
        blank: io::Result<JoinHandle<machine::Result<Blank>>>,
    ) -> Result<Self, NoMachine> {
        let made = || {
            let blank = blank.map_err(machine::Error::Threads)?;
            blank.join().unwrap_or_else(|_| Err(machine::Error::Threads(ErrorKind::Other.into())))
        };
        let count = spec.vcpus.clamp(1, 32);
        let mut files = None;
        let (vm, memory, origin, entry) = match &spec.start {
            Start::Saved(folder) => {
                let (saved, file) = saved::open(folder).map_err(NoMachine::Unusable)?;
                if (saved.about.memory_mib, saved.about.vcpus) != (spec.memory_mib, spec.vcpus) {
                    return Err(NoMachine::Unusable("it is another machine".into()));
                }
                let (memory, original) = machine::saved::load(file, &saved.memory)?;
                let vm = Vm::logged(made()?, memory.clone())?;
                if vm.identity()? != saved.identity {
                    let why = "it was saved on another processor, or by another KVM";
                    return Err(NoMachine::Unusable(why.into()));
                }
                (vm, memory, Some(Origin { saved, original, pages: 0 }), None)
            }
            Start::Boot | Start::BootToSave(_) => {
                if let Start::BootToSave(making) = &spec.start {
                    outbox.remember();
                    // Who can't make them says so when they are to be written.
                    files = Some(saved_files(making, u64::from(spec.memory_mib) << 20));
                }
                let memory = create_memory(spec.memory_mib)?;
                let line = command_line::build(spec);
                let acpi_devices: Vec<_> = match spec.announce {
                    Announce::CommandLine => vec![],
                    Announce::Acpi => slots::virtio_devices().collect(),
                };
                let entry = boot::load(&memory, &spec.kernel, &spec.initramfs, &line, count, &acpi_devices)?;
                // After the loading: kvm-clock, which guests go by, begins here.
                (Vm::new(made()?, memory.clone())?, memory, None, Some(entry))
            }
        };
        let identity = vm.identity()?;
        let vm = Arc::new(vm);

        let shared = Shared::since(started);
        // The command line has the kernel log to the serial port in the same case.
        let serial_log = command_line::logs_to_serial(spec).then(Arc::<Mutex<SerialLog>>::default);
        let (devices, bus) = wire_up(&vm, outbox, &shared, serial_log.clone())?;
        let bus = Arc::new(bus);
        let (ended, alive) = UnixStream::pair().map_err(machine::Error::Descriptors)?;

        let vcpus = (0..count).map(|index| vm.vcpu(index, count)).collect::<Result<Vec<_>, _>>()?;
        entry.map(|entry| boot::start(&vcpus[0], entry)).transpose()?;
        let (mut cpus, mut asks) = (Vec::new(), Vec::new());
        for (index, vcpu) in (0..).zip(vcpus) {
            let (ask, inbox) = mpsc::channel();
            let (to_harness, began) = (outbox.clone(), shared.began.clone());
            let show = Box::new(move |sight| {
                let began = *began.lock().unwrap_or_else(PoisonError::into_inner);
                to_harness.send(&match sight {
                    Sight::Call(call) => Notice::Call(Box::new(evidence::seen(call, began))),
                    Sight::Walk(walk) => Notice::Walked(walk),
                });
            });
            let kicker = Some(vcpu.kicker());
            cpus.push((Cpu::new(index, Box::new(vcpu), bus.clone(), inbox, shared.clone(), show), kicker));
            asks.push(ask);
        }
        // Everything is open now. The threads inherit it.
        evidence::prepare();
        let rest = match &files {
            Some(_) => Files::Prepared { longest: u64::from(spec.memory_mib) << 20 },
            None => Files::Open,
        };
        // Memory that comes from a file is mapped for this machine alone, once to run on and once to go back to.
        let mapped = if origin.is_some() { 2 * (u64::from(spec.memory_mib) << 20) } else { 0 };
        cell::give_up(rest, cell::MACHINE_MEMORY.saturating_add(mapped)).map_err(machine::Error::Threads)?;
        let vcpus = Vcpus::create(cpus, asks, &alive).map_err(machine::Error::Threads)?;

        let landmark = |name: &str| spec.landmarks.symbol(name);
        let tables = landmark("init_top_pgt").and_then(|at| at.checked_sub(KERNEL_MAP));
        let space = tables.map(|tables| AddressSpace::new(memory.clone(), tables, 0));
        let in_memory = space.clone().zip(landmark("prb")).map(|(space, prb)| KernelLog::new(space, prb));
        let log = match (serial_log, in_memory) {
            (None, Some(log)) => Log::Memory(log),
            (serial, _) => Log::Serial(serial.unwrap_or_default()),
        };
        let tainted_mask = landmark("tainted_mask").map(GuestVirtualAddress);
        let (outbox, landmarks, taint) = (outbox.clone(), spec.landmarks.clone(), None);
        let modules = SeenModules::default();
        let mut machine = Self {
            outbox,
            devices,
            vcpus,
            ended,
            log,
            space,
            tainted_mask,
            taint,
            modules,
            memory,
            landmarks,
            vm,
            witness: Witness::default(),
            pairs: Pairs::default(),
            agent_text: AgentText::default(),
            log_parts: Vec::new(),
            reports: Reports::default(),
            guard: None,
            unguarded: None,
            broken: None,
            shared,
            files,
            forgets: spec.forgets,
            identity,
            origin,
        };
        if machine.origin.is_some() {
            let taken = machine.take_state();
            taken.map_err(|why| NoMachine::Unusable(format!("its state is not taken back: {why}").into()))?;
            *machine.shared.began.lock().unwrap_or_else(PoisonError::into_inner) = started;
        }
        Ok(machine)
    }

    /// Runs the machine, and serves commands until the harness, the guest or KVM ends it.
    fn serve(mut self, socket: &mut UnixStream, frames: &mut Frames) -> Notice {
        self.outbox.send(&match &self.origin {
            Some(origin) => Notice::Restored(Box::new(origin.saved.about.clone())),
            None => Notice::Started,
        });
        self.tell_again();
        if let Err(why) = self.vcpus.resume() {
            return Notice::Ended { reason: EndReason::host(why), evidence: Box::default() };
        }
        let (mut wait, mut fastest) = (LOG_EVERY, Duration::MAX);
        loop {
            let mut fds = [&*socket, &self.ended].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            // An interrupted wait has nothing to report; the next round looks again.
            let soon = if self.devices.pump() { PUMP_EVERY } else { wait };
            let _ = poll(&mut fds, PollTimeout::from(soon));
            let [commands, ended] = fds.map(|fd| fd.any().unwrap_or(false));
            if ended {
                return self.finish();
            }
            let before = Instant::now();
            wait = match self.keep_up(FULL) {
                true => LOG_SOON,
                false => {
                    fastest = fastest.min(before.elapsed());
                    log_wait(fastest)
                }
            };
            if commands && !matches!(receive(socket, frames), Ok(true)) {
                return self.finish();
            }
            loop {
                match frames.next() {
                    Ok(Some(Command::Stop)) | Err(_) => return self.finish(),
                    Ok(Some(Command::Expect { calls, main, program })) => {
                        self.witness.expect(calls.map(|it| *it), main);
                        self.witness.expect_program(program.map(|it| *it));
                        self.pairs.forget_children();
                        if self.shared.own_breakpoints.load(Ordering::Relaxed) {
                            self.vcpus.tell(|| Ask::Look);
                        }
                    }
                    Ok(Some(Command::Rest)) => match self.rest() {
                        Some(ended) => self.outbox.send(&ended),
                        None => return self.finish(),
                    },
                    Ok(Some(Command::Control(bytes))) => self.devices.send_control(&bytes),
                    Ok(Some(Command::Ask { id, question })) => {
                        let answer = self.answer(question);
                        self.outbox.send(&Notice::Answer { id, answer });
                        if self.broken.is_some() {
                            return self.finish();
                        }
                    }
                    Ok(None) => break,
                }
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Trap { call_returns, agent_text, results, trace, guard } => {
                let agent = Agent { call_returns, text: agent_text };
                let armed = self.arm(agent, results, trace, guard.is_some());
                if let (Ok(()), Some(order)) = (&armed, guard) {
                    self.unguarded = self.protect(&order).err();
                }
                Answer::Done(armed)
            }
            Question::Witness => {
                let seen = self.witness.sighting();
                // Of what was not seen all the time nothing is concluded.
                let whole = self.pairs.sees_returns();
                let (fewer, inside) = (seen.fewer.filter(|_| whole), seen.inside && whole);
                let forked = self.pairs.children();
                // Where a door had no breakpoint, programs may have gone through it.
                let unseen = self.pairs.is_short();
                let (unbounded, more_exits) = (seen.unbounded || unseen, seen.more_exits || unseen);
                let blind = self.pairs.is_blind();
                let seen = Sighting { fewer, inside, forked, unbounded, more_exits, blind, ..seen };
                Answer::Witnessed(Box::new(seen))
            }
            Question::Guard => {
                self.compare();
                Answer::Done(Ok(()))
            }
            Question::Untrap => Answer::Done(all_did(self.vcpus.ask(|done| Ask::Untrap { done }))),
            Question::Follow { returns_to, nr } => Answer::Done(self.follow(returns_to, nr)),
            Question::ReadLog { unfinished } => {
                self.keep_up(MUCH);
                self.tell_taint();
                let until = Instant::now() + BUDGET;
                let records = if unfinished { self.log.read_written(until) } else { self.log.read(until) };
                self.tell_log(records);
                Answer::LogRead { keeps_back: self.log.keeps_back() }
            }
            Question::Sample => Answer::Standing(self.vcpus.ask(Ask::Stand).into_iter().flatten().collect()),
            Question::Inspect { addresses } => Answer::Inspected(Box::new(self.inspect(addresses))),
            Question::Pause => Answer::Done(self.vcpus.pause()),
            Question::Resume => Answer::Done(self.vcpus.resume()),
            Question::Save(about) => Answer::Done(self.save(*about)),
            Question::Reset { verify } => Answer::Reset(self.reset(verify)),
        }
    }

    /// Stops what still runs, reads the log a last time and puts the evidence together.
    fn finish(mut self) -> Notice {
        let (remains, missing) = self.vcpus.end();
        // The last of what was written; where nobody answers any more, registers are not compared.
        self.compare();
        self.tell_taint();
        let until = Instant::now() + LAST_READS;
        loop {
            match self.log.read_last(until) {
                records if records.is_empty() => break,
                records => self.tell_log(records),
            }
            // A vCPU that did not stop may log without end.
            if Instant::now() >= until {
                break;
            }
        }
        // Whatever a vCPU ended by itself for outweighs that the others were stopped.
        let reason = remains.iter().map(|r| &r.end).find(|end| **end != EndReason::Stopped).cloned();
        // KVM alone may have met it until now; here it ends the process, by SIGBUS, which is told as this machine's fault.
        if let (Some(origin), Some(EndReason::Failed { .. })) = (&self.origin, &reason) {
            origin.original.touch();
        }
        let broken = self.broken.take();
        let lost = missing.first().map(|vcpu| EndReason::Failed {
            blame: Blame::Unknown,
            why: format!("vCPU {} is missing: {}", vcpu.index, vcpu.why),
        });
        let (rows, evidence) = evidence::gather(&remains, missing, self.devices.errors(), &self.memory);
        let evidence =
            Evidence { unguarded: self.unguarded.take(), changed: self.pairs.changed(), ..evidence };
        self.outbox.counted(rows);
        Notice::Ended {
            reason: reason.or(broken).or(lost).unwrap_or(EndReason::Stopped),
            evidence: Box::new(evidence),
        }
    }
}

/// How long the log may go without a look, in milliseconds, where a look takes so long.
fn log_wait(look: Duration) -> u16 {
    let wait = u16::try_from(look.as_nanos() * LOOKS / 1_000_000).unwrap_or(u16::MAX);
    wait.clamp(LOG_EVERY, LOG_SELDOM)
}

fn wire_up(
    vm: &Arc<Vm>,
    outbox: &Outbox,
    shared: &Shared,
    serial_log: Option<Arc<Mutex<SerialLog>>>,
) -> Result<(Devices, Bus), machine::Error> {
    let print = || {
        let outbox = outbox.clone();
        Box::new(move |bytes: &[u8]| outbox.send(&Notice::Console(bytes.to_vec())))
    };
    let (to_harness, shared) = (outbox.clone(), shared.clone());
    let control = Box::new(move |bytes: &[u8]| {
        if !shared.ready.swap(true, Ordering::Relaxed) {
            to_harness.send(&Notice::Ready { exits: shared.exits.load(Ordering::Relaxed) });
        }
        to_harness.send(&Notice::Control(bytes.to_vec()));
    });
    let serial: devices::Sink = match serial_log {
        Some(log) => {
            Box::new(move |bytes: &[u8]| log.lock().unwrap_or_else(PoisonError::into_inner).push(bytes))
        }
        None => print(),
    };
    Devices::wire(vm, Connections { console: print(), control, serial })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_looked_at_less_often_where_all_is_slow_and_never_too_seldom() {
        let waits = [1, 5_000, 50_000, 3_000_000].map(|nanos| log_wait(Duration::from_nanos(nanos)));
        assert_eq!(waits, [LOG_EVERY, LOG_EVERY, 50, LOG_SELDOM]);
        assert_eq!(log_wait(Duration::MAX), LOG_SELDOM);
    }
}
