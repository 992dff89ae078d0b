//! What the kernel was doing, from its own structures in guest memory: tasks, their stacks, loaded modules.
//!
//! The guest may have made all of it up: lists are followed for a bounded number of steps, and what comes out
//! serves to explain a verdict, never to reach one.

#[cfg(test)]
mod fixture;
mod locks;
mod modules;
mod stack;

pub use modules::SeenModules;
pub use stack::SLEEPING_FUNCTIONS;

use crate::Landmarks;
use locks::Locks;
use machine::{AddressSpace, GuestVirtualAddress};
use serde::{Deserialize, Serialize};
use stack::Part;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Instant,
};

const MOST_TASKS: usize = 4096;
const MOST_SHOWN: usize = 16;
const MOST_MODULES: usize = 1024;
const MOST_SYMBOLS: u64 = 100_000;
/// PF_KTHREAD (include/linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A task that does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sleeper {
    /// Its process's number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Nothing but what it waits for can wake it.
    pub uninterruptible: bool,
    /// Where it would return to, the innermost function first.
    pub frames: Vec<u64>,
    /// Who holds the lock that it waits for, if it waits for one: pid and name.
    pub holder: Option<(u32, String)>,
    /// It waits for itself, alone or by way of others that wait, and none of them can be interrupted.
    pub stuck: bool,
}

/// A child of PID 1: whoever carries out steps is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// By way of whom it waits for itself, beginning with it, so that no signal can end that; usually nobody.
    pub circle: Vec<Still>,
}

/// A task at a moment: as long as this stays the same, it has not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Still {
    /// Its address.
    pub task: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// How often it was switched away from, of its own accord and otherwise.
    pub switches: [u64; 2],
}

/// Reads them.
pub struct KernelState {
    space: AddressSpace,
    landmarks: Landmarks,
    /// The functions that tell what a sleep is for.
    sleeping: Vec<(Range<u64>, Part)>,
    budget: Budget,
}

/// A guest makes up as much to be read as it likes: at some time nothing is there any more.
struct Budget {
    until: Instant,
    reads: Cell<u32>,
    over: Cell<bool>,
}

impl Budget {
    /// The clock is looked at for so many reads at once.
    const CLOCK_EVERY: u32 = 256;

    fn left(&self) -> Option<()> {
        self.reads.set(self.reads.get().wrapping_add(1));
        if self.reads.get().is_multiple_of(Self::CLOCK_EVERY) {
            self.over.set(self.over.get() || Instant::now() >= self.until);
        }
        (!self.over.get()).then_some(())
    }
}

struct Module {
    name: String,
    /// Its code, and that of its init, which is gone afterwards: start and size.
    regions: [(u64, u64); 2],
    kallsyms: Option<u64>,
}

impl KernelState {
    /// `landmarks` has the symbols `init_task` and `modules`, offsets of fields (`task_struct.pid` and so on), and
    /// [`SLEEPING_FUNCTIONS`]. What is found until the time is up counts.
    pub fn new(space: AddressSpace, landmarks: Landmarks, until: Instant) -> Self {
        let sleeping = stack::sleeping(&landmarks);
        let budget = Budget { until, reads: Cell::new(0), over: Cell::new(false) };
        Self { space, landmarks, sleeping, budget }
    }

    fn layout(&self, name: &str) -> Option<u64> {
        self.landmarks.layout(name)
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.budget.left()?;
        self.space.read_u64(GuestVirtualAddress(address))
    }

    fn half(&self, address: u64) -> Option<u32> {
        self.budget.left()?;
        let mut bytes = [0; 4];
        self.space.read(GuestVirtualAddress(address), &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    fn text(&self, address: u64, most: usize) -> Option<String> {
        let mut bytes = vec![0; most];
        // A string may end just before memory does.
        while self.space.read(GuestVirtualAddress(address), &mut bytes).is_none() {
            let half = bytes.len() / 2;
            if half == 0 {
                return None;
            }
            bytes.truncate(half);
        }
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect())
    }

    /// Elements of a `struct list_head` with these nodes inside of them at `offset`.
    fn list(&self, head: u64, offset: u64, most: usize) -> Vec<u64> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut node = self.word(head);
        while let Some(at) = node.filter(|at| *at != head && seen.len() < most) {
            if !seen.insert(at) {
                break;
            }
            found.push(at.wrapping_sub(offset));
            node = self.word(at);
        }
        found
    }

