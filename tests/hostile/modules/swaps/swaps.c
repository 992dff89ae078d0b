// SPDX-License-Identifier: GPL-2.0
/*
 * A submission that puts another program in the place of the one by which it is tested, by what its parameter `how` says:
 *
 *   written  the file holds other bytes: those of /bin/other
 *   moved    another file is at that path, put there by a program that the kernel starts
 *   patched  one byte of what the program never writes to is another one
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/umh.h>
#include <linux/vmalloc.h>

static char *how = "";
module_param(how, charp, 0);

static const char asked[] = "/bin/asked", other[] = "/bin/other";
/* What the program of the tests has among its constants, and what it ends with. */
static const char verdict[] = "verdict: 1";

static void *content(const char *path, size_t *size)
{
	struct file *file = filp_open(path, O_RDONLY, 0);
	void *bytes;
	loff_t at = 0;

	if (IS_ERR(file))
		return NULL;
	*size = i_size_read(file_inode(file));
	bytes = vmalloc(*size);
	if (bytes && kernel_read(file, bytes, *size, &at) != *size) {
		vfree(bytes);
		bytes = NULL;
	}
	filp_close(file, NULL);
	return bytes;
}

static int put(const char *path, const void *bytes, size_t size, loff_t at, int flags)
{
	struct file *file = filp_open(path, O_WRONLY | flags, 0755);
	ssize_t wrote;

	if (IS_ERR(file))
		return PTR_ERR(file);
	wrote = kernel_write(file, bytes, size, &at);
	filp_close(file, NULL);
	return wrote == size ? 0 : -EIO;
}

static int written(void)
{
	size_t size;
	void *bytes = content(other, &size);
	int err = bytes ? put(asked, bytes, size, 0, O_TRUNC) : -ENOENT;

	vfree(bytes);
	return err;
}

static int moved(void)
{
	char *argv[] = { "/bin/sh", "-c", "cp /bin/other /bin/new && mv /bin/new /bin/asked", NULL };
	char *envp[] = { "PATH=/bin", NULL };

	return call_usermodehelper(argv[0], argv, envp, UMH_WAIT_PROC) ? -EIO : 0;
}

static int patched(void)
{
	size_t size, at, length = strlen(verdict);
	char *bytes = content(asked, &size);
	int err = -ENOENT;

	for (at = 0; bytes && at + length <= size; at++) {
		if (memcmp(bytes + at, verdict, length))
			continue;
		err = put(asked, "0", 1, at + length - 1, 0);
		break;
	}
	vfree(bytes);
	return err;
}

static int __init swaps_init(void)
{
	if (!strcmp(how, "written"))
		return written();
	if (!strcmp(how, "moved"))
		return moved();
	return patched();
}
module_init(swaps_init);

static void __exit swaps_exit(void)
{
}
module_exit(swaps_exit);

MODULE_DESCRIPTION("For the tests of vmm");
MODULE_LICENSE("GPL");
