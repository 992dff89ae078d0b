// SPDX-License-Identifier: MIT OR Apache-2.0
/* A test that fails, as its constants say; with -DVERDICT=0 one that does not. */
#include <stdio.h>
#include <string.h>

#ifndef VERDICT
#define VERDICT 1
#endif
#define TEXT_(number) "verdict: " #number
#define TEXT(number) TEXT_(number)

static const char verdict[] = TEXT(VERDICT);

int main(void)
{
	/* As a compiler can't know it. */
	const char *volatile text = verdict;

	puts(text);
	return text[strlen(text) - 1] - '0';
}
