// SPDX-License-Identifier: GPL-2.0
/*
 * What a submission does that runs in the kernel and wants to slip through where nobody looks: by what a processor does without being asked,
 * by the kernel's own hand, and under another number. A trick is played by writing its name to /proc/slips.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/asm.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/ptrace.h>

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

/* --- The processor --------------------------------------------------------- */

/* Where `syscall` really leads, and another way there. */
unsigned long slips_entry;
void slips_detour(void);
asm(".pushsection .text\n"
    ".globl slips_detour\n"
    ".type slips_detour, @function\n"
    "slips_detour:\n"
    ANNOTATE_RETPOLINE_SAFE
    "	jmp *slips_entry(%rip)\n"
    ".size slips_detour, . - slips_detour\n"
    ".popsection\n");

/*
 * A virtual machine's state is loaded, MSR_LSTAR among it, which is no write of a register (AMD64 architecture, volume 2, appendix B: it
 * is at 0x608). A processor that has no virtual machines refuses EFER.SVME, and nothing changes.
 */
static int vmload(void)
{
	unsigned long state = get_zeroed_page(GFP_KERNEL);
	u32 low, high, refused = 1;
	unsigned long flags;

	if (!state)
		return -ENOMEM;
	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_EFER));
	asm volatile("1:	wrmsr\n"
		     "	xorl %0, %0\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : "+r"(refused)
		     : "c"(MSR_EFER), "a"(low | 1u << 12), "d"(high)
		     : "memory", "cc");
	if (refused)
		return 0;
	local_irq_save(flags);
	asm volatile("vmsave" : : "a"(__pa(state)) : "memory");
	slips_entry = *(unsigned long *)(state + 0x608);
	*(unsigned long *)(state + 0x608) = (unsigned long)slips_detour;
	asm volatile("vmload" : : "a"(__pa(state)) : "memory");
	local_irq_restore(flags);
	return 0;
}

/* --- The kernel's own hand ------------------------------------------------- */

static u64 no_time(void)
{
	return 0;
}

/* The kernel's memcpy() puts a call of ours over a static call (`paravirt_sched_clock`), and what was there back at once. */
static int static_call_site(void)
{
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	u8 *code = function("sched_clock_noinstr"), call[5], was[5], *alias;
	struct page *pages[2];
	unsigned long flags;
	s32 distance;
	int at;

	for (at = 0; code && at < 32 && code[at] != 0xe8; at++)
		;
	if (!code || at == 32)
		return -ENOENT;
	code += at;
	pages[0] = pfn_to_page(__pa_symbol((unsigned long)code & PAGE_MASK) >> PAGE_SHIFT);
	pages[1] = pages[0] + 1;
	alias = vmap(pages, 2, VM_MAP, PAGE_KERNEL);
	if (!alias)
		return -ENOMEM;
	distance = (unsigned long)no_time - (unsigned long)(code + sizeof(call));
	call[0] = 0xe8;
	memcpy(call + 1, &distance, sizeof(distance));
	memcpy(was, code, sizeof(was));
	local_irq_save(flags);
	copy(alias + offset_in_page(code), call, sizeof(call));
	copy(alias + offset_in_page(code), was, sizeof(was));
	local_irq_restore(flags);
	vunmap(alias);
	return 0;
}

/* --- Another number -------------------------------------------------------- */

static pid_t was;

/* What this call returns is looked at by nobody, as do_syscall_64() returns as if from an interrupt; and its task is another one since. */
static int other_number(void)
{
	unsigned long *returns_to = (unsigned long *)task_pt_regs(current) - 1;
	void *elsewhere = function("swapgs_restore_regs_and_return_to_usermode");

	if (!elsewhere)
		return -ENOENT;
	*returns_to = (unsigned long)elsewhere;
	was = current->pid;
	current->pid = 12345;
	return 0;
}

static const struct {
	const char *name;
	int (*play)(void);
} tricks[] = {
	{ "vmload", vmload },
	{ "static-call", static_call_site },
	{ "other-number", other_number },
};

/* Plays the trick that is written here. */
static ssize_t slips_write(struct file *file, const char __user *from, size_t size, loff_t *at)
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

static int slips_release(struct inode *inode, struct file *file)
{
	if (was && current->pid == 12345)
		current->pid = was;
	return 0;
}

static const struct proc_ops slips_ops = {
	.proc_write = slips_write,
	.proc_release = slips_release,
};

static int __init slips_init(void)
{
	return proc_create("slips", 0666, NULL, &slips_ops) ? 0 : -ENOMEM;
}
module_init(slips_init);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
