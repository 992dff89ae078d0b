// SPDX-License-Identifier: GPL-2.0
/* Reads what a program wrote without copy_from_user(), as a beginner does: no processor of today lets it. */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/proc_fs.h>

static ssize_t trusts_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	pr_info("trusts: %c\n", *(__force const char *)from);
	return size;
}

static const struct proc_ops trusts_ops = {
	.proc_write = trusts_write,
};

static int __init trusts_init(void)
{
	return proc_create("trusts", 0666, NULL, &trusts_ops) ? 0 : -ENOMEM;
}
module_init(trusts_init);

static void __exit trusts_exit(void)
{
	remove_proc_entry("trusts", NULL);
}
module_exit(trusts_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