    /// Tasks of programs that sleep in the kernel, PID 1 left out; those that nothing can interrupt come first.
    pub fn sleepers(&self) -> Vec<Sleeper> {
        self.find_sleepers().unwrap_or_default()
    }

    fn find_sleepers(&self) -> Option<Vec<Sleeper>> {
        let [tgid, comm, state, flags] =
            ["tgid", "comm", "__state", "flags"].map(|field| self.layout(&format!("task_struct.{field}")));
        let (tgid, comm, state, flags) = (tgid?, comm?, state?, flags?);
        let all = self.tasks()?;
        let sleeps = |task: &u64| {
            let (pid, state) = (self.half(task.wrapping_add(tgid))?, self.half(task.wrapping_add(state))?);
            let kernels = self.half(task.wrapping_add(flags))? & KERNEL_THREAD != 0;
            (pid != 1 && state != 0 && !kernels).then_some((*task, pid, state))
        };
        let mut found: Vec<(u64, u32, u32)> = all.iter().filter_map(sleeps).collect();
        found.sort_by_key(|(_, pid, state)| (state & 2 == 0, std::cmp::Reverse(*pid)));
        found.truncate(MOST_SHOWN);

        let locks = Locks { state: self, tasks: &all };
        let name = |task: u64| self.text(task.wrapping_add(comm), 16);
        let who = |task: u64| Some((self.half(task.wrapping_add(tgid))?, name(task)?));
        let one = |(task, pid, state): (u64, u32, u32)| {
            let holder = locks.holder(task).and_then(who);
            let stuck = holder.is_some() && !locks.circle(task).is_empty();
            let frames =
                self.frames(task).unwrap_or_default().into_iter().map(|frame| frame.address).collect();
            // TASK_UNINTERRUPTIBLE of include/linux/sched.h.
            let uninterruptible = state & 2 != 0;
            Some(Sleeper { pid, name: name(task)?, uninterruptible, frames, holder, stuck })
        };
        Some(found.into_iter().filter_map(one).collect())
    }

    /// The children of PID 1, in no order.
    pub fn children(&self) -> Vec<Child> {
        self.find_children().unwrap_or_default()
    }

    fn find_children(&self) -> Option<Vec<Child>> {
        let field = |name: &str| self.layout(&format!("task_struct.{name}"));
        let (tgid, parent, comm) = (field("tgid")?, field("real_parent")?, field("comm")?);
        let (sp, switches) = (field("sp")?, [field("nvcsw")?, field("nivcsw")?]);
        let all = self.tasks()?;
        let locks = Locks { state: self, tasks: &all };
        let is_child = |task: &&u64| {
            let parent = self.word(task.wrapping_add(parent));
            parent.and_then(|parent| self.half(parent.wrapping_add(tgid))) == Some(1)
        };
        let still = |task: u64| {
            let word = |offset: u64| self.word(task.wrapping_add(offset));
            Some(Still { task, sp: word(sp)?, switches: [word(switches[0])?, word(switches[1])?] })
        };
        let one = |task: &u64| {
            let circle = locks.circle(*task).into_iter().map(still).collect::<Option<_>>()?;
            Some(Child { name: self.text(task.wrapping_add(comm), 16)?, circle })
        };
        all.iter().filter(is_child).map(one).collect()
    }

