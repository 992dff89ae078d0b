//! Packed files: kernels, modules and configurations by the four formats, and kernels in a bzImage.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = base::unpack::unpack(data.to_vec());
    let _ = kernel::unpack_bzimage(data);
});
