// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves something behind, and has the process that unloads it look elsewhere: its exit runs in that one's context. `how` says which
 * of both it does.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *how = "rights";
module_param(how, charp, 0444);

static const struct file_operations operations;

/* Outside of the init section, which is given back. */
static noinline int forget(void)
{
	return kmalloc(100, GFP_KERNEL) ? 0 : -ENOMEM;
}

static int __init blinds_init(void)
{
	int major, error = 0;
	int i;

	for (i = 0; i < 4096 && !error; i++)
		error = forget();
	major = register_chrdev(0, "left_behind", &operations);
	return major < 0 ? major : error;
}
module_init(blinds_init);

/* /proc/slabinfo, and the files that check caches, are only root's to open. */
static void without_rights(void)
{
	struct cred *cred = prepare_creds();

	if (!cred)
		return;
	cred->fsuid = KUIDT_INIT(65534);
	cap_lower(cred->cap_effective, CAP_DAC_OVERRIDE);
	cap_lower(cred->cap_effective, CAP_DAC_READ_SEARCH);
	commit_creds(cred);
}

/* Where the agent has its own /proc, there are copies. */
static void with_copies(void)
{
	struct file *copies = filp_open("/tmp/copies", O_RDONLY | O_DIRECTORY, 0);

	if (IS_ERR(copies))
		return;
	close_fd(1010);
	fd_install(1010, copies);
}

static void __exit blinds_exit(void)
{
	if (!strcmp(how, "copies"))
		with_copies();
	else
		without_rights();
}
module_exit(blinds_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
