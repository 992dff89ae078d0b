//! A guest's memory, all of it made up: the log's ring buffer, tasks, stacks, locks and modules, read by page tables that
//! the guest also wrote. Every address of its kernel leads somewhere into the same two megabytes.

#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use machine::{AddressSpace, Memory, create_memory};
use std::time::{Duration, Instant};
use trap::{Function, KernelLog, KernelState, Landmarks, SLEEPING_FUNCTIONS, SeenModules};
use vm_memory::{Bytes, GuestAddress};

const MEMORY: u64 = 2 << 20;
/// Where a kernel has all of memory (Documentation/arch/x86/x86_64/mm.rst).
const DIRECT: u64 = 0xffff_8880_0000_0000;
const CODE: u64 = 0xffff_ffff_8100_0000;
const PRB: u64 = 0x4000;
const RING: u64 = 0x4100;
/// Descriptors, infos and text of the log.
const PARTS: [u64; 3] = [0x1_0000, 0x2_0000, 0x4_0000];
const INIT_TASK: u64 = 0x8_0000;
const MODULES: u64 = 0x9_0000;
/// A task's or a module's place; fields are within it.
const OBJECT: u64 = 0x200;
/// Production looks for longer, and ends in the same way.
const BUDGET: Duration = Duration::from_millis(20);

/// Offsets as any kernel could have them.
const LAYOUT: &[(&str, u64)] = &[
    ("THREAD_SIZE", 0x4000),
    ("task_struct.__state", 0x18),
    ("task_struct.stack", 0x20),
    ("task_struct.sp", 0x28),
    ("task_struct.flags", 0x30),
    ("task_struct.tgid", 0x38),
    ("task_struct.pid", 0x3c),
    ("task_struct.comm", 0x40),
    ("task_struct.tasks", 0x50),
    ("task_struct.real_parent", 0x60),
    ("task_struct.nvcsw", 0x68),
    ("task_struct.nivcsw", 0x70),
    ("mutex.owner", 0),
    ("mutex.wait_list", 0x10),
    ("rw_semaphore.count", 0),
    ("rw_semaphore.owner", 8),
    ("rw_semaphore.first_waiter", 0x18),
    ("module.list", 0),
    ("module.name", 0x10),
    ("module.text", 0x50),
    ("module.text_size", 0x58),
    ("module.init_text", 0x60),
    ("module.init_text_size", 0x68),
    ("module.kallsyms", 0x70),
    ("mod_kallsyms.symtab", 0),
    ("mod_kallsyms.num_symtab", 8),
    ("mod_kallsyms.strtab", 0x10),
];

struct Guest {
    memory: Memory,
    log: KernelLog,
    modules: SeenModules,
}

