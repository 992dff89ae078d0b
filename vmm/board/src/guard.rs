//! What has to stay as it is from the agent's hello on: the kernel's text and read-only data, what its addresses lead to, its
//! own reports, and the registers that decide what code may do.
//!
//! The pages are taken from the guest's writing: whoever writes there, by whatever mapping, exits. The write is noted, with
//! the instruction that did it, and then done, so that the guest goes on as it would alone. A device that the guest points there
//! writes without an exit; the memory itself remembers it.
//!
//! Variables in which the kernel counts its own troubles are looked at whenever the guest stops for a call, and the taint at each
//! write to it as well, where a breakpoint is left for that. Everything else is compared when somebody asks.

mod places;
mod reports;

use crate::wire::Tampering;
use machine::{AddressSpace, Breakpoint, Condition, Controls, GuestVirtualAddress, Memory, Need, holds};
use places::{Content, Place, Places};
use reports::{COUNT, PanicCpu, Rule, TAINT, VARIABLES, Variable, Warnings};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use trap::Landmarks;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

const PAGE: u64 = 0x1000;
/// So much is told; a guest may write any number of times.
const MOST_TOLD: usize = 64;
/// No kernel's image has more pages.
const MOST_PAGES: u64 = 1 << 16;

/// A page table has so many entries.
const TOP_ENTRIES: u64 = 512;

/// The symbols that it goes by, beside those of [`trap::SYMBOLS`].
const TEXT: (&str, &str) = ("_text", "_etext");
const CONSTANTS: (&str, &str) = ("__start_rodata", "__end_rodata");
/// Bits of CR0: protection, write protection also for the kernel, paging (AMD64 architecture, volume 2, section 3.1.1).
const CR0: u64 = 1 | 1 << 16 | 1 << 31;
/// Bits of CR4: UMIP, SMEP, SMAP (section 3.1.3), which Linux pins itself (`cr4_pinned_mask`).
const CR4: u64 = 1 << 11 | 1 << 20 | 1 << 21;
/// Bits of EFER: `syscall`, long mode, no-execute (section 3.1.7).
const EFER: u64 = 1 | 1 << 10 | 1 << 11;
const GATE: usize = 16;
const GATES: usize = 256;

/// Writes that vCPUs make to the pages.
#[derive(Clone)]
pub struct Guarded(Arc<Inner>);

struct Inner {
    memory: Memory,
    /// Physical pages to the addresses that they are linked at.
    pages: BTreeMap<u64, u64>,
    /// The page of the interrupt table.
    gates: Option<u64>,
    /// Where the taint is, as linked.
    taint: Option<u64>,
    /// The kernel's text, as linked: nobody else patches it.
    text: Range<u64>,
    /// Where it is patched.
    places: Places,
    /// So it may everywhere.
    patches: bool,
    state: Mutex<State>,
}

/// What is known of it all.
#[derive(Default)]
struct State {
    /// What was written where nobody may write.
    written: Vec<Tampering>,
    /// Pages that were written to, by their physical addresses, as they have to be now.
    copies: BTreeMap<u64, Vec<u8>>,
    /// Pages that a device has written to, which is told once.
    by_devices: BTreeSet<u64>,
    /// Places that the kernel is about to patch, by their addresses.
    begun: BTreeMap<u64, Begun>,
    variables: Vec<Variable>,
    /// What only a kernel does that has panicked, and as long as that says so.
    of_a_panic: Option<Tampering>,
    panic_cpu: Option<PanicCpu>,
    warnings: Option<Warnings>,
}

/// A place that has a breakpoint until all the rest of its new instruction is written.
struct Begun {
    /// What stood there.
    from: Vec<u8>,
    /// What was written so far, and by which instruction at last.
    to: Vec<u8>,
    rip: u64,
}

