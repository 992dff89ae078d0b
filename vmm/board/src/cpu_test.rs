//! The run loop against a vCPU that plays what it is told.

#[path = "cpu/entries_test.rs"]
mod entries;

use super::*;
use crate::wire::Blame;
use crate::{
    vcpus::{Life, Vcpus, all_did},
    wire::MissingVcpu,
};
use machine::{
    AddressSpace, Breakpoint, Breakpoints, BusDevice, Condition, Failure, Need, SLOTS, Space, Standing,
    create_memory,
    state::VcpuState,
    x86::{
        CSTAR, LSTAR,
        debug::{DR6_IDLE, SINGLE_STEP},
    },
};
use std::{collections::VecDeque, os::unix::net::UnixStream, sync::mpsc, thread, time::Duration};
use trap::{Agent, Landmarks};
use vm_memory::{Bytes, GuestAddress};

/// One exit of a script.
enum Play {
    Read(u64),
    Write(u64, u8),
    WriteMsr(u32, u64),
    /// At this address, with this DR6.
    Debug(u64, u64),
    /// What the guest writes to its debug registers meanwhile.
    Own([Option<Breakpoint>; SLOTS]),
    Fail(Failure),
    Shutdown,
    Panic,
}

/// What was done to the vCPU.
#[derive(Default)]
struct Done {
    refused: usize,
    injected: Vec<u64>,
    /// Breakpoints that have registers, as last set.
    placed: Vec<u64>,
    read: Vec<u8>,
    settled: usize,
    forgiven: usize,
    rip: u64,
    rflags: u64,
}

struct Scripted {
    script: VecDeque<Play>,
    /// At the end of the script it runs on for ever, or until it is kicked; here, for a little while.
    msrs: BTreeMap<u32, u64>,
    breakpoints: Breakpoints,
    own: [Option<Breakpoint>; SLOTS],
    registers: Registers,
    data: [u8; 1],
    done: Arc<Mutex<Done>>,
    /// This many bits a register keeps.
    width: u32,
    started: bool,
    /// On such an instruction it stands.
    int1: Option<u64>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Play>) -> (Self, Arc<Mutex<Done>>) {
        let done = Arc::<Mutex<Done>>::default();
        let scripted = Self {
            script: script.into_iter().collect(),
            msrs: BTreeMap::new(),
            breakpoints: Breakpoints::default(),
            own: [None; SLOTS],
            registers: Registers::default(),
            data: [0],
            done: done.clone(),
            width: 64,
            started: true,
            int1: None,
        };
        (scripted, done)
    }

    fn control(&mut self) {
        let mut done = self.done.lock().unwrap();
        done.placed = self.breakpoints.slots().iter().map(|(_, _, breakpoint)| breakpoint.address).collect();
    }
}

