//! Functions that stand at the top of a trace without being where the trouble is.
//!
//! Data: each group has its reason. A name that ends in `*` matches every function that begins so; leading
//! underscores do not count, on either side.

/// A group of functions and why they say nothing about the cause.
struct Group {
    #[allow(dead_code, reason = "for the reader of the table; the test demands that it is there")]
    why: &'static str,
    names: &'static [&'static str],
}

#[rustfmt::skip]
const HELPERS: &[Group] = &[
    Group {
        why: "print the stack or the report",
        names: &[
            "dump_stack*", "show_stack*", "dump_backtrace*", "show_regs", "unwind_backtrace",
            "print_report", "print_address_description*", "show_trace*", "print_modules", "printk*",
            "vprintk*", "_printk*", "sched_show_task", "show_task", "nmi_cpu_backtrace*",
            "nmi_trigger_cpumask_backtrace", "arch_trigger_cpumask_backtrace", "trigger_*_backtrace",
            "trigger_single_cpu_backtrace", "trigger_all_cpu_backtrace", "dump_cpu_task",
            "show_dump_task*", "stack_trace_save*", "arch_stack_walk", "save_stack*", "set_track*",
            "print_trailer", "object_err", "slab_err", "slab_bug", "slab_fix", "object_dump",
        ],
    },
    Group {
        why: "raise the report: WARN, BUG and panic themselves",
        names: &[
            "warn", "warn_printk", "warn_slowpath*", "warn_alloc", "report_bug*", "fixup_bug*",
            "handle_bug", "do_trap*", "do_error_trap*", "do_invalid_op", "invalid_op", "exc_invalid_op",
            "asm_exc_invalid_op", "panic", "vpanic", "nmi_panic", "check_panic_on_warn", "panic_on_warn",
            "bug_handler", "call_break_hook", "brk_handler", "do_debug_exception", "el1_dbg", "el1_brk64",
            "el1h_64_sync*", "do_el1_brk64", "el1_sync*", "program_check_exception",
            "program_check_common*", "handle_break", "do_trap_break", "die", "die_body*", "die_addr",
            "oops_end", "oops_begin", "oops_exit", "stack_chk_fail*", "make_task_dead", "do_exit",
            "do_group_exit", "fortify_panic", "fortify_report", "ubsan_*", "rust_begin_unwind",
            "rust_helper_BUG", "core::panicking::*", "kernel::panic", "rust_helper_bug",
        ],
    },
    Group {
        why: "take the exception that the report is about",
        names: &[
            "page_fault_oops", "no_context", "bad_area*", "kernelmode_fixup_or_oops*", "do_page_fault",
            "exc_page_fault", "asm_exc_page_fault", "page_fault", "async_page_fault", "do_user_addr_fault",
            "do_kern_addr_fault", "mm_fault_error", "do_general_protection", "general_protection",
            "exc_general_protection", "asm_exc_general_protection", "exc_divide_error",
            "asm_exc_divide_error", "divide_error", "do_divide_error", "do_double_fault",
            "exc_double_fault", "asm_exc_double_fault", "double_fault", "do_mem_abort",
            "do_translation_fault", "do_kernel_fault", "el1_abort", "el1_da", "do_DataAbort", "dabt_svc",
            "do_bad_area", "bug_finish", "error_code", "common_exception",
        ],
    },
    Group {
        why: "sanitizers and their hooks",
        names: &[
            "kasan*", "asan_*", "hwasan_*", "check_memory_region*", "check_region_inline",
            "memory_is_poisoned*", "kmsan*", "msan_*", "kcsan*", "tsan_*", "kfence*", "sanitizer_*",
            "read_word_at_a_time", "instrument_atomic*", "instrument_copy*", "ubsan*", "handle_overflow",
            "val_to_string", "stack_depot_save*", "poison_*", "unpoison_*", "kmemleak*", "create_object",
            "delete_object*", "fault_in_*", "check_bytes_and_report", "check_object", "on_freelist",
            "report_*_fault", "check_slab*", "free_debug_processing", "alloc_debug_processing",
            "free_to_partial_list", "slab_pad_check", "check_poison*", "free_consistency_checks",
        ],
    },
    Group {
        why: "hand out memory: who asked for it is what matters",
        names: &[
            "kmalloc*", "kzalloc*", "kcalloc*", "krealloc*", "kvmalloc*", "kvzalloc*", "do_kmalloc*",
            "kmem_cache_*", "slab_*", "alloc_pages*", "kfree*", "kvfree", "vfree", "vunmap", "vmalloc*",
            "vzalloc*", "memdup_user*", "kmemdup*", "kstrdup*", "kstrndup*", "devm_k*alloc",
            "alloc_percpu*", "pcpu_alloc*", "should_fail*", "fail_dump", "get_free_pages*", "free_pages*",
            "free_pages_prepare", "free_frozen_pages", "free_unref_*", "alloc_frozen_pages*", "cache_free",
            "cache_free_alien", "do_slab_free", "kasprintf", "kvasprintf*",
        ],
    },
    Group {
        why: "lockdep's own functions",
        names: &[
            "lockdep*", "lock_acquire*", "lock_release*", "lock_is_held*", "lock_downgrade",
            "validate_chain", "check_prev_add", "check_prevs_add", "check_noncircular", "check_deadlock",
            "check_irq_usage", "check_usage*", "check_locks_freed", "check_wait_context*",
            "print_circular_bug*", "print_deadlock_bug*", "print_usage_bug*", "print_irq_inversion_bug*",
            "print_bad_irq_dependency*", "print_lock_*", "print_unlock_imbalance_bug*",
            "print_freed_lock_bug*", "print_held_locks_bug*", "print_lock_invalid_wait_context*",
            "print_collision*", "mark_lock*", "mark_held_locks", "mark_usage", "register_lock_class",
            "assign_lock_key", "debug_check_no_locks_*", "reacquire_held_locks", "look_up_lock_class",
            "trace_hardirqs_*", "trace_softirqs_*", "valid_state", "debug_locks_off",
        ],
    },
    Group {
        why: "take a lock: who takes it is what matters",
        names: &[
            "mutex_lock*", "mutex_unlock*", "mutex_trylock*", "ww_mutex_*", "rt_mutex_*", "rtmutex_*",
            "raw_spin_*", "spin_lock*", "spin_unlock*", "spin_trylock*", "do_raw_spin_*", "do_raw_read_*",
            "do_raw_write_*", "raw_read_*", "raw_write_*", "rt_spin_*", "queued_spin_*",
            "native_queued_spin_*", "pv_queued_spin_*", "pv_wait*", "kvm_wait", "queued_read_*",
            "queued_write_*", "osq_*", "down", "down_read*", "down_write*", "down_interruptible",
            "down_killable", "down_trylock", "up_read", "up_write", "down_common*", "rwsem_*",
            "percpu_down_*", "percpu_rwsem_*", "rwbase_*", "spin_dump", "spin_bug", "rwlock_bug",
        ],
    },
    Group {
        why: "wait: who waits is what matters",
        names: &[
            "switch_to*", "schedule", "schedule_timeout*", "schedule_preempt_disabled", "schedule_idle",
            "schedule_loop*", "schedule_bug", "schedule_debug*", "schedule_hrtimeout*",
            "preempt_schedule*", "context_switch", "cond_resched*", "io_schedule*", "wait_for_common*",
            "wait_for_completion*", "do_wait_for_common", "wait_on_bit*", "out_of_line_wait_on_bit*",
            "bit_wait*", "prepare_to_wait*", "finish_wait", "wait_rcu_gp*", "might_sleep", "might_resched",
            "might_fault", "schedule_rtlock", "wait_on_page_bit*", "folio_wait_bit*", "rcu_lock_*",
            "do_sched_yield", "msleep*", "usleep_range*", "ssleep", "fsleep",
        ],
    },
    Group {
        why: "small checks that report on behalf of their caller",
        names: &[
            "refcount_*", "list_add_valid*", "list_del_entry_valid*", "list_add", "list_del",
            "list_del_init", "debug_print_object*", "debug_object_*", "debug_check_no_obj_freed*",
            "usercopy_*", "check_object_size*", "check_heap_object*", "check_stack_object*",
            "check_preemption_disabled", "debug_smp_processor_id", "this_cpu_preempt_check", "kobject_get",
            "kobject_put", "memcpy*", "memset*", "memmove*", "memcmp", "memchr*", "memscan", "strlen",
            "strnlen", "strcpy", "strncpy", "strlcpy", "strscpy*", "strcmp", "strncmp", "strchr*",
            "strstr", "strcasecmp", "sized_strscpy*", "fortify_*", "rep_movs*", "clear_user*",
            "asm_memcpy", "pi_memcpy*", "pi_memset*", "copy_to_user*", "copy_from_user*", "copy_user_*",
            "arch_copy_*_user*", "get_user_nocheck_*", "get_user_1", "get_user_2", "get_user_4",
            "get_user_8", "put_user_nocheck_*", "put_user_1", "put_user_2", "put_user_4", "put_user_8",
            "raw_copy_*_user*", "bitmap_*", "find_*_bit*", "rht_*", "bad_page*", "print_bad_pte*",
            "print_bad_page_map*", "check_new_page*", "free_page_is_bad_report", "x86_indirect_thunk*",
            "x86_return_thunk*", "vsnprintf", "snprintf", "sprintf", "scnprintf", "string",
            "string_nocheck", "pointer", "format_decode",
        ],
    },
    Group {
        why: "interrupt and timer path that noticed a stall",
        names: &[
            "rcu_check_callbacks", "rcu_sched_clock_irq", "print_cpu_stall*", "print_other_cpu_stall*",
            "check_cpu_stall*", "rcu_dump_cpu_stacks*", "rcu_pending", "rcu_stall_*",
            "synchronize_rcu_expedited_wait*", "update_process_times", "tick_sched_*", "tick_nohz_handler",
            "tick_handle_periodic", "hrtimer_interrupt", "hrtimer_run_queues*", "run_hrtimer*",
            "apic_timer_interrupt*", "smp_apic_timer_interrupt", "sysvec_*", "asm_sysvec_*",
            "smp_call_function_interrupt", "local_apic_timer_interrupt", "watchdog_timer_fn",
            "watchdog_overflow_callback", "watchdog_hardlockup_check", "watchdog", "check_hung_*",
            "arch_timer_handler*", "handle_percpu_devid_irq", "generic_handle_irq*",
            "generic_handle_domain_irq", "handle_domain_irq", "handle_irq_desc", "gic_handle_irq*",
            "call_on_irq_stack", "do_interrupt_handler", "el1_irq", "el1_interrupt*", "el1h_64_irq*",
            "irq_exit*", "perf_event_overflow*", "perf_event_nmi_handler", "intel_pmu_handle_irq",
            "nmi_handle", "default_do_nmi", "do_nmi", "exc_nmi", "end_repeat_nmi", "nmi",
        ],
    },
    Group {
        why: "idle loop: a CPU that waits for work",
        names: &[
            "native_safe_halt", "pv_native_safe_halt", "default_idle*", "arch_cpu_idle", "mwait_idle*",
            "cpu_do_idle", "do_idle", "cpu_startup_entry", "acpi_idle_*", "acpi_safe_halt", "cpuidle_*",
            "intel_idle*", "call_cpuidle",
        ],
    },
    Group {
        why: "the way into the kernel, the same for every trouble",
        names: &[
            "entry_SYSCALL*", "entry_INT80*", "entry_SYSENTER*", "do_syscall_*", "do_fast_syscall_32",
            "do_int80*", "do_SYSENTER_32", "do_el0_svc*", "el0*", "invoke_syscall*", "system_call*",
            "ret_from_*", "ret_fast_syscall", "syscall_*", "x64_sys_call", "ia32_sys_call",
            "exit_to_user*", "prepare_exit_to_usermode", "kthread", "start_secondary",
            "secondary_startup*", "x86_64_start_*", "common_startup_64", "secondary_start_kernel",
            "primary_switched", "kernel_thread_helper", "kernel_thread_starter", "handle_exception",
            "do_trap_ecall_u", "sys_call_table",
        ],
    },
];