impl Guarded {
    /// Does a write if it goes there, and notes it where nobody may write; false if it goes elsewhere.
    pub fn write(&self, physical: u64, data: &[u8], rip: u64) -> bool {
        let inner = &*self.0;
        let (page, offset) = (physical & !(PAGE - 1), physical & (PAGE - 1));
        let gates = inner.gates == Some(page);
        let linked = if gates { Some(&0) } else { inner.pages.get(&page) };
        let Some(address) = linked.map(|linked| linked + offset) else { return false };
        let state = &mut *inner.state();
        if !gates {
            // Before what a device wrote there counts as what was there.
            inner.see_devices(state, page, address - offset);
        }
        let copy = state.copies.entry(page).or_insert_with(|| inner.page(page));
        // No write crosses a page.
        let bytes = offset as usize..copy.len().min(offset as usize + data.len());
        let from = copy[bytes.clone()].to_vec();
        let place =
            inner.places.at(address, data.len() as u64).filter(|_| !gates && inner.text.contains(&rip));
        // It may begin on the page before, or end on the next: the image lies in one piece.
        let whole = |place: &Place| inner.bytes(physical - (address - place.at), place.length);
        let before = place.map(whole);
        let wrote = inner.memory.write_slice(data, GuestAddress(physical)).is_ok();
        if from == data || from.len() != data.len() || !wrote {
            return true;
        }
        copy[bytes].copy_from_slice(data);
        match place.zip(before) {
            _ if gates => state.note(Tampering::Gate { vcpu: 0, vector: (offset / GATE as u64) as u8 }),
            _ if inner.may_patch(address, rip) => {}
            Some((place, before)) => {
                state.patch(&inner.places, place, Begun { from: before, to: whole(place), rip });
            }
            None => state.note(Tampering::Code { address, from, to: data.to_vec(), rip, by: None }),
        }
        true
    }

    /// Looks at the variables. `rip` is the instruction behind one that has just written to one of them.
    pub fn look(&self, rip: Option<u64>) {
        self.0.state().look(&self.0.memory, rip);
    }

    /// For where a breakpoint is left: the end of each instruction that writes to the taint.
    pub fn breakpoints(&self) -> Vec<Breakpoint> {
        let on = Condition::Data { kind: 1, length: 2 };
        self.0.taint.iter().map(|at| Breakpoint { address: *at, on, need: Need::Spare }).collect()
    }
}

impl State {
    fn note(&mut self, what: Tampering) {
        if self.written.len() < MOST_TOLD && !self.written.contains(&what) {
            self.written.push(what);
        }
    }

    /// The kernel has written to a place.
    fn patch(&mut self, places: &Places, place: &Place, patch: Begun) {
        let Begun { from, to, rip } = patch;
        let from = self.begun.remove(&place.at).map_or(from, |begun| begun.from);
        match places.content(place, &to) {
            Content::Own => {}
            Content::UnderWay => drop(self.begun.insert(place.at, Begun { from, to, rip })),
            Content::Foreign => self.note(Tampering::Code { address: place.at, from, to, rip, by: None }),
        }
    }

    fn look(&mut self, memory: &Memory, rip: Option<u64>) {
        for at in 0..self.variables.len() {
            let variable = &mut self.variables[at];
            let Some(what) = variable.changed(memory, rip) else { continue };
            match variable.rule {
                Rule::StaysInLife => _ = self.of_a_panic.get_or_insert(what),
                Rule::Gains | Rule::Grows | Rule::Stays => self.note(what),
            }
        }
        if self.of_a_panic.is_some() && !self.has_panicked(memory) {
            self.of_a_panic.take().into_iter().for_each(|what| self.note(what));
        }
    }

    /// The same, and at the table of warnings; says how many the kernel has counted.
    fn look_at_warnings(&mut self, memory: &Memory) -> u64 {
        self.look(memory, None);
        let changed = self.warnings.as_mut().and_then(|warnings| warnings.changed(memory));
        changed.into_iter().for_each(|what| self.note(what));
        let count = self.variables.iter().find(|variable| variable.name == COUNT);
        count.map_or(0, |count| count.value)
    }

