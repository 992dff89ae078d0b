//! Why a guest stopped running.

use crate::{Space, x86::Registers};
use nix::libc;
use std::fmt;

/// Why the guest stopped running.
#[derive(Debug)]
pub enum Exit<'a> {
    /// It reads from a device; fill `data` before the next run.
    Read {
        /// Ports or memory.
        space: Space,
        /// Port number or physical address.
        address: u64,
        /// What it reads.
        data: &'a mut [u8],
    },
    /// It writes to a device.
    Write {
        /// Ports or memory.
        space: Space,
        /// Port number or physical address.
        address: u64,
        /// What it writes.
        data: &'a [u8],
    },
    /// A debug exception.
    Debug {
        /// As they stand; RIP is the address that would be executed next.
        registers: Registers,
        /// Which breakpoints matched (bits 0 to 3), and single-step (bit 14).
        dr6: u64,
    },
    /// It writes to a model-specific register that is watched; the write is not done.
    WriteMsr {
        /// Which register.
        index: u32,
        /// What it writes.
        value: u64,
    },
    /// It halted with no interrupt controller to wake it.
    Halted,
    /// A signal, or nothing at all: look at what others want, then run again.
    Interrupted,
    /// A triple fault.
    Shutdown,
    /// KVM can't run this guest any further.
    Failed(Failure),
}

impl Exit<'_> {
    /// The kind's name, as counted in reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { space: Space::Port, .. } => "pio-read",
            Self::Write { space: Space::Port, .. } => "pio-write",
            Self::Read { space: Space::Memory, .. } => "mmio-read",
            Self::Write { space: Space::Memory, .. } => "mmio-write",
            Self::Debug { .. } => "debug",
            Self::WriteMsr { .. } => "msr-write",
            Self::Halted => "halted",
            Self::Interrupted => "interrupted",
            Self::Shutdown => "shutdown",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why KVM can't run a guest any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// KVM_EXIT_INTERNAL_ERROR: mostly an instruction that KVM would have to emulate and can't.
    Internal {
        /// KVM_INTERNAL_ERROR_*.
        suberror: u32,
        /// What came with it, of which the instruction is a part.
        data: Vec<u64>,
        /// The bytes at the instruction pointer, where KVM told them.
        instruction: Vec<u8>,
    },
    /// KVM_EXIT_FAIL_ENTRY: the processor takes the guest's state for impossible.
    Entry {
        /// The processor's own number.
        reason: u64,
    },
    /// KVM_RUN itself failed.
    Run {
        /// With this error.
        errno: i32,
    },
    /// This machine did not give a page of the guest's memory when the guest wanted it: KVM_RUN failed with EFAULT or ENOMEM. No guest
    /// brings that about: where it has no memory, KVM takes what it does for an access to a device, or refuses what it asks.
    NoMemory {
        /// Which of the two.
        errno: i32,
    },
    /// An exit that nothing here asks for.
    Unknown(String),
}

impl Failure {
    /// Of a KVM_RUN that failed with this error.
    pub(crate) fn of_run(errno: i32) -> Self {
        match errno {
            libc::EFAULT | libc::ENOMEM => Self::NoMemory { errno },
            _ => Self::Run { errno },
        }
    }

    /// Takes `kvm_run.internal` apart (KVM API, section 5, "KVM_EXIT_INTERNAL_ERROR").
    pub(crate) fn internal(suberror: u32, data: &[u64]) -> Self {
        const EMULATION: u32 = 1;
        const HAS_INSTRUCTION: u64 = 1;
        let mut instruction = Vec::new();
        if let (EMULATION, [flags, size_and_bytes @ ..]) = (suberror, data)
            && flags & HAS_INSTRUCTION != 0
        {
            // A byte for the length, then 15 of the instruction.
            let bytes: Vec<u8> = size_and_bytes.iter().take(2).flat_map(|word| word.to_le_bytes()).collect();
            if let Some((size, bytes)) = bytes.split_first() {
                instruction = bytes[..bytes.len().min((*size).into())].to_vec();
            }
        }
        Self::Internal { suberror, data: data.to_vec(), instruction }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal { suberror, data, instruction } => {
                let what = match suberror {
                    1 => "an instruction that KVM can't emulate",
                    2 => "two exceptions at once",
                    3 => "a fault in the delivery of an event",
                    4 => "an exit that KVM does not know",
                    _ => "a reason that has no name here",
                };
                write!(f, "KVM_EXIT_INTERNAL_ERROR {suberror}, {what}")?;
                if !instruction.is_empty() {
                    let bytes: Vec<String> = instruction.iter().map(|byte| format!("{byte:02x}")).collect();
                    return write!(f, ": {}", bytes.join(" "));
                }
                if !data.is_empty() {
                    let words: Vec<String> = data.iter().map(|word| format!("{word:#x}")).collect();
                    return write!(f, " ({})", words.join(", "));
                }
                Ok(())
            }
            Self::Entry { reason } => {
                write!(f, "KVM_EXIT_FAIL_ENTRY: the processor refused it for reason {reason:#x}")
            }
            Self::Run { errno } => {
                write!(f, "KVM_RUN: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::NoMemory { errno } => write!(
                f,
                "KVM_RUN: {}: this machine gives the guest no more of its memory; have more free, or allow more to be promised than there is (vm.overcommit_memory)",
                std::io::Error::from_raw_os_error(*errno)
            ),
            Self::Unknown(what) => write!(f, "an exit that nobody asked for: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_given_is_told_from_all_else_that_fails() {
        let of = |errno| Failure::of_run(errno);
        for errno in [libc::EFAULT, libc::ENOMEM] {
            assert_eq!(of(errno), Failure::NoMemory { errno });
        }
        // As old KVMs have it of a write to a register that a guest may make.
        assert_eq!(of(libc::EPERM), Failure::Run { errno: libc::EPERM });
    }

    #[test]
    fn an_instruction_that_was_not_emulated_is_told_with_its_bytes() {
        let word = |bytes: [u8; 8]| u64::from_le_bytes(bytes);
        let data = [1, word([3, 0x0f, 0xae, 0xf8, 9, 9, 9, 9]), 0];
        let failure = Failure::internal(1, &data);
        assert_eq!(
            failure.to_string(),
            "KVM_EXIT_INTERNAL_ERROR 1, an instruction that KVM can't emulate: 0f ae f8"
        );
        // A length that no instruction has, and data that has no instruction at all.
        let Failure::Internal { instruction, .. } = Failure::internal(1, &[1, u64::MAX, u64::MAX]) else {
            panic!()
        };
        assert_eq!(instruction.len(), 15);
        let without = Failure::internal(3, &[0x8000_0b0e, 0x31]);
        assert_eq!(
            without.to_string(),
            "KVM_EXIT_INTERNAL_ERROR 3, a fault in the delivery of an event (0x80000b0e, 0x31)"
        );
        assert_eq!(
            Failure::internal(1, &[]).to_string(),
            "KVM_EXIT_INTERNAL_ERROR 1, an instruction that KVM can't emulate"
        );
    }
}
