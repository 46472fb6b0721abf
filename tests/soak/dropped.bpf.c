// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The soak's own packets that the kernel drops anywhere, by its reason. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PORT 7300
#define REASONS 1024

/* The kernel's, as far as it is needed. */
struct sk_buff {
	unsigned char *head;
	__u16 network_header;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} soak_dropped SEC(".maps");

SEC("tp_btf/kfree_skb")
int BPF_PROG(soak_on_drop, struct sk_buff *skb, void *location, int reason)
{
	struct {
		struct ipv6hdr ip6;
		struct udphdr udp;
	} packet;
	__u32 index = reason & (REASONS - 1);
	__u64 *count;

	if (bpf_probe_read_kernel(&packet, sizeof(packet),
				  skb->head + skb->network_header) ||
	    packet.ip6.version != 6 || packet.ip6.nexthdr != IPPROTO_UDP ||
	    packet.udp.dest != bpf_htons(PORT))
		return 0;
	count = bpf_map_lookup_elem(&soak_dropped, &index);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
