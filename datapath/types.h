/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types and small helpers that every part of the datapath uses. */
#ifndef ILAX_TYPES_H
#define ILAX_TYPES_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ilax_abi.h"

#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif

#define VLAN_TAG_BYTES 4
#define VLAN_MAX_TAGS 2
#define IPV6_HEADER_BYTES 40

/* In the first 16 bits of a multicast address. */
#define MULTICAST_SCOPE_MASK 0xf
#define MULTICAST_SCOPE_LINK 2

/* In the first 16 bits of an IPv6 header: where ECN is, and what it says. */
#define ECN_SHIFT 4
#define ECN_ECT_1 1
#define ECN_ECT_0 2
#define ECN_CE 3

/*
 * The rule of all stages: a value below zero means "continue", everything else
 * is a final enum ilax_reason.
 */
#define ILAX_CONTINUE (-1)

/* One packet, parsed once. Later stages use this and never raw offsets. */
struct ilax_packet {
	struct ilax_addr src;
	struct ilax_addr dst;
	__u32 len;	 /* bytes of the frame */
	__u32 from_slot; /* sender's row of ilax_traffic, 0 = not known */
	__u32 to_slot;	 /* receiver's row, 0 = not known */
	__u16 l3_off;	 /* bytes before the IPv6 header */
	__u8 nexthdr;	 /* of the fixed header */
	__u8 hop_limit;
	__u8 tags;  /* VLAN tags inside the frame, 0..VLAN_MAX_TAGS */
	bool noted; /* a limit has marked or tagged it */
	/*
	 * Constant in each program: header fields are written by hook_store(). The
	 * kernel puts code in front of a tc program that writes to packets itself:
	 * what somebody else holds as well, such as a packet socket on the device,
	 * is copied first, and the copy has no metadata (Linux 6.18). The helper
	 * costs 12 ns more than writing.
	 */
	bool stores;
};

/*
 * Addresses in packets stand at even offsets, so clang would move them in
 * pieces of four bytes. All machines with a BPF JIT load eight at any offset,
 * and the verifier refuses it where they do not.
 */
typedef __u64 packet_u64 __attribute__((may_alias));

static __always_inline void addr_load(struct ilax_addr *to, const void *from)
{
	to->prefix = ((const packet_u64 *)from)[0];
	to->identifier = ((const packet_u64 *)from)[1];
}

static __always_inline void addr_store(void *to, const struct ilax_addr *from)
{
	((packet_u64 *)to)[0] = from->prefix;
	((packet_u64 *)to)[1] = from->identifier;
}

static __always_inline bool addr_equal(const struct ilax_addr *a,
				       const struct ilax_addr *b)
{
	return a->prefix == b->prefix && a->identifier == b->identifier;
}

static __always_inline bool addr_is_multicast(const struct ilax_addr *a)
{
	return (a->prefix & bpf_cpu_to_be64(0xff00000000000000ULL)) ==
	       bpf_cpu_to_be64(0xff00000000000000ULL);
}

static __always_inline bool addr_is_link_local(const struct ilax_addr *a)
{
	return (a->prefix & bpf_cpu_to_be64(0xffc0000000000000ULL)) ==
	       bpf_cpu_to_be64(0xfe80000000000000ULL);
}

static __always_inline bool addr_is_link_scope(const struct ilax_addr *addr)
{
	return addr_is_multicast(addr) || addr_is_link_local(addr);
}

/* Also by its scope (RFC 4291, 2.7): routers do not forward it. */
static __always_inline bool addr_stays_on_link(const struct ilax_addr *a)
{
	if (addr_is_link_local(a))
		return true;
	return addr_is_multicast(a) &&
	       (bpf_be64_to_cpu(a->prefix) >> 48 & MULTICAST_SCOPE_MASK) <=
		       MULTICAST_SCOPE_LINK;
}

static __always_inline bool addr_is_unspecified(const struct ilax_addr *a)
{
	return !a->prefix && !a->identifier;
}

/* Asks for marks, and has none yet. */
static __always_inline bool ecn_capable(__u8 ecn)
{
	return ecn == ECN_ECT_0 || ecn == ECN_ECT_1;
}

/* The bits of RFC 3168 in the first 16 of an IPv6 header. */
static __always_inline __u8 ecn_of_ipv6(const void *header)
{
	return bpf_ntohs(*(const __be16 *)header) >> ECN_SHIFT & ECN_CE;
}

#endif /* ILAX_TYPES_H */
