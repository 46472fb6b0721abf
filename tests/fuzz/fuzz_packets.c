// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Coverage-guided: any packet at any hook, and the two ways in against each other. */
#include <string.h>

#include "case.h"
#include "kernel.h"
#include "tables.h"

size_t LLVMFuzzerMutate(__u8 *data, size_t size, size_t room);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	tables_init();
	kernel_init();
	return 0;
}

size_t LLVMFuzzerCustomMutator(__u8 *data, size_t size, size_t room,
			       unsigned int seed)
{
	__u64 random = seed * 2654435761ULL + 1;

	if (random_next(&random) % 4 == 0)
		return LLVMFuzzerMutate(data, size, room);
	do
		size = case_mutate(data, size, room, &random);
	while (random_next(&random) % 2);
	return size;
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	static struct outcome out;
	struct kase kase;

	if (!case_decode(data, size, &kase))
		return -1;
	case_run(&kase, &out);
	case_check(&kase, &out);
	if (kase.head.hook <= CASE_UPLINK_IN)
		case_check_adapters(&kase);
	return 0;
}
