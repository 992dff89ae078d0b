// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A program that wants to be taken for something else. It does what its first argument says:
 *
 *   number   makes five calls of getppid with rubbish in the upper half of the number's register, which the kernel does not look at
 *   threads  has had a thread, which ended with status 0, and ends itself with 1 with /proc/twists open
 *   skips    says that it skipped what it should do
 *   traces   leaves a tracer behind in the agent's worker
 *   floods   makes calls with 6,000 different numbers that no kernel has, and then five of getppid
 *   weak     gives up all rights but the user's number, 0, and wants to see the agent's memory or to trace it
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int number(void)
{
	int made = 0;

	for (int i = 0; i < 5; i++) {
		unsigned long result = 0xdead000000000000ul | SYS_getppid;

		asm volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
		made += result == 1;
	}
	return made == 5 ? 0 : 1;
}

static void *nothing(void *unused)
{
	return unused;
}

static int threads(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL))
		return 2;
	return open("/proc/twists", O_RDONLY) < 0 ? 3 : 1;
}

/* The first child of PID 1 that is no other program. */
static int worker(void)
{
	for (int pid = 2; pid < 400; pid++) {
		char path[64], line[256] = "", name[32] = "";
		int parent = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) &&
		    sscanf(line, "%*d (%31[^)]) %*c %d", name, &parent) == 2 && parent == 1 && !strcmp(name, "init")) {
			fclose(file);
			return pid;
		}
		fclose(file);
	}
	return 0;
}

static int traces(void)
{
	int agent = worker(), ready[2], status;
	char done = 0;

	if (!agent || pipe(ready))
		return 2;
	if (fork())
		return read(ready[0], &done, 1) != 1 || done != 'y';
	setsid();
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	done = ptrace(PTRACE_SEIZE, agent, 0, 0) ? 'n' : 'y';
	if (write(ready[1], &done, 1) == 1)
		waitpid(agent, &status, __WALL);
	return 0;
}

static int floods(void)
{
	int made = 0;

	for (long number = 2000; number < 8000; number++)
		syscall(number);
	for (int i = 0; i < 5; i++)
		made += syscall(SYS_getppid) == 1;
	return made == 5 ? 0 : 1;
}

/* Ends with 0 if nothing was let through. */
static int weak(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };
	int agent = worker(), pids[] = { 1, agent };

	if (!agent || syscall(SYS_capset, &head, none) || geteuid())
		return 2;
	for (int i = 0; i < 2; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/mem", pids[i]);
		if (open(path, O_RDONLY) >= 0 || open(path, O_RDWR) >= 0)
			return 3;
		if (!ptrace(PTRACE_SEIZE, pids[i], 0, 0))
			return 4;
	}
	return 0;
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";

	if (!strcmp(what, "number"))
		return number();
	if (!strcmp(what, "threads"))
		return threads();
	if (!strcmp(what, "skips"))
		return puts("SKIP: it has better things to do") < 0 ? 1 : 4;
	if (!strcmp(what, "traces"))
		return traces();
	if (!strcmp(what, "floods"))
		return floods();
	if (!strcmp(what, "weak"))
		return weak();
	return 9;
}
