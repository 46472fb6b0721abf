// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Keeps a core from sleeping: it looks busy for some seconds. To be run with the
 * lowest priority, so that whoever has something to do goes first.
 *
 *     awake SECONDS
 */
#include "common.h"

int main(int argc, char **argv)
{
	if (argc != 2)
		errx(2, "usage: awake SECONDS");
	end_after((unsigned int)number(argv[1]));
	for (;;)
		__asm__ volatile("" ::: "memory");
}
