// SPDX-License-Identifier: GPL-2.0
/*
 * What a submission does that runs in the kernel and wants something believed that did not happen: calls that were not made, programs
 * that ended otherwise, reports that the kernel did not give, or gave and should not have. A trick is played by writing
 * its name to /proc/lies.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unistd.h>
#include <linux/vmalloc.h>
#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/ptrace.h>

/* Where the agent's code begins (guest-image/agent/build.rs). */
#define AGENT 0x6e000000ul

/* A probe that is never armed changes nothing, and tells where a function is. */
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

/* The variable that a function reads first: `mov DISTANCE(%rip), REGISTER`. */
static int *variable_of(const char *name)
{
	const unsigned char *code = function(name);
	int at;

	for (at = 0; code && at < 64; at++)
		if (code[at] == 0x8b && (code[at + 1] & 0xc7) == 0x05)
			return (int *)(code + at + 6 + *(const int *)(code + at + 2));
	return NULL;
}

/* As add_taint() sets it: `lock bts`, whose operand is relative to the next instruction (AMD64 architecture, volume 3, "BTS"). */
static unsigned long *taint_mask(void)
{
	const unsigned char *code = (const unsigned char *)add_taint;
	int at;

	for (at = 0; at < 256; at++)
		if ((code[at] == 0xf0 || code[at] == 0x3e) && (code[at + 1] & 0xf8) == 0x48 && code[at + 2] == 0x0f &&
		    code[at + 3] == 0xab && (code[at + 4] & 0xc7) == 0x05)
			return (unsigned long *)(code + at + 9 + *(const int *)(code + at + 5));
	return NULL;
}

/* The kernel handles another call than the one that entered, as its own saved registers have it. */
static int number(void)
{
	task_pt_regs(current)->orig_ax = __NR_getppid;
	return 0;
}

/* do_syscall_64() returns to where no result is looked at: behind the entry's own code, as after an interrupt. */
static int way_back(void)
{
	unsigned long *returns_to = (unsigned long *)task_pt_regs(current) - 1;
	void *elsewhere = function("swapgs_restore_regs_and_return_to_usermode");

	if (!elsewhere)
		return -ENOENT;
	*returns_to = (unsigned long)elsewhere;
	return 0;
}

/* The worker's answers come by a pipe of this number (guest-image/agent/src/process.rs). Each of these says that a call returned 77,
 * alone or as the second of three. */
static int say(bool chained)
{
	struct fd pipe = fdget(1001);
	int id;

	if (!fd_file(pipe))
		return -EBADF;
	for (id = 1; id < 100; id++) {
		unsigned char alone[] = { 6, 0, 0, 0, id, 0, 0x9a, 0x01, 0, 0 };
		unsigned char chain[] = { 17, 0, 0, 0, id, 1, 3, 0, 6, 0, 0, 1, 0x9a, 0x01, 0, 0, 2, 0, 0, 0, 0 };
		loff_t at = 0;

		if (chained)
			kernel_write(fd_file(pipe), chain, sizeof(chain), &at);
		else
			kernel_write(fd_file(pipe), alone, sizeof(alone), &at);
	}
	fdput(pipe);
	/* PID 1 passes it on meanwhile. */
	msleep(300);
	return 0;
}

static int answer(void)
{
	return say(false);
}

static int answer_chain(void)
{
	return say(true);
}

static int write_agent(struct task_struct *task)
{
	unsigned char byte;

	if (access_process_vm(task, AGENT, &byte, 1, FOLL_FORCE) != 1)
		return -EIO;
	/* Of the ELF header's first byte, which nobody executes. */
	byte ^= 0xff;
	return access_process_vm(task, AGENT, &byte, 1, FOLL_FORCE | FOLL_WRITE) == 1 ? 0 : -EIO;
}

static int worker_code(void)
{
	return write_agent(current);
}

static int agent_code(void)
{
	struct task_struct *init = get_pid_task(find_vpid(1), PIDTYPE_PID);
	int err = init ? write_agent(init) : -ESRCH;

	if (init)
		put_task_struct(init);
	return err;
}

