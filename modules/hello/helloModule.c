// SPDX-License-Identifier: GPL-2.0
/*
 * helloModule: the classic first module. It says hello when it is loaded and
 * goodbye when it is unloaded:
 *
 *   insmod helloModule.ko whom=class times=2
 *   rmmod helloModule
 */
/* Every line that we print begins with the module's name. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/init.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

#define TIMES_MAX 100

/* 0444: everybody may read them in /sys/module/helloModule/parameters. */
static char *whom = "world";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "whom to greet (world)");

static int times = 1;
module_param(times, int, 0444);
MODULE_PARM_DESC(times, "how many times, 1 to 100 (1)");

/* Runs at insmod. An error number from here refuses the loading. */
static int __init hello_init(void)
{
	int i;

	if (times < 1 || times > TIMES_MAX) {
		pr_err("times is %d, must be 1 to %d\n", times, TIMES_MAX);
		return -EINVAL;
	}

	for (i = 0; i < times; i++)
		pr_info("hello, %s\n", whom);
	return 0;
}

/* Runs at rmmod, only if hello_init() returned 0. */
static void __exit hello_exit(void)
{
	pr_info("goodbye, %s\n", whom);
}

module_init(hello_init);
module_exit(hello_exit);

MODULE_AUTHOR("the vmm authors");
MODULE_DESCRIPTION("Says hello and goodbye");
MODULE_LICENSE("GPL");
