// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#define DEVICE_NAME "chardev"

static int major;

static ssize_t chardev_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	/* TODO */
	return -EIO;
}

static ssize_t chardev_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	/* TODO */
	return -EIO;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.read = chardev_read,
	.write = chardev_write,
};

static int __init chardev_init(void)
{
	major = register_chrdev(0, DEVICE_NAME, &fops);
	if (major < 0)
		return major;
	/* TODO: say so in the log */
	return 0;
}

static void __exit chardev_exit(void)
{
	unregister_chrdev(major, DEVICE_NAME);
}

module_init(chardev_init);
module_exit(chardev_exit);

MODULE_LICENSE("GPL");