static int silence(void)
{
	int *suppress = variable_of("vprintk_emit");

	if (!suppress)
		return -ENOENT;
	*suppress = 1;
	return 0;
}

/* A warning that is not logged, and that the taint knows nothing of. */
static int hush(void)
{
	int *suppress = variable_of("vprintk_emit");
	unsigned long *taint = taint_mask(), before;

	if (!suppress || !taint)
		return -ENOENT;
	before = *taint;
	WRITE_ONCE(*suppress, 1);
	barrier();
	WARN_ON(1);
	barrier();
	WRITE_ONCE(*taint, before);
	WRITE_ONCE(*suppress, 0);
	return 0;
}

/* The same, and the kernel's own count knows nothing of it either. */
static int hush_whole(void)
{
	int *count = variable_of("warn_count_show"), before;
	int result;

	if (!count)
		return -ENOENT;
	before = *count;
	result = hush();
	WRITE_ONCE(*count, before);
	return result;
}

static int made_up_warning(void)
{
	printk(KERN_WARNING "------------[ cut here ]------------\n");
	printk(KERN_WARNING "WARNING: CPU: 0 PID: 1 at lies.c:1 lies_work+0x1/0x10 [lies]\n");
	printk(KERN_WARNING "Modules linked in: lies(O)\n");
	printk(KERN_WARNING "RIP: 0010:lies_work+0x1/0x10 [lies]\n");
	printk(KERN_WARNING "Call Trace:\n <TASK>\n lies_work+0x1/0x10 [lies]\n </TASK>\n");
	printk(KERN_WARNING "---[ end trace 0000000000000000 ]---\n");
	return 0;
}

/* The same with the letter that belongs to it, which is exported to everybody. */
static int made_up_warning_with_taint(void)
{
	made_up_warning();
	add_taint(TAINT_WARN, LOCKDEP_STILL_OK);
	return 0;
}

static int made_up_oops(void)
{
	printk(KERN_ALERT "BUG: kernel NULL pointer dereference, address: 0000000000000000\n");
	printk(KERN_ALERT "#PF: supervisor read access in kernel mode\n");
	printk(KERN_EMERG "Oops: Oops: 0000 [#1] SMP NOPTI\n");
	printk(KERN_WARNING "CPU: 0 UID: 0 PID: 20 Comm: init Not tainted 6.12.0 #1\n");
	printk(KERN_WARNING "RIP: 0010:lies_work+0x1/0x10 [lies]\n");
	printk(KERN_WARNING "Call Trace:\n <TASK>\n lies_work+0x1/0x10 [lies]\n </TASK>\n");
	printk(KERN_WARNING "---[ end trace 0000000000000000 ]---\n");
	return 0;
}

static int made_up_panic(void)
{
	printk(KERN_EMERG "Kernel panic - not syncing: lies\n");
	/* Meanwhile nothing goes on. */
	msleep(3000);
	return 0;
}

/* The same, and the machine is reset as after a real one. */
static int made_up_end(void)
{
	printk(KERN_EMERG "Kernel panic - not syncing: lies\n");
	emergency_restart();
	return 0;
}

/* What the log said when the module came is something else now. */
static int record(void)
{
	static const char was[] = "lies: here they come", is[] = "lies: all is well   ";
	char *(*address)(void) = function("log_buf_addr_get");
	u32 (*size)(void) = function("log_buf_len_get");
	char *at, *end;

	if (!address || !size)
		return -ENOENT;
	end = address() + size() - sizeof(was);
	for (at = address(); at < end; at++) {
		if (memcmp(at, was, sizeof(was) - 1))
			continue;
		memcpy(at, is, sizeof(is) - 1);
		return 0;
	}
	return -ENOENT;
}

