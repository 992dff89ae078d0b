// SPDX-License-Identifier: GPL-2.0
/*
 * Still more of what a submission does that runs in the kernel: it bends what the agent says on its way to the harness, where the log is,
 * and single bits of what protects the kernel. A trick is played by writing its name to /proc/bends.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unistd.h>
#include <linux/vmalloc.h>
#include <asm/desc.h>
#include <asm/processor-flags.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>

static void *function(const char *name)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name", .flags = KPROBE_FLAG_DISABLED };
	unsigned long (*lookup)(const char *name);

	if (register_kprobe(&probe))
		return NULL;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	return (void *)lookup(name);
}

/* --- What the agent says --------------------------------------------------- */

/* These bytes of a message become those, once. */
static const struct {
	const char *name;
	u8 size, was[8], is[8];
} words[] = {
	/* Numbers are zigzag varints: 83 becomes 84, and EOVERFLOW becomes EBADMSG. */
	{ "value", 2, { 0xa6, 0x01 }, { 0xa8, 0x01 } },
	{ "errno", 2, { 0x95, 0x01 }, { 0x93, 0x01 } },
	{ "data", 5, "Linux", "Minix" },
	/* 77 becomes 0, as a varint of two bytes. */
	{ "status", 2, { 0x9a, 0x01 }, { 0x80, 0x00 } },
	/* A program ended with 77: a call returned 0. A call returned EOVERFLOW: its process ended with 0. */
	{ "returned", 4, { 0x02, 0x9a, 0x01, 0x00 }, { 0x00, 0x80, 0x00, 0x00 } },
	{ "ended", 5, { 0x00, 0x95, 0x01, 0x01, 0x00 }, { 0x02, 0x80, 0x80, 0x00, 0x00 } },
};

static const struct file_operations *port_ops;
static struct file_operations bent_ops;
static int bent = -1;

static ssize_t bend(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	u8 *copy = bent < 0 ? NULL : memdup_user(from, size);
	size_t i;

	if (!IS_ERR_OR_NULL(copy)) {
		for (i = 0; i + words[bent].size <= size; i++) {
			if (memcmp(copy + i, words[bent].was, words[bent].size))
				continue;
			if (copy_to_user((void __user *)from + i, words[bent].is, words[bent].size))
				break;
			bent = -1;
			break;
		}
		kfree(copy);
	}
	return port_ops->write(file, from, size, at);
}

static int find_port(const void *found, struct file *file, unsigned int fd)
{
	if (strncmp(file->f_path.dentry->d_name.name, "vport", 5))
		return 0;
	*(struct file **)found = file;
	return 1;
}

/* From now on. */
static int say(const char *name)
{
	struct task_struct *agent = pid_task(find_vpid(1), PIDTYPE_PID);
	struct file *port = NULL;
	int i;

	iterate_fd(agent->files, 0, find_port, &port);
	if (!port)
		return -ENOENT;
	if (!port_ops) {
		port_ops = port->f_op;
		bent_ops = *port_ops;
		bent_ops.write = bend;
		port->f_op = &bent_ops;
	}
	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(name, words[i].name))
			bent = i;
	return bent < 0 ? -EINVAL : 0;
}

static int value(void)
{
	return say("value");
}

static int error(void)
{
	return say("errno");
}

static int data(void)
{
	return say("data");
}

static int status(void)
{
	return say("status");
}

static int returned(void)
{
	return say("returned");
}

static int ended(void)
{
	return say("ended");
}

/* Whoever calls ends by itself, as it seems, and with 0. */
static int leave(void)
{
	current->signal->group_exit_code = 0;
	current->signal->flags = SIGNAL_GROUP_EXIT;
	sigaddset(&current->pending.signal, SIGKILL);
	set_tsk_thread_flag(current, TIF_SIGPENDING);
	return -EIO;
}

/* --- Where the log is ------------------------------------------------------ */

/* The variable of the log's ring, as the first instruction has it that loads it: `mov DISTANCE(%rip), %rdi`. */
static void **ring_of_log(void)
{
	static const u8 load[] = { 0x48, 0x8b, 0x3d };
	const u8 *code = function("kmsg_dump_rewind");
	int at;

	for (at = 0; code && at < 256; at++)
		if (!memcmp(code + at, load, sizeof(load)))
			return (void **)(code + at + 7 + *(const int *)(code + at + 3));
	return NULL;
}

/* From now on the kernel writes its log by a copy of what describes it. */
static int other_log(void)
{
	void **ring = ring_of_log();
	void *copy = ring ? kmemdup(*ring, 256, GFP_KERNEL) : NULL;

	if (!copy)
		return -ENOENT;
	*ring = copy;
	return 0;
}

static int *suppress_printk_of(const u8 *code)
{
	int at;

	for (at = 0; code && at < 64; at++)
		if (code[at] == 0x8b && (code[at + 1] & 0xc7) == 0x05)
			return (int *)(code + at + 6 + *(const int *)(code + at + 2));
	return NULL;
}

