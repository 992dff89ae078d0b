//! The kernel's library: it works for a caller, who gave it what it stumbles over. Named only if nothing else is there.

use super::names::Group;

#[rustfmt::skip]
pub static LIBRARY: &[Group] = &[
    Group {
        why: "hand out memory and take it back: who asked for it is what matters",
        names: &[
            "kmalloc*", "kzalloc*", "kcalloc*", "krealloc*", "kvmalloc*", "kvzalloc*", "kvcalloc*", "kvrealloc*", "do_kmalloc*",
            "kmem_cache_*", "kmem_alloc*", "kmem_zone_*", "kmem_zalloc*", "slab_*", "new_slab*", "allocate_slab*", "get_partial*",
            "deactivate_slab", "unfreeze_partials", "put_cpu_partial", "flush_cpu_slab", "cmpxchg_double_slab", "alloc_pages*",
            "alloc_page", "folio_alloc*", "vma_alloc_folio*", "kfree*", "kvfree*", "ksize", "vfree*", "vunmap*", "vmalloc*", "vmap", "vmap_pages*",
            "vzalloc*", "remove_vm_area", "alloc_vmap_area", "get_vm_area_node", "memdup_user*", "vmemdup_user*", "strndup_user",
            "kmemdup*", "kvmemdup*", "kstrdup*", "kstrndup*", "devm_k*alloc*", "devm_kasprintf*", "devm_kmemdup*", "devres_alloc*",
            "alloc_percpu*", "free_percpu*", "pcpu_*", "should_fail*", "fail_dump", "get_free_pages*", "get_zeroed_page*",
            "get_page_from_freelist", "rmqueue*", "prep_new_page", "post_alloc_hook", "free_pages*", "free_page*", "free_the_page",
            "free_pcp*", "free_one_page", "free_frozen_pages*", "free_unref_*", "alloc_frozen_pages*", "alloc_slab_page*",
            "cache_free", "cache_free_alien", "cache_alloc_*", "do_slab_free", "do_cache_alloc*", "kasprintf*", "kvasprintf*",
            "mempool_*", "dma_pool_*", "dma_alloc_*", "dma_free_*", "gen_pool_*", "rcu_free_*", "refill_obj_stock", "obj_cgroup_*",
            "memcg_*slab*", "free_large_kmalloc", "free_slab", "discard_slab", "memcg_alloc*", "cma_alloc*", "alloc_skb*", "netdev_alloc_skb*", "napi_alloc_skb*", "page_frag_*", "alloc_large_system_hash",
        ],
    },
    Group {
        why: "semaphores and seldom locks",
        names: &[
            "down", "down_interruptible", "down_killable", "down_timeout", "down_trylock", "down_common*", "up", "ww_mutex_*",
            "rt_mutex_*", "rtmutex_*", "rt_spin_*", "rwbase_*", "spin_dump", "spin_bug", "rwlock_bug", "spin_msg", "debug_spin_*",
            "debug_mutex_*", "debug_rwsem*", "local_lock*", "lockref_*", "bit_spin_*", "hlist_bl_lock",
            "task_blocks_on_rt_mutex", "remove_waiter", "lg_*lock*", "percpu_down_*", "percpu_up_*", "percpu_rwsem_*",
            "mutex_is_locked", "might_lock*", "assert_spin_locked*", "atomic_dec_and_*lock*", "refcount_dec_and_*lock*",
        ],
    },
    Group {
        why: "sequence locks",
        names: &[
            "seqcount_*", "seqprop_*", "read_seqbegin*", "read_seqretry*", "read_seqcount*", "write_seq*", "do_write_seqcount*",
            "do_raw_write_seqcount*", "raw_read_seqcount*", "raw_write_seqcount*", "read_seqlock*", "done_seqretry*", "need_seqretry",
            "u64_stats_*",
        ],
    },
    Group {
        why: "sleep, wait and wake: who waits or wakes is what matters",
        names: &[
            "switch_to*", "schedule", "schedule_timeout*", "schedule_preempt_disabled", "schedule_idle", "schedule_loop*",
            "schedule_bug", "schedule_debug*", "schedule_hrtimeout*", "preempt_schedule*", "preempt_count_*", "preempt_latency_*",
            "context_switch", "cond_resched*", "io_schedule*", "wait_for_common*", "wait_for_completion*", "do_wait_for_common",
            "wait_on_bit*", "out_of_line_wait_on_*", "bit_wait*", "prepare_to_wait*", "prepare_to_swait*", "finish_wait",
            "finish_swait*", "init_wait*", "wait_woken", "woken_wake_function", "autoremove_wake_function", "default_wake_function",
            "add_wait_queue*", "remove_wait_queue*", "do_wait_intr*", "wait_event*", "wake_up*", "swake_up*", "wake_bit*", "wake_q_*",
            "complete", "complete_all", "complete_with_flags", "completion_done", "try_wait_for_completion", "try_to_wake_up",
            "ttwu_*", "sched_ttwu_pending", "wait_rcu_gp*", "might_sleep*", "might_resched*", "might_fault", "might_alloc",
            "cant_sleep", "cant_migrate", "schedule_rtlock", "wait_on_page_bit*", "folio_wait_bit*", "wait_on_buffer", "lock_page*",
            "folio_lock*", "lock_buffer", "do_sched_yield", "yield", "msleep*", "usleep_range*", "ssleep", "fsleep", "do_nanosleep",
            "hrtimer_nanosleep*", "wait_var_*", "var_wake_function", "rcuwait_*", "kthread_stop*", "kthread_park", "kthread_unpark",
            "kthread_should_*", "kthread_parkme", "freezing_slow_path", "refrigerator", "try_to_freeze*", "finish_task_switch*",
        ],
    },
    Group {
        why: "RCU: who waits for a grace period or asks for a callback is what matters",
        names: &[
            "synchronize_*", "cond_synchronize_*", "start_poll_synchronize*", "rcu_barrier*", "srcu_barrier*", "call_rcu*", "call_srcu*",
            "kvfree_call_rcu", "kfree_call_rcu*", "kvfree_rcu*", "kfree_rcu*", "rcu_read_*", "rcu_lock_*", "rcu_preempt_*",
            "srcu_*", "try_check_zero", "exp_funnel_lock", "sync_rcu_*", "sync_sched_*", "wait_rcu_exp_gp", "wakeme_after_rcu",
            "rcu_exp_*", "rcu_seq_*", "rcu_is_watching*", "rcu_dynticks_*", "rcu_eqs_*", "rcu_note_context_switch", "rcu_nmi_*",
            "rcu_irq_*", "rcu_user_*", "rcu_idle_*", "rcu_momentary_*", "rcu_all_qs", "rcu_cblist_*", "rcu_segcblist_*",
            "rcu_accelerate_cbs*", "rcu_gp_*", "get_state_synchronize_*", "rcu_head_*", "debug_rcu_*", "note_gp_changes",
            "rcu_report_*", "rcu_softirq_qs", "rcu_nocb_*", "rcu_tasks_*", "rcu_sync_*", "check_init_srcu_struct", "rcu_dereference*",
        ],
    },
    Group {
        why: "work queues: who flushes, cancels or queues the work is what matters",
        names: &[
            "flush_work*", "start_flush_work", "flush_workqueue*", "flush_scheduled_work", "flush_delayed_work", "drain_workqueue",
            "destroy_workqueue", "cancel_work*", "cancel_delayed_work*", "queue_work*", "queue_delayed_work*", "queue_rcu_work",
            "mod_delayed_work*", "insert_work*", "get_work_*", "set_work_*", "try_to_grab_pending", "work_grab_pending",
            "check_flush_dependency", "insert_wq_barrier", "touch_wq_lockdep_map", "touch_work_lockdep_map", "schedule_work", "schedule_work_on",
            "schedule_delayed_work*", "kthread_flush_work*", "kthread_cancel_*", "kthread_queue_*", "kthread_mod_delayed_work",
            "kthread_destroy_worker", "debug_work_*", "work_is_static_object", "work_fixup_*", "init_work", "alloc_workqueue*",
            "is_chained_work", "pwq_*", "put_pwq*", "tasklet_kill", "tasklet_disable*", "tasklet_schedule*", "tasklet_unlock*",
        ],
    },
    Group {
        why: "timers: who starts or stops one is what matters",
        names: &[
            "mod_timer*", "add_timer*", "del_timer*", "timer_delete*", "timer_shutdown*", "try_to_del_timer*", "init_timer*",
            "do_init_timer", "timer_init_key", "timer_setup*", "lock_timer_base", "detach_timer", "detach_if_pending",
            "internal_add_timer", "enqueue_timer", "forward_timer_base", "timer_fixup_*", "timer_is_static_object", "debug_timer_*",
            "debug_hrtimer_*", "debug_activate", "debug_deactivate", "debug_assert_init", "debug_init", "stub_timer",
            "hrtimer_start*", "hrtimer_cancel*", "hrtimer_try_to_cancel", "hrtimer_init*", "hrtimer_setup*", "hrtimer_active",
            "hrtimer_forward*", "hrtimer_reprogram*", "hrtimer_force_reprogram*", "hrtimer_fixup_*", "hrtimer_wait_*",
            "lock_hrtimer_base", "remove_hrtimer", "enqueue_hrtimer", "timerqueue_*", "destroy_*timer_on_stack", "destroy_hrtimer_*",
        ],
    },
    Group {
        why: "lists and trees: who holds the broken link is what matters",
        names: &[
            "list_add*", "list_del*", "list_move*", "list_splice*", "list_replace*", "list_cut*", "list_empty*", "list_bulk_*",
            "list_rotate*", "list_lru_*", "list_sort", "hlist_*", "llist_*", "plist_*", "klist_*",
            "rb_insert_color*", "rb_erase*", "rb_next*", "rb_prev", "rb_first*", "rb_last", "rb_replace_node*", "rb_link_node*",
            "rb_insert_augmented", "rb_rotate_*", "rb_set_parent*", "rb_change_child*", "rb_left_deepest*", "rb_add*", "rb_find*",
            "rbt_*", "rbtree_*", "interval_tree_*", "anon_vma_interval_tree_*", "xa_*", "xas_*", "radix_tree_*", "idr_*", "ida_*",
            "mas_*", "mtree_*", "mt_find*", "mt_next", "mt_prev", "mt_destroy*", "mt_validate*", "assoc_array_*", "rhashtable_*", "rht_key_*", "rht_bucket*", "rht_head_*", "rht_assign*", "rht_lock*", "rht_unlock*", "rht_ptr*", "rhltable_*", "bucket_table_*",
            "kfifo_*", "bsearch*", "sort", "sort_r", "do_sort*", "heapify_*", "btree_insert*", "btree_remove*", "btree_lookup*",
        ],
    },
    Group {
        why: "references and kernel objects: who holds or drops one is what matters",
        names: &[
            "refcount_*", "kref_*", "ref_tracker_*", "netdev_tracker_*", "netns_tracker_*", "percpu_ref_*", "kobject_*", "kset_*",
            "kobj_*", "get_device", "put_device", "sysfs_warn_dup", "sysfs_create_*", "sysfs_do_create_*", "sysfs_add_*",
            "internal_create_group*", "create_files", "create_dir", "proc_register", "proc_mkdir*", "proc_create*",
            "proc_net_mkdir", "debugfs_create_*", "module_put", "try_module_get", "module_get", "cdev_put", "dev_set_name",
            "get_page", "put_page*", "folio_get*", "folio_put*", "try_get_page", "page_ref_*", "rcuref_*", "file_ref_*",
        ],
    },
    Group {
        why: "atomic operations and bits",
        names: &[
            "atomic_*", "atomic64_*", "atomic_long_*", "arch_atomic*", "raw_atomic*", "cmpxchg*", "xchg*", "arch_cmpxchg*", "set_bit*",
            "clear_bit*", "test_bit*", "test_and_*_bit*", "arch_test_*", "arch_set_bit", "arch_clear_bit", "assign_bit", "change_bit",
            "constant_test_bit", "variable_test_bit", "bitmap_zero", "bitmap_fill", "bitmap_copy*", "bitmap_set*", "bitmap_clear*",
            "bitmap_weight*", "bitmap_parse*", "bitmap_equal", "bitmap_and*", "bitmap_or*", "bitmap_xor", "bitmap_intersects",
            "bitmap_subset", "bitmap_empty", "bitmap_full", "bitmap_find_*", "bitmap_alloc*", "bitmap_zalloc*", "bitmap_free",
            "bitmap_print_*", "bitmap_from_*", "bitmap_to_*", "bitmap_shift_*", "bitmap_cut", "bitmap_replace", "bitmap_remap", "find_*_bit*", "hweight*", "sw_hweight*", "fls*", "ffs*",
            "read_once*", "write_once*", "native_save_fl", "native_restore_fl", "arch_local_*", "native_irq_*", "raw_local_irq_*",
            "local_irq_*", "local_bh_*", "softirq_ctrl*", "percpu_counter_*", "this_cpu_*", "jump_label_*", "static_key_*",
            "arch_static_branch*", "cpumask_*", "nodes_*",
        ],
    },
    Group {
        why: "small checks that report on behalf of their caller",
        names: &[
            "debug_print_object*", "debug_object_*", "debug_objects_*", "lookup_object*", "check_preemption_disabled",
            "debug_smp_processor_id", "this_cpu_preempt_check", "usercopy_*", "check_object_size*", "check_heap_object*",
            "check_stack_object*", "check_page_span", "check_bogus_address", "check_copy_size", "copy_overflow*", "bad_page*",
            "print_bad_pte*", "print_bad_page_map*", "check_new_page*", "free_page_is_bad_report", "usb_submit_urb",
            "pgd_clear_bad", "p4d_clear_bad", "pud_clear_bad", "pmd_clear_bad", "page_poison*",
            "check_irq_*_mapping", "skb_panic", "skb_over_panic", "skb_under_panic", "skb_put*", "skb_push*", "ubsan*",
            "is_vmalloc_or_module_addr", "slow_virt_to_phys", "phys_addr*", "virt_to_*", "VM_BUG_ON*",
        ],
    },
    Group {
        why: "take back, or map, what a driver names: who names what is not there, or twice, is what matters",
        names: &[
            "free_irq", "devm_free_irq", "remove_proc_entry", "remove_proc_subtree", "iounmap", "memunmap", "pm_runtime_enable",
            "vm_insert_page*", "vm_insert_pages", "remap_pfn_range*", "dma_unmap_*", "dma_map_*", "debug_dma_*", "check_unmap",
            "check_sync", "check_for_illegal_area", "add_dma_entry", "clk_core_*", "clk_enable", "clk_disable", "clk_prepare",
            "clk_unprepare", "device_add", "device_register", "device_create*", "device_del", "device_release",
            "simple_write_to_buffer", "simple_read_from_buffer",
        ],
    },
    Group {
        why: "look through a cache because a program asked for that: who wrote there did so long before",
        names: &["validate_slab*", "validate_store", "slab_attr_store", "sysfs_kf_write", "kernfs_fop_write*"],
    },
    Group {
        why: "strings and memory",
        names: &[
            "memcpy*", "memset*", "memmove*", "memcmp*", "memchr*", "memscan", "memzero*", "memcpy_*", "bcmp", "strlen", "strnlen",
            "strcpy*", "strncpy*", "strlcpy*", "strlcat", "strcat", "strncat", "strscpy*", "sized_strscpy*", "strcmp*", "strncmp*",
            "strcasecmp*", "strncasecmp*", "strchr*", "strnchr*", "strrchr", "strstr*", "strnstr*", "strsep", "strim", "strspn",
            "strcspn", "strpbrk", "skip_spaces", "strreplace", "sysfs_streq", "match_string*", "match_token", "match_one",
            "fortify_*", "rep_movs*", "rep_stos*", "asm_memcpy", "pi_memcpy*", "pi_memset*", "pi_memmove*", "pi_str*", "pi_memcmp*",
            "clear_page*", "copy_page", "copy_highpage", "clear_highpage*", "copy_mc_*", "get_unaligned*", "put_unaligned*",
            "vsnprintf*", "snprintf*", "sprintf*", "scnprintf*", "vscnprintf*", "vsprintf*", "bstr_printf", "string", "string_nocheck",
            "pointer", "format_decode", "widen_string", "number", "hex_string", "dentry_name", "symbol_string", "ip4_addr_string",
            "ip6_*addr_string", "mac_address_string", "seq_printf*", "seq_vprintf*", "seq_puts*", "seq_putc", "seq_write",
            "seq_put_*", "seq_escape*", "sysfs_emit*", "sscanf", "vsscanf", "kstrto*", "simple_strto*", "parse_integer*", "hex2bin",
            "bin2hex", "hex_to_bin", "hex_dump_to_buffer", "hex_dump*", "print_hex*", "utf8_to_utf32", "utf8s_to_utf16s", "utf16s_to_utf8s",
        ],
    },
    Group {
        why: "copies between user memory and the kernel's",
        names: &[
            "copy_to_user*", "copy_from_user*", "copy_user_*", "copy_in_user", "raw_copy_*_user*", "arch_copy_*_user*", "copyin",
            "copyout", "copyin_*", "copyout_*", "get_user*nocheck*", "get_user_1", "get_user_2", "get_user_4", "get_user_8",
            "put_user*nocheck*", "put_user_1", "put_user_2", "put_user_4", "put_user_8", "get_user_asm*", "put_user_asm*",
            "clear_user*", "fault_in_*", "strncpy_from_user*", "do_strncpy_from_user", "strnlen_user*", "do_strnlen_user",
            "probe_kernel_*", "probe_user_*", "copy_from_kernel_nofault*", "copy_to_kernel_nofault*", "strncpy_from_kernel_nofault",
            "csum_and_copy_*", "copy_struct_from_user", "check_zeroed_user", "access_ok*", "user_access_*", "import_iovec*",
        ],
    },
    Group {
        why: "run a function on other CPUs: what it is for is what matters",
        names: &[
            "smp_call_function*", "generic_exec_single", "csd_lock_*", "csd_do_func", "on_each_cpu*", "smp_call_on_cpu", "stop_machine*",
            "stop_one_cpu*", "stop_cpus*", "queue_stop_cpus_work", "multi_cpu_stop", "cpu_stop_*", "cpu_stopper_thread",
            "text_poke*", "smp_text_poke*", "native_flush_tlb_*", "flush_tlb_multi", "arch_jump_label_*", "irq_work_queue*",
            "generic_smp_call_function*", "flush_smp_call_function_queue", "native_send_call_func_*", "native_smp_send_*",
            "irq_work_run*", "irq_work_single", "smp_send_*", "arch_send_call_function_*",
        ],
    },
    Group {
        why: "reading the clock and waiting by counting",
        names: &[
            "delay_tsc*", "delay_loop", "delay_halt*", "const_udelay", "udelay", "ndelay", "mdelay", "loop_delay", "timekeeping_get_*",
            "ktime_get*", "read_tsc", "read_hpet", "pvclock_*", "kvm_clock_*", "sched_clock*", "local_clock*", "native_sched_clock*",
            "getrawmonotonic*", "cpu_relax", "rep_nop", "native_read_msr*", "native_write_msr*", "native_apic_*", "native_cpuid*",
            "io_serial_in", "io_serial_out", "inb", "outb", "native_io_delay",
        ],
    },
];

