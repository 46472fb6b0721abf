/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stands where libbpf's header of this name stands, so that the shipped programs,
 * adapters included, become ordinary functions of user space. kernel.c and tables.c
 * are what the kernel does behind these names.
 *
 * Maps and programs are weak: several programs in one executable share the maps.
 * Global functions of the datapath are in each of them, so they become static.
 */
#ifndef FUZZ_BPF_HELPERS_H
#define FUZZ_BPF_HELPERS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#define SEC(name) __attribute__((weak))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#undef __noinline
#define __noinline static __attribute__((noinline, unused))
#define barrier_var(var) asm volatile("" : "+r"(var))

void *bpf_map_lookup_elem(void *map, const void *key);
void *bpf_get_local_storage(void *map, __u64 flags);
void *bpf_ringbuf_reserve(void *ring, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *data, __u64 flags);

__u64 bpf_ktime_get_ns(void);
__u64 bpf_jiffies64(void);

__u64 bpf_xdp_get_buff_len(struct xdp_md *ctx);
long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 off, void *buf, __u32 len);
long bpf_xdp_store_bytes(struct xdp_md *ctx, __u32 off, void *buf, __u32 len);
long bpf_xdp_adjust_head(struct xdp_md *ctx, int delta);
long bpf_xdp_adjust_meta(struct xdp_md *ctx, int delta);
long bpf_redirect_map(void *map, __u64 key, __u64 flags);

long bpf_skb_pull_data(struct __sk_buff *ctx, __u32 len);
long bpf_skb_load_bytes(const void *ctx, __u32 off, void *to, __u32 len);
long bpf_skb_load_bytes_relative(const void *ctx, __u32 off, void *to,
				 __u32 len, __u32 header);
long bpf_skb_store_bytes(struct __sk_buff *ctx, __u32 off, const void *from,
			 __u32 len, __u64 flags);
long bpf_skb_vlan_pop(struct __sk_buff *ctx);
long bpf_skb_ecn_set_ce(struct __sk_buff *ctx);
__s64 bpf_csum_update(struct __sk_buff *ctx, __u32 sum);
long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff,
		   __u64 flags);
long bpf_redirect_peer(__u32 ifindex, __u64 flags);
long bpf_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *params, int plen,
			__u64 flags);
__u64 bpf_sk_ancestor_cgroup_id(void *sk, int level);

#endif /* FUZZ_BPF_HELPERS_H */
