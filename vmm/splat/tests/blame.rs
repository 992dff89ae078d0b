//! Which function is named, by kind of report: one case for each rule of docs/splat.md.

/// The finding of a log with a report of this head and these frames, innermost first.
fn finding(head: &str, frames: &str) -> splat::Finding {
    let mut log: String = head.lines().map(|line| format!("[    1.000001] {line}\n")).collect();
    log += "[    1.000002] CPU: 0 PID: 7 Comm: test Not tainted 6.12.0 #1\n[    1.000003] Call Trace:\n";
    for frame in frames.split_whitespace() {
        log += &match frame {
            "IRQ" | "/IRQ" | "NMI" | "/NMI" | "TASK" | "/TASK" => format!("[    1.000004]  <{frame}>\n"),
            _ if frame.starts_with("RIP:") => {
                format!("[    1.000004] RIP: 0010:{}+0x12/0x340\n", frame.trim_start_matches("RIP:"))
            }
            _ => match frame.strip_suffix('!') {
                Some(inlined) => format!("[    1.000004]  {inlined} include/linux/x.h:12 [inline]\n"),
                None => format!("[    1.000004]  {frame}+0x12/0x340\n"),
            },
        };
    }
    let [finding]: [splat::Finding; 1] = splat::scan(log.as_bytes()).try_into().expect(&log);
    finding
}

/// The function that is named.
fn named(head: &str, frames: &str) -> String {
    finding(head, frames).function.unwrap_or_default()
}

fn check(head: &str, cases: &[(&str, &str)]) {
    for (frames, wanted) in cases {
        assert_eq!(&named(head, frames), wanted, "{head}\n{frames}");
    }
}

#[test]
fn a_warning_in_the_library_is_its_callers() {
    let head = |function: &str| format!("WARNING: CPU: 0 PID: 7 at lib/x.c:12 {function}+0x12/0x340");
    for (function, frames, wanted) in [
        ("refcount_warn_saturate", "pool_put pool_release __fput", "pool_put"),
        ("kobject_get", "get_device foo_open chrdev_open", "foo_open"),
        ("free_irq", "foo_remove platform_remove device_remove", "foo_remove"),
        ("remove_proc_entry", "foo_exit __do_sys_delete_module", "foo_exit"),
        ("check_unmap", "debug_dma_unmap_page dma_unmap_page_attrs foo_poll", "foo_poll"),
        ("device_release", "kobject_put foo_exit __do_sys_delete_module", "foo_exit"),
        ("simple_write_to_buffer", "foo_write vfs_write ksys_write", "foo_write"),
        ("ref_tracker_free", "netdev_put! tunnel_down dev_close", "tunnel_down"),
        (
            "debug_print_object",
            "__debug_check_no_obj_freed debug_check_no_obj_freed kfree foo_free __fput",
            "foo_free",
        ),
        ("__flush_work", "cancel_work_sync foo_remove device_release_driver", "foo_remove"),
        ("__queue_work", "queue_work_on foo_irq handle_irq_event", "foo_irq"),
        ("rcu_sync_enter", "percpu_down_write freeze_super", "freeze_super"),
        ("__synchronize_srcu", "synchronize_srcu foo_unregister", "foo_unregister"),
        ("mod_timer", "foo_rearm foo_open", "foo_rearm"),
        ("xas_create", "xas_store __xa_store xa_store foo_insert", "foo_insert"),
        ("__list_add_valid", "foo_queue foo_write", "foo_queue"),
        ("idr_alloc_u32", "idr_alloc foo_new_id foo_open", "foo_new_id"),
        ("rb_erase", "foo_tree_drop foo_release", "foo_tree_drop"),
        ("__mutex_unlock_slowpath", "mutex_unlock foo_unlock_it foo_write", "foo_unlock_it"),
        (
            "__alloc_pages_noprof",
            "alloc_pages_noprof ___kmalloc_large_node __kmalloc_noprof foo_big",
            "foo_big",
        ),
        ("__local_bh_enable_ip", "foo_send foo_write", "foo_send"),
        ("skb_put", "foo_fill foo_xmit", "foo_fill"),
        ("do_exit", "do_group_exit __x64_sys_exit_group do_syscall_64", "do_exit"),
        ("foo_own", "bar vfs_write", "foo_own"),
    ] {
        assert_eq!(named(&head(function), frames), wanted, "{function} {frames}");
    }
}