    /// The numbers of PID 1's children.
    pub fn children_of_init(&self) -> Vec<u32> {
        let field = |name: &str| self.layout(&format!("task_struct.{name}"));
        let (Some(tgid), Some(parent), Some(all)) = (field("tgid"), field("real_parent"), self.tasks())
        else {
            return Vec::new();
        };
        let number = |task: u64| self.half(task.wrapping_add(tgid));
        let of_init = |task: u64| number(self.word(task.wrapping_add(parent))?);
        all.into_iter().filter(|task| of_init(*task) == Some(1)).filter_map(number).collect()
    }

    /// All tasks but the idle ones: of each process its first thread.
    fn tasks(&self) -> Option<BTreeSet<u64>> {
        let tasks = self.layout("task_struct.tasks")?;
        let head = self.landmarks.symbol("init_task")?.wrapping_add(tasks);
        Some(self.list(head, tasks, MOST_TASKS).into_iter().collect())
    }

    /// `function+0x12 [module]` for those addresses that lie in a loaded module.
    pub fn module_symbols(&self, addresses: impl IntoIterator<Item = u64>) -> BTreeMap<u64, String> {
        let modules = self.modules().unwrap_or_default();
        let one = |address: u64| {
            let inside =
                |(start, size): &(u64, u64)| (*start..start.saturating_add(*size)).contains(&address);
            let (module, start) = modules
                .iter()
                .find_map(|module| Some((module, module.regions.iter().find(|region| inside(region))?.0)))?;
            let place = match self.nearest(module, start, address) {
                Some((name, offset)) => format!("{name}+{offset:#x}"),
                None => format!("{:#x}", address - start),
            };
            Some((address, format!("{place} [{}]", module.name)))
        };
        addresses.into_iter().filter_map(one).collect()
    }

    fn modules(&self) -> Option<Vec<Module>> {
        let [list, name, text, size] =
            ["list", "name", "text", "text_size"].map(|field| self.layout(&format!("module.{field}")));
        let (list, name, text, size) = (list?, name?, text?, size?);
        let kallsyms = self.layout("module.kallsyms");
        let init = self.layout("module.init_text").zip(self.layout("module.init_text_size"));
        let one = |module: u64| {
            let region = |at: u64, size: u64| {
                let size = self.half(module.wrapping_add(size))?;
                Some((self.word(module.wrapping_add(at))?, u64::from(size)))
            };
            Some(Module {
                name: self.text(module.wrapping_add(name), 56)?,
                regions: [
                    region(text, size)?,
                    init.and_then(|(at, size)| region(at, size)).unwrap_or_default(),
                ],
                kallsyms: kallsyms.and_then(|at| self.word(module.wrapping_add(at))),
            })
        };
        let found = self.list(self.landmarks.symbol("modules")?, list, MOST_MODULES);
        Some(found.into_iter().filter_map(one).collect())
    }

    /// A module's functions by its own table of ELF symbols, in the order of addresses.
    fn functions(&self, module: &Module, most: u64) -> Option<Vec<(u64, String)>> {
        let (symbols, strings) = self.symbol_table(module)?;
        let inside = |value: u64| {
            module.regions.iter().any(|(start, size)| (*start..start.saturating_add(*size)).contains(&value))
        };
        let mut functions = Vec::new();
        for symbol in symbols.take(most as usize) {
            let value = self.word(symbol.wrapping_add(8))?;
            let name = self.half(symbol)?;
            if name != 0
                && inside(value)
                && let Some(name) = self.text(strings.wrapping_add(name.into()), 128)
                && !name.is_empty()
            {
                functions.push((value, name));
            }
        }
        functions.sort();
        functions.dedup_by_key(|(start, _)| *start);
        Some(functions)
    }

    /// Where the symbols and the names of a module are.
    fn symbol_table(&self, module: &Module) -> Option<(impl Iterator<Item = u64>, u64)> {
        const SYMBOL: u64 = 24;
        let table = module.kallsyms?;
        let [symtab, count, strtab] = ["symtab", "num_symtab", "strtab"]
            .map(|field| Some(table.wrapping_add(self.layout(&format!("mod_kallsyms.{field}"))?)));
        let (symtab, strtab) = (self.word(symtab?)?, self.word(strtab?)?);
        let count = u64::from(self.half(count?)?).min(MOST_SYMBOLS);
        Some(((0..count).map(move |index| symtab.wrapping_add(index * SYMBOL)), strtab))
    }

