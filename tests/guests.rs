//! The whole way with real guests: `vmm` as a user starts it, from a scenario's file to exit code, text and
//! report.
//!
//! They need a built kernel (the first run builds it, for minutes) and a host. Run them by
//!
//!     cargo build --release && cargo test --release -p vmm --test guests

mod guests {
    mod support;

    mod bad_input;
    mod bisect;
    mod ci;
    mod devices;
    mod emulator;
    mod evidence;
    mod expectations;
    mod explain;
    mod findings;
    mod grade;
    mod grade_folder;
    mod grade_kernels;
    mod grade_modules;
    mod hostile;
    mod hostile_programs;
    mod intel;
    mod interrupt;
    mod kernel_faults;
    mod kernel_tests;
    mod kernels;
    mod many;
    mod modules;
    mod programs;
    mod robustness;
    mod scenarios;
    mod symbols;
    mod warm;
}
