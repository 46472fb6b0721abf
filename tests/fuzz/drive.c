// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Feed the programs in the kernel by test run, and their twins in user space with the
 * same packets: verdict, bytes, metadata and marks are equal, and so are all counters,
 * those of limits, too, in the end, which the caller compares with what this prints.
 * Some cases are printed whole, for another judge.
 *
 * drive RUNS SEED SAMPLES SHIM XDP UPLINK_IN UPLINK_OUT CONTAINER ATTACHED CASE...
 * The six before the cases are descriptors of programs; ATTACHED runs that of cgroups.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "case.h"
#include "kernel.h"
#include "population.h"
#include "tables.h"

#define CASE_MAX (sizeof(struct case_head) + FRAME_MAX)
/* A test run refuses shorter skbs whose headers are not whole; the shim cuts. */
#define TC_SHORTEST 64
#define METADATA_MAX 252
#define FIRST_CASE (5 + CASE_HOOKS)

struct seed {
	__u8 data[CASE_MAX];
	size_t size;
};

static int programs[CASE_HOOKS];
static int shim;
static struct seed *seeds;
static __u64 counted[CASE_HOOKS][ILAX_REASON_COUNT];

static void read_seed(const char *path, struct seed *seed)
{
	FILE *file = fopen(path, "rb");

	if (!file)
		FAIL("cannot open %s", path);
	seed->size = fread(seed->data, 1, sizeof(seed->data), file);
	fclose(file);
}

/* What a test run cannot give, or gives of its own, is left out of a case. */
static bool prepare(struct kase *kase)
{
	struct case_head *head = &kase->head;
	bool cgroup = head->hook == CASE_CGROUP;

	head->flags &= cgroup ? CASE_IPV4 : 0;
	/* It refuses half a header, which no socket gets to see. */
	if (cgroup && kase->len < (head->flags ? sizeof(struct iphdr) :
						 sizeof(struct ipv6hdr)))
		return false;
	head->edits = 0;
	if (!cgroup)
		head->gso_size = 0;
	head->extra = 0;
	head->ticks = 0;
	head->meta_room = METADATA_MAX / 4 - head->meta;
	if (head->hook != CASE_XDP) {
		head->meta = 0;
		head->linear = 0;
		if (cgroup ||
		    (head->tag >> 16 != 0x8100 && head->tag >> 16 != 0x88a8))
			head->tag = 0;
	}
	return true;
}

struct run {
	__u8 data[HEADROOM + FRAME_MAX];
	__u8 out[2 * HEADROOM + FRAME_MAX];
	union bpf_attr attr;
	struct xdp_md xdp;
	struct xdp_md xdp_out;
	struct __sk_buff skb;
	struct __sk_buff skb_out;
};

static void attach_context(struct run *run, const void *in, void *out,
			   __u32 size)
{
	run->attr.test.ctx_in = (unsigned long)in;
	run->attr.test.ctx_out = (unsigned long)out;
	run->attr.test.ctx_size_in = size;
	run->attr.test.ctx_size_out = size;
}

static void prepare_xdp(struct run *run, const struct kase *kase)
{
	__u32 meta = 4 * kase->head.meta, linear = kase->head.linear;

	if (!linear || linear > kase->len)
		linear = kase->len;
	if (linear < FRAME_MIN)
		linear = FRAME_MIN;
	memset(run->data, 'm', meta);
	memcpy(run->data + meta, kase->frame, kase->len);
	run->attr.test.data_size_in = meta + kase->len;
	run->attr.test.prog_fd = programs[CASE_XDP];
	memset(&run->xdp, 0, sizeof(run->xdp));
	run->xdp.data = meta;
	run->xdp.data_end = meta + linear;
	attach_context(run, &run->xdp, &run->xdp_out, sizeof(run->xdp));
}

static void prepare_skb(struct run *run, const struct kase *kase)
{
	__u32 ifindex = POPULATION_UPLINK, len = kase->len;

	if (kase->head.hook == CASE_CONTAINER)
		ifindex = population_ifindexes[kase->head.device];
	memcpy(run->data, kase->frame, kase->len);
	run->attr.test.prog_fd = programs[kase->head.hook];
	memset(&run->skb, 0, sizeof(run->skb));
	run->skb.ifindex = ifindex;
	if (kase->len < TC_SHORTEST || kase->head.tag) {
		if (len < TC_SHORTEST) {
			memset(run->data + len, 0, TC_SHORTEST - len);
			len = TC_SHORTEST;
		}
		run->attr.test.prog_fd = shim;
		run->skb.cb[0] = kase->head.hook;
		run->skb.cb[1] = kase->len;
		run->skb.cb[2] = kase->head.tag;
	}
	run->attr.test.data_size_in = len;
	attach_context(run, &run->skb, &run->skb_out, sizeof(run->skb));
}

