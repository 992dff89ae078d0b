// SPDX-License-Identifier: GPL-2.0
/*
 * pair_base: a module that others build on. It hands out tickets, numbered
 * from 1 on.
 *
 * What a module does not export, no other module can call: the kernel links
 * modules by the symbols in their tables of exports and by nothing else.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/printk.h>

#include "pair.h"

static atomic_t last = ATOMIC_INIT(0);

int pair_ticket(void)
{
	return atomic_inc_return(&last);
}
/* _GPL: only modules whose licence is compatible with the kernel's get it. */
EXPORT_SYMBOL_GPL(pair_ticket);

static int __init pair_base_init(void)
{
	pr_info("loaded\n");
	return 0;
}

/*
 * There is no need to look whether somebody still uses us: the kernel counts
 * every module that is linked to one of our symbols as a user, and refuses to
 * unload us until it is gone.
 */
static void __exit pair_base_exit(void)
{
	pr_info("unloaded after %d tickets\n", atomic_read(&last));
}

module_init(pair_base_init);
module_exit(pair_base_exit);

MODULE_AUTHOR("the vmm authors");
MODULE_DESCRIPTION("Hands out tickets to other modules");
MODULE_LICENSE("GPL");