impl Processor for Scripted {
    fn run(&mut self) -> Exit<'_> {
        if self.data[0] != 0 {
            self.done.lock().unwrap().read.push(std::mem::take(&mut self.data[0]));
        }
        match self.script.pop_front() {
            Some(Play::Read(address)) => Exit::Read { space: Space::Port, address, data: &mut self.data },
            Some(Play::Write(address, value)) => {
                let data: &'static [u8] = Box::leak(Box::new([value]));
                Exit::Write { space: Space::Port, address, data }
            }
            Some(Play::WriteMsr(index, value)) => Exit::WriteMsr { index, value },
            Some(Play::Debug(rip, dr6)) => {
                self.registers.rip = rip;
                Exit::Debug { registers: self.registers, dr6 }
            }
            Some(Play::Own(own)) => {
                self.own = own;
                Exit::Halted
            }
            Some(Play::Fail(failure)) => Exit::Failed(failure),
            Some(Play::Shutdown) => Exit::Shutdown,
            Some(Play::Panic) => panic!("on purpose"),
            None => {
                thread::sleep(Duration::from_millis(1));
                Exit::Interrupted
            }
        }
    }

    fn settle(&mut self) -> Exit<'_> {
        self.done.lock().unwrap().settled += 1;
        if self.data[0] != 0 {
            self.done.lock().unwrap().read.push(std::mem::take(&mut self.data[0]));
        }
        Exit::Interrupted
    }

    fn registers(&self) -> machine::Result<Registers> {
        Ok(self.registers)
    }

    fn set_registers(&mut self, registers: &Registers) -> machine::Result<()> {
        self.registers = *registers;
        let mut done = self.done.lock().unwrap();
        (done.rip, done.rflags) = (registers.rip, registers.rflags);
        Ok(())
    }

    fn standing(&self) -> machine::Result<Standing> {
        Ok(Standing { ring: 0, halted: true, started: self.started })
    }

    fn stands_on_int1(&self) -> machine::Result<bool> {
        Ok(self.int1 == Some(self.registers.rip))
    }

    fn page_tables(&self) -> machine::Result<(u64, u64)> {
        Ok((0, 0))
    }

    fn controls(&self) -> machine::Result<machine::Controls> {
        Ok(machine::Controls::default())
    }

    fn is_intel(&self) -> bool {
        false
    }

    fn user_gate(&self, _: &AddressSpace, _: u8) -> machine::Result<Option<u64>> {
        Ok(Some(0x80))
    }

    fn msr(&self, index: u32) -> machine::Result<u64> {
        Ok(self.msrs.get(&index).copied().unwrap_or(0))
    }

    fn set_msr(&mut self, index: u32, value: u64) -> machine::Result<bool> {
        // Canonical addresses only, as hardware has it.
        let canonical = matches!(value >> 47, 0 | 0x1_ffff);
        if canonical {
            let kept = if self.width == 64 { value } else { value & ((1 << self.width) - 1) };
            self.msrs.insert(index, kept);
        }
        Ok(canonical)
    }

    fn refuse_msr(&mut self) {
        self.done.lock().unwrap().refused += 1;
    }

    fn set_breakpoints(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> machine::Result<()> {
        self.breakpoints.set(who, wanted);
        self.control();
        Ok(())
    }

    fn step(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> machine::Result<()> {
        self.set_breakpoints(who, wanted)
    }

    fn breakpoints(&self) -> &Breakpoints {
        &self.breakpoints
    }

    fn guest_breakpoints(&self) -> machine::Result<([Option<Breakpoint>; SLOTS], u64)> {
        Ok((self.own, DR6_IDLE))
    }

    fn inject_debug(&mut self, dr6: u64) -> machine::Result<()> {
        self.done.lock().unwrap().injected.push(dr6);
        Ok(())
    }

    fn save(&self) -> machine::Result<VcpuState> {
        unreachable!("nobody here asks for it")
    }

    fn restore(&mut self, _: &VcpuState) -> machine::Result<()> {
        unreachable!("nobody here asks for it")
    }

    fn forgive(&self) {
        self.done.lock().unwrap().forgiven += 1;
    }
}

/// Answers every read with this, resets when 9 is written.
struct Port(u8);

impl BusDevice for Port {
    fn read(&mut self, _: u64, data: &mut [u8]) {
        data.fill(self.0);
    }

    fn write(&mut self, _: u64, data: &[u8]) -> Effect {
        if data[0] == 9 { Effect::Reset } else { Effect::None }
    }
}

const ENTRY: u64 = 0xffff_ffff_8100_0000;

fn order() -> Box<Order> {
    let memory = create_memory(2).unwrap();
    // One top entry, one large page of 1 GiB, and a stack in it.
    let entries = [(0x1000 + (DIRECT >> 39 & 511) * 8, 0x2000 | 3), (0x2000, 1 << 7 | 3), (0x3000, RETURNS)];
    entries.iter().for_each(|(at, entry)| memory.write_obj(*entry, GuestAddress(*at)).unwrap());
    Box::new(Order {
        space: AddressSpace::new(memory.clone(), 0x1000, 0),
        memory,
        landmarks: Landmarks {
            symbols: BTreeMap::from([("arch_install_hw_breakpoint".to_owned(), INSTALL)]),
            ..Landmarks::default()
        },
        agent: Agent { call_returns: vec![], text: (0, 0) },
        results: false,
        trace: None,
        witness: trap::Witness::default(),
        pairs: trap::Pairs::default(),
        agent_text: None,
        alone: false,
        forgets: false,
    })
}

const INSTALL: u64 = 0xffff_ffff_8200_0000;
/// Where that returns to.
const RETURNS: u64 = 0xffff_ffff_8300_0000;
/// Where the kernel has all of memory.
const DIRECT: u64 = 0xffff_8880_0000_0000;

/// A vCPU that is told to run after what is asked here.
fn play(scripted: Scripted, asks: impl IntoIterator<Item = Ask>) -> Remains {
    let (to, inbox) = mpsc::channel();
    asks.into_iter().for_each(|ask| to.send(ask).unwrap());
    let (done, _) = mpsc::channel();
    to.send(Ask::Go { done }).unwrap();
    let mut bus = Bus::new();
    bus.insert(Space::Port, 0, 16, Arc::new(Mutex::new(Port(77))));
    let stop = to.clone();
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(stop.send(Ask::Stop));
    });
    let cpu =
        Cpu::new(3, Box::new(scripted), Arc::new(bus), inbox, Shared::since(Instant::now()), Box::new(drop));
    let remains = cpu.run();
    ends.join().unwrap();
    remains
}

