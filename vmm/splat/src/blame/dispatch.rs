//! Dispatch: what runs work for others, and where one thing that a CPU does ends and another begins.

use super::names::Group;

/// Runs whatever was handed to it. Named before the library, but after all others.
#[rustfmt::skip]
pub static DISPATCH: &[Group] = &[
    Group {
        why: "run work items, timers, tasklets and callbacks",
        names: &[
            "process_one_work", "process_scheduled_works", "worker_thread", "kthread_worker_fn", "kthread", "smpboot_thread_fn",
            "call_timer_fn", "expire_timers", "run_timers", "run_timer_base", "run_timer_softirq", "hrtimer_run_softirq", "do_softirq*",
            "handle_softirqs", "invoke_softirq", "irq_exit*", "run_ksoftirqd", "softirqentry_*", "tasklet_action*", "tasklet_hi_action*",
            "rcu_core*", "rcu_do_batch", "rcu_process_callbacks*", "rcu_cpu_kthread", "handle_irq_event*", "irq_thread*", "irq_forced_thread_fn",
            "async_run_entry_fn", "do_one_initcall", "do_initcalls", "do_basic_setup", "kernel_init*", "start_kernel", "rest_init",
            "do_init_module", "load_module", "init_module_from_file", "idempotent_init_module",
        ],
    },
    Group {
        why: "on the way back to the program, whatever it did",
        names: &[
            "exit_to_user*", "prepare_exit_to_usermode", "syscall_return_slowpath", "syscall_exit_to_user_mode*", "do_notify_resume",
            "do_exit", "do_group_exit", "resume_user_mode_work", "arch_do_signal_or_restart", "irqentry_exit_to_user_mode",
        ],
    },
    Group {
        why: "a CPU that waits for work",
        names: &[
            "native_safe_halt", "pv_native_safe_halt", "arch_safe_halt", "default_idle*", "arch_cpu_idle*", "mwait_idle*", "cpu_do_idle",
            "do_idle", "cpu_startup_entry", "acpi_idle_*", "acpi_safe_halt", "cpuidle_*", "intel_idle*", "call_cpuidle", "cpu_idle*",
            "poll_idle", "arch_call_rest_init", "tick_nohz_idle_*", "haltpoll_*", "default_enter_idle", "psw_idle*", "enabled_wait",
            "mwait_idle_with_hints*", "snooze_loop", "cpu_bringup_and_idle",
        ],
    },
];

/// Where a CPU was told what to do: the function just inside is what it was told. Only for stalls.
#[rustfmt::skip]
pub static ANCHORS: &[Group] = &[
    Group {
        why: "file operations",
        names: &[
            "vfs_read*", "vfs_write*", "vfs_iter_*", "vfs_iocb_iter_*", "new_sync_read", "new_sync_write", "do_iter_*", "do_loop_readv*",
            "call_read_iter", "call_write_iter", "ksys_read", "ksys_write", "ksys_pread64", "ksys_pwrite64", "do_readv*", "do_writev*",
            "do_preadv*", "do_pwritev*", "kernel_read*", "kernel_write*", "do_sendfile", "do_splice*", "splice_direct_to_actor",
            "splice_file_to_pipe", "vfs_splice_read", "iter_file_splice_write", "vfs_ioctl", "do_vfs_ioctl", "ksys_ioctl", "vfs_fsync*",
            "do_fsync", "vfs_fallocate", "ksys_fallocate", "vfs_poll", "do_sys_poll", "do_poll*", "do_select", "core_sys_select",
            "vfs_open", "do_dentry_open", "chrdev_open", "misc_open", "fput", "mmap_region", "call_mmap", "vfs_llseek", "do_fault",
        ],
    },
    Group {
        why: "protocol operations",
        names: &[
            "sock_sendmsg*", "sock_recvmsg*", "sock_write_iter", "sock_read_iter", "sys_sendmsg", "sys_sendmmsg", "sys_sendto",
            "sys_recvmsg", "sys_recvmmsg", "do_recvmmsg", "sys_recvfrom", "sys_connect*", "sys_bind*", "sys_accept*", "do_accept",
            "sys_listen*", "sys_setsockopt", "sys_getsockopt", "do_sock_setsockopt", "do_sock_getsockopt", "sock_common_setsockopt",
            "sock_common_getsockopt", "sock_create*", "sys_socket", "sock_release", "sock_close", "sock_ioctl", "sock_do_ioctl",
            "sys_shutdown*", "kernel_sendmsg", "kernel_recvmsg",
        ],
    },
    Group {
        why: "packets that came in",
        names: &[
            "netif_receive_skb*", "netif_rx*", "process_backlog", "napi_poll", "net_rx_action", "net_tx_action", "napi_gro_*",
            "gro_normal_list", "deliver_skb", "deliver_ptype_list_skb", "napi_complete_done",
        ],
    },
    Group {
        why: "page faults",
        names: &[
            "do_user_addr_fault", "do_page_fault*", "exc_page_fault", "asm_exc_page_fault", "do_translation_fault", "el0_da",
            "do_mem_abort",
        ],
    },
    Group {
        why: "system calls that reach a driver at once: their operations say more",
        names: CALLS_WITH_OPERATIONS,
    },
];

