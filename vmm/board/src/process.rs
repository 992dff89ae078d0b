//! The machine process: sets the machine up as the harness says, and serves it until either ends.

use crate::{
    command_line,
    cpu::{Ask, Cpu, Remains, Sight},
    evidence,
    serial_log::SerialLog,
    slots::{self, Connections, Devices},
    wire::{Announce, Child, Command, EndReason, Explanation, LogRecord, Notice, Sleeper, Spec, Still},
};
use machine::{AddressSpace, Bus, GuestVirtualAddress, Kicker, Memory, Vm, boot, create_memory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::Frames;
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use trap::{Agent, ENTRY_MSRS, KernelLog, KernelState, Order, SeenModules, WalkOrder};

/// The kernel's image begins here in virtual memory (`__START_KERNEL_map`, Documentation/arch/x86/x86_64/mm.rst).
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// A vCPU answers within this time, or something is wrong with KVM.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many batches of the log are read at the end: more than any kernel keeps lines, by default.
const LAST_READS: usize = 8;

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
    let outbox = Outbox(Arc::new(Mutex::new(socket.try_clone()?)));
    let ended = match Machine::start(&spec, &outbox, started) {
        Ok(machine) => machine.serve(&mut socket, &mut frames),
        Err(error) => {
            Notice::Ended { reason: EndReason::Internal(error.to_string()), evidence: Box::default() }
        }
    };
    outbox.send(&ended);
    Ok(())
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

/// The way to the harness. A harness that is gone is noticed where commands are read.
#[derive(Clone)]
struct Outbox(Arc<Mutex<UnixStream>>);

impl Outbox {
    fn send(&self, notice: &Notice) {
        let _ = lock(&self.0).write_all(&protocol::encode(notice));
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the kernel's log comes from.
enum Log {
    Memory(KernelLog),
    Serial(Arc<Mutex<SerialLog>>),
}

impl Log {
    fn read(&mut self, unfinished: bool) -> Vec<LogRecord> {
        match self {
            Self::Memory(log) if unfinished => log.read_written().into_iter().map(line).collect(),
            Self::Memory(log) => log.read().into_iter().map(line).collect(),
            // Consoles get whole lines only.
            Self::Serial(log) => lock(log).take(),
        }
    }

    /// Of a guest that runs no more: a line that is not complete counts too.
    fn read_last(&mut self) -> Vec<LogRecord> {
        match self {
            Self::Memory(log) => log.read_last().into_iter().map(line).collect(),
            Self::Serial(log) => lock(log).take_last(),
        }
    }
}

struct Running {
    thread: JoinHandle<Remains>,
    asks: Sender<Ask>,
}

struct Machine {
    outbox: Outbox,
    devices: Devices,
    cpus: Vec<Running>,
    kicker: Kicker,
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
    landmarks: BTreeMap<String, u64>,
    vm: Arc<Vm>,
}

impl Machine {
    fn start(spec: &Spec, outbox: &Outbox, started: Instant) -> Result<Self, machine::Error> {
        let memory = create_memory(spec.memory_mib)?;
        let count = spec.vcpus.clamp(1, 32);
        let line = command_line::build(spec);
        let acpi_devices: Vec<_> = match spec.announce {
            Announce::CommandLine => vec![],
            Announce::Acpi => slots::virtio_devices().collect(),
        };
        let entry = boot::load(&memory, &spec.kernel, &spec.initramfs, &line, count, &acpi_devices)?;
        // After the loading: kvm-clock, which guests go by, begins with the VM.
        let vm = Vm::new(memory.clone())?;

        let ready = Arc::new(AtomicBool::new(false));
        let all_exits = Arc::new(AtomicU64::new(0));
        // The command line has the kernel log to the serial port in the same case.
        let serial_log = command_line::logs_to_serial(spec).then(Arc::<Mutex<SerialLog>>::default);
        let (devices, bus) = wire_up(&vm, outbox, &ready, &all_exits, serial_log.clone())?;
        let bus = Arc::new(bus);
        let kicker = Kicker::new()?;
        let (ended, alive) = UnixStream::pair().map_err(machine::Error::Descriptors)?;

        // All vCPUs exist before the first runs: it may wake the others.
        let vcpus = (0..count).map(|index| vm.vcpu(index, count)).collect::<Result<Vec<_>, _>>()?;
        boot::start(&vcpus[0], entry)?;
        outbox.send(&Notice::Started);
        let vm = Arc::new(vm);
        let spawn = |(index, vcpu)| {
            let (asks, inbox) = mpsc::channel();
            let to_harness = outbox.clone();
            let show = Box::new(move |sight| {
                to_harness.send(&match sight {
                    Sight::Call(call) => Notice::Call(Box::new(evidence::seen(call, started))),
                    Sight::Walk(walk) => Notice::Walked(walk),
                });
            });
            let cpu = Cpu {
                index,
                vcpu,
                bus: bus.clone(),
                asks: inbox,
                ready: ready.clone(),
                all_exits: all_exits.clone(),
                show,
            };
            let (vm, alive) = (vm.clone(), alive.try_clone().map_err(machine::Error::Descriptors)?);
            let thread = thread::spawn(move || {
                let remains = cpu.run();
                // One vCPU's end is the machine's.
                let _ = alive.shutdown(Shutdown::Both);
                drop(vm);
                remains
            });
            Ok(Running { thread, asks })
        };
        let cpus = (0..count).zip(vcpus).map(spawn).collect::<Result<_, machine::Error>>()?;

        let landmark = |name: &str| spec.landmarks.get(name).copied();
        let tables = landmark("init_top_pgt").and_then(|at| at.checked_sub(KERNEL_MAP));
        let space = tables.map(|tables| AddressSpace::new(memory.clone(), tables, 0));
        let in_memory = space.clone().zip(landmark("prb")).map(|(space, prb)| KernelLog::new(space, prb));
        let log = match (serial_log, in_memory) {
            (None, Some(log)) => Log::Memory(log),
            (serial, _) => Log::Serial(serial.unwrap_or_default()),
        };
        let tainted_mask = landmark("tainted_mask").map(GuestVirtualAddress);
        let (outbox, landmarks) = (outbox.clone(), spec.landmarks.clone());
        Ok(Self {
            outbox,
            devices,
            cpus,
            kicker,
            ended,
            log,
            space,
            tainted_mask,
            taint: None,
            modules: SeenModules::default(),
            memory,
            landmarks,
            vm,
        })
    }

    /// Serves commands until the harness, the guest or KVM ends the machine.
    fn serve(mut self, socket: &mut UnixStream, frames: &mut Frames) -> Notice {
        loop {
            let mut fds = [&*socket, &self.ended].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            // An interrupted wait has nothing to report; the next round looks again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            let [commands, ended] = fds.map(|fd| fd.any().unwrap_or(false));
            if ended {
                return self.finish();
            }
            if commands && !matches!(receive(socket, frames), Ok(true)) {
                return self.finish();
            }
            loop {
                match frames.next() {
                    Ok(Some(Command::Stop)) | Err(_) => return self.finish(),
                    Ok(Some(command)) => self.obey(command),
                    Ok(None) => break,
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Control(bytes) => self.devices.send_control(&bytes),
            Command::Trap { call_returns, agent_text, results, trace } => {
                let armed = self.arm(Agent { call_returns, text: agent_text }, results, trace);
                self.outbox.send(&Notice::Trapping(armed));
            }
            Command::Untrap => {
                let ask = |cpu| self.ask(cpu, |done| Ask::Untrap { done });
                let untrapped = (0..self.cpus.len()).try_for_each(|cpu| {
                    ask(cpu).unwrap_or_else(|| Err(format!("vCPU {cpu} does not answer")))
                });
                self.outbox.send(&Notice::Trapping(untrapped));
            }
            Command::Walk { returns_to, nr } => {
                let armed = self.follow(returns_to, nr);
                self.outbox.send(&Notice::Trapping(armed));
            }
            Command::ReadLog { unfinished } => {
                self.tell_taint();
                let records = self.log.read(unfinished);
                self.tell_symbols(&records);
                self.outbox.send(&Notice::Log(records));
            }
            Command::Sample => {
                let standing = (0..self.cpus.len()).filter_map(|cpu| self.ask(cpu, Ask::Stand)).collect();
                self.outbox.send(&Notice::Standing(standing));
            }
            Command::Explain { addresses } => {
                let explanation = self.explain(addresses);
                self.outbox.send(&Notice::Explained(Box::new(explanation)));
            }
            Command::Stop => unreachable!("taken by the caller"),
        }
    }

    fn tell_taint(&mut self) {
        let taint = self.tainted_mask.and_then(|at| self.space.as_ref()?.read_u64(at));
        if let Some(mask) = taint
            && self.taint != taint
        {
            self.taint = taint;
            self.outbox.send(&Notice::Taint(mask));
        }
    }

    /// Names what the kernel could not name, since the module is gone.
    fn tell_symbols(&mut self, records: &[LogRecord]) {
        let Some(space) = &self.space else { return };
        self.modules.look(&KernelState::new(space.clone(), self.landmarks.clone()));
        let symbols = self.modules.names_in(records.iter().map(|record| record.text.as_str()));
        if !symbols.is_empty() {
            self.outbox.send(&Notice::Symbols(symbols));
        }
    }

    fn explain(&self, addresses: Vec<u64>) -> Explanation {
        let Some(space) = &self.space else { return Explanation::default() };
        let state = KernelState::new(space.clone(), self.landmarks.clone());
        let sleepers = state.sleepers();
        let frames = sleepers.iter().flat_map(|sleeper| sleeper.frames.iter().copied());
        let symbols = state.module_symbols(addresses.into_iter().chain(frames));
        let one = |sleeper: trap::Sleeper| Sleeper {
            pid: sleeper.pid,
            name: sleeper.name,
            // TASK_UNINTERRUPTIBLE of include/linux/sched.h.
            uninterruptible: sleeper.state & 2 != 0,
            frames: sleeper.frames,
            holder: sleeper.holder,
            stuck: sleeper.stuck,
        };
        let still = |still: trap::Still| Still { task: still.task, sp: still.sp, switches: still.switches };
        let child = |child: trap::Child| Child {
            name: child.name,
            circle: child.circle.into_iter().map(still).collect(),
        };
        Explanation {
            sleepers: sleepers.into_iter().map(one).collect(),
            symbols,
            children: state.children().into_iter().map(child).collect(),
        }
    }

    fn follow(&self, returns_to: u64, nr: u64) -> Result<(), String> {
        let Some(space) = &self.space else { return Err("the kernel comes without symbols".into()) };
        let (space, memory) = (space.clone(), self.memory.clone());
        let order = Box::new(WalkOrder { returns_to, nr, space, memory, landmarks: self.landmarks.clone() });
        self.ask(0, |done| Ask::Walk { order, done })
            .unwrap_or_else(|| Err("the vCPU does not answer".into()))
    }

    fn arm(&self, agent: Agent, results: bool, trace: Option<Vec<u64>>) -> Result<(), String> {
        // Without symbols the kernel's page tables have to be looked for, once it runs.
        let found = || AddressSpace::find_kernels(self.memory.clone());
        let Some(space) = self.space.clone().or_else(found) else {
            return Err("the kernel comes without symbols, and its page tables can't be found".into());
        };
        // First, so that no entry can move unseen once it was looked up.
        self.vm.watch_msr_writes(&ENTRY_MSRS).map_err(|error| error.to_string())?;
        (0..self.cpus.len()).try_for_each(|cpu| {
            let order = Box::new(Order {
                space: space.clone(),
                memory: self.memory.clone(),
                landmarks: self.landmarks.clone(),
                agent: agent.clone(),
                results,
                trace: trace.clone(),
            });
            self.ask(cpu, |done| Ask::Trap { order, done })
                .unwrap_or_else(|| Err(format!("vCPU {cpu} does not answer")))
        })
    }

    /// Asks a vCPU and waits for its answer, kicking it out of the guest as often as that takes.
    fn ask<T>(&self, cpu: usize, ask: impl FnOnce(Sender<T>) -> Ask) -> Option<T> {
        let (to, answer) = mpsc::channel();
        let cpu = &self.cpus[cpu];
        cpu.asks.send(ask(to)).ok()?;
        self.await_answer(cpu, &answer)
    }

    fn await_answer<T>(&self, cpu: &Running, answer: &Receiver<T>) -> Option<T> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.kicker.kick(&cpu.thread);
            match answer.recv_timeout(Duration::from_millis(2)) {
                Ok(answer) => return Some(answer),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }

    /// Stops what still runs, reads the log a last time and puts the evidence together.
    fn finish(mut self) -> Notice {
        for cpu in &self.cpus {
            // A vCPU that ended by itself takes no more orders.
            let _ = cpu.asks.send(Ask::Stop);
        }
        let start = Instant::now();
        while self.cpus.iter().any(|cpu| !cpu.thread.is_finished()) && start.elapsed() < PATIENCE {
            self.cpus.iter().for_each(|cpu| self.kicker.kick(&cpu.thread));
            thread::sleep(Duration::from_micros(200));
        }
        self.tell_taint();
        for _ in 0..LAST_READS {
            match self.log.read_last() {
                records if records.is_empty() => break,
                records => self.outbox.send(&Notice::Log(records)),
            }
        }
        let mut remains = Vec::new();
        for cpu in self.cpus {
            if cpu.thread.is_finished() {
                remains.extend(cpu.thread.join());
            }
        }
        // Whatever a vCPU ended by itself for outweighs that the others were stopped.
        let reason = remains.iter().map(|r| &r.end).find(|end| **end != EndReason::Stopped);
        let reason = reason.cloned().unwrap_or(EndReason::Stopped);
        let errors = self.devices.errors();
        Notice::Ended { reason, evidence: Box::new(evidence::gather(&remains, errors)) }
    }
}

fn wire_up(
    vm: &Vm,
    outbox: &Outbox,
    ready: &Arc<AtomicBool>,
    all_exits: &Arc<AtomicU64>,
    serial_log: Option<Arc<Mutex<SerialLog>>>,
) -> Result<(Devices, Bus), machine::Error> {
    let print = || {
        let outbox = outbox.clone();
        Box::new(move |bytes: &[u8]| outbox.send(&Notice::Console(bytes.to_vec())))
    };
    let (to_harness, ready, all_exits) = (outbox.clone(), ready.clone(), all_exits.clone());
    let control = Box::new(move |bytes: &[u8]| {
        if !ready.swap(true, Ordering::Relaxed) {
            to_harness.send(&Notice::Ready { exits: all_exits.load(Ordering::Relaxed) });
        }
        to_harness.send(&Notice::Control(bytes.to_vec()));
    });
    let serial: devices::Sink = match serial_log {
        Some(log) => Box::new(move |bytes: &[u8]| lock(&log).push(bytes)),
        None => print(),
    };
    Devices::wire(vm, Connections { console: print(), control, serial })
}

fn line(record: trap::Record) -> LogRecord {
    LogRecord { seq: record.seq, time: record.time, level: record.level, text: record.text }
}
