/* The lines that were added, as a student hands them in. */
asmlinkage long sys_average(const long __user *numbers, int count, long __user *result);