/* A gate that leads elsewhere for a moment. */
static int gate_for_a_moment(void)
{
	struct desc_ptr idt;
	struct page *page;
	unsigned int level;
	pte_t *entry;
	char *alias, *gate, was;

	store_idt(&idt);
	entry = lookup_address(idt.address, &level);
	if (!entry)
		return -ENOENT;
	page = pte_page(*entry);
	alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	if (!alias)
		return -ENOMEM;
	gate = alias + 19 * sizeof(gate_desc);
	was = *gate;
	WRITE_ONCE(*gate, was + 4);
	WRITE_ONCE(*gate, was);
	vunmap(alias);
	return 0;
}

static int other_gdt(void)
{
	struct desc_ptr gdt;
	void *copy = (void *)__get_free_page(GFP_KERNEL);

	if (!copy)
		return -ENOMEM;
	native_store_gdt(&gdt);
	memcpy(copy, (void *)gdt.address, gdt.size + 1);
	gdt.address = (unsigned long)copy;
	native_load_gdt(&gdt);
	return 0;
}

/* For a moment `syscall` is no instruction. */
static int no_syscalls(void)
{
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~EFER_SCE);
	wrmsrl(MSR_EFER, efer);
	return 0;
}

/* The clock goes back by what was slept: the step says that it took no time. */
static int clock(void)
{
	u64 before = rdtsc();

	mdelay(400);
	wrmsrl(MSR_IA32_TSC, before);
	return 0;
}

/* Breakpoints that might count calls are gone, if they are the guest's. */
static int debug_registers(void)
{
	set_debugreg(0ul, 7);
	set_debugreg(0ul, 0);
	set_debugreg(0ul, 1);
	return 0;
}

/* Into what the program prints goes a line that it never wrote. */
static int output(void)
{
	static const char line[] = "all tests passed\n";
	struct fd out = fdget(2);
	loff_t at = 0;

	if (!fd_file(out))
		return -EBADF;
	kernel_write(fd_file(out), line, sizeof(line) - 1, &at);
	fdput(out);
	return 0;
}

/* Writes to a device by an instruction that KVM can't emulate, so that the machine seems to be at fault. */
static int odd_access(void)
{
	void __iomem *device = ioremap(0xd0000000, PAGE_SIZE);

	if (!device)
		return -ENOMEM;
	asm volatile("fnstenv (%0)" : : "r"(device) : "memory");
	iounmap(device);
	return 0;
}

static const struct {
	const char *name;
	int (*play)(void);
} tricks[] = {
	{ "number", number },
	{ "way-back", way_back },
	{ "answer", answer },
	{ "answer-chain", answer_chain },
	{ "worker-code", worker_code },
	{ "agent-code", agent_code },
	{ "silence", silence },
	{ "hush", hush },
	{ "hush-whole", hush_whole },
	{ "made-up-warning", made_up_warning },
	{ "made-up-warning-with-taint", made_up_warning_with_taint },
	{ "made-up-oops", made_up_oops },
	{ "made-up-panic", made_up_panic },
	{ "made-up-end", made_up_end },
	{ "record", record },
	{ "gate-for-a-moment", gate_for_a_moment },
	{ "other-gdt", other_gdt },
	{ "no-syscalls", no_syscalls },
	{ "clock", clock },
	{ "debug-registers", debug_registers },
	{ "output", output },
	{ "odd-access", odd_access },
};

/* Plays the trick that is written here. */
static ssize_t lies_write(struct file *file, const char __user *from, size_t size, loff_t *at)
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

/* A program that has this file open and ends with 9 has died of SIGSEGV, as its parent hears. */
static int lies_release(struct inode *inode, struct file *file)
{
	if (current->flags & PF_EXITING && current->signal->group_exit_code == 9 << 8)
		current->signal->group_exit_code = SIGSEGV;
	return 0;
}

static const struct proc_ops lies_ops = {
	.proc_write = lies_write,
	.proc_release = lies_release,
};

static int __init lies_init(void)
{
	pr_info("here they come\n");
	return proc_create("lies", 0666, NULL, &lies_ops) ? 0 : -ENOMEM;
}
module_init(lies_init);

static void __exit lies_exit(void)
{
	remove_proc_entry("lies", NULL);
}
module_exit(lies_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
