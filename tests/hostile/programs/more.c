// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A program that wants to be taken for something else. It does what its first argument says:
 *
 *   number   makes five calls of getppid with rubbish in the upper half of the number's register, which the kernel does not look at
 *   threads  has had a thread, which ended with status 0, and ends itself with 1 with /proc/twists open
 *   skips    says that it skipped what it should do
 *   traces   leaves a tracer behind in the agent's worker
 */
#define _GNU_SOURCE
#include <fcntl.h>
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
	return 9;
}
