// SPDX-License-Identifier: GPL-2.0
/*
 * pair_user: a module that needs another one. Loading it alone by insmod fails
 * with ENOENT, for the kernel finds nobody who exports pair_ticket. depmod
 * notes in modules.dep who does, so that modprobe loads pair_base first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/module.h>
#include <linux/printk.h>

#include "pair.h"

static int __init pair_user_init(void)
{
	pr_info("got ticket %d\n", pair_ticket());
	return 0;
}

static void __exit pair_user_exit(void)
{
	pr_info("unloaded\n");
}

module_init(pair_user_init);
module_exit(pair_user_exit);

MODULE_AUTHOR("the vmm authors");
MODULE_DESCRIPTION("Takes a ticket from pair_base");
MODULE_LICENSE("GPL");
