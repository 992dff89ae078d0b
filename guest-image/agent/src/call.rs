//! The raw doors into the kernel, and where the agent's code lies.

use core::arch::global_asm;
use protocol::Door;

// A step's own call is told from all other calls by the address that it returns to. So there is one
// `syscall` instruction for it, which nothing else uses, and a label behind it.
//
// Both functions take (number, pointer to six arguments) in RDI and RSI, as the System V ABI has it,
// and return RAX as the kernel left it. The kernel keeps all registers but RAX, RCX and R11.
global_asm!(
    ".pushsection .text.vmm_agent_doors, \"ax\", @progbits",
    ".globl vmm_agent_syscall64",
    ".type vmm_agent_syscall64, @function",
    "vmm_agent_syscall64:",
    "mov rax, rdi",
    "mov rdi, [rsi]",
    "mov rdx, [rsi + 16]",
    "mov r10, [rsi + 24]",
    "mov r8,  [rsi + 32]",
    "mov r9,  [rsi + 40]",
    "mov rsi, [rsi + 8]",
    "syscall",
    ".globl vmm_agent_syscall64_return",
    "vmm_agent_syscall64_return:",
    "ret",
    ".size vmm_agent_syscall64, . - vmm_agent_syscall64",
    "",
    ".globl vmm_agent_int80",
    ".type vmm_agent_int80, @function",
    "vmm_agent_int80:",
    "push rbx",
    "push rbp",
    "mov rax, rdi",
    "mov rbx, [rsi]",
    "mov rcx, [rsi + 8]",
    "mov rdx, [rsi + 16]",
    "mov rdi, [rsi + 32]",
    "mov rbp, [rsi + 40]",
    "mov rsi, [rsi + 24]",
    "int 0x80",
    ".globl vmm_agent_int80_return",
    "vmm_agent_int80_return:",
    "pop rbp",
    "pop rbx",
    "ret",
    ".size vmm_agent_int80, . - vmm_agent_int80",
    ".popsection",
);

unsafe extern "C" {
    fn vmm_agent_syscall64(nr: u64, args: *const [u64; 6]) -> i64;
    fn vmm_agent_int80(nr: u64, args: *const [u64; 6]) -> i64;
    static vmm_agent_syscall64_return: u8;
    static vmm_agent_int80_return: u8;
    // Set by the linker: the first byte of the image, and the first one behind its code.
    static __executable_start: u8;
    static etext: u8;
}

/// Makes a system call and returns RAX as the kernel left it: an errno stands there negated.
///
/// # Safety
/// The call may do anything to this process, up to unmapping the stack that it runs on. Either it does nothing that
/// this program's memory and descriptors rely on, or the process must be one of which nothing is expected any more:
/// that is what the worker is for.
pub unsafe fn raw(door: Door, nr: u64, args: &[u64; 6]) -> i64 {
    // SAFETY: the assembly reads the six arguments and keeps to the ABI; the call itself is the caller's promise.
    unsafe {
        match door {
            Door::Syscall64 => vmm_agent_syscall64(nr, args),
            Door::Int80 => vmm_agent_int80(nr, args),
        }
    }
}

/// The addresses that the `syscall` and the `int 0x80` of [`raw`] return to.
pub fn return_addresses() -> [u64; 2] {
    [(&raw const vmm_agent_syscall64_return) as u64, (&raw const vmm_agent_int80_return) as u64]
}

/// First and last-plus-one address of the agent's code.
pub fn text() -> (u64, u64) {
    ((&raw const __executable_start) as u64, (&raw const etext) as u64)
}

/// Has all of the agent's code in memory: the hypervisor looks at it there before anything of a scenario runs, and compares it later.
pub fn touch() {
    let (_, end) = text();
    for (start, size) in loaded().filter(|(start, _)| *start < end) {
        // Its first byte, and that of each page behind.
        let pages = (start & !(PAGE - 1)..start + size).step_by(PAGE as usize);
        for at in pages.map(|page| page.max(start)) {
            // SAFETY: it is in a part of this program's file that is mapped as long as the program runs.
            unsafe { (at as *const u8).read_volatile() };
        }
    }
}

