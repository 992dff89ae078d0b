//! Does this KVM run kernels, or does it only look like one that does?
//!
//! A tiny guest answers in milliseconds: it counts in ring 0, which shows an interpreter by its speed,
//! then runs into an `int3` and a hardware breakpoint, which a kernel and our traps need.

use crate::{
    Breakpoint, Error, Exit, Processor, Result, Space, Subscriber, Vm, boot, create_memory, x86::RESUME_FLAG,
};
use std::{sync::Arc, time::Instant};
use vm_memory::{Bytes, GuestAddress};

/// What the tiny guest found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Findings {
    /// Nanoseconds that one instruction takes in ring 0: below 1 on hardware, about 800 where KVM
    /// interprets.
    pub ring0_ns: f64,
    /// `int3` reaches its handler in the guest.
    pub int3: bool,
    /// A hardware breakpoint ends KVM_RUN, and the guest can be resumed behind it.
    pub hw_breakpoint: bool,
}

impl Findings {
    /// Kernels run here, and system calls can be counted.
    pub fn sound(&self) -> bool {
        const SLOW_NS: f64 = 200.0;
        self.ring0_ns < SLOW_NS && self.int3 && self.hw_breakpoint
    }
}

const CODE: GuestAddress = GuestAddress(0x10_0000);
const IDT: GuestAddress = GuestAddress(0x5000);
const ROUNDS: u32 = 2000;
/// So often it counts; the fastest counts. A scheduler takes a busy machine's processor away for longer than all of one takes.
const TIMES: u32 = 8;
const HANDLER: u64 = 32;
const BREAKPOINT: u64 = 22;

/// Runs the tiny guest, which is there until the process ends. An error means that there is no KVM to speak of; findings say
/// how good it is.
pub fn probe() -> Result<Findings> {
    let memory = create_memory(32)?;
    let vm = Arc::new(Vm::bare(memory.clone())?);
    let mut vcpu = vm.vcpu(0, 1)?;

    let mut code = [0x90u8; 64];
    code[0] = 0xbf; // mov edi, TIMES
    code[1..5].copy_from_slice(&TIMES.to_le_bytes());
    code[5] = 0xb9; // 1: mov ecx, ROUNDS
    code[6..10].copy_from_slice(&ROUNDS.to_le_bytes());
    code[10..14].copy_from_slice(&[0xff, 0xc9, 0x75, 0xfc]); // 2: dec ecx; jnz 2b
    code[14..16].copy_from_slice(&[0xe6, 1]); // out 1, al
    code[16..20].copy_from_slice(&[0xff, 0xcf, 0x75, 0xf1]); // dec edi; jnz 1b
    code[20] = 0xcc; // int3
    code[21] = 0x90;
    code[22] = 0x90; // the breakpoint
    code[23..25].copy_from_slice(&[0xe6, 3]); // out 3, al
    code[25] = 0xf4; // hlt
    code[32..36].copy_from_slice(&[0xe6, 2, 0x48, 0xcf]); // handler: out 2, al; iretq
    let placed = boot::write_tables(&memory).and_then(|()| memory.write_slice(&code, CODE));
    placed.map_err(|e| Error::Memory { mib: 32, why: e.to_string() })?;
    boot::start(&vcpu, CODE)?;
    vcpu.set_gate(&memory, IDT, 3, CODE.0 + HANDLER)?;
    vcpu.set_breakpoints(Subscriber::Watch, &[Breakpoint::at(CODE.0 + BREAKPOINT)])?;

    let mut findings = Findings { ring0_ns: f64::INFINITY, int3: false, hw_breakpoint: false };
    let mut stopped = false;
    let mut start = Instant::now();
    // These and three more exits are all that the code can make; a few more leave room for stray signals.
    for _ in 0..TIMES + 16 {
        match vcpu.run() {
            Exit::Write { space: Space::Port, address: 1, .. } => {
                let took = start.elapsed().as_nanos() as f64 / f64::from(2 * ROUNDS);
                findings.ring0_ns = findings.ring0_ns.min(took);
                start = Instant::now();
            }
            Exit::Write { space: Space::Port, address: 2, .. } => findings.int3 = true,
            Exit::Write { space: Space::Port, address: 3, .. } => findings.hw_breakpoint = stopped,
            Exit::Debug { mut registers, .. } if registers.rip == CODE.0 + BREAKPOINT => {
                stopped = true;
                registers.rflags |= RESUME_FLAG;
                vcpu.set_registers(&registers)?;
            }
            Exit::Interrupted => {}
            _ => break,
        }
    }
    // The kernel takes longer to take it apart than for all of the above. That can wait for the end of the process.
    std::mem::forget((vm, vcpu));
    Ok(findings)
}
