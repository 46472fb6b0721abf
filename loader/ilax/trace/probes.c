// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What `ilax trace` attaches; bcc compiles it on the host that is traced.
 *
 * No struct of the kernel is used: where a field lies comes from the running kernel's
 * BTF, as a macro (layout.py). So headers of another version of Linux will do, and
 * a struct that has grown a field cannot mislead.
 */
#include <uapi/linux/ptrace.h>

enum delivery {
	BY_STACK,
	BY_XDP,
	DELIVERIES,
};

enum stage {
	STAGE_BEGUN,
	STAGE_IN_STACK,
};

#define UPLINK 1 /* of a device: what comes in by it is timed */
#define LEFT_BY_REDIRECT 0
#define LEFT_BY_TRANSMIT 1

struct addr {
	u64 halves[2];
};

/* An skb on its way, by its address. */
struct start {
	u64 ns;
	u64 dev;
	u32 by;
	u32 stage;
};

struct latency {
	u64 count;
	u64 sum;
	u64 slots[SLOTS];
};

struct exception {
	u32 ifindex;
	u32 action;
	u32 program;
	u32 pad;
	char name[16];
};

struct failure {
	u32 from;
	u32 to;
	u32 map;
	u32 type;
	s32 err;
	u32 at;
};

struct drop {
	u64 location;
	u32 endpoint;
	u32 ifindex;
	u32 reason;
	u32 elsewhere;
};

BPF_TABLE("hash", u32, u32, devices, DEVICES);
BPF_TABLE("hash", struct addr, u32, endpoints, ENDPOINTS);
BPF_TABLE("lru_hash", u64, struct start, starts, FLYING);
BPF_TABLE("lru_hash", u64, u64, frames, FLYING);
BPF_TABLE("array", u32, struct latency, latencies, LATENCIES);
BPF_TABLE("hash", struct exception, u64, exceptions, ROWS);
BPF_TABLE("hash", struct failure, u64, failures, ROWS);
BPF_TABLE("hash", struct drop, u64, drops, ROWS);
/* What found no room in a table above. */
BPF_TABLE("array", u32, u64, lost, 1);

static __always_inline u64 word(u64 at)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
	return value;
}

static __always_inline u32 half(u64 at)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
	return value;
}

static __always_inline u32 number(u64 dev)
{
	return dev ? half(dev + OFF_net_device_ifindex) : 0;
}

/* Interface numbers repeat in other namespaces. */
static __always_inline bool elsewhere(u64 dev)
{
	u64 net = word(dev + OFF_net_device_nd_net);

	return half(net + OFF_net_ns_inum) != NETNS;
}

static __always_inline u32 *known(u64 dev)
{
	u32 ifindex = number(dev);

	return elsewhere(dev) ? NULL : devices.lookup(&ifindex);
}

static __always_inline bool is_uplink(u64 dev)
{
	u32 *flags = known(dev);

	return flags && *flags & UPLINK;
}

/* The endpoint that an IPv6 packet is for, from 1; 0: none of ours. */
static __always_inline u32 endpoint_of(u64 skb)
{
	u64 ip6 = word(skb + OFF_sk_buff_head);
	u16 network = 0, protocol = 0;
	struct addr dst = {};
	u32 *row;

	bpf_probe_read_kernel(&protocol, sizeof(protocol),
			      (void *)(skb + OFF_sk_buff_protocol));
	if (protocol != bpf_htons(0x86dd))
		return 0;
	bpf_probe_read_kernel(&network, sizeof(network),
			      (void *)(skb + OFF_sk_buff_network_header));
	ip6 += network;
	if (bpf_probe_read_kernel(&dst, sizeof(dst), (void *)(ip6 + 24)))
		return 0;
	row = endpoints.lookup(&dst);
	return row ? *row : 0;
}

/* `seen` is NULL where the table is full. */
static __always_inline void count(u64 *seen, u64 packets)
{
	u32 zero = 0;

	if (!seen)
		seen = lost.lookup(&zero);
	if (seen)
		__sync_fetch_and_add(seen, packets);
}

/* --- from the uplink, with an skb --------------------------------------------- */

static __always_inline int begin(u64 skb)
{
	struct start start = {};

	start.dev = word(skb + OFF_sk_buff_dev);
	if (!is_uplink(start.dev))
		return 0;
	start.ns = bpf_ktime_get_ns();
	start.by = BY_STACK;
	starts.update(&skb, &start);
	return 0;
}

/* Everything by which a driver hands an skb over. */
int at_napi_gro_receive_entry(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx->args[0]);
}

int at_napi_gro_frags_entry(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx->args[0]);
}

int at_netif_rx_entry(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx->args[0]);
}

int at_netif_receive_skb_entry(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx->args[0]);
}

int at_netif_receive_skb_list_entry(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx->args[0]);
}

/*
 * Behind GRO, in front of tc. Not every end of an skb can be seen (GRO merges it, TCP
 * takes its data), and another may get its address. All that is received passes
 * here, so an address that comes twice, or on another device, is another skb.
 */
int at_netif_receive_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0];
	struct start *start = starts.lookup(&skb);

	if (!start)
		return 0;
	if (start->stage == STAGE_BEGUN &&
	    start->dev == word(skb + OFF_sk_buff_dev))
		start->stage = STAGE_IN_STACK;
	else
		starts.delete(&skb);
	return 0;
}