fn counting() -> Ask {
    let (done, _) = mpsc::channel();
    Ask::Trap { order: order(), done }
}

fn failed(blame: Blame, failure: &Failure) -> EndReason {
    EndReason::Failed { blame, why: format!("KVM gave up on the guest: {failure}") }
}

#[test]
fn accesses_reach_their_device_and_a_reset_is_the_end() {
    let (scripted, done) =
        Scripted::new([Play::Read(2), Play::Write(3, 1), Play::Write(3, 9), Play::Shutdown]);
    let remains = play(scripted, []);
    assert_eq!(remains.end, EndReason::Reset);
    assert_eq!(done.lock().unwrap().read, [77]);
    assert_eq!(remains.exits, BTreeMap::from([("pio-read", 1), ("pio-write", 2)]));
}

#[test]
fn who_stands_on_an_int1_goes_on_behind_it() {
    for (int1, behind) in [(Some(0x4000), 0x4001), (None, 0)] {
        let (mut scripted, done) = Scripted::new([Play::Debug(0x4000, DR6_IDLE)]);
        scripted.int1 = int1;
        play(scripted, [counting()]);
        let done = done.lock().unwrap();
        // The guest's own handler has it either way.
        assert_eq!((done.rip, &*done.injected), (behind, &[DR6_IDLE][..]));
    }
}

#[test]
fn a_vcpu_that_was_never_started_stands_nowhere() {
    for (started, answers) in [(true, 1), (false, 0)] {
        let (mut scripted, _) = Scripted::new([]);
        scripted.started = started;
        let (to, stands) = mpsc::channel();
        play(scripted, [Ask::Stand(to)]);
        assert_eq!(stands.iter().count(), answers);
    }
}

#[test]
fn an_end_says_whose_doing_it_was() {
    let emulation = || Failure::Internal { suberror: 1, data: vec![], instruction: vec![0xf] };
    let refused = || Failure::Entry { reason: 33 };
    let cases = [
        (emulation(), Blame::Guest, Blame::Unknown),
        (Failure::Unknown("odd".into()), Blame::Guest, Blame::Unknown),
        (refused(), Blame::Unknown, Blame::Host),
        (Failure::Run { errno: 5 }, Blame::Unknown, Blame::Host),
        (Failure::NoMemory { errno: 14 }, Blame::Host, Blame::Host),
    ];
    for (failure, later, at_once) in cases {
        let (ran, _) = Scripted::new([Play::Write(1, 1), Play::Fail(failure.clone())]);
        assert_eq!(play(ran, []).end, failed(later, &failure));
        let (never, _) = Scripted::new([Play::Fail(failure.clone())]);
        assert_eq!(play(never, []).end, failed(at_once, &failure));
    }
    let (triple, _) = Scripted::new([Play::Shutdown]);
    assert_eq!(play(triple, []).end.blame(), Blame::Guest);
}

