// SPDX-License-Identifier: GPL-2.0
/*
 * Four small memories as character devices. See TASK.md.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define DEVICE_NAME "chardev"
#define MINORS 4
#define SIZE 1024

struct store {
	struct mutex lock;	/* for all that follows */
	size_t length;		/* up to here something was written */
	char *data;
};

static struct store stores[MINORS];
static int major;

static int chardev_open(struct inode *inode, struct file *file)
{
	unsigned int minor = iminor(inode);

	if (minor >= MINORS)
		return -ENXIO;
	file->private_data = &stores[minor];
	return 0;
}

static int chardev_release(struct inode *inode, struct file *file)
{
	return 0;
}

static ssize_t chardev_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	struct store *store = file->private_data;
	ssize_t result = 0;

	if (mutex_lock_interruptible(&store->lock))
		return -ERESTARTSYS;
	if (*pos >= store->length)
		goto out;
	count = min_t(size_t, count, store->length - *pos);
	if (copy_to_user(to, store->data + *pos, count)) {
		result = -EFAULT;
		goto out;
	}
	*pos += count;
	result = count;
out:
	mutex_unlock(&store->lock);
	return result;
}

static ssize_t chardev_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	struct store *store = file->private_data;
	ssize_t result;

	if (mutex_lock_interruptible(&store->lock))
		return -ERESTARTSYS;
	if (*pos >= SIZE) {
		result = -ENOSPC;
		goto out;
	}
	count = min_t(size_t, count, SIZE - *pos);
	if (copy_from_user(store->data + *pos, from, count)) {
		result = -EFAULT;
		goto out;
	}
	*pos += count;
	if (*pos > store->length)
		store->length = *pos;
	result = count;
out:
	mutex_unlock(&store->lock);
	return result;
}

static loff_t chardev_llseek(struct file *file, loff_t offset, int whence)
{
	struct store *store = file->private_data;
	loff_t pos;

	mutex_lock(&store->lock);
	switch (whence) {
	case SEEK_SET:
		pos = offset;
		break;
	case SEEK_CUR:
		pos = file->f_pos + offset;
		break;
	case SEEK_END:
		pos = store->length + offset;
		break;
	default:
		pos = -1;
	}
	if (pos < 0 || pos > SIZE)
		pos = -EINVAL;
	else
		file->f_pos = pos;
	mutex_unlock(&store->lock);
	return pos;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = chardev_open,
	.release = chardev_release,
	.read = chardev_read,
	.write = chardev_write,
	.llseek = chardev_llseek,
};

static void free_all(void)
{
	int minor;

	for (minor = 0; minor < MINORS; minor++)
		kfree(stores[minor].data);
}

static int __init chardev_init(void)
{
	int minor;

	for (minor = 0; minor < MINORS; minor++) {
		mutex_init(&stores[minor].lock);
		stores[minor].data = kzalloc(SIZE, GFP_KERNEL);
		if (!stores[minor].data) {
			free_all();
			return -ENOMEM;
		}
	}
	major = register_chrdev(0, DEVICE_NAME, &fops);
	if (major < 0) {
		free_all();
		return major;
	}
	pr_info("chardev: loaded, major %d\n", major);
	return 0;
}

static void __exit chardev_exit(void)
{
	unregister_chrdev(major, DEVICE_NAME);
	free_all();
	pr_info("chardev: unloaded\n");
}

module_init(chardev_init);
module_exit(chardev_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Four small memories as character devices");