/* --- from the uplink, by XDP: frames, and the skb that the container makes of one */

static __always_inline int begin_frame(u64 dev, u64 buff)
{
	u64 frame = word(buff + OFF_xdp_buff_data_hard_start);
	u64 now;

	if (!is_uplink(dev))
		return 0;
	now = bpf_ktime_get_ns();
	frames.update(&frame, &now);
	return 0;
}

static __always_inline int frame_to_skb(u64 frame, u64 skb, u64 dev)
{
	u64 *ns = frames.lookup(&frame);
	struct start start = {};

	if (!ns)
		return 0;
	start.ns = *ns;
	start.dev = dev;
	start.by = BY_XDP;
	frames.delete(&frame);
	starts.update(&skb, &start);
	return 0;
}

/* --- the container's stack takes it for its own -------------------------------- */

static __always_inline int arrive(u64 skb)
{
	struct start *start = starts.lookup(&skb);
	struct latency *latency;
	u32 stage, at;
	u64 ns, slot;

	if (!start)
		return 0;
	ns = bpf_ktime_get_ns() - start->ns;
	at = start->by;
	stage = start->stage;
	starts.delete(&skb);
	if (stage != STAGE_IN_STACK)
		return 0;
	at += endpoint_of(skb) * DELIVERIES;
	if (at < DELIVERIES)
		return 0;
	latency = latencies.lookup(&at);
	if (!latency)
		return 0;
	slot = bpf_log2l(ns);
	if (slot >= SLOTS)
		slot = SLOTS - 1;
	/* The verifier has to see a bound, so the compiler must not know it. */
	asm volatile("" : "+r"(slot));
	__sync_fetch_and_add(&latency->count, 1);
	__sync_fetch_and_add(&latency->sum, ns);
	__sync_fetch_and_add(&latency->slots[slot & (SLOTS - 1)], 1);
	return 0;
}

/* Each function twice: by BPF trampoline, and where there is none by kprobe. */
int kfunc__xdp_do_redirect(unsigned long long *ctx)
{
	return begin_frame(ctx[0], ctx[1]);
}

int kprobe_xdp_do_redirect(struct pt_regs *ctx)
{
	return begin_frame(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
}

int kfunc____xdp_build_skb_from_frame(unsigned long long *ctx)
{
	return frame_to_skb(ctx[0], ctx[1], ctx[2]);
}

int kprobe___xdp_build_skb_from_frame(struct pt_regs *ctx)
{
	return frame_to_skb(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx),
			    PT_REGS_PARM3(ctx));
}

int kfunc__ip6_input(unsigned long long *ctx)
{
	return arrive(ctx[0]);
}

int kprobe_ip6_input(struct pt_regs *ctx)
{
	return arrive(PT_REGS_PARM1(ctx));
}

/* --- what went wrong ------------------------------------------------------------ */

static __always_inline u64 about(u64 program)
{
	return word(program + OFF_bpf_prog_aux);
}

int at_xdp_exception(struct bpf_raw_tracepoint_args *ctx)
{
	u64 dev = ctx->args[0], aux = about(ctx->args[1]);
	struct exception key = {};
	u64 none = 0;

	if (!known(dev))
		return 0;
	key.ifindex = number(dev);
	key.action = ctx->args[2];
	key.program = half(aux + OFF_bpf_prog_aux_id);
	bpf_probe_read_kernel(&key.name, sizeof(key.name),
			      (void *)(aux + OFF_bpf_prog_aux_name));
	count(exceptions.lookup_or_try_init(&key, &none), 1);
	return 0;
}

static __always_inline int redirect_failed(struct bpf_raw_tracepoint_args *ctx)
{
	struct failure key = {};
	u64 none = 0;

	if (!known(ctx->args[0]))
		return 0;
	key.from = number(ctx->args[0]);
	key.to = ctx->args[6];
	key.type = ctx->args[4];
	key.map = ctx->args[5];
	key.err = ctx->args[3];
	key.at = LEFT_BY_REDIRECT;
	count(failures.lookup_or_try_init(&key, &none), 1);
	return 0;
}

int at_xdp_redirect_err(struct bpf_raw_tracepoint_args *ctx)
{
	return redirect_failed(ctx);
}

int at_xdp_redirect_map_err(struct bpf_raw_tracepoint_args *ctx)
{
	return redirect_failed(ctx);
}

int at_xdp_devmap_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	s32 dropped = ctx->args[3];
	struct failure key = {};
	u64 none = 0;

	if (dropped <= 0 || !known(ctx->args[1]))
		return 0;
	key.from = number(ctx->args[0]);
	key.to = number(ctx->args[1]);
	key.err = ctx->args[4];
	key.at = LEFT_BY_TRANSMIT;
	count(failures.lookup_or_try_init(&key, &none), dropped);
	return 0;
}

int at_kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0], dev = word(skb + OFF_sk_buff_dev);
	struct drop key = {};
	bool here = known(dev);
	u64 none = 0;

	starts.delete(&skb);
	key.endpoint = endpoint_of(skb);
	if (!here && !key.endpoint)
		return 0;
	key.location = ctx->args[1];
	key.reason = ctx->args[2];
	key.ifindex = number(dev);
	key.elsewhere = elsewhere(dev);
	count(drops.lookup_or_try_init(&key, &none), 1);
	return 0;
}
