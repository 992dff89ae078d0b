//! The processor's own words: registers and the bits in them, as the manuals name them.

pub use kvm_bindings::kvm_regs as Registers;

/// RFLAGS.TF (Intel SDM volume 1, section 3.4.3.3).
pub const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.IF.
pub const INTERRUPT_FLAG: u64 = 1 << 9;
/// RFLAGS.RF: the next instruction raises no instruction breakpoint (Intel SDM volume 3, section 18.3.1.1).
pub const RESUME_FLAG: u64 = 1 << 16;

/// MSR_IA32_SYSENTER_CS, _ESP and _EIP (Intel SDM volume 4, table 2-2).
pub const SYSENTER: [u32; 3] = [0x174, 0x175, SYSENTER_EIP];
/// MSR_IA32_SYSENTER_EIP.
pub const SYSENTER_EIP: u32 = 0x176;
/// EFER (AMD64 architecture, volume 2, section 3.1.7), and its bit without which `syscall` is no instruction.
pub const EFER: u32 = 0xc000_0080;
/// EFER.SCE.
pub const SYSCALL_ENABLE: u64 = 1;
/// EFER.LME.
pub const LONG_MODE_ENABLE: u64 = 1 << 8;
/// All bits of EFER that a guest may set, if its processor has them: LMA, NXE, LMSLE, FFXSR, TCE and AIBRSE beside those. SVME (bit 12) is
/// not among them, as no guest has virtual machines of its own.
pub const EFER_BITS: u64 =
    SYSCALL_ENABLE | LONG_MODE_ENABLE | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 21;
/// MSR_STAR (AMD64 architecture, volume 2, section 6.1.1).
pub const STAR: u32 = 0xc000_0081;
/// MSR_LSTAR (the same section).
pub const LSTAR: u32 = 0xc000_0082;
/// MSR_CSTAR (the same section).
pub const CSTAR: u32 = 0xc000_0083;
/// MSR_SYSCALL_MASK (the same section).
pub const SYSCALL_MASK: u32 = 0xc000_0084;
/// MSR_GS_BASE and MSR_KERNEL_GS_BASE (AMD64 architecture, volume 2, section 4.5.3).
pub const GS_BASES: [u32; 2] = [0xc000_0101, 0xc000_0102];

/// The debug registers (Intel SDM volume 3, section 18.2).
pub mod debug {
    /// DR6.B0 to B3: which breakpoint's condition was met.
    pub const HIT: u64 = 0xf;
    /// DR6.BS: a single step ended.
    pub const SINGLE_STEP: u64 = 1 << 14;
    /// Bits of DR6 that read as one while nothing happened (RTM and BLD are among them: they are active when clear).
    pub const DR6_IDLE: u64 = 0xffff_0ff0;
    /// Bit 10 of DR7 always reads as one.
    pub const DR7_IDLE: u64 = 0x400;

    /// L0 and G0 for slot 0, and so on.
    pub fn enabled(dr7: u64, slot: usize) -> bool {
        dr7 >> (2 * slot) & 3 != 0
    }

    /// R/W and LEN for slot 0, and so on.
    pub fn condition(dr7: u64, slot: usize) -> (u64, u64) {
        (dr7 >> (16 + 4 * slot) & 3, dr7 >> (18 + 4 * slot) & 3)
    }

    /// Enables a slot (G0 and so on) with these R/W and LEN bits.
    pub fn enable(slot: usize, kind: u64, length: u64) -> u64 {
        2 << (2 * slot) | kind << (16 + 4 * slot) | length << (18 + 4 * slot)
    }
}