/// Beginnings of the kernel's functions for system calls, over versions and architectures: the plain name follows.
pub static WRAPPERS: &[&str] = &[
    "__x64_sys_",
    "__ia32_sys_",
    "__x32_sys_",
    "__arm64_sys_",
    "__riscv_sys_",
    "__s390x_sys_",
    "__s390_sys_",
    "__loongarch_sys_",
    "__se_sys_",
    "__do_sys_",
    "SyS_",
    "SYSC_",
    "sys_",
];

/// The same for the calls of 32-bit programs on a 64-bit kernel.
pub static COMPAT_WRAPPERS: &[&str] = &[
    "__x64_compat_sys_",
    "__ia32_compat_sys_",
    "__x32_compat_sys_",
    "__arm64_compat_sys_",
    "__riscv_compat_sys_",
    "__s390_compat_sys_",
    "__se_compat_sys_",
    "__do_compat_sys_",
    "compat_SyS_",
    "C_SYSC_",
    "compat_sys_",
];

/// Plain names of system calls of which the driver's function says more than the call's own name.
#[rustfmt::skip]
static CALLS_WITH_OPERATIONS: &[&str] = &[
    "sys_ioctl", "sys_read", "sys_write", "sys_readv", "sys_writev", "sys_pread64", "sys_pwrite64", "sys_preadv*", "sys_pwritev*",
    "sys_close", "sys_init_module", "sys_finit_module", "sys_delete_module", "compat_sys_ioctl", "sys_poll", "sys_ppoll",
];

/// Interrupts: what stands below one in a trace is a bystander that had the CPU before.
#[rustfmt::skip]
pub static INTERRUPTS: &[Group] = &[
    Group {
        why: "entry code of interrupts and NMIs",
        names: &[
            "asm_sysvec_*", "asm_common_interrupt", "apic_timer_interrupt*", "reschedule_interrupt", "call_function_interrupt",
            "call_function_single_interrupt", "irq_work_interrupt", "ret_from_intr", "el1_irq*", "el1h_64_irq*", "el1h_64_fiq*",
            "irq_svc", "handle_int", "asm_exc_nmi", "end_repeat_nmi", "nmi", "nmi_stack_correct", "ext_int_handler",
            "io_int_handler", "decrementer_common*", "hardware_interrupt_common*", "xen_hvm_callback_vector",
            "xen_do_hypervisor_callback", "do_irq_async",
        ],
    },
];

/// Where a trace ends by nature: nothing calls these.
#[rustfmt::skip]
pub static BOTTOMS: &[Group] = &[
    Group {
        why: "entered from a program, or the first function of a thread or CPU",
        names: &[
            "entry_SYSCALL*", "entry_INT80*", "entry_SYSENTER*", "el0t_*", "el0_sync*", "el0_svc*", "el0_irq*", "ret_from_*",
            "ret_fast_syscall", "kthread", "start_secondary", "secondary_startup*", "start_kernel", "x86_64_start_*",
            "common_startup_64", "secondary_start_kernel", "primary_switched", "primary_map*", "system_call*", "handle_exception",
            "int_ret_from_sys_call*", "data_access*", "instruction_access*", "do_trap_ecall_u", "cpu_startup_entry", "kernel_init",
            "rest_init", "kernel_thread_starter", "do_syscall_64", "do_fast_syscall_32", "asm_exc_page_fault", "page_fault",
            "sysenter_dispatch", "tracesys*", "syscall_common", "handle_syscall", "handle_sys*", "new_thread_handler", "vectors",
        ],
    },
];
