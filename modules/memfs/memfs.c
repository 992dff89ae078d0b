// SPDX-License-Identifier: GPL-2.0
/*
 * memfs: a file system of files and folders in memory.
 *
 *   mount -t memfs none /mnt
 *
 * A file system gives the kernel (the VFS, Documentation/filesystems/vfs.rst)
 * tables of functions, for four kinds of things:
 *
 *   file_system_type   how to mount and unmount it
 *   super_block        one mount: how inodes come and go
 *   inode              one file or folder: how to find, make and remove names
 *   file               one open file: how to read and write
 *
 * The tree of names needs no code of ours: every name lives in the kernel's
 * cache of names (dentries), and the libfs helpers (simple_...) keep it there.
 * The content of a file is one block of memory, MEMFS_FILE_MAX bytes at most.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/version.h>

/* "memfs" in ASCII, mostly: statfs() shows it. */
#define MEMFS_MAGIC 0x6d656d66
#define MEMFS_FILE_MAX (64 * 1024)

static struct inode *memfs_new_inode(struct super_block *sb, struct inode *dir, umode_t mode);

/* --- Open files: reading and writing ---------------------------------- */

/*
 * The content is at inode->i_private, i_size bytes of it, in a block that has
 * at least the next power of two; NULL for a file that was never written. The
 * inode's lock (inode_lock()) keeps readers and writers apart.
 */
static ssize_t memfs_read(struct kiocb *call, struct iov_iter *to)
{
	struct inode *inode = file_inode(call->ki_filp);
	loff_t at = call->ki_pos;
	size_t count, done = 0;

	inode_lock_shared(inode);
	if (at < i_size_read(inode)) {
		count = min_t(loff_t, iov_iter_count(to), i_size_read(inode) - at);
		done = copy_to_iter(inode->i_private + at, count, to);
		call->ki_pos += done;
		if (count && !done) {
			inode_unlock_shared(inode);
			return -EFAULT;
		}
	}
	inode_unlock_shared(inode);
	return done;
}

/*
 * Makes the block large enough for so many bytes. Doubling it each time keeps
 * the copying cheap for who appends byte by byte. What is new in it is not
 * cleared: who makes the file longer does that.
 */
static int memfs_grow(struct inode *inode, size_t size)
{
	loff_t old = i_size_read(inode);
	void *block;

	if (size > MEMFS_FILE_MAX)
		return -EFBIG;
	if (old && roundup_pow_of_two(old) >= size)
		return 0;
	block = krealloc(inode->i_private, roundup_pow_of_two(size), GFP_KERNEL);
	if (!block)
		return -ENOMEM;
	inode->i_private = block;
	return 0;
}

static ssize_t memfs_write(struct kiocb *call, struct iov_iter *from)
{
	struct inode *inode = file_inode(call->ki_filp);
	loff_t old, end;
	ssize_t done;

	inode_lock(inode);
	/* Cuts at the limits of the file system and of the process, and goes to the end for O_APPEND. */
	done = generic_write_checks(call, from);
	if (done <= 0)
		goto out;
	end = call->ki_pos + done;
	done = memfs_grow(inode, end);
	if (done)
		goto out;
	/* Who writes beyond the end leaves a hole of zeros: not of old memory. */
	old = i_size_read(inode);
	if (call->ki_pos > old)
		memset(inode->i_private + old, 0, call->ki_pos - old);
	done = copy_from_iter(inode->i_private + call->ki_pos, end - call->ki_pos, from);
	if (!done) {
		done = -EFAULT;
		goto out;
	}
	call->ki_pos += done;
	if (call->ki_pos > old)
		i_size_write(inode, call->ki_pos);
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
out:
	inode_unlock(inode);
	return done;
}

static const struct file_operations memfs_file_operations = {
	.read_iter = memfs_read,
	.write_iter = memfs_write,
	.llseek = generic_file_llseek,
	/* There is nothing behind us to which it could be written. */
	.fsync = noop_fsync,
};

/* --- Inodes: names, and what chmod, truncate and the like change ------- */

/* chmod, chown, utime, and truncate, which open() with O_TRUNC is too. */
static int memfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	loff_t old = i_size_read(inode);
	int error;

	error = setattr_prepare(idmap, dentry, attr);
	if (error)
		return error;
	if (attr->ia_valid & ATTR_SIZE && attr->ia_size != old) {
		if (attr->ia_size > old) {
			error = memfs_grow(inode, attr->ia_size);
			if (error)
				return error;
			memset(inode->i_private + old, 0, attr->ia_size - old);
		}
		i_size_write(inode, attr->ia_size);
	}
	setattr_copy(idmap, inode, attr);
	return 0;
}

static const struct inode_operations memfs_file_inode_operations = {
	.setattr = memfs_setattr,
	.getattr = simple_getattr,
};

