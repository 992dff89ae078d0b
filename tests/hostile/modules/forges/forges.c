// SPDX-License-Identifier: GPL-2.0
/*
 * What a submission does that runs in the kernel and wants a pass that it has not earned: each trick changes
 * something that a verdict rests on. It is played by writing its name to /proc/forges.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/pgtable.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/desc.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

/* native_write_cr0() and native_write_cr4() refuse what we want. */
static void set_cr0(unsigned long value)
{
	asm volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static void set_cr4(unsigned long value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

/* Writes through another mapping of the same page, which may be written to. */
static int write_elsewhere(void *where, const void *what, size_t size)
{
	unsigned long at = (unsigned long)where;
	struct page *page = pfn_to_page(__pa_symbol(at & PAGE_MASK) >> PAGE_SHIFT);
	char *alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	if (!alias)
		return -ENOMEM;
	memcpy(alias + (at & ~PAGE_MASK), what, size);
	vunmap(alias);
	return 0;
}

/* `endbr64` at the beginning of _printk, or what else is there, becomes a no-op of four bytes. */
static const unsigned char nop[] = { 0x0f, 0x1f, 0x40, 0x00 };

static int text_by_cr0(void)
{
	unsigned long cr0 = read_cr0();

	preempt_disable();
	set_cr0(cr0 & ~X86_CR0_WP);
	memcpy((void *)_printk, nop, sizeof(nop));
	set_cr0(cr0);
	preempt_enable();
	return 0;
}

static int text_by_alias(void)
{
	return write_elsewhere((void *)_printk, nop, sizeof(nop));
}

static int constants(void)
{
	return write_elsewhere((void *)hex_asc, "X", 1);
}

static int write_protection(void)
{
	set_cr0(read_cr0() & ~X86_CR0_WP);
	return 0;
}

static int supervisor_protection(void)
{
	set_cr4(__read_cr4() & ~(X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_UMIP));
	return 0;
}

static gate_desc *gates(struct desc_ptr *idt)
{
	store_idt(idt);
	return (gate_desc *)idt->address;
}

static int other_idt(void)
{
	struct desc_ptr idt;
	void *copy = (void *)__get_free_page(GFP_KERNEL);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, gates(&idt), PAGE_SIZE);
	idt.address = (unsigned long)copy;
	native_load_idt(&idt);
	return 0;
}

/* Where an exception goes that is not likely to come: its gate gets the address of another one. */
static int gate(void)
{
	struct desc_ptr idt;
	gate_desc *table = gates(&idt);
	void *copy = kmemdup(&table[16], sizeof(*table), GFP_KERNEL);
	struct page *page = NULL;
	unsigned int level;
	pte_t *entry = lookup_address((unsigned long)table, &level);
	char *alias;

	if (!copy || !entry)
		return -ENOMEM;
	/* It is mapped by a page of its own, outside of the image. */
	page = pte_page(*entry);
	alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	if (!alias)
		return -ENOMEM;
	memcpy(alias + 19 * sizeof(*table), copy, sizeof(*table));
	vunmap(alias);
	kfree(copy);
	return 0;
}

/* A copy of two megabytes of the kernel's text takes its place. */
static int mapping(void)
{
	unsigned long at = (unsigned long)_printk & PMD_MASK;
	struct page *copy = alloc_pages(GFP_KERNEL, get_order(PMD_SIZE));
	unsigned int level;
	pte_t *entry = lookup_address(at, &level);
	unsigned long cr0 = read_cr0();
	u64 value;

	if (!copy || !entry || level != PG_LEVEL_2M)
		return -EINVAL;
	memcpy(page_address(copy), (void *)at, PMD_SIZE);
	value = (*(u64 *)entry & ~PHYSICAL_PMD_PAGE_MASK) | (u64)__pa(page_address(copy)) | (*(u64 *)entry & (1ull << 63));
	set_cr0(cr0 & ~X86_CR0_WP);
	*(u64 *)entry = value;
	set_cr0(cr0);
	/* Global entries of the TLB go with this bit. */
	set_cr4(__read_cr4() & ~X86_CR4_PGE);
	set_cr4(__read_cr4() | X86_CR4_PGE);
	return 0;
}

/* On one processor the kernel makes the lock a prefix without effect. add_taint() sets its bit by `lock bts`, whose operand is relative to the next instruction (AMD64 architecture, volume 3, "BTS"). */
static int taint(void)
{
	const unsigned char *code = (const unsigned char *)add_taint;
	int at;

	for (at = 0; at < 256; at++) {
		if ((code[at] != 0xf0 && code[at] != 0x3e) || (code[at + 1] & 0xf8) != 0x48 || code[at + 2] != 0x0f ||
		    code[at + 3] != 0xab || (code[at + 4] & 0xc7) != 0x05)
			continue;
		*(unsigned long *)(code + at + 9 + *(const int *)(code + at + 5)) = 0;
		return 0;
	}
	return -ENOENT;
}

static const struct {
	const char *name;
	int (*play)(void);
} tricks[] = {
	{ "text-by-cr0", text_by_cr0 },
	{ "text-by-alias", text_by_alias },
	{ "constants", constants },
	{ "write-protection", write_protection },
	{ "supervisor-protection", supervisor_protection },
	{ "other-idt", other_idt },
	{ "gate", gate },
	{ "mapping", mapping },
	{ "taint", taint },
};

/* Plays the trick that is written here. */
static ssize_t forges_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char name[32] = "";
	int i, err;

	if (copy_from_user(name, from, min(size, sizeof(name) - 1)))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(tricks); i++) {
		if (strcmp(name, tricks[i].name))
			continue;
		err = tricks[i].play();
		return err ? err : size;
	}
	return -EINVAL;
}

/* A program that has this file open ends with 0, whatever it says itself. */
static int forges_release(struct inode *inode, struct file *file)
{
	if (current->flags & PF_EXITING)
		current->signal->group_exit_code = 0;
	return 0;
}

static const struct proc_ops forges_ops = {
	.proc_write = forges_write,
	.proc_release = forges_release,
};

static int __init forges_init(void)
{
	return proc_create("forges", 0666, NULL, &forges_ops) ? 0 : -ENOMEM;
}
module_init(forges_init);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
