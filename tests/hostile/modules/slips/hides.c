// SPDX-License-Identifier: GPL-2.0
/* A module that nobody lists. */
#include <linux/init.h>
#include <linux/list.h>
#include <linux/module.h>

static int __init hides_init(void)
{
	list_del(&THIS_MODULE->list);
	return 0;
}
module_init(hides_init);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
