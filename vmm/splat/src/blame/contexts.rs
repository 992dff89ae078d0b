//! Functions that say nothing in one kind of report, though they may be the culprit in another.

use super::names::Group;

/// In a task that hangs: what waits, in whatever subsystem.
#[rustfmt::skip]
pub static HUNG: &[Group] = &[
    Group {
        why: "a function that is named after waiting or locking only does that for its caller",
        names: &[
            "*wait*", "*_lock", "*_lock_nested", "*_lock_killable", "*_lock_interruptible", "*_lock_common", "*_lock_slow*", "*slowlock*",
            "*completion*", "*schedule*", "*_down_read", "*_down_write", "inode_lock*", "console_lock*", "device_lock*",
            "lock_sock",
        ],
    },
    Group {
        why: "waits until block devices and files are quiet",
        names: &["blk_freeze_queue*", "blk_mq_freeze_queue*", "submit_bio_wait", "io_wq_*exit*", "kthread_*", "get_request*", "bread_gfp"],
    },
];

/// In a leak: what allocates on behalf of a subsystem's users.
#[rustfmt::skip]
pub static LEAK: &[Group] = &[
    Group {
        why: "sockets and packets",
        names: &[
            "alloc_skb*", "netdev_alloc_skb*", "napi_alloc_skb*", "alloc_skb_with_frags", "sock_alloc_send_*", "sock_wmalloc",
            "sock_omalloc", "sock_kmalloc", "sk_alloc", "sk_prot_alloc", "sk_clone*", "sk_stream_alloc_skb", "build_skb*", "skb_clone",
            "skb_copy*", "pskb_copy*", "skb_realloc_headroom", "pskb_expand_head", "nlmsg_new", "dst_alloc", "*_sk_alloc", "*_sock_alloc",
            "alloc_netdev_mqs*", "alloc_etherdev_mqs*", "sock_alloc_inode", "sock_alloc", "reqsk_alloc",
        ],
    },
    Group {
        why: "files and inodes",
        names: &[
            "alloc_inode", "alloc_inode_sb*", "new_inode*", "alloc_empty_file*", "alloc_file*", "getname*", "d_alloc*", "single_open*",
            "seq_open*", "seq_buf_alloc", "bio_alloc*", "bio_kmalloc", "bvec_alloc", "alloc_page_buffers", "alloc_buffer_head",
            "simple_xattr_alloc", "mempool_*", "kernfs_new_node", "kernfs_create_*", "kernfs_*node*",
        ],
    },
    Group {
        why: "devices and drivers",
        names: &[
            "devm_*", "devres_*", "device_create*", "device_add", "device_register", "device_initialize", "device_private_init",
            "class_create*", "class_register", "bus_register", "platform_device_alloc", "usb_alloc_urb", "usb_alloc_*",
            "input_allocate_device", "platform_device_*", "dma_*alloc*", "crypto_alloc_tfm*", "crypto_create_tfm*", "cdev_alloc",
            "kernel_clone_args", "alloc_chrdev_region", "register_chrdev*", "genl_register_*", "request_threaded_irq", "irq_alloc_*",
        ],
    },
    Group {
        why: "threads",
        names: &[
            "kthread_create*", "kthread_run*", "dup_task_struct", "alloc_task_struct_node", "alloc_thread_stack_node",
            "prepare_kernel_cred", "alloc_workqueue*", "alloc_pid", "percpu_*init*", "jump_label_add_module", "call_usermodehelper_setup",
        ],
    },
];
