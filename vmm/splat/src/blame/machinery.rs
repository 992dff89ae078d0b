//! Machinery: what prints a report, what raises it, and the way into the kernel. It is the same for every trouble, so it is never named.

use super::names::Group;

#[rustfmt::skip]
pub static MACHINERY: &[Group] = &[
    Group {
        why: "print the stack or the report",
        names: &[
            "dump_stack*", "show_stack*", "dump_backtrace*", "show_regs*", "show_registers*", "unwind_backtrace", "walk_stackframe",
            "print_report*", "print_address_description*", "show_trace*", "print_modules", "print_tainted*", "get_taint",
            "printk*", "vprintk*", "_printk*", "sched_show_task", "show_task", "show_state_filter", "nmi_cpu_backtrace*",
            "nmi_trigger_cpumask_backtrace", "arch_trigger_cpumask_backtrace", "trigger_*_backtrace", "trigger_single_cpu_backtrace",
            "trigger_all_cpu_backtrace", "dump_cpu_task", "show_dump_task*", "stack_trace_save*", "arch_stack_walk", "save_stack*",
            "save_trace", "set_track*", "print_trailer", "object_err", "slab_err", "slab_bug", "slab_fix", "object_dump", "dump_page*",
            "print_page_info", "print_hex_dump*", "kasan_print*", "unwind_get_return_address", "arch_cpu_backtrace*",
            "print_worker_info", "print_stop_info", "dump_header", "oom_kill_process", "out_of_memory", "report_bad_irq",
            "note_interrupt", "print_irqtrace_events", "print_vma_addr", "dump_mm", "dump_vma", "show_mem", "print_error_description",
        ],
    },
    Group {
        why: "raise the report: WARN, BUG and panic themselves",
        names: &[
            "warn", "warn_printk", "warn_slowpath*", "warn_alloc*", "warn_flush_*", "warn_flushing_*", "warn_bogus_irq_restore", "warn_thunk_thunk",
            "report_bug*", "fixup_bug*", "handle_bug", "do_trap*", "do_error_trap*", "do_invalid_op", "invalid_op", "exc_invalid_op",
            "asm_exc_invalid_op", "panic", "vpanic", "nmi_panic", "check_panic_on_warn", "panic_on_warn", "bug_handler",
            "call_break_hook", "brk_handler", "do_debug_exception", "el1_dbg", "el1_brk64", "el1h_64_sync*", "do_el1_brk64",
            "el1_sync*", "early_brk64", "bug_brk_handler", "program_check_exception", "program_check_common*", "handle_break",
            "do_trap_break", "do_bp", "handle_bp_int", "do_ade*", "die", "die_body*", "die_addr", "die_kernel_fault", "arm_notify_die",
            "do_undefinstr", "und_svc*", "oops_end", "oops_begin", "oops_exit", "stack_chk_fail*", "make_task_dead",
            "fortify_panic", "fortify_report", "ubsan_*", "bug", "do_report_trap", "monitor_event_exception", "do_per_trap",
            "illegal_op", "pgm_check_handler", "cfi_*fail*", "report_cfi_failure", "bpf_trampoline_enter_bug",
            "rust_begin_unwind", "rust_helper_BUG", "rust_helper_bug", "core::panicking::*", "kernel::panic", "rustc::rust_begin_unwind",
            "core::option::expect_failed", "core::option::unwrap_failed", "core::result::unwrap_failed", "core::cell::panic_*",
            "core::slice::index::*", "core::str::slice_error_fail*",
        ],
    },
    Group {
        why: "sanitizers and their hooks, and coverage",
        names: &[
            "kasan_*", "kasan", "asan_*", "hwasan_*", "check_memory_region*", "check_region_inline", "memory_is_poisoned*",
            "kmsan_*", "msan_*", "kcsan_*", "tsan_*", "kfence_*", "sanitizer_*", "write_comp_data", "check_kcov_mode",
            "canonicalize_ip", "read_word_at_a_time", "instrument_atomic*", "instrument_copy*", "instrument_read*",
            "instrument_write*", "handle_overflow", "val_to_string", "stack_depot_*", "poison_*", "unpoison_*", "kmemleak_*",
            "create_object", "delete_object*", "check_bytes_and_report", "check_object", "on_freelist", "report_*_fault",
            "check_slab*", "free_debug_processing", "alloc_debug_processing", "free_to_partial_list", "slab_pad_check",
            "check_poison*", "check_pad_bytes", "free_consistency_checks", "alloc_consistency_checks", "validate_slab*",
            "quarantine_*", "qlink_free", "qlist_*", "metadata_access*", "virt_to_page_or_null", "set_reset_or_poison*",
            "end_report", "start_report", "complete_report_info", "print_kcsan*", "addr_has_metadata", "fail_non_kasan*",
        ],
    },
    Group {
        why: "lockdep's own functions",
        names: &[
            "lockdep*", "lock_acquire*", "lock_release*", "lock_is_held*", "lock_downgrade", "lock_set_class", "lock_pin_lock",
            "lock_unpin_lock", "lock_repin_lock", "lock_contended", "lock_acquired", "lock_sync", "validate_chain*", "check_prev_add",
            "check_prevs_add", "check_noncircular", "check_deadlock", "check_irq_usage", "check_usage*", "check_locks_freed",
            "check_wait_context*", "check_path", "bfs", "graph_lock", "print_circular_bug*", "print_deadlock_bug*", "print_usage_bug*",
            "print_irq_inversion_bug*", "print_bad_irq_dependency*", "print_lock*", "print_unlock_imbalance_bug*",
            "print_freed_lock_bug*", "print_held_locks_bug*", "print_lock_invalid_wait_context*", "print_lock_nested_lock_not_held*",
            "print_collision*", "print_kernel_ident", "print_shortest_lock_dependencies*", "mark_lock*", "mark_held_locks",
            "mark_usage", "register_lock_class", "assign_lock_key", "debug_check_no_locks_*", "debug_check_no_obj_*",
            "reacquire_held_locks", "look_up_lock_class", "trace_hardirqs_*", "trace_softirqs_*", "trace_irq_*", "trace_preempt_*",
            "valid_state", "debug_locks_off*", "match_held_lock", "find_held_lock", "lookup_chain_cache*", "add_chain_cache*",
            "locks_after", "rcu_lockdep_*", "ftrace_likely_update",
        ],
    },
    Group {
        why: "the tick, an interrupt or an NMI that noticed a stall or printed it",
        names: &[
            "rcu_check_callbacks", "rcu_sched_clock_irq", "print_cpu_stall*", "print_other_cpu_stall*", "check_cpu_stall*",
            "rcu_dump_cpu_stacks*", "rcu_pending", "rcu_stall_*", "rcu_check_gp_kthread_*", "synchronize_rcu_expedited_wait*",
            "update_process_times*", "tick_sched_*", "tick_nohz_handler", "tick_handle_periodic*", "tick_periodic", "tick_do_*",
            "hrtimer_interrupt", "hrtimer_run_queues*", "run_hrtimer*", "hrtimer_nanosleep_restart", "apic_timer_interrupt*",
            "smp_apic_timer_interrupt*", "smp_trace_apic_timer_interrupt*", "sysvec_*", "asm_sysvec_*", "smp_call_function_interrupt",
            "smp_reschedule_interrupt", "reschedule_interrupt", "call_function_interrupt", "call_function_single_interrupt",
            "local_apic_timer_interrupt", "smp_irq_work_interrupt", "irq_work_interrupt", "watchdog_timer_fn",
            "watchdog_overflow_callback", "watchdog_hardlockup_check", "watchdog", "is_hardlockup", "check_hung_*",
            "arch_timer_handler*", "riscv_timer_interrupt", "c0_compare_interrupt",
            "constant_timer_interrupt", "handle_percpu_devid_irq*", "handle_percpu_irq", "generic_handle_irq*", "generic_handle_domain_irq",
            "handle_domain_irq", "handle_irq_desc", "handle_edge_irq", "handle_fasteoi_irq", "handle_level_irq",
            "do_IRQ*", "common_interrupt*", "asm_common_interrupt", "ret_from_intr", "gic_handle_irq*", "plic_handle_irq",
            "riscv_intc_irq", "handle_riscv_irq", "do_irq", "handle_arch_irq", "handle_int", "call_on_irq_stack", "call_on_stack",
            "do_interrupt_handler", "el1_irq*", "el1_interrupt*", "el1h_64_irq*", "el1h_64_fiq*", "irq_svc",
            "decrementer_common*", "hardware_interrupt_common*", "performance_monitor_common*", "doorbell_*_common*",
            "ext_int_handler", "do_ext_irq", "do_ext_interrupt", "do_irq_async", "io_int_handler", "do_io_irq", "irq_enter*",
            "perf_event_overflow*", "perf_event_nmi_handler", "intel_pmu_handle_irq*", "amd_pmu_*handle_irq", "x86_pmu_handle_irq",
            "handle_pmi_common", "nmi_handle", "default_do_nmi", "do_nmi", "exc_nmi", "asm_exc_nmi", "end_repeat_nmi", "nmi",
            "nmi_stack*", "first_nmi", "repeat_nmi", "irqentry_*", "asm_call_*", "run_*_on_irqstack*", "xen_pv_evtchn_do_upcall",
            "xen_evtchn_do_upcall", "xen_do_hypervisor_callback", "xen_hvm_callback_vector", "hyperv_*_callback_vector",
        ],
    },
    Group {
        why: "tracing and patching that a function runs through on its way",
        names: &[
            "ftrace_call*", "ftrace_caller*", "ftrace_regs_call*", "ftrace_regs_caller*", "ftrace_graph_*", "ftrace_stub*",
            "function_trace_call", "arch_ftrace_ops_list_func", "ftrace_ops_*list_func", "return_to_handler",
            "ftrace_return_to_handler", "kprobe_ftrace_handler", "kretprobe_trampoline*", "arch_rethook_trampoline*",
            "trace_event_raw_event_*", "perf_trace_*", "traceiter_*", "bpf_trace_*", "do_trace_*", "trace_contention_*",
            "x86_indirect_*", "x86_return_thunk*", "srso_*return_thunk", "retbleed_*", "indirect_thunk*", "restore_fpregs*",
        ],
    },
    Group {
        why: "the way into the kernel and out of it",
        names: &[
            "entry_SYSCALL*", "entry_INT80*", "entry_SYSENTER*", "do_syscall*", "do_fast_syscall_32", "do_int80*", "int80_emulation",
            "do_SYSENTER_32", "sysenter_*", "do_el0_svc*", "el0*", "invoke_syscall*", "system_call*", "ret_from_*", "ret_fast_syscall*",
            "ret_to_user*", "ret_slow_syscall", "syscall_enter_*", "syscall_exit_work*", "syscall_trace_*", "syscall_common",
            "syscall_handler", "handle_syscall*", "handle_sys*", "x64_sys_call", "ia32_sys_call", "x32_sys_call", "tracesys*",
            "int_ret_from_sys_call*", "stub_clone", "stub_fork", "stub_vfork", "stub_execve*", "stub_rt_sigreturn", "start_secondary", "secondary_startup*", "x86_64_start_*",
            "common_startup_64", "secondary_start_kernel", "primary_switched", "kernel_thread_helper", "kernel_thread_starter",
            "handle_exception", "do_trap_ecall_u", "sys_call_table", "system_call_exception", "system_call_vectored*",
            "el0_svc_common*", "el0_svc_handler", "compat_syscall*", "userspace", "new_thread_handler", "vectors",
        ],
    },
];