/// Locks. A table of its own, as lockdep says by itself who takes one; unlike all the rest of the library its word is not to be doubted.
#[rustfmt::skip]
pub static LOCKS: &[Group] = &[
    Group {
        why: "spin, mutex and rw locks: who takes the lock is what matters",
        names: &[
            "mutex_lock*", "mutex_unlock*", "mutex_trylock*", "mutex_spin_on_owner", "mutex_optimistic_spin", "mutex_can_spin*",
            "raw_spin_*", "spin_lock*", "spin_unlock*", "spin_trylock*", "do_raw_spin_*", "do_raw_read_*", "do_raw_write_*", "raw_read_lock*",
            "raw_read_unlock*", "raw_read_trylock*", "raw_write_lock*", "raw_write_unlock*", "raw_write_trylock*", "read_lock*", "read_unlock*",
            "write_lock*", "write_unlock*", "queued_spin_*", "native_queued_spin_*", "pv_queued_spin_*", "pv_wait*", "pv_kick*", "pv_hybrid_*",
            "kvm_wait", "kvm_kick_cpu", "queued_read_*", "queued_write_*", "osq_*", "mcs_spin_*", "down_read*", "down_write*", "up_read*",
            "up_write*", "downgrade_write", "rwsem_*", "virt_spin_lock", "ticket_spin_*", "arch_spin_*", "arch_read_*", "arch_write_*",
            "call_rwsem_*", "debug_spin_lock*", "resilient_*", "rqspinlock_*",
        ],
    },
];