#[test]
fn a_bad_access_in_a_copy_is_its_callers() {
    check(
        "BUG: KASAN: slab-out-of-bounds in memcpy+0x3c/0x60\nRead of size 64 at addr ffff888004a1b400 by task test/7",
        &[
            (
                "dump_stack_lvl print_report kasan_report kasan_check_range memcpy foo_copy vfs_write",
                "foo_copy",
            ),
            (
                "dump_stack print_address_description kasan_report check_memory_region crc32_le foo_sum foo_write",
                "foo_sum",
            ),
            ("dump_stack_lvl kasan_report hex_dump_to_buffer print_hex_dump foo_dump foo_ioctl", "foo_dump"),
            (
                "dump_stack_lvl kasan_report sha256_transform_blocks! sha256_update foo_digest foo_write",
                "foo_digest",
            ),
            ("dump_stack_lvl kasan_report strlen foo_name foo_open", "foo_name"),
            ("dump_stack_lvl kasan_report _copy_to_user foo_read vfs_read", "foo_read"),
            ("dump_stack_lvl kasan_report __wake_up_common __wake_up foo_done foo_irq", "foo_done"),
            (
                "dump_stack_lvl kasan_report do_raw_spin_lock _raw_spin_lock_irqsave add_wait_queue foo_poll vfs_poll",
                "foo_poll",
            ),
            (
                "dump_stack_lvl kasan_report seqcount_lockdep_reader_access! read_seqbegin! foo_get vfs_read",
                "foo_get",
            ),
        ],
    );
}

#[test]
fn what_only_the_library_and_dispatchers_are_in_names_the_dispatcher() {
    check(
        "BUG: KASAN: use-after-free in detach_if_pending+0x3c/0x60",
        &[
            (
                "kasan_report __list_del_entry_valid expire_timers run_timer_softirq __do_softirq",
                "expire_timers",
            ),
            ("kasan_report memcpy vfs_read kernel_read load_elf_binary", "vfs_read"),
        ],
    );
}

#[test]
fn a_system_call_is_named_plainly_and_only_if_its_body_is_at_fault() {
    check(
        "BUG: sleeping function called from invalid context at mm/slab.h:12",
        &[
            ("dump_stack_lvl __might_resched kmem_cache_alloc foo_get SyS_foo do_syscall_64", "foo_get"),
            ("dump_stack_lvl __might_resched mutex_lock __x64_sys_frob do_syscall_64", "sys_frob"),
            (
                "dump_stack_lvl __might_resched mutex_lock SYSC_frob SyS_frob entry_SYSCALL_64_fastpath",
                "sys_frob",
            ),
            (
                "dump_stack_lvl __might_resched mutex_lock __ia32_compat_sys_frob do_int80_emulation",
                "compat_sys_frob",
            ),
        ],
    );
}

#[test]
fn scheduling_in_atomic_context_is_that_of_who_slept_or_left_so() {
    check(
        "BUG: scheduling while atomic: test/7/0x00000002",
        &[
            (
                "dump_stack __schedule_bug __schedule schedule schedule_timeout msleep foo_wait foo_ioctl",
                "foo_wait",
            ),
            (
                "dump_stack __schedule_bug __schedule schedule exit_to_usermode_loop do_syscall_64",
                "exit_to_usermode_loop",
            ),
        ],
    );
}