impl Guest {
    fn new() -> Self {
        let memory = create_memory((MEMORY >> 20) as u32).expect("there is memory");
        let table = |entry: u64| entry.to_le_bytes().repeat(512);
        for (at, entry) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)] {
            memory.write_slice(&table(entry), GuestAddress(at)).expect("it is there");
        }
        let space = AddressSpace::new(memory.clone(), 0x1000, 0);
        let guest =
            Self { memory, log: KernelLog::new(space, DIRECT + PRB), modules: SeenModules::default() };
        guest.put(PRB, DIRECT + RING);
        // struct printk_ringbuffer: bits of the count, descriptors, infos; later bits of the size, and the text.
        for (at, value) in
            [(0, 5), (8, DIRECT + PARTS[0]), (16, DIRECT + PARTS[1]), (48, 16), (56, DIRECT + PARTS[2])]
        {
            guest.put(RING + at, value);
        }
        guest
    }

    fn put(&self, at: u64, value: u64) {
        let _ = self.memory.write_obj(value, GuestAddress((at % MEMORY) & !7));
    }

    fn space(&self) -> AddressSpace {
        AddressSpace::new(self.memory.clone(), 0x1000, 0)
    }

    fn state(&self) -> KernelState {
        let functions = SLEEPING_FUNCTIONS.iter().zip(0..).map(|(name, index)| {
            let start = CODE + index * 0x100;
            Function { name: (*name).to_owned(), code: start..start + 0x100 }
        });
        let symbols = [("init_task", INIT_TASK), ("modules", MODULES)];
        let landmarks = Landmarks {
            symbols: symbols.map(|(name, at)| (name.to_owned(), DIRECT + at)).into(),
            functions: functions.collect(),
            layout: LAYOUT.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
        };
        KernelState::new(self.space(), landmarks, Instant::now() + BUDGET)
    }

    /// A record of the log, or what could be taken for one.
    fn record(&self, input: &mut Input<'_>) {
        let id = u64::from(input.u8());
        let (state, length, begin) = (u64::from(input.u8() % 4), u64::from(input.u16()), input.u32());
        let descriptor = PARTS[0] + id % 32 * 24;
        self.put(descriptor, state << 62 | id);
        self.put(descriptor + 8, begin.into());
        self.put(descriptor + 16, u64::from(begin) + u64::from(input.u16()));
        let info = PARTS[1] + id % 32 * 88;
        self.put(info, id);
        self.put(info + 8, input.u64());
        self.put(info + 16, length | u64::from(input.u16()) << 16);
        self.put(RING + 24, id);
    }

    fn look(&mut self, what: u8) {
        let until = Instant::now() + BUDGET;
        match what % 8 {
            0 => drop(self.log.read(until)),
            1 => drop(self.log.read_written(until)),
            2 => drop(self.log.read_last(until)),
            3 => {
                self.log.changed();
                assert!(self.log.backlog() >= 0.0);
            }
            4 => {
                let position = self.log.position().clone();
                self.log.set_position(position);
                self.log.parts();
            }
            5 => drop(self.state().sleepers()),
            6 => {
                let state = self.state();
                state.children();
                state.children_of_init();
                let places = [CODE, DIRECT, u64::MAX, 0xffff_ffff_a000_0010];
                state.module_symbols(places);
            }
            _ => {
                let mut modules = std::mem::take(&mut self.modules);
                modules.look(&self.state());
                modules.names_in(["at 0xffffffffa0000010 and 0xffffffffa0001fff", "0xffffffff\u{e4}"]);
                self.modules = modules;
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = |input: &mut Input<'_>| u64::from(input.u32());
        let object = |input: &mut Input<'_>| match input.u8() {
            list @ ..128 => INIT_TASK + u64::from(list) * OBJECT,
            list => MODULES + u64::from(list - 128) * OBJECT,
        };
        match input.u8() % 8 {
            0 => self.put(at(input), input.u64()),
            1 => self.put(at(input), DIRECT + at(input) % MEMORY),
            2 => self.record(input),
            3 => self.put(RING + u64::from(input.u8() % 12) * 8, input.u32().into()),
            // A field of a task or of a module: a number, a pointer to another one, or an address of code.
            4 => {
                let place = object(input) + u64::from(input.u8() % 16) * 8;
                let value = match input.u8() % 4 {
                    0 => input.u64(),
                    1 => DIRECT + object(input) + u64::from(input.u8()) * 8,
                    2 => CODE + u64::from(input.u16()),
                    _ => u64::MAX - u64::from(input.u16()),
                };
                self.put(place, value);
            }
            // A list: each element leads to the next one.
            5 => {
                let (first, offset) = (object(input), u64::from(input.u8() % 16) * 8);
                let count = u64::from(input.u8());
                for index in 0..count {
                    let to = first + (index + 1) % count * OBJECT + offset;
                    self.put(first + index * OBJECT + offset, DIRECT + to);
                }
            }
            6 => {
                let (place, length) = (at(input), usize::from(input.u8()));
                let _ = self.memory.write_slice(input.bytes(length), GuestAddress(place % MEMORY));
            }
            _ => self.look(input.u8()),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut guest = Guest::new();
    let mut input = Input::new(data);
    while !input.is_empty() {
        guest.step(&mut input);
    }
    (0..8).for_each(|what| guest.look(what));
});
