// SPDX-License-Identifier: GPL-2.0
/* Has the kernel patch its own text: a probe on the system call getppid. */
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>

static int probes_pre(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "__x64_sys_getppid",
	.pre_handler = probes_pre,
};

static int __init probes_init(void)
{
	return register_kprobe(&probe);
}
module_init(probes_init);

static void __exit probes_exit(void)
{
	unregister_kprobe(&probe);
}
module_exit(probes_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
