// SPDX-License-Identifier: GPL-2.0
/*
 * modsyscall: a system call that a module brings.
 *
 *   long swap(long __user *a, long __user *b)      number 400, or the parameter nr
 *
 * exchanges two numbers of the calling process. Returns 0, or -EFAULT for a
 * pointer that can't be read and written; then nothing has changed.
 *
 * Old books do this by writing to sys_call_table. That has ended: the table is
 * not exported (2.6), it is read-only (2.6.24), kallsyms_lookup_name(), by which
 * it could still be found, is not exported either (5.7), and since 6.9 x86 does
 * not even jump through it, but by a switch (arch/x86/entry/syscall_64.c). All of
 * this is on purpose: who owns the table owns the kernel.
 *
 * What is left, and meant for such things, is a kprobe. A number that the kernel
 * does not know ends in one function, which returns -ENOSYS. We put a probe on
 * that function, look at the number, and if it is ours, let our function run in
 * its place.
 *
 * The number must be a hole in the kernel's table, not behind its end: for those
 * the compiler has put "return -ENOSYS" right into do_syscall_64(), and no
 * function is called. Numbers 387 to 423 are holes that will stay (the comment
 * in arch/x86/entry/syscalls/syscall_64.tbl).
 *
 * A call that is to stay belongs into the kernel's own table, as the patch in
 * kernel-patches/ does it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/ptrace.h>
#include <linux/uaccess.h>
#include <linux/unistd.h>

static int nr = 400;
module_param(nr, int, 0444);
MODULE_PARM_DESC(nr, "number of the call: a hole in the kernel's table (400)");

/*
 * An x86-64 system call gets one argument: the registers as they were in user
 * space. The caller's own arguments are in them.
 */
static long swap_longs(const struct pt_regs *user)
{
	long __user *a = (long __user *)user->di;
	long __user *b = (long __user *)user->si;
	long old_a, old_b;
	long result = -EFAULT;

	/* get_user() and put_user() check the pointers: never trust one. */
	if (get_user(old_a, a) || get_user(old_b, b))
		goto out;
	if (put_user(old_b, a))
		goto out;
	if (put_user(old_a, b)) {
		/* b can be read but not written; a could be written just now. */
		if (put_user(old_a, a))
			pr_warn_ratelimited("could not undo half a swap\n");
		goto out;
	}
	result = 0;
out:
	/*
	 * The few instructions from here to the return run without the
	 * reference. Before the kernel frees a module it waits until every CPU
	 * has scheduled (synchronize_rcu() in free_module()), and they are past
	 * by then, for this kernel does not preempt kernel code.
	 */
	module_put(THIS_MODULE);
	return result;
}

/*
 * Runs in place of the first instruction of the no-such-call function, in the
 * context of a breakpoint: it may not sleep, so it must not touch user memory
 * itself. It only turns the way.
 */
static int turn(struct kprobe *probe, struct pt_regs *kernel)
{
	/* The function's first argument: the registers of user space. */
	const struct pt_regs *user = (const struct pt_regs *)kernel->di;

	if (user->orig_ax != nr)
		return 0;
	/*
	 * Whoever is in swap_longs() holds the module: rmmod gets EAGAIN. If it
	 * is being unloaded already, the call does not exist any more.
	 */
	if (!try_module_get(THIS_MODULE))
		return 0;
	/* Not 0: we have set the instruction pointer, do not step over. */
	instruction_pointer_set(kernel, (unsigned long)swap_longs);
	return 1;
}

/*
 * Does nothing, but must be there: a probe without it may be optimised into a
 * jump, and those ignore a changed instruction pointer
 * (Documentation/trace/kprobes.rst, "Changing Execution Path").
 */
static void after(struct kprobe *probe, struct pt_regs *kernel, unsigned long flags)
{
}

static struct kprobe probe = {
	.symbol_name = "__x64_sys_ni_syscall",
	.pre_handler = turn,
	.post_handler = after,
};

static int __init modsyscall_init(void)
{
	int error;

	if (nr < 0 || nr >= NR_syscalls) {
		pr_err("nr is %d, must be a hole below %d\n", nr, NR_syscalls);
		return -EINVAL;
	}
	error = register_kprobe(&probe);
	if (error) {
		pr_err("can't put a probe on %s: error %d\n", probe.symbol_name, error);
		return error;
	}
	pr_info("system call %d is there\n", nr);
	return 0;
}

static void __exit modsyscall_exit(void)
{
	/* Waits until no CPU is in turn() any more. */
	unregister_kprobe(&probe);
	pr_info("system call %d is gone\n", nr);
}

module_init(modsyscall_init);
module_exit(modsyscall_exit);

MODULE_AUTHOR("the vmm authors");
MODULE_DESCRIPTION("A system call that is brought by a module");
MODULE_LICENSE("GPL");
