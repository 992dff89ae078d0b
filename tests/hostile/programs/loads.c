// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loads the module of this path as a 32-bit program does, whose results nobody sees. */
#include <fcntl.h>

/* `finit_module` of arch/x86/entry/syscalls/syscall_32.tbl. */
#define FINIT_MODULE 350

int main(int count, char **words)
{
	/* A static program lies below 4 GiB, where such a call can see it. */
	static const char parameters[] = "";
	int fd = count > 1 ? open(words[1], O_RDONLY) : -1;
	int result = FINIT_MODULE;

	asm volatile("int $0x80" : "+a"(result) : "b"(fd), "c"(parameters), "d"(0)
		     : "memory", "r8", "r9", "r10", "r11");
	return result ? 1 : 0;
}
