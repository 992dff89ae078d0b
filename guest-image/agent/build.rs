//! Links the agent at an address where no other program is.
//!
//! The hypervisor tells the agent's own system calls from those of programs by the address that they
//! come from. A program that is linked in the usual way sits at 0x400000 or, if it is position
//! independent, far above 0x5000_0000_0000.

/// Inside of the low 2 GiB: glibc's static archive refers to absent weak symbols by 32-bit offsets
/// from address 0, and does not link anywhere else.
const BASE: u32 = 0x6e00_0000;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The compiler asks for a static PIE; the last of such arguments counts.
    for arg in ["-no-pie", "-static", &format!("-Wl,--image-base={BASE:#x}")] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