/* A name in a folder, and the inode that it stands for. */
static int memfs_make(struct inode *dir, struct dentry *dentry, umode_t mode)
{
	struct inode *inode = memfs_new_inode(dir->i_sb, dir, mode);

	if (!inode)
		return -ENOMEM;
	/*
	 * Names are forgotten when nobody uses them, to be read again from the
	 * disk. There is no disk here: the kernel is told to keep them, until
	 * simple_unlink() or unmounting drops them. Before 6.19 one reference
	 * more did that.
	 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	d_make_persistent(dentry, inode);
#else
	d_instantiate(dentry, inode);
	dget(dentry);
#endif
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

/* Newer kernels don't say any more whether the file has to be a new one: here it always is. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
static int memfs_create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			umode_t mode)
#else
static int memfs_create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			umode_t mode, bool exclusive)
#endif
{
	return memfs_make(dir, dentry, mode | S_IFREG);
}

static int memfs_make_folder(struct inode *dir, struct dentry *dentry, umode_t mode)
{
	int error = memfs_make(dir, dentry, mode | S_IFDIR);

	/* The ".." in the new folder is a name for this one. */
	if (!error)
		inc_nlink(dir);
	return error;
}

/* Since 6.15 a file system can give another dentry back; NULL says that it does not. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
static struct dentry *memfs_mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
				  umode_t mode)
{
	return ERR_PTR(memfs_make_folder(dir, dentry, mode));
}
#else
static int memfs_mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
		       umode_t mode)
{
	return memfs_make_folder(dir, dentry, mode);
}
#endif

static const struct inode_operations memfs_dir_inode_operations = {
	.lookup = simple_lookup,
	.create = memfs_create,
	.mkdir = memfs_mkdir,
	.link = simple_link,
	.unlink = simple_unlink,
	.rmdir = simple_rmdir,
	.rename = simple_rename,
};

static struct inode *memfs_new_inode(struct super_block *sb, struct inode *dir, umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(&nop_mnt_idmap, inode, dir, mode);
	simple_inode_init_ts(inode);
	if (S_ISDIR(mode)) {
		inode->i_op = &memfs_dir_inode_operations;
		inode->i_fop = &simple_dir_operations;
		/* Its name, and the "." in it. */
		inc_nlink(inode);
	} else {
		inode->i_op = &memfs_file_inode_operations;
		inode->i_fop = &memfs_file_operations;
	}
	return inode;
}

/* --- Mounts ------------------------------------------------------------ */

/* The last name and the last open file of an inode are gone. */
static void memfs_evict_inode(struct inode *inode)
{
	clear_inode(inode);
	kfree(inode->i_private);
}

static const struct super_operations memfs_super_operations = {
	.statfs = simple_statfs,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	.drop_inode = inode_just_drop,
#else
	.drop_inode = generic_delete_inode,
#endif
	.evict_inode = memfs_evict_inode,
};

static int memfs_fill_super(struct super_block *sb, struct fs_context *context)
{
	struct inode *root;

	sb->s_magic = MEMFS_MAGIC;
	sb->s_maxbytes = MEMFS_FILE_MAX;
	sb->s_op = &memfs_super_operations;
	sb->s_time_gran = 1;
	root = memfs_new_inode(sb, NULL, S_IFDIR | 0755);
	/* Takes root over, also when it fails; NULL is fine. */
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int memfs_get_tree(struct fs_context *context)
{
	/* Without a device behind it: every mount is a file system of its own. */
	return get_tree_nodev(context, memfs_fill_super);
}

static const struct fs_context_operations memfs_context_operations = {
	.get_tree = memfs_get_tree,
};

static int memfs_init_fs_context(struct fs_context *context)
{
	context->ops = &memfs_context_operations;
	return 0;
}

static struct file_system_type memfs_type = {
	/* As long as something is mounted, the kernel holds this module. */
	.owner = THIS_MODULE,
	.name = "memfs",
	.init_fs_context = memfs_init_fs_context,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	.kill_sb = kill_anon_super,
#else
	.kill_sb = kill_litter_super,
#endif
};

static int __init memfs_init(void)
{
	int error = register_filesystem(&memfs_type);

	if (error) {
		pr_err("can't register: error %d\n", error);
		return error;
	}
	pr_info("registered\n");
	return 0;
}

static void __exit memfs_exit(void)
{
	unregister_filesystem(&memfs_type);
	pr_info("unregistered\n");
}

module_init(memfs_init);
module_exit(memfs_exit);

/* The alias fs-memfs: mounting one makes the kernel look for this module. */
MODULE_ALIAS_FS("memfs");
MODULE_AUTHOR("the vmm authors");
MODULE_DESCRIPTION("Files and folders in memory");
MODULE_LICENSE("GPL");