/* The kernel takes the Ethernet header away before, and puts one of zeros there after. */
static void prepare_cgroup(struct run *run, const struct kase *kase)
{
	__u16 type = kase->head.flags & CASE_IPV4 ? ETH_P_IP : ETH_P_IPV6;

	memset(run->data, 0, ETH_HLEN);
	run->data[12] = type >> 8;
	run->data[13] = type & 0xff;
	memcpy(run->data + ETH_HLEN, kase->frame, kase->len);
	run->attr.test.prog_fd = programs[CASE_CGROUP];
	run->attr.test.data_size_in = ETH_HLEN + kase->len;
	memset(&run->skb, 0, sizeof(run->skb));
	run->skb.ifindex = population_ifindexes[kase->head.device];
	run->skb.gso_size = kase->head.gso_size;
	run->skb.gso_segs = kase->head.gso_segs;
	run->skb.cb[0] = kase->head.slot;
	attach_context(run, &run->skb, &run->skb_out, sizeof(run->skb));
}

/* Bytes in front of the packet afterwards. */
static __u32 front_of(const struct kase *kase, const struct run *run)
{
	if (kase->head.hook == CASE_XDP)
		return run->xdp_out.data;
	return kase->head.hook == CASE_CGROUP ? ETH_HLEN : 0;
}

static void compare(const struct kase *kase, const struct outcome *out,
		    const struct run *run)
{
	bool xdp = kase->head.hook == CASE_XDP, drop = out->reason >= 64;
	__u32 front = front_of(kase, run);
	__u32 theirs = xdp ? 4 * kase->head.meta : 0;

	if ((int)run->attr.test.retval != out->code)
		FAIL("hook %d: the kernel returns %d, the twin %d for reason %d",
		     kase->head.hook, (int)run->attr.test.retval, out->code,
		     out->reason);
	if (drop)
		return;
	if (run->attr.test.data_size_out != front + out->len ||
	    memcmp(run->out + front, out->frame, out->len))
		FAIL("hook %d: the kernel makes another packet for reason %d",
		     kase->head.hook, out->reason);
	if (xdp && (front != out->meta + theirs ||
		    memcmp(run->out, out->metadata, out->meta)))
		FAIL("the kernel writes other metadata for reason %d",
		     out->reason);
	if (!xdp && (run->skb_out.mark != out->mark ||
		     run->skb_out.priority != out->prio))
		FAIL("the kernel tags in another way for reason %d",
		     out->reason);
}

static void run_both(const struct kase *kase)
{
	static struct outcome out;
	static struct run run;

	case_run(kase, &out);
	case_check(kase, &out);
	memset(&run.attr, 0, sizeof(run.attr));
	if (kase->head.hook == CASE_XDP)
		prepare_xdp(&run, kase);
	else if (kase->head.hook == CASE_CGROUP)
		prepare_cgroup(&run, kase);
	else
		prepare_skb(&run, kase);
	run.attr.test.data_in = (unsigned long)run.data;
	run.attr.test.data_out = (unsigned long)run.out;
	run.attr.test.data_size_out = sizeof(run.out);
	run.attr.test.repeat = 1;
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &run.attr, sizeof(run.attr)))
		FAIL("hook %d: the kernel refuses to run %u bytes: %s",
		     kase->head.hook, kase->len, strerror(errno));
	counted[kase->head.hook][out.reason]++;
	compare(kase, &out, &run);
}

static void print_case(const struct kase *kase)
{
	const __u8 *head = (const void *)&kase->head;

	printf("case ");
	for (size_t i = 0; i < sizeof(kase->head); i++)
		printf("%02x", head[i]);
	for (__u32 i = 0; i < kase->len; i++)
		printf("%02x", kase->frame[i]);
	putchar('\n');
}

static void print_counted(void)
{
	for (int hook = 0; hook < CASE_HOOKS; hook++)
		for (int reason = 0; reason < ILAX_REASON_COUNT; reason++)
			if (counted[hook][reason])
				printf("reason %d %d %llu\n", hook, reason,
				       counted[hook][reason]);
	for (int slot = 0; slot < POPULATION_LIMITS; slot++) {
		const __u64 *fields = (const void *)&case_policed[slot];

		printf("limit %d", slot);
		for (size_t i = 0; i < sizeof(*case_policed) / 8; i++)
			printf(" %llu", fields[i]);
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	__u64 runs, samples, done = 0, random;
	static struct seed given;
	struct kase kase;
	int count = argc - FIRST_CASE;

	if (count < 1)
		FAIL("too few arguments");
	runs = strtoull(argv[1], NULL, 10);
	random = strtoull(argv[2], NULL, 10) * 2654435761ULL + 1;
	samples = strtoull(argv[3], NULL, 10);
	shim = atoi(argv[4]);
	for (int hook = 0; hook < CASE_HOOKS; hook++)
		programs[hook] = atoi(argv[5 + hook]);
	seeds = calloc(count, sizeof(*seeds));
	if (!seeds)
		FAIL("no memory");
	for (int i = 0; i < count; i++)
		read_seed(argv[FIRST_CASE + i], &seeds[i]);
	tables_init();
	kernel_init();
	while (done < runs) {
		given = seeds[random_next(&random) % count];
		do
			given.size = case_mutate(given.data, given.size,
						 sizeof(given.data), &random);
		while (random_next(&random) % 4);
		if (!case_decode(given.data, given.size, &kase) ||
		    !prepare(&kase))
			continue;
		run_both(&kase);
		if (samples && done % (runs / samples) == 0)
			print_case(&kase);
		done++;
	}
	print_counted();
	return 0;
}