#[test]
fn a_processor_that_comes_up_late_is_armed_at_its_first_entry() {
    let hit = |at| Play::Debug(at, DR6_IDLE | 1);
    let (scripted, done) = Scripted::new([
        Play::WriteMsr(LSTAR, ENTRY),
        Play::WriteMsr(CSTAR, ENTRY + 64),
        hit(ENTRY),
        hit(ENTRY),
    ]);
    let remains = play(scripted, [counting()]);
    let Some(Watch::Trap(trap)) = &remains.watch else { panic!("it counts nothing") };
    assert_eq!(trap.tallies().rows().values().map(|row| row.count).sum::<u64>(), 2);
    assert_eq!(done.lock().unwrap().placed, [ENTRY, 0x80, ENTRY + 64, INSTALL]);
    // One that never comes up counts nothing, and is no failure.
    let (scripted, _) = Scripted::new([]);
    let (done, armed) = mpsc::channel();
    let remains = play(scripted, [Ask::Trap { order: order(), done }]);
    assert_eq!((remains.end, armed.recv().unwrap()), (EndReason::Stopped, Ok(())));
}

#[test]
fn the_guests_own_breakpoints_get_registers_and_their_hits() {
    let own = Breakpoint { address: 0x4000, on: Condition::Data { kind: 1, length: 3 }, need: Need::Urgent };
    // The function that installs it is entered and left; then it is hit, in slot 0.
    let script = [
        Play::Debug(INSTALL, DR6_IDLE),
        Play::Own([None, None, Some(own), None]),
        Play::Debug(RETURNS, DR6_IDLE),
        Play::Debug(0x1111, DR6_IDLE | 1),
        // It is hit again once the guest has taken it out.
        Play::Own([None; SLOTS]),
        Play::Debug(0x2222, DR6_IDLE | 1),
        // A single step of the guest's own.
        Play::Debug(0x3333, DR6_IDLE | SINGLE_STEP),
    ];
    let (mut scripted, done) = Scripted::new(script);
    scripted.msrs.extend([(LSTAR, ENTRY), (CSTAR, ENTRY + 64)]);
    scripted.registers.rsp = DIRECT + 0x3000;
    let remains = play(scripted, [counting()]);
    let done = done.lock().unwrap();
    // Its own number is 2, whatever register it has.
    assert_eq!(done.injected, [DR6_IDLE | 1 << 2, DR6_IDLE | SINGLE_STEP]);
    assert_eq!(done.placed, [ENTRY, 0x80, ENTRY + 64, INSTALL], "its register is free again");
    assert!(remains.watch.is_some() && !remains.guest_breakpoint_lost);
}

/// A breakpoint of the guest's own, on the entry itself, hides no call.
#[test]
fn a_call_counts_where_the_guest_has_a_breakpoint_as_well() {
    let own = Breakpoint { address: ENTRY, on: Condition::Execute, need: Need::Urgent };
    let script = [
        Play::Debug(INSTALL, DR6_IDLE),
        Play::Own([Some(own), None, None, None]),
        Play::Debug(RETURNS, DR6_IDLE),
        Play::Debug(ENTRY, DR6_IDLE),
        // Another door.
        Play::Debug(ENTRY + 64, DR6_IDLE),
    ];
    let (mut scripted, done) = Scripted::new(script);
    scripted.msrs.extend([(LSTAR, ENTRY), (CSTAR, ENTRY + 64)]);
    scripted.registers.rsp = DIRECT + 0x3000;
    let remains = play(scripted, [counting()]);
    let Some(Watch::Trap(trap)) = &remains.watch else { panic!("it counts nothing") };
    assert_eq!(trap.tallies().rows().values().map(|row| row.count).sum::<u64>(), 2);
    assert_eq!(done.lock().unwrap().injected, [DR6_IDLE | 1]);
}

#[test]
fn what_has_no_register_is_told() {
    let own = |address| Some(Breakpoint { address, on: Condition::Execute, need: Need::Urgent });
    let (mut scripted, done) = Scripted::new([]);
    scripted.msrs.extend([(LSTAR, ENTRY), (CSTAR, ENTRY + 64)]);
    scripted.own = [own(1), own(2), None, None];
    let remains = play(scripted, [counting()]);
    assert_eq!(done.lock().unwrap().placed[..2], [1, 2]);
    let Some(Watch::Trap(trap)) = &remains.watch else { panic!("it counts nothing") };
    let doors: Vec<trap::Place> = trap.uncounted().collect();
    assert_eq!(doors, [trap::Place::Entry(trap::Door::Syscall32)]);
    // Four of its own, and one that follows them, are too many for anybody.
    let (mut scripted, _) = Scripted::new([]);
    scripted.msrs.insert(LSTAR, ENTRY);
    scripted.own = [own(1), own(2), own(3), own(4)];
    let remains = play(scripted, [counting()]);
    let Some(Watch::Trap(trap)) = &remains.watch else { panic!("it counts nothing") };
    assert!(trap.uncounted().count() == 2, "neither door is seen");
}