/// The part of the machinery that an exception goes through. What is below it in a trace caused the exception.
#[rustfmt::skip]
pub static EXCEPTIONS: &[Group] = &[
    Group {
        why: "take the exception that the report is about",
        names: &[
            "page_fault_oops", "no_context", "bad_area*", "kernelmode_fixup_or_oops*", "do_page_fault", "exc_page_fault",
            "asm_exc_page_fault", "page_fault", "async_page_fault", "do_async_page_fault", "do_user_addr_fault",
            "do_kern_addr_fault", "mm_fault_error", "show_fault_oops", "spurious_kernel_fault*", "trace_do_page_fault",
            "do_general_protection", "general_protection", "exc_general_protection", "asm_exc_general_protection",
            "exc_divide_error", "asm_exc_divide_error", "divide_error", "do_divide_error", "do_double_fault", "exc_double_fault",
            "asm_exc_double_fault", "double_fault", "df", "exc_stack_segment", "asm_exc_stack_segment", "stack_segment",
            "exc_int3", "asm_exc_int3", "int3", "do_int3*", "exc_alignment_check", "asm_exc_alignment_check", "alignment_check",
            "exc_control_protection", "asm_exc_control_protection", "exc_debug", "asm_exc_debug", "error_entry", "error_code",
            "do_mem_abort", "do_translation_fault", "do_kernel_fault", "el1_abort", "el1_da", "el1_ia", "el1_pc", "el1_undef*",
            "do_tag_check_fault", "do_tag_recovery", "do_alignment_fault", "do_sp_pc_abort", "do_bad", "do_sea",
            "do_serror*", "el1h_64_error*", "el1_error*", "do_DataAbort", "dabt_svc", "pabt_svc", "do_PrefetchAbort", "do_bad_area",
            "bug_finish", "common_exception", "ret_from_exception", "do_page_fault_*", "handle_page_fault", "tlb_do_page_fault*",
            "do_dat_exception", "do_protection_exception", "do_hash_fault", "bad_page_fault", "data_access_*",
            "instruction_access_*", "unrecoverable_exception", "do_trap_load_fault", "do_trap_insn_*", "segment_not_present",
        ],
    },
];
