//! One virtual CPU, and the one place where KVM's exits are taken apart.

use crate::{
    AddressSpace, Breakpoint, Breakpoints, Controls, Error, Exit, Failure, GuestVirtualAddress, Kicker,
    Memory, Processor, Registers, Result, Space, Standing, Subscriber, Vm,
    breakpoints::{SLOTS, decode},
    error::Named,
    kick::ImmediateExit,
    layout,
    state::{self, VcpuState},
};
use kvm_bindings::{
    KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED,
    Msrs, kvm_dtable, kvm_fpu, kvm_guest_debug, kvm_msr_entry, kvm_regs, kvm_run, kvm_segment,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};
use std::{ptr::NonNull, sync::Arc};
use vm_memory::{Bytes, GuestAddress};

/// A virtual CPU; it belongs to the thread that runs it.
pub struct Vcpu {
    fd: VcpuFd,
    /// The page that is shared with KVM; it stays where it is for as long as `fd` lives.
    page: NonNull<kvm_run>,
    exit: ImmediateExit,
    kicker: Kicker,
    /// Registers travel in the page instead of by ioctl.
    shares_registers: bool,
    /// Those in the page are the vCPU's: the last exit brought them, or they were set since.
    page_is_current: bool,
    breakpoints: Breakpoints,
    intel: bool,
    /// KVM accesses its memory by address for as long as there is a vCPU.
    vm: Arc<Vm>,
}

// SAFETY: the page belongs to this vCPU alone and is as good in another thread.
unsafe impl Send for Vcpu {}

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.kicker.forget();
    }
}

impl Vcpu {
    pub(crate) fn new(mut fd: VcpuFd, vm: Arc<Vm>, intel: bool) -> Result<Self> {
        let page = NonNull::from(fd.get_kvm_run());
        // SAFETY: the page is mapped; no reference is made.
        let byte = unsafe { NonNull::new_unchecked(&raw mut (*page.as_ptr()).immediate_exit) };
        // SAFETY: both live in this vCPU, whose `fd` keeps the page; the kicker's is taken away before that goes.
        let (exit, kickers) = unsafe { (ImmediateExit::new(byte), ImmediateExit::new(byte)) };
        Ok(Self {
            fd,
            page,
            exit,
            kicker: Kicker::new(kickers)?,
            shares_registers: false,
            page_is_current: false,
            breakpoints: Breakpoints::default(),
            intel,
            vm,
        })
    }

    /// Interrupts it from other threads.
    pub fn kicker(&self) -> Kicker {
        self.kicker.clone()
    }

    /// What came of a failed emulation.
    fn internal_error(page: NonNull<kvm_run>) -> Failure {
        // SAFETY: the page is mapped, KVM does not write to it between runs, and its exit was an internal error, which
        // says that this is the union's field. Any bytes are valid numbers.
        let internal = unsafe { (*page.as_ptr()).__bindgen_anon_1.internal };
        let length = internal.data.len().min(internal.ndata as usize);
        Failure::internal(internal.suberror, &internal.data[..length])
    }

    fn shared_registers(page: NonNull<kvm_run>) -> Registers {
        // SAFETY: the page is mapped, KVM does not write to it between runs, and any bytes are valid registers.
        unsafe { (*page.as_ptr()).s.regs.regs }
    }

    fn debug_control(&mut self, more: u32) -> Result<()> {
        let mut debug = kvm_guest_debug::default();
        let used = !self.breakpoints.slots().is_empty();
        if used || more != 0 {
            debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | more;
        }
        let (addresses, control) = self.breakpoints.registers();
        debug.arch.debugreg[..SLOTS].copy_from_slice(&addresses);
        debug.arch.debugreg[7] = control;
        self.fd.set_guest_debug(&debug).named("KVM_SET_GUEST_DEBUG")?;
        if used && !self.shares_registers {
            // The page's copy is filled only by the next exit: until then it has to be current.
            let now = self.fd.get_regs().named("KVM_GET_REGS")?;
            self.fd.sync_regs_mut().regs = now;
            self.fd.set_sync_valid_reg(SyncReg::Register);
            (self.shares_registers, self.page_is_current) = (true, true);
        }
        Ok(())
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

impl Processor for Vcpu {
    fn run(&mut self) -> Exit<'_> {
        let page = self.page;
        let result = self.fd.run();
        // From here on whoever kicks is heard: first this, then others are asked what they want, then the next run.
        self.exit.set(0);
        self.page_is_current = self.shares_registers && result.is_ok();
        match result {
            Ok(VcpuExit::IoIn(port, data)) => Exit::Read { space: Space::Port, address: port.into(), data },
            Ok(VcpuExit::IoOut(port, data)) => Exit::Write { space: Space::Port, address: port.into(), data },
            Ok(VcpuExit::MmioRead(address, data)) => Exit::Read { space: Space::Memory, address, data },
            Ok(VcpuExit::MmioWrite(address, data)) => Exit::Write { space: Space::Memory, address, data },
            // Only with breakpoints, which bring registers in the page.
            Ok(VcpuExit::Debug(debug)) => {
                Exit::Debug { registers: Self::shared_registers(page), dr6: debug.dr6 }
            }
            Ok(VcpuExit::X86Wrmsr(write)) => Exit::WriteMsr { index: write.index, value: write.data },
            Ok(VcpuExit::Hlt) => Exit::Halted,
            Ok(VcpuExit::Shutdown) => Exit::Shutdown,
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => Exit::Interrupted,
            Ok(VcpuExit::InternalError) => Exit::Failed(Self::internal_error(page)),
            Ok(VcpuExit::FailEntry(reason, _)) => Exit::Failed(Failure::Entry { reason }),
            Ok(other) => Exit::Failed(Failure::Unknown(format!("{other:?}"))),
            Err(e) if matches!(e.errno(), nix::libc::EINTR | nix::libc::EAGAIN) => Exit::Interrupted,
            Err(e) => Exit::Failed(Failure::of_run(e.errno())),
        }
    }

    fn settle(&mut self) -> Exit<'_> {
        self.exit.set(1);
        self.run()
    }