/// Where a trace ends by nature: nothing calls these.
#[rustfmt::skip]
const BOTTOMS: &[&str] = &[
    "entry_SYSCALL*", "entry_INT80*", "entry_SYSENTER*", "el0t_*", "el0_sync*", "el0_svc*",
    "el0_irq*", "ret_from_*", "ret_fast_syscall", "kthread", "start_secondary",
    "secondary_startup*", "start_kernel", "x86_64_start_*", "common_startup_64",
    "secondary_start_kernel", "primary_switched", "primary_map*", "system_call*",
    "handle_exception", "int_ret_from_sys_call*", "data_access*", "instruction_access*", "do_trap_ecall_u", "cpu_startup_entry", "kernel_init", "rest_init",
    "kernel_thread_starter", "do_syscall_64", "do_fast_syscall_32", "asm_exc_page_fault",
    "page_fault", "sysenter_dispatch", "tracesys*", "syscall_common", "handle_syscall",
    "handle_sys*", "new_thread_handler", "vectors",
];

/// Whether `function` belongs to the machinery around a report.
pub fn is_helper(function: &str) -> bool {
    HELPERS.iter().any(|group| any(group.names, function))
}

/// Whether a trace ends here because nothing calls this function.
pub fn is_bottom(function: &str) -> bool {
    any(BOTTOMS, function)
}