    fn has_panicked(&self, memory: &Memory) -> bool {
        self.panic_cpu.as_ref().is_some_and(|cpu| cpu.has_panicked(memory))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has written there for whom no page is protected.
    fn by_device(&self, page: u64) -> bool {
        self.memory
            .to_region_addr(GuestAddress(page))
            .is_some_and(|(region, at)| region.get_mmap().bitmap().is_addr_set(at.0 as usize))
    }

    /// What was written before is what was there: by the kernel itself, too, where another's pages were protected before.
    fn know_what_was_written(&self) {
        let written = self.pages.keys().filter(|page| self.by_device(**page));
        let copies = written.map(|page| (*page, self.page(*page))).collect();
        self.state().copies = copies;
    }

    /// A page of memory as it is.
    fn page(&self, page: u64) -> Vec<u8> {
        self.bytes(page, PAGE)
    }

    fn bytes(&self, at: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        match self.memory.read_slice(&mut bytes, GuestAddress(at)) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Notes whether a device has written to a page that is linked at this address.
    fn see_devices(&self, state: &mut State, page: u64, address: u64) {
        let changed = match state.copies.get(&page) {
            // The guest's own writes, which are done for it, leave the same mark.
            Some(copy) => self.by_device(page) && *copy != self.page(page),
            None => self.by_device(page),
        };
        if !changed {
            return;
        }
        state.copies.insert(page, self.page(page));
        if state.by_devices.insert(page) {
            state.note(Tampering::Device { address });
        }
    }

    /// Whether the instruction at `rip` may write there whatever it wants: it is the kernel's own.
    fn may_patch(&self, address: u64, rip: u64) -> bool {
        self.patches && self.text.contains(&address) && self.text.contains(&rip)
    }
}

/// What is compared.
pub struct Guard {
    guarded: Guarded,
    space: AddressSpace,
    /// The kernel's image, as linked, and where it begins in physical memory: it lies there in one piece.
    image: (Range<u64>, u64),
    /// The entries of the kernel's own top page table that lead to its half of all addresses; the first is number 256.
    top: Vec<Option<u64>>,
    /// The tables that lead to the image, by their physical addresses, as they were when it was found in its place.
    tables: Vec<(u64, Vec<u8>)>,
    /// Of each vCPU that was up.
    registers: BTreeMap<u8, (Controls, Vec<u8>)>,
}

impl Guard {
    /// Of a kernel whose image can be found by its symbols. `now` are the registers of a vCPU; none may run meanwhile.
    pub fn of(
        memory: &Memory,
        space: &AddressSpace,
        landmarks: &Landmarks,
        patches: bool,
        now: Option<Controls>,
    ) -> Option<Self> {
        let range = |(start, end): (&str, &str)| Some(landmarks.symbol(start)?..landmarks.symbol(end)?);
        let (text, constants) = (|| range(TEXT), || range(CONSTANTS));
        let pages = [text()?, constants()?].into_iter().flat_map(pages).take(MOST_PAGES as usize);
        let pages: BTreeMap<u64, u64> =
            pages.filter_map(|at| Some((space.translate(GuestVirtualAddress(at))?.0, at))).collect();
        // Linux has the table in a page of its own (`idt_table` of arch/x86/kernel/idt.c).
        let whole = now.filter(|now| now.idt.0 % PAGE == 0 && usize::from(now.idt.1) == GATE * GATES - 1);
        let gates = whole.and_then(|now| Some(space.translate(GuestVirtualAddress(now.idt.0))?.0));
        let variable = |it| Variable::of(memory, space, landmarks, it);
        let variables: Vec<Variable> = VARIABLES.into_iter().filter_map(variable).collect();
        let counted = variables.iter().find(|variable| variable.name == COUNT).map(|count| count.value);
        let warnings = Warnings::of(memory, space, landmarks, counted);
        let panic_cpu = PanicCpu::of(space, landmarks);
        let (memory, taint) = (memory.clone(), landmarks.symbol(TAINT));
        let state = Mutex::new(State { variables, panic_cpu, warnings, ..State::default() });
        let linked = text()?;
        let base = space.translate(GuestVirtualAddress(linked.start))?.0;
        let whole = linked.start..landmarks.symbol("_end").unwrap_or(constants()?.end);
        let places = Places::of(space, landmarks, linked.clone());
        let inner = Inner { memory, pages, gates, taint, text: linked.clone(), places, patches, state };
        inner.know_what_was_written();
        let guarded = Guarded(Arc::new(inner));
        let top = (TOP_ENTRIES / 2..TOP_ENTRIES).map(|index| space.top_entry(index)).collect();
        let mut guard = Self {
            guarded,
            space: space.clone(),
            image: (whole, base),
            top,
            tables: Vec::new(),
            registers: BTreeMap::new(),
        };
        if guard.moved(space).is_some() {
            // Some of its data is elsewhere from the beginning.
            guard.image.0 = linked.start..constants()?.end;
        }
        Some(guard)
    }

    /// For those who see writes.
    pub fn guarded(&self) -> Guarded {
        self.guarded.clone()
    }

    /// The physical pages that are to be taken from the guest's writing, in pieces.
    pub fn pages(&self) -> Vec<Range<u64>> {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let inner = &self.guarded.0;
        let all: BTreeSet<u64> = inner.pages.keys().copied().chain(inner.gates).collect();
        for page in all {
            match pieces.last_mut() {
                Some(last) if last.end == page => last.end += PAGE,
                _ => pieces.push(page..page + PAGE),
            }
        }
        pieces
    }

    /// Whether the kernel is in the middle of something that would be wrong if it stayed so.
    pub fn is_under_way(&self) -> bool {
        let inner = &*self.guarded.0;
        let state = &mut *inner.state();
        let counted = state.look_at_warnings(&inner.memory);
        let warns = state.warnings.as_ref().is_some_and(|warnings| warnings.are_uncounted(counted));
        // One that has panicked comes to the end of nothing.
        (warns || !state.begun.is_empty()) && !state.has_panicked(&inner.memory)
    }

    /// What it has not come to the end of, though it had time for that; told once.
    pub fn overdue(&self) -> Vec<Tampering> {
        let inner = &*self.guarded.0;
        let state = &mut *inner.state();
        let counted = state.look_at_warnings(&inner.memory);
        let warning = state.warnings.as_mut().and_then(|warnings| warnings.overdue(counted));
        let begun = std::mem::take(&mut state.begun);
        let code = |(address, Begun { from, to, rip })| Tampering::Code { address, from, to, rip, by: None };
        begun.into_iter().map(code).chain(warning).collect()
    }

    /// What is not as it was. `now` are the registers of the vCPUs that answered.
    pub fn compare(&mut self, now: &[(u8, Controls)]) -> Vec<Tampering> {
        let inner = &*self.guarded.0;
        let mut found = {
            let state = &mut *inner.state();
            state.look_at_warnings(&inner.memory);
            inner.pages.iter().for_each(|(page, linked)| inner.see_devices(state, *page, *linked));
            std::mem::take(&mut state.written)
        };
        for (vcpu, now) in now.iter().filter(|(_, now)| now.paging()) {
            let gates = self.gates(now);
            match self.registers.get_mut(vcpu) {
                None => drop(self.registers.insert(*vcpu, (*now, gates))),
                Some((before, old)) => {
                    found.extend(registers(*vcpu, before, now));
                    let changed =
                        |(index, (old, new)): (usize, (&[u8], &[u8]))| (old != new).then_some(index as u8);
                    let both = old.chunks(GATE).zip(gates.chunks(GATE)).enumerate();
                    // What was written to it is known already.
                    let known = |vector| found.contains(&Tampering::Gate { vcpu: 0, vector });
                    let vectors: Vec<u8> =
                        both.filter_map(changed).filter(|vector| !known(*vector)).collect();
                    found.extend(vectors.into_iter().map(|vector| Tampering::Gate { vcpu: *vcpu, vector }));
                    // Each change is told once.
                    (*before, *old) = (*now, gates);
                }
            }
        }
        let memory = &inner.memory;
        let mut spaces: Vec<AddressSpace> = now
            .iter()
            .filter(|(_, now)| now.paging())
            .map(|(_, now)| AddressSpace::new(memory.clone(), now.cr3, now.cr4))
            .collect();
        spaces.push(self.space.clone());
        // Who enters the same tables, and finds in them what was there, finds the image where it was.
        let same = !self.tables.is_empty()
            && self.tables.iter().all(|(at, table)| holds(memory, GuestAddress(*at), table) == Some(true));
        let entry = |space: &AddressSpace| space.top_entry(top_index(self.image.0.start));
        let enters = entry(&self.space);
        let others: Vec<&AddressSpace> =
            spaces.iter().filter(|space| !same || entry(space) != enters).collect();
        let moved: Vec<Tampering> = others.into_iter().filter_map(|space| self.moved(space)).collect();
        if moved.is_empty() && !same {
            let (first, last) = (self.image.0.start, self.image.0.end.saturating_sub(1));
            let tables = self.space.tables(GuestVirtualAddress(first), GuestVirtualAddress(last));
            let tables = tables.into_iter().map(|at| (at, inner.page(at)));
            self.tables = tables.filter(|(_, table)| !table.is_empty()).collect();
        }
        found.extend(moved);
        let entries = (TOP_ENTRIES / 2..).zip(&mut self.top).filter_map(|(index, before)| {
            let (from, to) = ((*before)?, self.space.top_entry(index)?);
            *before = Some(to);
            let name = format!("init_top_pgt[{index}]");
            (from & 1 != 0 && from != to).then_some(Tampering::Variable {
                name,
                from,
                to,
                rip: None,
                by: None,
            })
        });
        found.extend(entries);
        found.truncate(MOST_TOLD);
        found
    }

    /// The first page of the image that is not where it was. User space's tables may lack it altogether
    /// (Documentation/arch/x86/pti.rst), and the kernel gives away what it needs no more.
    fn moved(&self, space: &AddressSpace) -> Option<Tampering> {
        let (image, base) = &self.image;
        let mut address = image.start;
        while image.contains(&address) {
            let (place, length) = space.place(GuestVirtualAddress(address));
            let (from, to) = (base + (address - image.start), place.map(|place| place.0));
            if to.is_some_and(|to| to != from) {
                return Some(Tampering::Mapping { address, from: Some(from), to });
            }
            address = address.checked_add(length)?;
        }
        None
    }

    fn gates(&self, controls: &Controls) -> Vec<u8> {
        let mut gates = vec![0; GATE * GATES];
        match self.space.read(GuestVirtualAddress(controls.idt.0), &mut gates) {
            Some(()) => gates,
            None => Vec::new(),
        }
    }
}

/// Where in the top table an address's entry is, with four levels.
fn top_index(address: u64) -> u64 {
    address >> 39 & 0x1ff
}

/// Whole pages: what follows the kernel's text and its constants begins on the next one, and it protects them in the same way (`mark_rodata_ro` of
/// arch/x86/mm/init_64.c).
fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    let first = range.start.next_multiple_of(PAGE);
    (first..range.end).step_by(PAGE as usize)
}

fn registers(vcpu: u8, before: &Controls, now: &Controls) -> Vec<Tampering> {
    let all = [
        ("CR0", before.cr0 & CR0, now.cr0 & CR0),
        ("CR4", before.cr4 & CR4, now.cr4 & CR4),
        ("EFER", before.efer & EFER, now.efer & EFER),
        ("IDTR", before.idt.0, now.idt.0),
        ("IDTR.limit", before.idt.1.into(), now.idt.1.into()),
        ("GDTR", before.gdt.0, now.gdt.0),
    ];
    let changed = all.into_iter().filter(|(_, from, to)| from != to);
    changed.map(|(name, from, to)| Tampering::Register { vcpu, name: name.to_owned(), from, to }).collect()
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;