    fn registers(&self) -> Result<Registers> {
        // A run that a signal ended leaves the page as it was when the signal came before the guest was entered.
        match self.page_is_current {
            true => Ok(Self::shared_registers(self.page)),
            false => self.fd.get_regs().named("KVM_GET_REGS"),
        }
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        if self.shares_registers {
            self.fd.sync_regs_mut().regs = *registers;
            self.fd.set_sync_dirty_reg(SyncReg::Register);
            self.page_is_current = true;
            return Ok(());
        }
        self.fd.set_regs(registers).named("KVM_SET_REGS")
    }

    fn standing(&self) -> Result<Standing> {
        let ring = self.fd.get_sregs().named("KVM_GET_SREGS")?.cs.dpl;
        let state = self.fd.get_mp_state().named("KVM_GET_MP_STATE")?.mp_state;
        let started = !matches!(state, KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED);
        Ok(Standing { ring, halted: state == KVM_MP_STATE_HALTED, started })
    }

    fn stands_on_int1(&self) -> Result<bool> {
        const INT1: u8 = 0xf1;
        if !self.intel {
            return Ok(false);
        }
        let (cr3, cr4) = self.page_tables()?;
        let at = GuestVirtualAddress(self.registers()?.rip);
        let mut byte = [0];
        let read = AddressSpace::new(self.vm.memory().clone(), cr3, cr4).read(at, &mut byte);
        Ok(read.is_some() && byte == [INT1])
    }

    fn page_tables(&self) -> Result<(u64, u64)> {
        let sregs = self.fd.get_sregs().named("KVM_GET_SREGS")?;
        Ok((sregs.cr3, sregs.cr4))
    }

    fn controls(&self) -> Result<Controls> {
        let it = self.fd.get_sregs().named("KVM_GET_SREGS")?;
        let (idt, gdt) = ((it.idt.base, it.idt.limit), (it.gdt.base, it.gdt.limit));
        Ok(Controls { cr0: it.cr0, cr3: it.cr3, cr4: it.cr4, efer: it.efer, idt, gdt })
    }

    fn is_intel(&self) -> bool {
        self.intel
    }

    fn user_gate(&self, space: &AddressSpace, vector: u8) -> Result<Option<u64>> {
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

    fn msr(&self, index: u32) -> Result<u64> {
        let mut msrs =
            Msrs::from_entries(&[kvm_msr_entry { index, ..Default::default() }]).expect("one entry fits");
        match self.fd.get_msrs(&mut msrs).named("KVM_GET_MSRS")? {
            1 => Ok(msrs.as_slice()[0].data),
            _ => Err(Error::Missing("a model-specific register")),
        }
    }

    fn set_msr(&mut self, index: u32, data: u64) -> Result<bool> {
        let msrs = Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
            .expect("one entry fits");
        Ok(self.fd.set_msrs(&msrs).named("KVM_SET_MSRS")? == 1)
    }

    fn refuse_msr(&mut self) {
        // SAFETY: the page is mapped and KVM does not access it between runs. Whatever the last exit was, this is a byte
        // of its data; KVM reads it only after a write to an MSR (KVM API, section 5, "KVM_EXIT_X86_WRMSR").
        unsafe { (*self.page.as_ptr()).__bindgen_anon_1.msr.error = 1 };
    }

    fn set_breakpoints(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> Result<()> {
        self.breakpoints.set(who, wanted);
        self.debug_control(0)
    }

    fn step(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> Result<()> {
        self.breakpoints.set(who, wanted);
        // Registers first, if they don't travel in the page yet.
        self.debug_control(0)?;
        self.debug_control(KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ)
    }

    fn breakpoints(&self) -> &Breakpoints {
        &self.breakpoints
    }

    fn guest_breakpoints(&self) -> Result<([Option<Breakpoint>; SLOTS], u64)> {
        let registers = self.fd.get_debug_regs().named("KVM_GET_DEBUGREGS")?;
        Ok((decode(registers.db, registers.dr7), registers.dr6))
    }

    fn inject_debug(&mut self, dr6: u64) -> Result<()> {
        if self.page_is_current {
            // Registers in the page come with the next run, and take an exception away that waits by then (`__set_regs` of
            // arch/x86/kvm/x86.c).
            self.fd.set_regs(&Self::shared_registers(self.page)).named("KVM_SET_REGS")?;
            self.fd.clear_sync_dirty_reg(SyncReg::Register);
        }
        let mut registers = self.fd.get_debug_regs().named("KVM_GET_DEBUGREGS")?;
        registers.dr6 = dr6;
        self.fd.set_debug_regs(&registers).named("KVM_SET_DEBUGREGS")?;
        self.debug_control(KVM_GUESTDBG_INJECT_DB)
    }

    fn save(&self) -> Result<VcpuState> {
        state::save_vcpu(&self.fd, &self.vm, self.registers()?)
    }

    fn restore(&mut self, state: &VcpuState) -> Result<()> {
        // What was set in the page would come after it.
        self.fd.clear_sync_dirty_reg(SyncReg::Register);
        self.page_is_current = false;
        state::restore_vcpu(&self.fd, &self.vm, state)
    }

    fn forgive(&self) {
        // It fails where the guest has no such clock (KVM API, section 4.70), and there is nothing to be told.
        let _ = self.fd.kvmclock_ctrl();
    }
}
