//! Who runs on a vCPU: the kernel's `current`, read from guest memory.

use crate::{Landmarks, pairs::Ids};
use machine::{AddressSpace, GuestVirtualAddress, Memory, Processor, load, x86::GS_BASES};
use std::cell::Cell;
use vm_memory::{Bytes, GuestAddress};

/// A process, as the guest's kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number (`tgid`): what getpid() returns outside of containers.
    pub pid: u32,
    /// Its name (`comm`), up to the first NUL.
    pub name: [u8; 16],
}

impl Process {
    /// The name as text; whatever is not printable is replaced.
    pub fn name(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }
}

/// Who is in the kernel with a call, so that its return is told from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// The task, where the kernel's layout is known.
    Task(u64),
    /// Elsewhere the thread's page tables and stack in user space: no two that run have both in common.
    Thread {
        /// As [`tables`] tells.
        tables: u64,
        /// The user's stack pointer.
        stack: u64,
    },
}

impl Caller {
    /// `stack` is the user's stack pointer.
    pub fn of(task: Option<u64>, vcpu: &dyn Processor, stack: u64) -> Self {
        task.map_or_else(|| Self::Thread { tables: tables(vcpu).unwrap_or(0), stack }, Self::Task)
    }
}

/// CR3 without what differs between the two sides of a kernel with page table isolation, and between vCPUs: the lower 12 bits are the PCID and
/// bit 12 the side (PTI_USER_PGTABLE_BIT of arch/x86/entry/calling.h). All threads of a process have the same.
pub(crate) fn tables(vcpu: &dyn Processor) -> Option<u64> {
    vcpu.page_tables().ok().map(|(cr3, _)| cr3 & 0x000f_ffff_ffff_e000)
}

/// Where `current` and its fields are, in a kernel whose layout is known.
///
/// It is asked at every call, so translations are kept: those of per-CPU data and of tasks do not change in a sane
/// kernel, and what another one has at those places is as good as anything that it could have put into a task.
pub(crate) struct Current {
    space: AddressSpace,
    memory: Memory,
    /// This vCPU's pointer to its task.
    pointer: GuestAddress,
    pid: Option<u64>,
    tgid: u64,
    comm: u64,
    /// The pages of fields that were read last, one of even and one of odd number, and where they are: a task may lie on
    /// two.
    pages: [Cell<Option<(u64, GuestAddress)>>; 2],
}

impl Current {
    /// `landmarks` has `current_task` (a per-CPU variable, the first field of `pcpu_hot` in some kernels)
    /// and the offsets `task_struct.tgid` and `task_struct.comm`.
    pub fn find(
        vcpu: &dyn Processor,
        space: &AddressSpace,
        memory: &Memory,
        landmarks: &Landmarks,
    ) -> Option<Self> {
        let variable = landmarks.symbol("pcpu_hot").or_else(|| landmarks.symbol("current_task"))?;
        // The kernel's own is in the one register while it runs, and in the other one in user space; it is
        // the one in the kernel's half of addresses.
        let base = GS_BASES.iter().find_map(|msr| vcpu.msr(*msr).ok().filter(|base| *base >> 63 == 1))?;
        Some(Self {
            pointer: space.translate(GuestVirtualAddress(base.wrapping_add(variable)))?,
            space: space.clone(),
            memory: memory.clone(),
            pid: landmarks.layout("task_struct.pid"),
            tgid: landmarks.layout("task_struct.tgid")?,
            comm: landmarks.layout("task_struct.comm")?,
            pages: Default::default(),
        })
    }

    /// The task's address, which tells it from all others.
    pub fn task(&self) -> Option<u64> {
        load(&self.memory, self.pointer)
    }

    /// The process that a task belongs to, and how the kernel numbers both.
    pub fn who(&self, task: u64) -> (Option<Process>, Option<Ids>) {
        let Some(tgid) = self.number(task, self.tgid) else { return (None, None) };
        let mut name = [0; 16];
        let named = self.read(task.wrapping_add(self.comm), &mut name);
        let numbered = self.pid.and_then(|pid| self.number(task, pid));
        (named.map(|()| Process { pid: tgid, name }), numbered.map(|pid| Ids { task, pid, tgid }))
    }

    /// How the kernel numbers a task.
    pub fn ids(&self, task: u64) -> Option<Ids> {
        Some(Ids { task, pid: self.number(task, self.pid?)?, tgid: self.number(task, self.tgid)? })
    }

    fn number(&self, task: u64, field: u64) -> Option<u32> {
        load(&self.memory, self.place(task.wrapping_add(field))?)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        if (address & 0xfff) + buffer.len() as u64 > 0x1000 {
            return self.space.read(GuestVirtualAddress(address), buffer);
        }
        self.memory.read_slice(buffer, self.place(address)?).ok()
    }

    fn place(&self, address: u64) -> Option<GuestAddress> {
        let (page, offset) = (address >> 12, address & 0xfff);
        let kept = &self.pages[(page & 1) as usize];
        let at = match kept.get() {
            Some((known, at)) if known == page => at,
            _ => {
                let at = self.space.translate(GuestVirtualAddress(page << 12))?;
                kept.set(Some((page, at)));
                at
            }
        };
        Some(GuestAddress(at.0 + offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_its_nul_and_holds_nothing_unprintable() {
        let mut name = *b"a\x1b\xffz\0hidden\0\0\0\0\0";
        assert_eq!(Process { pid: 1, name }.name(), "a?\u{fffd}z");
        name.fill(b'x');
        assert_eq!(Process { pid: 1, name }.name().len(), 16);
    }
}