/// Vcpus of which each plays a script.
fn vcpus(scripts: Vec<Vec<Play>>) -> (Vcpus, Vec<Arc<Mutex<Done>>>, UnixStream) {
    let (ended, alive) = UnixStream::pair().unwrap();
    let mut bus = Bus::new();
    bus.insert(Space::Port, 0, 16, Arc::new(Mutex::new(Port(77))));
    let bus = Arc::new(bus);
    let (mut cpus, mut asks, mut all_done) = (Vec::new(), Vec::new(), Vec::new());
    for (index, script) in (0..).zip(scripts) {
        let (scripted, done) = Scripted::new(script);
        let (ask, inbox) = mpsc::channel();
        let shared = Shared::since(Instant::now());
        cpus.push((Cpu::new(index, Box::new(scripted), bus.clone(), inbox, shared, Box::new(drop)), None));
        asks.push(ask);
        all_done.push(done);
    }
    (Vcpus::create(cpus, asks, &alive).unwrap(), all_done, ended)
}

#[test]
fn a_machine_is_created_runs_is_paused_and_ends() {
    let (mut vcpus, done, _ended) = vcpus(vec![vec![Play::Read(1)], vec![]]);
    assert_eq!(vcpus.life(), Life::Created);
    // Held ones answer, too.
    assert_eq!(vcpus.ask(Ask::Stand).iter().flatten().count(), 2);
    assert!(done[0].lock().unwrap().read.is_empty(), "it has not run yet");
    vcpus.resume().unwrap();
    vcpus.pause().unwrap();
    vcpus.pause().unwrap();
    assert_eq!(vcpus.life(), Life::Paused);
    // What the device said is in it: the access is not half done.
    assert!(done[0].lock().unwrap().read == [77] || done[0].lock().unwrap().read.is_empty());
    assert!(done.iter().all(|done| done.lock().unwrap().settled > 0));
    assert_eq!(vcpus.ask(Ask::Stand).iter().flatten().count(), 2);
    vcpus.resume().unwrap();
    assert_eq!(vcpus.life(), Life::Running);
    // An end may come before its first turn: a busy machine starts a thread when it likes.
    let start = Instant::now();
    while done[0].lock().unwrap().read.is_empty() && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    let (remains, missing) = vcpus.end();
    assert_eq!((remains.len(), missing), (2, vec![]));
    assert!(remains.iter().all(|one| one.end == EndReason::Stopped));
    assert_eq!(vcpus.life(), Life::Ended);
    assert!(vcpus.pause().is_err() && vcpus.resume().is_err());
    assert_eq!(done[0].lock().unwrap().read, [77]);
    // At the first start, and not after a pause that no watchdog notices: if each were forgiven, none would ever bark.
    assert_eq!(done[0].lock().unwrap().forgiven, 1);
}

#[test]
fn a_vcpu_that_panics_is_missing_and_ends_the_machine() {
    let (mut vcpus, _, mut ended) = vcpus(vec![vec![Play::Panic], vec![]]);
    vcpus.resume().unwrap();
    // Nobody has to ask it to find out.
    ended.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(std::io::Read::read(&mut ended, &mut [0]).unwrap(), 0);
    let start = Instant::now();
    let answers = vcpus.ask(|done| Ask::Untrap { done });
    assert!(all_did(answers).unwrap_err().starts_with("vCPU 0: it does not answer"));
    let (remains, missing) = vcpus.end();
    assert!(start.elapsed() < Duration::from_secs(2), "one that is gone is not waited for");
    assert_eq!(remains.len(), 1);
    assert_eq!(missing, [MissingVcpu { index: 0, why: "its thread panicked: on purpose".into() }]);
}