#[test]
fn a_hung_task_is_what_sleeps_above_all_waiting() {
    check(
        "INFO: task test:7 blocked for more than 143 seconds.\n      Not tainted 6.12.0 #1\ntask:test  state:D stack:0 pid:7",
        &[
            (
                "__schedule schedule schedule_preempt_disabled __mutex_lock rtnl_lock foo_event process_one_work",
                "foo_event",
            ),
            (
                "__schedule schedule schedule_timeout wait_for_completion __flush_work cancel_work_sync foo_stop",
                "foo_stop",
            ),
            (
                "__schedule schedule rwsem_down_write_slowpath down_write inode_lock! foo_truncate vfs_write",
                "foo_truncate",
            ),
            (
                "__schedule schedule io_schedule folio_wait_bit_common __folio_lock foo_writepages",
                "foo_writepages",
            ),
            (
                "__switch_to __schedule schedule synchronize_rcu_expedited synchronize_net foo_close",
                "foo_close",
            ),
            ("__schedule schedule jbd2_log_wait_commit foo_sync ksys_sync", "foo_sync"),
            (
                "context_switch! __schedule schedule __lock_sock lock_sock_nested foo_release",
                "lock_sock_nested",
            ),
            (
                "__schedule schedule blk_mq_freeze_queue_wait blk_mq_freeze_queue foo_ctl blkdev_ioctl",
                "foo_ctl",
            ),
            ("__schedule schedule kthread_stop foo_exit __do_sys_delete_module do_syscall_64", "foo_exit"),
            ("__schedule schedule do_nanosleep hrtimer_nanosleep foo_naps", "foo_naps"),
        ],
    );
}

#[test]
fn a_leak_is_that_of_who_asked_for_the_memory() {
    let leak = |frames: &str| {
        let mut log = String::from(
            "BUG: memory leak\nunreferenced object 0xffff888103f2a800 (size 64):\n  comm \"leaky\", pid 402\n  backtrace (crc 5a1c2f3e):\n",
        );
        for frame in frames.split(' ') {
            log += &format!("    {frame}+0x29/0x90\n");
        }
        splat::scan(log.as_bytes()).remove(0).function.unwrap_or_default()
    };
    for (frames, wanted) in [
        ("kmalloc_trace leaky_open chrdev_open", "leaky_open"),
        (
            "__kmalloc_node_track_caller_noprof kmalloc_reserve __alloc_skb alloc_skb_with_frags foo_send",
            "foo_send",
        ),
        ("kmem_cache_alloc skb_clone foo_queue", "foo_queue"),
        (
            "__kmalloc_track_caller kvasprintf kvasprintf_const kobject_set_name_vargs dev_set_name foo_add",
            "foo_add",
        ),
        ("__kmalloc sk_prot_alloc sk_alloc bar_sk_alloc bar_create __sock_create", "bar_create"),
        ("kmemdup_noprof foo_copy_name foo_ioctl", "foo_copy_name"),
        ("kmem_cache_alloc_lru_noprof alloc_inode new_inode foo_iget", "foo_iget"),
        ("pcpu_alloc_noprof percpu_counter_init_batch foo_init", "foo_init"),
        ("__kmalloc_noprof kthread_create_on_node foo_start", "foo_start"),
        (
            "slab_post_alloc_hook kmem_cache_alloc_node dup_task_struct copy_process kernel_clone",
            "copy_process",
        ),
    ] {
        assert_eq!(leak(frames), wanted, "{frames}");
    }
}

#[test]
fn what_an_interrupt_interrupted_is_not_at_fault() {
    check(
        "BUG: KASAN: use-after-free in detach_if_pending+0x3c/0x60",
        &[
            (
                "IRQ kasan_report expire_timers run_timer_softirq __do_softirq irq_exit apic_timer_interrupt /IRQ RIP:bystander loop_in_it",
                "expire_timers",
            ),
            (
                "IRQ kasan_report foo_timer call_timer_fn /IRQ TASK asm_sysvec_apic_timer_interrupt RIP:bystander",
                "foo_timer",
            ),
            ("kasan_report expire_timers __do_softirq el1_irq bystander", "expire_timers"),
        ],
    );
}

