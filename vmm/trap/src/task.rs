//! Who runs on a vCPU: the kernel's `current`, read from guest memory.

use machine::{AddressSpace, GuestVirtualAddress, Vcpu};
use std::collections::BTreeMap;

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

/// Where `current` and its fields are, in a kernel whose layout is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Current {
    /// Address of this vCPU's pointer to its task.
    pointer: u64,
    tgid: u64,
    comm: u64,
}

/// MSR_GS_BASE and MSR_KERNEL_GS_BASE (AMD64 architecture, volume 2, section 4.5.3).
const GS_BASES: [u32; 2] = [0xc000_0101, 0xc000_0102];

impl Current {
    /// `landmarks` has `current_task` (a per-CPU variable, the first field of `pcpu_hot` in some kernels)
    /// and the offsets `task_struct.tgid` and `task_struct.comm`.
    pub fn find(vcpu: &Vcpu, landmarks: &BTreeMap<String, u64>) -> Option<Self> {
        let landmark = |name: &str| landmarks.get(name).copied();
        let variable = landmark("pcpu_hot").or_else(|| landmark("current_task"))?;
        // The kernel's own is in the one register while it runs, and in the other one in user space; it is
        // the one in the kernel's half of addresses.
        let base = GS_BASES.iter().find_map(|msr| vcpu.msr(*msr).ok().filter(|base| *base >> 63 == 1))?;
        Some(Self {
            pointer: base.wrapping_add(variable),
            tgid: landmark("task_struct.tgid")?,
            comm: landmark("task_struct.comm")?,
        })
    }

    /// The task's address, which tells it from all others.
    pub fn task(&self, space: &AddressSpace) -> Option<u64> {
        space.read_u64(GuestVirtualAddress(self.pointer))
    }

    /// The process that a task belongs to.
    pub fn process(&self, space: &AddressSpace, task: u64) -> Option<Process> {
        let mut pid = [0; 4];
        space.read(GuestVirtualAddress(task.wrapping_add(self.tgid)), &mut pid)?;
        let mut name = [0; 16];
        space.read(GuestVirtualAddress(task.wrapping_add(self.comm)), &mut name)?;
        Some(Process { pid: u32::from_le_bytes(pid), name })
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
