// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A program that wants its calls to be the agent's, or the agent to do what it wants. It does what its first argument says:
 *
 *   agent   makes five calls from the agent's own code, mapped where the agent has it
 *   memory  writes into the agent's code
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the agent begins (guest-image/agent/build.rs). */
#define AGENT 0x6e000000ul

/* The agent's file, mapped as the kernel maps it; returns where its code is and how much there is of it. */
static unsigned char *map_agent(size_t *size)
{
	int fd = open("/init", O_RDONLY);
	unsigned char *code = NULL;
	Elf64_Ehdr head;
	Elf64_Phdr part;

	if (fd < 0 || read(fd, &head, sizeof(head)) != sizeof(head))
		return NULL;
	for (int i = 0; i < head.e_phnum; i++) {
		unsigned long skip;

		pread(fd, &part, sizeof(part), head.e_phoff + i * sizeof(part));
		skip = part.p_vaddr & 4095;
		if (part.p_type != PT_LOAD || !(part.p_flags & PF_X))
			continue;
		if (mmap((void *)(part.p_vaddr - skip), part.p_filesz + skip, PROT_READ | PROT_EXEC,
			 MAP_PRIVATE | MAP_FIXED, fd, part.p_offset - skip) == MAP_FAILED)
			return NULL;
		code = (unsigned char *)part.p_vaddr;
		*size = part.p_filesz;
	}
	return code;
}

static int as_agent(void)
{
	/* syscall; cmp $-4095, %rax; jae over the next; ret: as the C library has it. */
	static const unsigned char way[] = { 0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73, 0x01, 0xc3 };
	size_t size = 0;
	unsigned char *code = map_agent(&size);
	unsigned char *place = code ? memmem(code, size, way, sizeof(way)) : NULL;

	if (!place)
		return 2;
	for (int i = 0; i < 5; i++) {
		long result = SYS_getppid;

		asm volatile("call *%1" : "+a"(result) : "r"(place) : "rcx", "r11", "memory", "cc");
	}
	return 0;
}

static int memory(void)
{
	int fd = open("/proc/1/mem", O_RDWR);

	return fd < 0 || pwrite(fd, "X", 1, AGENT) != 1;
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";

	if (!strcmp(what, "agent"))
		return as_agent();
	if (!strcmp(what, "memory"))
		return memory();
	return 3;
}