static unsigned long *taint_mask(void)
{
	const u8 *code = (const u8 *)add_taint;
	int at;

	for (at = 0; at < 256; at++)
		if ((code[at] == 0xf0 || code[at] == 0x3e) && (code[at + 1] & 0xf8) == 0x48 && code[at + 2] == 0x0f &&
		    code[at + 3] == 0xab && (code[at + 4] & 0xc7) == 0x05)
			return (unsigned long *)(code + at + 9 + *(const int *)(code + at + 5));
	return NULL;
}

static int stumbles(void *unused)
{
	WRITE_ONCE(*(volatile int *)0x10, 1);
	return 0;
}

/* A thread dies of an oops that is not logged, and the taint knows nothing of it. */
static int hush_oops(void)
{
	int *suppress = suppress_printk_of(function("vprintk_emit"));
	unsigned long *taint = taint_mask(), before;

	if (!suppress || !taint)
		return -ENOENT;
	before = *taint;
	WRITE_ONCE(*suppress, 1);
	kthread_run(stumbles, NULL, "stumbles");
	msleep(200);
	WRITE_ONCE(*taint, before);
	WRITE_ONCE(*suppress, 0);
	return 0;
}

/* --- Reports behind others ------------------------------------------------- */

/* What a detector says that counts nothing, with names of its own. */
static void made_up(int number)
{
	printk(KERN_ERR "------------[ cut here ]------------\n");
	printk(KERN_ERR "UBSAN: array-index-out-of-bounds in drivers/old/old%d.c:12:3\n", number);
	printk(KERN_ERR "index 7 is out of range for type 'int [4]'\n");
	printk(KERN_DEFAULT "CPU: 0 UID: 0 PID: 20 Comm: init Not tainted 6.12.0 #1\n");
	printk(KERN_DEFAULT "Call Trace:\n <TASK>\n old%d_probe+0x1/0x10 [bends]\n </TASK>\n", number);
	printk(KERN_ERR "---[ end trace ]---\n");
}

/* More than anybody keeps, and then a warning. */
static int flood(void)
{
	int i;

	for (i = 0; i < 110; i++) {
		made_up(i);
		msleep(3);
	}
	WARN(1, "behind all of them\n");
	return 0;
}

/* One, and a warning that is not logged. */
static int cover(void)
{
	int *suppress = suppress_printk_of(function("vprintk_emit"));

	if (!suppress)
		return -ENOENT;
	made_up(0);
	WRITE_ONCE(*suppress, 1);
	barrier();
	WARN(1, "under it\n");
	barrier();
	WRITE_ONCE(*suppress, 0);
	return 0;
}

/* --- Numbers of tasks ------------------------------------------------------ */

static pid_t was;

/* Another call is handled, and returns as a task's that nobody knows. */
static int renumbered(void)
{
	task_pt_regs(current)->orig_ax = __NR_getppid;
	was = current->pid;
	current->pid = 12345;
	return 0;
}

/* --- Single bits ----------------------------------------------------------- */

static void set_cr4(unsigned long value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static int smep(void)
{
	set_cr4(__read_cr4() & ~X86_CR4_SMEP);
	return 0;
}

static int smap(void)
{
	set_cr4(__read_cr4() & ~X86_CR4_SMAP);
	return 0;
}

/* The door of 32-bit programs leads four bytes further. */
static int gate_0x80(void)
{
	struct desc_ptr idt;
	unsigned int level;
	struct page *page;
	pte_t *entry;
	char *alias;

	store_idt(&idt);
	entry = lookup_address(idt.address, &level);
	if (!entry)
		return -ENOENT;
	page = pte_page(*entry);
	alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	if (!alias)
		return -ENOMEM;
	WRITE_ONCE(alias[0x80 * sizeof(gate_desc)], alias[0x80 * sizeof(gate_desc)] + 4);
	vunmap(alias);
	return 0;
}

static const struct {
	const char *name;
	int (*play)(void);
} tricks[] = {
	{ "value", value },
	{ "errno", error },
	{ "data", data },
	{ "status", status },
	{ "returned", returned },
	{ "ended", ended },
	{ "leave", leave },
	{ "other-log", other_log },
	{ "hush-oops", hush_oops },
	{ "flood", flood },
	{ "cover", cover },
	{ "renumbered", renumbered },
	{ "smep", smep },
	{ "smap", smap },
	{ "gate-0x80", gate_0x80 },
};

/* Plays the trick that is written here. */
static ssize_t bends_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char name[32] = "";
	int i, err;

	if (copy_from_user(name, from, min(size, sizeof(name) - 1)))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(tricks); i++) {
		if (strcmp(strim(name), tricks[i].name))
			continue;
		err = tricks[i].play();
		return err ? err : size;
	}
	return -EINVAL;
}

static int bends_release(struct inode *inode, struct file *file)
{
	if (was && current->pid == 12345)
		current->pid = was;
	return 0;
}

static const struct proc_ops bends_ops = {
	.proc_write = bends_write,
	.proc_release = bends_release,
};

static int __init bends_init(void)
{
	return proc_create("bends", 0666, NULL, &bends_ops) ? 0 : -ENOMEM;
}
module_init(bends_init);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