fn any(names: &[&str], function: &str) -> bool {
    let function = function.trim_start_matches('_');
    names.iter().any(|name| {
        let name = name.trim_start_matches('_');
        match name.split_once('*') {
            Some((start, "")) => function.starts_with(start),
            Some((start, end)) => {
                function.len() >= start.len() + end.len()
                    && function.starts_with(start)
                    && function.ends_with(end.trim_end_matches('*'))
                    || end.ends_with('*')
                        && function.strip_prefix(start).is_some_and(|f| f.contains(end.trim_end_matches('*')))
            }
            None => function == name,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_told_from_drivers() {
        for helper in [
            "dump_stack_lvl",
            "__warn",
            "kasan_report",
            "_raw_spin_lock_irqsave",
            "__mutex_lock",
            "mutex_lock_nested",
            "refcount_warn_saturate",
        ] {
            assert!(is_helper(helper), "{helper} is a helper");
        }
        for real in [
            "chardev_write",
            "warn_me_driver_init",
            "downloads_open",
            "panic_button_read",
            "schedule_work_foo",
            "upload",
            "string_theory",
            "spin_write",
            "diesel_start",
            "get_user_pages",
        ] {
            assert!(!is_helper(real), "{real} is not a helper");
        }
    }

    #[test]
    fn every_group_has_its_reason() {
        assert!(HELPERS.iter().all(|group| !group.why.is_empty() && !group.names.is_empty()));
    }
}