#[test]
fn what_an_exception_interrupted_caused_it() {
    check(
        "BUG: sleeping function called from invalid context at mm/memory.c:12",
        &[(
            "__might_resched down_read do_user_addr_fault exc_page_fault asm_exc_page_fault RIP:__get_user_4 foo_peek foo_ioctl",
            "foo_peek",
        )],
    );
}

#[test]
fn machinery_is_never_named() {
    for frames in [
        "dump_stack_lvl print_tainted get_taint",
        "do_tag_check_fault do_mem_abort el1_abort el1h_64_sync_handler",
        "__sanitizer_cov_trace_pc write_comp_data",
        "rust_begin_unwind core::panicking::panic_fmt",
        "smp_apic_timer_interrupt apic_timer_interrupt",
        "entry_SYSCALL_64_after_hwframe do_syscall_64",
    ] {
        assert_eq!(named("BUG: using smp_processor_id() in preemptible [00000000] code: test/7", frames), "");
    }
}

#[test]
fn an_inlined_frame_is_never_named_as_without_a_symboliser_there_is_none() {
    check(
        "BUG: using smp_processor_id() in preemptible [00000000] code: test/7",
        &[
            (
                "dump_stack_lvl check_preemption_disabled spin_lock! my_inline! foo_count vfs_write",
                "foo_count",
            ),
            ("dump_stack_lvl check_preemption_disabled foo_count vfs_write", "foo_count"),
        ],
    );
}

#[test]
fn a_trace_is_told_from_where_it_tells_something() {
    for (head, frames, first) in [
        (
            "Kernel panic - not syncing: why",
            "dump_stack_lvl dump_stack panic foo_init do_one_initcall",
            "foo_init",
        ),
        ("Kernel panic - not syncing: why", "dump_stack_lvl panic", "dump_stack_lvl"),
        (
            "WARNING: CPU: 0 PID: 7 at lib/x.c:12 kobject_get+0x12/0x340",
            "kobject_get get_device foo_open",
            "foo_open",
        ),
        (
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [test:7]",
            "delay_tsc foo_write do_syscall_64",
            "delay_tsc",
        ),
    ] {
        let finding = finding(head, frames);
        assert_eq!(finding.telling_frames()[0].function, first, "{finding:?}");
    }
}

#[test]
fn what_an_interrupt_interrupted_is_not_in_the_fingerprint() {
    let head = "WARNING: CPU: 0 PID: 7 at lib/x.c:12 foo_timer+0x12/0x340";
    let of = |rest: &str| {
        let frames = format!("foo_timer call_timer_fn run_timer_softirq __do_softirq {rest}");
        finding(head, &frames).fingerprint
    };
    let one = of("asm_sysvec_apic_timer_interrupt /IRQ TASK RIP:bystander bystander_caller vfs_write");
    assert_eq!(one, of("asm_sysvec_apic_timer_interrupt /IRQ TASK RIP:another another_caller"));
    assert_ne!(one, of("another_caller"));
}

#[test]
fn a_data_race_has_one_fingerprint_whoever_came_first() {
    let side = |name: &str, access: &str| {
        format!(
            "{access} to 0xffff888003f2a800 of 4 bytes by task 7 on cpu 0:\n {name}+0x1/0x2\n {name}_caller+0x1/0x2\n\n"
        )
    };
    let race = |one: (&str, &str), other: (&str, &str)| {
        let head = "==================================================================\nBUG: KCSAN: data-race in add / get\n\n";
        let log = format!(
            "{head}{}{}Reported by Kernel Concurrency Sanitizer on:\nCPU: 0 PID: 7 Comm: x Not tainted 6.12.0 #1\n==================================================================\n",
            side(one.0, one.1),
            side(other.0, other.1)
        );
        let [finding]: [splat::Finding; 1] = splat::scan(log.as_bytes()).try_into().expect("one");
        (finding.title, finding.fingerprint, finding.frames)
    };
    let (add, get) = (("add", "write"), ("get", "read"));
    assert_eq!(race(add, get), race(get, add));
}
