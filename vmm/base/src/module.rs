//! What modules are called.

/// A module's name as the kernel has it: with `_` where a file's name has `-` (scripts/Makefile.lib, `name-fix`; kernel/module/main.c).
pub fn kernels_name(module: &str) -> String {
    module.replace('-', "_")
}

/// Whether two names are one module's.
pub fn is_same_module(one: &str, other: &str) -> bool {
    kernels_name(one) == kernels_name(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_may_be_called_as_its_file_or_as_the_kernel_calls_it() {
        assert_eq!(kernels_name("virtio-mmio"), "virtio_mmio");
        assert!(is_same_module("my-drv_x", "my_drv-x") && !is_same_module("my-drv", "mydrv"));
    }
}