/// The part of the library that may be built as modules.
#[rustfmt::skip]
pub static IN_MODULES: &[Group] = &[
    Group {
        why: "a subsystem's own assertions",
        names: &[
            "assfail", "asswarn*", "assertfail", "btrfs_assertfail*", "bch2_assert*", "xfs_error_report", "xfs_corruption_error",
        ],
    },
    Group {
        why: "checksums, hashes and ciphers: who gave them the buffer is what matters",
        names: &[
            "crc4*", "crc7*", "crc8*", "crc16*", "crc32*", "crc64*", "crc_ccitt*", "crc_itu*", "crc_t10dif*", "crc_pcl*", "crct10dif*", "xxh32*", "xxh64*", "siphash*", "hsiphash*", "jhash*", "csum_partial*", "do_csum*", "csum_tcpudp*", "ip_fast_csum",
            "ip_compute_csum", "md4_transform*", "md5_transform*", "sha1_*", "sha224_*", "sha256_*", "sha384_*", "sha512_*", "sha3_*",
            "sha_transform*", "keccakf*", "blake2s_*", "blake2b_*", "chacha*", "hchacha*", "salsa20_*", "poly1305_*", "nhpoly1305_*",
            "curve25519_*", "aes_encrypt*", "aes_decrypt*", "aes_expandkey*", "aesni_*", "aesti_*", "crypto_aes_*", "crypto_sha*", "crypto_poly1305*", "crypto_chacha*", "crypto_blake2*", "crypto_md4*", "crypto_ghash*",
            "des_encrypt*",
            "des_decrypt*", "des3_ede_*", "gf128mul_*", "ghash_*", "polyval_*", "crypto_xor*", "crypto_cipher_*", "crypto_skcipher_*",
            "crypto_ahash_*", "crypto_shash_*", "crypto_hash_walk_*", "crypto_cbc_*", "crypto_ecb_*", "crypto_ctr_*", "shash_*",
            "scatterwalk_*", "skcipher_walk_*", "blkcipher_walk_*", "ablkcipher_walk_*", "memcpy_dir", "sg_next", "sg_init_*",
            "sg_copy_*", "sg_miter_*", "sg_pcopy_*", "sg_nents*", "sg_last", "sg_mark_end", "sg_set_*", "sg_chain", "sg_free_table*",
            "sg_alloc_table*", "get_random_*", "extract_crng*", "extract_buf", "serpent_*", "twofish_*", "camellia_*",
            "cast5_*", "cast6_*", "blowfish_*", "sm3_*", "sm4_*", "aria_*",
        ],
    },
];