const PAGE: u64 = 4096;

/// The parts of this program's file that are mapped: address and size. Between them there may be pages that are not.
fn loaded() -> impl Iterator<Item = (u64, u64)> {
    let start = (&raw const __executable_start) as u64;
    // SAFETY: the image begins with the file's header (elf(5)), which tells where its table of parts is; both are mapped
    // as long as the program runs, and nobody writes to them.
    let parts = unsafe {
        let header = &*(start as *const libc::Elf64_Ehdr);
        let first = (start + header.e_phoff) as *const libc::Elf64_Phdr;
        core::slice::from_raw_parts(first, header.e_phnum.into())
    };
    // A program that moves itself, as the tests do, has addresses that count from its start.
    let base = if parts.iter().any(|part| part.p_type == libc::PT_LOAD && part.p_vaddr == start) {
        0
    } else {
        start
    };
    let loaded = parts.iter().filter(|part| part.p_type == libc::PT_LOAD);
    loaded.map(move |part| (base + part.p_vaddr, part.p_filesz))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(door: Door, nr: u64, args: &[u64]) -> i64 {
        let mut six = [0; 6];
        six[..args.len()].copy_from_slice(args);
        // SAFETY: these tests read, write, map and unmap what is theirs alone.
        unsafe { raw(door, nr, &six) }
    }

    #[test]
    fn all_six_arguments_reach_the_kernel_in_their_order() {
        // pread64 and mmap together use every register: a file with known bytes, mapped from page 1 on.
        let mut file = std::fs::File::from(
            nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::empty()).unwrap(),
        );
        std::io::Write::write_all(&mut file, &[[1u8; 4096], [7u8; 4096]].concat()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as u64;
        let (read, private) = (libc::PROT_READ as u64, libc::MAP_PRIVATE as u64);
        let address = call(Door::Syscall64, libc::SYS_mmap as u64, &[0, 4096, read, private, fd, 4096]);
        assert!(address > 0, "mmap returned {address}");
        let mut byte = 0u8;
        let to = (&raw mut byte) as u64;
        let out = nix::unistd::pipe().unwrap();
        let writer = std::os::fd::AsRawFd::as_raw_fd(&out.1) as u64;
        assert_eq!(call(Door::Syscall64, libc::SYS_write as u64, &[writer, address as u64, 1]), 1);
        let reader = std::os::fd::AsRawFd::as_raw_fd(&out.0) as u64;
        assert_eq!(call(Door::Syscall64, libc::SYS_read as u64, &[reader, to, 1]), 1);
        assert_eq!(byte, 7);
        assert_eq!(call(Door::Syscall64, libc::SYS_munmap as u64, &[address as u64, 4096]), 0);
    }

    #[test]
    fn errors_come_back_negated() {
        assert_eq!(call(Door::Syscall64, libc::SYS_close as u64, &[u64::MAX]), -i64::from(libc::EBADF));
        assert_eq!(call(Door::Syscall64, 100_000, &[]), -i64::from(libc::ENOSYS));
    }

    #[test]
    fn all_of_the_code_is_loaded_and_can_be_touched() {
        let (start, end) = text();
        let parts: Vec<(u64, u64)> = loaded().collect();
        let inside = |address: u64| parts.iter().any(|(at, size)| (*at..at + size).contains(&address));
        assert!(inside(start) && inside(end - 1) && inside(raw as *const () as u64), "{parts:x?}");
        touch();
    }

    #[test]
    fn the_return_addresses_lie_in_the_text() {
        let (start, end) = text();
        assert!((start..end).contains(&(raw as *const () as u64)));
        for (address, instruction) in return_addresses().into_iter().zip([[0x0f, 0x05], [0xcd, 0x80]]) {
            assert!((start..end).contains(&address));
            // SAFETY: two bytes of this program's own code, in front of a label in it.
            let before = unsafe { *((address - 2) as *const [u8; 2]) };
            assert_eq!(before, instruction, "another instruction in front of the return address");
        }
    }
}
