// SPDX-License-Identifier: GPL-2.0
/* average: see TASK.md. */
#include <linux/errno.h>
#include <linux/overflow.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>

#define MOST 1000

SYSCALL_DEFINE3(average, const long __user *, numbers, int, count, long __user *, result)
{
	long sum = 0;
	int i;

	if (count < 1 || count > MOST)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		long number;

		if (get_user(number, numbers + i))
			return -EFAULT;
		if (check_add_overflow(sum, number, &sum))
			return -EOVERFLOW;
	}
	return put_user(sum / count, result);
}
