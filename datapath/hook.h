/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a hook adapter provides. A program includes exactly one adapter (hook_xdp.h,
 * hook_skb.h or hook_cgroup.h) before any other header of datapath/; all other
 * headers use these verbs and never name xdp_md or __sk_buff. What XDP or tc
 * cannot do is an error code, not a missing function; hook_cgroup.h has only what
 * cgroup.h asks for, and hook_set_ce(ctx).
 *
 *   hook_ctx                        the context type
 *   hook_data(), hook_data_end()    bounds of the linear part
 *   hook_len(ctx)                   bytes of the frame, at least of the linear
 *                                   part; free
 *   hook_full_len(ctx)              bytes of the frame, fragments included
 *   hook_pull(ctx, len)             try to have len bytes in the linear part
 *   hook_ifindex(ctx)               device of the hook
 *   hook_for_us(ctx)                false for frames of other stations
 *   hook_starts_at_l3(ctx)          asked where the frame looks as if it had lost
 *                                   its Ethernet header: has it
 *   hook_tagged(ctx)                a VLAN tag is kept outside of the frame
 *   hook_load(ctx, off, buf, len)   copy out of the frame, anywhere
 *   hook_store(ctx, off, buf, len)  copy into the frame, anywhere; pointers
 *                                   into the packet are void afterwards
 *   hook_sum_changed(ctx, old, new) a 16-bit word changed that is not covered
 *                                   by a neutral rewrite, nor by hook_store()
 *   hook_fits(ctx, pkt, mtu, dev)   would every segment fit the MTU
 *   hook_pop_tags(ctx, pkt)         remove all VLAN tags
 *   hook_wire(ctx, pkt, charge)     bytes and segments as on the wire
 *   hook_hand_over(ctx, ifindex)    prepare delivery by a later hook; ifindex 0:
 *                                   what is to be done is done, the stack comes
 *                                   next
 *   hook_tag(ctx, mark, prio)       set mark and priority for later stages
 *   hook_deliver(ctx, row, reason)  into the endpoint's device; sets reason
 *   hook_forward(ctx, config)       to another host
 *
 *   HOOK_PASS, HOOK_DROP            actions of the hook
 *   HOOK_DELIVERS_LATER             stack delivery happens in a later hook
 */
#ifndef ILAX_HOOK_H
#define ILAX_HOOK_H

#ifndef HOOK_PASS
#error "include hook_xdp.h, hook_skb.h or hook_cgroup.h before other headers of datapath/"
#endif

#endif /* ILAX_HOOK_H */
