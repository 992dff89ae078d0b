//! One virtual CPU, and the one place where KVM's exits are taken apart.

use crate::{
    AddressSpace, Error, GuestVirtualAddress, Memory, Registers, Result, Space, error::Named, layout,
};
use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, KVM_MP_STATE_HALTED, Msrs, kvm_dtable, kvm_fpu, kvm_guest_debug, kvm_msr_entry,
    kvm_regs, kvm_segment,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress};

/// A virtual CPU; it belongs to the thread that runs it.
pub struct Vcpu {
    fd: VcpuFd,
    /// Registers travel in the page that is shared with KVM instead of by ioctl.
    shared_registers: bool,
    intel: bool,
}

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
        /// The address that would be executed next.
        rip: u64,
        /// Which breakpoints matched (bits 0 to 3), and single-step (bit 14).
        dr6: u64,
        /// 1 for #DB, 3 for #BP.
        exception: u32,
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
    /// KVM can't run this guest any further; the text says what it reported.
    Failed(String),
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

impl Vcpu {
    pub(crate) fn new(fd: VcpuFd, intel: bool) -> Self {
        Self { fd, shared_registers: false, intel }
    }

    /// Runs the guest until something needs a hand.
    pub fn run(&mut self) -> Exit<'_> {
        // The borrow of an exit lasts as long as its data, so what needs the vCPU again comes first.
        match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => Exit::Read { space: Space::Port, address: port.into(), data },
            Ok(VcpuExit::IoOut(port, data)) => Exit::Write { space: Space::Port, address: port.into(), data },
            Ok(VcpuExit::MmioRead(address, data)) => Exit::Read { space: Space::Memory, address, data },
            Ok(VcpuExit::MmioWrite(address, data)) => Exit::Write { space: Space::Memory, address, data },
            Ok(VcpuExit::Debug(debug)) => {
                Exit::Debug { rip: debug.pc, dr6: debug.dr6, exception: debug.exception }
            }
            Ok(VcpuExit::X86Wrmsr(write)) => Exit::WriteMsr { index: write.index, value: write.data },
            Ok(VcpuExit::Hlt) => Exit::Halted,
            Ok(VcpuExit::Shutdown) => Exit::Shutdown,
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => Exit::Interrupted,
            Ok(VcpuExit::InternalError) => Exit::Failed(
                "KVM_EXIT_INTERNAL_ERROR (an instruction that KVM can't emulate, or a fault in event delivery)".into(),
            ),
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                Exit::Failed(format!("KVM_EXIT_FAIL_ENTRY: hardware reason {reason:#x} on CPU {cpu}"))
            }
            Ok(other) => Exit::Failed(format!("an exit that nobody asked for: {other:?}")),
            Err(e) if matches!(e.errno(), nix::libc::EINTR | nix::libc::EAGAIN) => Exit::Interrupted,
            Err(e) => Exit::Failed(format!("KVM_RUN: {e}")),
        }
    }

    /// The general registers, RIP and RFLAGS.
    pub fn registers(&self) -> Result<Registers> {
        match self.shared_registers {
            true => Ok(self.fd.sync_regs().regs),
            false => self.fd.get_regs().named("KVM_GET_REGS"),
        }
    }

    /// The same by ioctl, whatever the last exit was: a run that a signal ended leaves the shared page
    /// as it was when the signal came before the guest was entered.
    pub fn current_registers(&self) -> Result<Registers> {
        self.fd.get_regs().named("KVM_GET_REGS")
    }

    /// Sets them.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        if self.shared_registers {
            self.fd.sync_regs_mut().regs = *registers;
            self.fd.set_sync_dirty_reg(SyncReg::Register);
            return Ok(());
        }
        self.fd.set_regs(registers).named("KVM_SET_REGS")
    }

    /// Where it stands: privilege level (0 to 3), and whether it sleeps in HLT.
    pub fn standing(&self) -> Result<(u8, bool)> {
        let cpl = self.fd.get_sregs().named("KVM_GET_SREGS")?.cs.dpl;
        let halted = self.fd.get_mp_state().named("KVM_GET_MP_STATE")?.mp_state == KVM_MP_STATE_HALTED;
        Ok((cpl, halted))
    }

    /// The guest's page tables at this moment, as (CR3, CR4).
    pub fn page_tables(&self) -> Result<(u64, u64)> {
        let sregs = self.fd.get_sregs().named("KVM_GET_SREGS")?;
        Ok((sregs.cr3, sregs.cr4))
    }

    /// Whether the guest takes its processor for one of Intel's: those know SYSENTER from 32-bit code, AMD's
    /// know SYSCALL (AMD64 architecture, volume 3, "SYSENTER"; Intel SDM volume 2, "SYSCALL").
    pub fn is_intel(&self) -> bool {
        self.intel
    }

    /// The handler of a vector in the guest's interrupt descriptor table, if user space may raise it
    /// (Intel SDM volume 3, section 7.14.1).
    pub fn user_gate(&self, space: &AddressSpace, vector: u8) -> Result<Option<u64>> {
        const PRESENT_FOR_USERS: u8 = 0x80 | 3 << 5;
        let table = self.fd.get_sregs().named("KVM_GET_SREGS")?.idt;
        let at = u64::from(vector) * 16;
        let mut gate = [0; 16];
        let inside = at + 15 <= u64::from(table.limit);
        let read = inside.then(|| space.read(GuestVirtualAddress(table.base.wrapping_add(at)), &mut gate));
        if read.flatten().is_none() || gate[5] & PRESENT_FOR_USERS != PRESENT_FOR_USERS {
            return Ok(None);
        }
        let offset = [gate[0], gate[1], gate[6], gate[7], gate[8], gate[9], gate[10], gate[11]];
        Ok(Some(u64::from_le_bytes(offset)))
    }

    /// Sets a model-specific register.
    pub fn set_msr(&mut self, index: u32, data: u64) -> Result<()> {
        let msrs = Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
            .expect("one entry fits");
        match self.fd.set_msrs(&msrs).named("KVM_SET_MSRS")? {
            1 => Ok(()),
            _ => Err(Error::Missing("a model-specific register")),
        }
    }

    /// A model-specific register.
    pub fn msr(&self, index: u32) -> Result<u64> {
        let mut msrs =
            Msrs::from_entries(&[kvm_msr_entry { index, ..Default::default() }]).expect("one entry fits");
        match self.fd.get_msrs(&mut msrs).named("KVM_GET_MSRS")? {
            1 => Ok(msrs.as_slice()[0].data),
            _ => Err(Error::Missing("a model-specific register")),
        }
    }

    /// Execution of any of these addresses (at most four) ends the run with [`Exit::Debug`]; an empty
    /// list takes them all away. From then on registers are cheap to read and write.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) -> Result<()> {
        self.debug_control(addresses, 0)?;
        if !addresses.is_empty() && !self.shared_registers {
            // The page's copy is filled only by the next exit: until then it has to be current.
            let now = self.fd.get_regs().named("KVM_GET_REGS")?;
            self.fd.sync_regs_mut().regs = now;
            self.fd.set_sync_valid_reg(SyncReg::Register);
            self.shared_registers = true;
        }
        Ok(())
    }

    /// The same, and every instruction ends the run; no interrupt comes in between. Setting registers while this
    /// lasts ends it: say it again afterwards.
    pub fn step(&mut self, addresses: &[u64]) -> Result<()> {
        self.set_breakpoints(addresses)?;
        self.debug_control(addresses, KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ)
    }

    /// Hands a debug exception that was the guest's own on to the guest, with this DR6.
    pub fn inject_debug(&mut self, dr6: u64, addresses: &[u64]) -> Result<()> {
        let mut registers = self.fd.get_debug_regs().named("KVM_GET_DEBUGREGS")?;
        registers.dr6 = dr6;
        self.fd.set_debug_regs(&registers).named("KVM_SET_DEBUGREGS")?;
        self.debug_control(addresses, KVM_GUESTDBG_INJECT_DB)
    }

    fn debug_control(&mut self, addresses: &[u64], more: u32) -> Result<()> {
        let mut debug = kvm_guest_debug::default();
        if !addresses.is_empty() {
            debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | more;
        }
        // Bit 10 of DR7 always reads as one; G0 is bit 1, G1 bit 3 and so on; type "execution" and
        // length 1 are all zero (Intel SDM volume 3, section 18.2.4).
        debug.arch.debugreg[7] = 0x400;
        for (slot, address) in addresses.iter().take(4).enumerate() {
            debug.arch.debugreg[slot] = *address;
            debug.arch.debugreg[7] |= 2 << (2 * slot);
        }
        self.fd.set_guest_debug(&debug).named("KVM_SET_GUEST_DEBUG")
    }

    /// 64-bit mode with paging on, interrupts off, flat segments, as the 64-bit boot protocol demands.
    pub(crate) fn enter_long_mode(&self, entry: GuestAddress, boot_params: GuestAddress) -> Result<()> {
        let mut sregs = self.fd.get_sregs().named("KVM_GET_SREGS")?;
        // Type, DB, L for code and data; limits count pages.
        let segment = |selector, type_, db, l| kvm_segment {
            limit: 0xffff_ffff,
            selector,
            type_,
            present: 1,
            db,
            s: 1,
            l,
            g: 1,
            ..Default::default()
        };
        sregs.cs = segment(0x10, 0xb, 0, 1);
        let data = segment(0x18, 0x3, 1, 0);
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        // VMX wants a busy TSS, whatever the guest does with it.
        sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() };
        sregs.ldt = kvm_segment { type_: 2, unusable: 1, ..Default::default() };
        sregs.gdt = kvm_dtable { base: layout::GDT.0, limit: 4 * 8 - 1, ..Default::default() };
        sregs.idt = kvm_dtable::default();
        sregs.cr0 = 0x8000_0033; // PG, NE, ET, MP, PE
        sregs.cr3 = layout::PAGE_TABLES.0;
        sregs.cr4 = 1 << 5; // PAE
        sregs.efer = 1 << 8 | 1 << 10; // LME, LMA
        self.fd.set_sregs(&sregs).named("KVM_SET_SREGS")?;
        let regs =
            kvm_regs { rip: entry.0, rsi: boot_params.0, rflags: 2, rsp: 0x8ff0, ..Default::default() };
        self.fd.set_regs(&regs).named("KVM_SET_REGS")?;
        let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
        self.fd.set_fpu(&fpu).named("KVM_SET_FPU")
    }

    /// For the probe: an interrupt gate for one vector, in a table at `table`.
    pub(crate) fn set_gate(
        &self,
        memory: &Memory,
        table: GuestAddress,
        vector: u8,
        handler: u64,
    ) -> Result<()> {
        let low = handler & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        for (half, value) in [low, handler >> 32].into_iter().enumerate() {
            let at = GuestAddress(table.0 + u64::from(vector) * 16 + half as u64 * 8);
            memory.write_obj(value, at).map_err(|e| Error::Memory { mib: 0, why: e.to_string() })?;
        }
        let mut sregs = self.fd.get_sregs().named("KVM_GET_SREGS")?;
        sregs.idt = kvm_dtable { base: table.0, limit: 0xfff, ..Default::default() };
        self.fd.set_sregs(&sregs).named("KVM_SET_SREGS")
    }
}

/// RFLAGS.RF: the next instruction raises no instruction breakpoint (Intel SDM volume 3, section 18.3.1.1).
pub const RESUME_FLAG: u64 = 1 << 16;