    /// The last symbol at or before an address, from the module's own table of ELF symbols.
    fn nearest(&self, module: &Module, start: u64, address: u64) -> Option<(String, u64)> {
        let (symbols, strings) = self.symbol_table(module)?;
        let mut best: Option<(u64, u64)> = None;
        for symbol in symbols {
            let value = self.word(symbol.wrapping_add(8))?;
            let is_nearer = best.is_none_or(|(known, _)| value > known);
            if value >= start && value <= address && is_nearer && self.half(symbol)? != 0 {
                best = Some((value, symbol));
            }
        }
        let (value, symbol) = best?;
        let name = self.text(strings.wrapping_add(self.half(symbol)?.into()), 128)?;
        Some((name, address - value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vm_memory::{Bytes, GuestAddress};

    /// Modules, each of which says that it has a hundred thousand symbols, which all lie before the address asked for.
    fn hostile() -> (AddressSpace, Landmarks) {
        let memory = machine::create_memory(32).unwrap();
        let put = |at: u64, value: u64| memory.write_obj(value, GuestAddress(at)).unwrap();
        const BASE: u64 = 0xffff_8880_0000_0000;
        put(0x1000 + (BASE >> 39 & 511) * 8, 0x2000 | 3);
        put(0x2000, 1 << 7 | 3);
        // A module at 0x4000 in the list at 0x3000: its code everywhere, its table at 0x5000.
        put(0x3000, BASE + 0x4000);
        put(0x4000, BASE + 0x3000);
        put(0x4010, BASE);
        put(0x4018, u64::from(u32::MAX));
        put(0x4020, BASE + 0x5000);
        put(0x5000, BASE + 0x10_0000);
        put(0x5008, MOST_SYMBOLS);
        put(0x5010, BASE + 0x6000);
        for symbol in 0..MOST_SYMBOLS {
            put(0x10_0000 + symbol * 24, 1);
            put(0x10_0000 + symbol * 24 + 8, BASE);
        }
        let fields = [
            ("module.list", 0),
            ("module.name", 8),
            ("module.text", 0x10),
            ("module.text_size", 0x18),
            ("module.kallsyms", 0x20),
            ("mod_kallsyms.symtab", 0),
            ("mod_kallsyms.num_symtab", 8),
            ("mod_kallsyms.strtab", 0x10),
        ];
        let landmarks = Landmarks {
            symbols: BTreeMap::from([("modules".to_owned(), BASE + 0x3000)]),
            layout: fields.map(|(name, at)| (name.to_owned(), at)).into(),
            ..Landmarks::default()
        };
        (AddressSpace::new(memory, 0x1000, 0), landmarks)
    }

    #[test]
    fn symbols_without_end_are_looked_through_until_time_is_up() {
        let (space, landmarks) = hostile();
        let addresses = (0..8192).map(|address| 0xffff_8880_0000_1000 + address);
        let start = Instant::now();
        let limit = Duration::from_millis(300);
        let state = KernelState::new(space.clone(), landmarks.clone(), start + limit);
        // Those that it did not get to have no name.
        let symbols = state.module_symbols(addresses);
        assert!(start.elapsed() >= limit && start.elapsed() < 10 * limit, "{:?}", start.elapsed());
        let named = symbols.values().filter(|name| !name.starts_with("0x")).count();
        assert!(named < 8192, "{named}");
        // One alone is found.
        let state = KernelState::new(space, landmarks, Instant::now() + Duration::from_secs(60));
        assert_eq!(state.module_symbols([0xffff_8880_0000_1000])[&0xffff_8880_0000_1000], "+0x1000 []");
    }
}
