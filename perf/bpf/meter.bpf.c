// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What really arrives in a container: a sink that counts, and looks at the
 * kernel's clock. Attached at ingress of the container's device.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Only the core that generates receives: no atomics. */
struct reading {
	__u64 packets; /* all of them */
	__u64 bytes;   /* of frames */
	__u64 begin;   /* ns: when the very first came */
	/* Since `settle` ns after that, without the first of these: */
	__u64 start; /* ns: when that first one came */
	__u64 last;  /* ns: when the newest came */
	__u64 settled_packets;
	__u64 settled_bytes;
	__u64 settle; /* ns; writer: user space */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reading);
} perf_reading SEC(".maps");

static __always_inline void read_meter(struct reading *reading, __u32 bytes)
{
	__u64 now = bpf_ktime_get_ns();

	if (!reading->begin)
		reading->begin = now;
	reading->packets++;
	reading->bytes += bytes;
	if (now - reading->begin < reading->settle)
		return;
	if (!reading->start) {
		reading->start = now;
		return;
	}
	reading->last = now;
	reading->settled_packets++;
	reading->settled_bytes += bytes;
}

SEC("tc")
int perf_meter(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	struct reading *reading;
	__u32 zero = 0;

	if ((void *)(ip6 + 1) > end || ip6->nexthdr != IPPROTO_UDP ||
	    ctx->protocol != bpf_htons(ETH_P_IPV6))
		return TC_ACT_UNSPEC;
	reading = bpf_map_lookup_elem(&perf_reading, &zero);
	if (reading)
		read_meter(reading, ctx->len);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
