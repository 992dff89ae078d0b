// SPDX-License-Identifier: GPL-2.0
/*
 * More of what a submission does that runs in the kernel: by page tables, devices and lists that lead elsewhere, and by reports that
 * hide behind others. A trick is played by writing its name to /proc/twists.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/proc_fs.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/vmalloc.h>
#include <asm/tlbflush.h>

#define FRAME 0x000ffffffffff000ull
#define GLOBAL (1ull << 8)
/* Entries of the top table, and of the next one, that lead to the kernel's image (Documentation/arch/x86/x86_64/mm.rst). */
#define TOP 511
#define IMAGE 510
/* The control port's queues of the virtio console (Virtual I/O Device 1.2, section 5.3.2). */
#define TO_GUEST 2
#define FROM_GUEST 3

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

static void forget_translations(void)
{
	unsigned long cr4 = __read_cr4();

	asm volatile("mov %0, %%cr4" : : "r"(cr4 & ~X86_CR4_PGE) : "memory");
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/* For this process alone getuid() is another function: PID 1's tables and the kernel's own stay as they are. */
static int own_tables(void)
{
	static const u8 returns_42[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	unsigned long getuid = (unsigned long)function("__x64_sys_getuid"), region = getuid & PMD_MASK;
	u64 *top = (u64 *)current->mm->pgd, *upper, *lower, *own_upper, *own_lower;
	struct page *copy = alloc_pages(GFP_KERNEL, PMD_SHIFT - PAGE_SHIFT);
	int index = (region - __START_KERNEL_map) >> PMD_SHIFT;

	own_upper = (void *)__get_free_page(GFP_KERNEL);
	own_lower = (void *)__get_free_page(GFP_KERNEL);
	if (!getuid || !copy || !own_upper || !own_lower)
		return -ENOMEM;
	upper = __va(top[TOP] & FRAME);
	lower = __va(upper[IMAGE] & FRAME);
	memcpy(own_upper, upper, PAGE_SIZE);
	memcpy(own_lower, lower, PAGE_SIZE);
	memcpy(page_address(copy), (void *)region, PMD_SIZE);
	memcpy(page_address(copy) + (getuid - region), returns_42, sizeof(returns_42));
	/* Present, accessed, dirty, large; what is global would outlive a switch to other tables. */
	own_lower[index] = __pa(page_address(copy)) | 0xe1;
	lower[index] &= ~GLOBAL;
	own_upper[IMAGE] = __pa(own_lower) | (upper[IMAGE] & ~FRAME);
	top[TOP] = __pa(own_upper) | (top[TOP] & ~FRAME);
	forget_translations();
	return 0;
}

/* A buffer that waits for what the host says is in the kernel's constants. */
static int device(void)
{
	struct device *found = bus_find_device_by_name(&platform_bus_type, NULL, "virtio-mmio.0");
	struct virtio_device *console = found ? dev_get_drvdata(found) : NULL;
	struct virtqueue *queue, *receive = NULL, *transmit = NULL;
	/* struct virtio_console_control: VIRTIO_CONSOLE_DEVICE_READY, which is answered. */
	struct { __le32 id; __le16 event, value; } *ready = kzalloc(sizeof(*ready), GFP_KERNEL);
	struct scatterlist list;
	struct vring_avail *avail;
	struct vring_desc *slot;
	struct vring_used *used;
	unsigned long flags, turns;
	u32 length;

	if (!console || !ready)
		return -ENODEV;
	list_for_each_entry(queue, &console->vqs, list) {
		receive = queue->index == TO_GUEST ? queue : receive;
		transmit = queue->index == FROM_GUEST ? queue : transmit;
	}
	if (!receive || !transmit)
		return -ENXIO;
	avail = __va(virtqueue_get_avail_addr(receive));
	used = __va(virtqueue_get_used_addr(receive));
	ready->id = cpu_to_le32(~0u);
	ready->value = cpu_to_le16(1);
	sg_init_one(&list, ready, sizeof(*ready));
	local_irq_save(flags);
	slot = __va(virtqueue_get_desc_addr(receive));
	slot += avail->ring[READ_ONCE(used->idx) % virtqueue_get_vring_size(receive)];
	slot->addr = __pa_symbol(hex_asc);
	slot->len = 8;
	mb();
	virtqueue_add_outbuf(transmit, &list, 1, ready, GFP_ATOMIC);
	virtqueue_kick(transmit);
	for (turns = 0; turns < 1000000 && !virtqueue_get_buf(transmit, &length); turns++)
		cpu_relax();
	local_irq_restore(flags);
	return hex_asc[0] == '0' ? -EAGAIN : 0;
}

/* A warning that the kernel gives but once has been given already, as its table says. */
static int given(void)
{
	struct bug_entry *(*find)(unsigned long at) = function("find_bug");
	unsigned long at = (unsigned long)refcount_warn_saturate;
	refcount_t count = REFCOUNT_INIT(0);
	int i, found = 0;

	for (i = 0; find && i < 512; i++) {
		struct bug_entry *bug = find(at + i);

		if (bug && bug->flags & BUGFLAG_WARNING) {
			bug->flags |= BUGFLAG_ONCE | BUGFLAG_DONE;
			found++;
		}
	}
	if (!found)
		return -ENOENT;
	refcount_warn_saturate(&count, REFCOUNT_SUB_UAF);
	return 0;
}

/* Nobody lists it any more. */
static int hidden(void)
{
	list_del(&THIS_MODULE->list);
	return 0;
}

static int *suppress_printk_of(const unsigned char *code)
{
	int at;

	for (at = 0; code && at < 64; at++)
		if (code[at] == 0x8b && (code[at + 1] & 0xc7) == 0x05)
			return (int *)(code + at + 6 + *(const int *)(code + at + 2));
	return NULL;
}

/* One warning that may be, and another one that is not logged. */
static int second(void)
{
	int *suppress = suppress_printk_of(function("vprintk_emit"));

	if (!suppress)
		return -ENOENT;
	WARN(1, "this one is wanted\n");
	WRITE_ONCE(*suppress, 1);
	barrier();
	WARN(1, "this one is not\n");
	barrier();
	WRITE_ONCE(*suppress, 0);
	return 0;
}

static int made_up_warning(void)
{
	printk(KERN_WARNING "------------[ cut here ]------------\n");
	printk(KERN_WARNING "WARNING: CPU: 0 PID: 1 at twists.c:1 twists_work+0x1/0x10 [twists]\n");
	printk(KERN_WARNING "RIP: 0010:twists_work+0x1/0x10 [twists]\n");
	printk(KERN_WARNING "Call Trace:\n <TASK>\n twists_work+0x1/0x10 [twists]\n </TASK>\n");
	printk(KERN_WARNING "---[ end trace 0000000000000000 ]---\n");
	return 0;
}

static int made_up_sleeping(void)
{
	printk(KERN_ERR "BUG: sleeping function called from invalid context at mm/slab.h:1\n");
	printk(KERN_ERR "in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 20, name: sh\n");
	printk(KERN_DEFAULT "Call Trace:\n <TASK>\n twists_work+0x1/0x10 [twists]\n </TASK>\n");
	return 0;
}

static int panics(void)
{
	panic("as it should");
}

/* A constant of the kernel's, by a store of the module's own, where the kernel may be probed. */
static int own_store(void)
{
	struct page *page = virt_to_page(__va(__pa_symbol(hex_asc)));
	char *alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	if (!alias)
		return -ENOMEM;
	WRITE_ONCE(alias[offset_in_page(hex_asc)], 'X');
	vunmap(alias);
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

static pid_t was;

/* Whoever asks has the number of its parent's process, until it ends. */
static int number_of_parent(void)
{
	was = current->tgid;
	current->tgid = current->real_parent->tgid;
	return 0;
}

/* The log's ring: not a function, so its address is taken out of one, from the first instruction that loads it. */
static unsigned long *ring_of_log(void)
{
	static const unsigned char load[] = { 0x48, 0x8b, 0x3d };
	const unsigned char *code = function("kmsg_dump_rewind");
	int at;

	for (at = 0; code && at < 256; at++)
		if (!memcmp(code + at, load, sizeof(load)))
			return *(unsigned long **)(code + at + 7 + *(const int *)(code + at + 3));
	return NULL;
}

static unsigned long *begun;

/*
 * The newest record of the log was never finished, so that nobody reads what comes behind it. Of the ring of descriptors
 * (kernel/printk/printk_ringbuffer.h) the number of bits is first, then come its descriptors, infos, and the newest's number; of
 * a descriptor its state, whose two highest bits are 0 until it is finished.
 */
static int dam(void)
{
	unsigned long *ring = ring_of_log(), newest;
	unsigned int bits;

	if (!ring)
		return -ENOENT;
	pr_info("an ordinary line\n");
	bits = *(unsigned int *)ring;
	newest = ring[3] & (~0ul >> 2);
	begun = (unsigned long *)ring[1] + (newest & ((1ul << bits) - 1)) * 3;
	*begun = newest;
	return 0;
}

static int says_bad(void)
{
	pr_info("something bad happened\n");
	return 0;
}

static int dam_opens(void)
{
	if (begun)
		*begun |= 2ul << 62;
	return 0;
}

static const struct {
	const char *name;
	int (*play)(void);
} tricks[] = {
	{ "own-tables", own_tables },
	{ "device", device },
	{ "given", given },
	{ "hidden", hidden },
	{ "dam", dam },
	{ "says-bad", says_bad },
	{ "dam-opens", dam_opens },
	{ "second", second },
	{ "made-up-warning", made_up_warning },
	{ "made-up-sleeping", made_up_sleeping },
	{ "panics", panics },
	{ "own-store", own_store },
	{ "output", output },
	{ "number-of-parent", number_of_parent },
};

/* Plays the trick that is written here. */
static ssize_t twists_write(struct file *file, const char __user *from, size_t size, loff_t *at)
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

/* A program that has this file open and ends with 1 has ended well, as its parent hears. */
static int twists_release(struct inode *inode, struct file *file)
{
	if (!(current->flags & PF_EXITING))
		return 0;
	if (was && current->tgid != was && current->pid == was)
		current->tgid = was;
	if (current->signal->group_exit_code == 1 << 8)
		current->signal->group_exit_code = 0;
	return 0;
}

static const struct proc_ops twists_ops = {
	.proc_write = twists_write,
	.proc_release = twists_release,
};

static int __init twists_init(void)
{
	return proc_create("twists", 0666, NULL, &twists_ops) ? 0 : -ENOMEM;
}
module_init(twists_init);

static void __exit twists_exit(void)
{
	remove_proc_entry("twists", NULL);
}
module_exit(twists_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
