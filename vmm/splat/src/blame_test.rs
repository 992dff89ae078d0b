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
        "print_tainted",
        "get_taint",
        "do_tag_check_fault",
        "__sanitizer_cov_trace_pc",
        "smp_apic_timer_interrupt_x",
        "rust_begin_unwind",
        "__rb_erase_color",
        "xas_load",
        "__flush_work",
        "synchronize_rcu_expedited",
        "skb_over_panic",
        "sha256_transform",
    ] {
        assert!(Rank::of(helper, Kind::Warn) > Rank::Dispatch, "{helper} is a helper");
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
        "rb_commit_event",
        "sg_ioctl",
        "stub_probe",
        "mt_event",
        "system_heap_allocate",
        "number_show",
        "crc_device_read",
        "irq_handler",
        "timer_handler",
        "bitmap_ip_add",
        "rht_deferred_worker",
    ] {
        assert!(Rank::of(real, Kind::Warn) == Rank::Own, "{real} is not a helper");
    }
}

#[test]
fn every_group_has_its_reason_and_no_name_is_in_two_groups_of_a_table() {
    let tables: [&[names::Group]; 11] = [
        machinery::MACHINERY,
        machinery::EXCEPTIONS,
        library::LIBRARY,
        library::LOCKS,
        library::IN_MODULES,
        dispatch::DISPATCH,
        dispatch::ANCHORS,
        dispatch::INTERRUPTS,
        dispatch::BOTTOMS,
        contexts::HUNG,
        contexts::LEAK,
    ];
    for table in tables {
        let mut names = std::collections::HashSet::new();
        for group in table {
            assert!(!group.why.is_empty() && !group.names.is_empty());
            for name in group.names {
                assert!(names.insert(name), "{name} stands twice");
            }
        }
    }
}

#[test]
fn a_system_call_has_one_name_in_all_versions() {
    for name in
        ["SyS_bpf", "SYSC_bpf", "__x64_sys_bpf", "__se_sys_bpf", "__do_sys_bpf", "__arm64_sys_bpf", "sys_bpf"]
    {
        assert_eq!(call_of(name).as_deref(), Some("sys_bpf"), "{name}");
    }
    assert_eq!(call_of("__ia32_compat_sys_ioctl").as_deref(), Some("compat_sys_ioctl"));
    // These are no wrappers: the kernel's own code calls them as well.
    for name in ["__sys_sendmsg", "ksys_read", "sysfs_emit", "do_sys_openat2", "sys_"] {
        assert_eq!(call_of(name), None, "{name}");
    }
}

#[test]
fn a_function_of_a_module_is_its_own_whatever_its_name() {
    let rank = |function: &str, module: Option<&str>| {
        let frame =
            Frame { function: function.into(), module: module.map(str::to_owned), ..Frame::default() };
        super::rank(&frame, Kind::HungTask)
    };
    for name in ["strlen", "watchdog", "number", "buffer_wait", "list_add_sorted"] {
        assert_eq!(rank(name, Some("mine")), Some(Rank::Own), "{name}");
        assert!(rank(name, None) > Some(Rank::Own), "{name}");
    }
    assert_eq!(rank("assfail", Some("xfs")), Some(Rank::Library));
    assert_eq!(rank("sha256_update", Some("sha256")), Some(Rank::Library));
}
