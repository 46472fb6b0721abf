// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The paced generator: run with BPF_F_TEST_XDP_LIVE_FRAMES on a veth, it sends
 * several streams of UDP frames to the other end, each at its own rate by the
 * kernel's clock. It is an open loop: what the receiver does changes nothing.
 *
 * A run that is not due ends with XDP_DROP, which gives the frame back and sends
 * nothing, so the rate does not depend on how fast the runs are.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define STREAMS 64
#define HEADER_WORDS 8 /* 64 bytes: all headers */
#define TIME_SHIFT 6   /* times have 1/64 ns */

struct stream {
	__u64 words[HEADER_WORDS]; /* the frame's first bytes; zeros follow */
	__u64 interval;		   /* 1/64 ns from frame to frame; 0 = always */
	__u64 cut;		   /* bytes less than the longest frame has */
	/*
	 * 1/64 ns: what a busy core has delayed by more than this, and by more
	 * than the time between two frames, is not sent at all.
	 */
	__u64 latest;
};

struct progress {
	__u64 due;    /* of the next frame, 1/64 ns; 0 = at once */
	__u64 sent;   /* frames */
	__u64 missed; /* times that it was too late, 1/64 ns in all */
};

struct turn {
	__u32 next;
	__u32 streams;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STREAMS);
	__type(key, __u32);
	__type(value, struct stream);
} perf_streams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STREAMS);
	__type(key, __u32);
	__type(value, struct progress);
} perf_progress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turn);
} perf_turn SEC(".maps");

static __always_inline bool is_due(const struct stream *stream,
				   struct progress *progress)
{
	__u64 now, late, latest = stream->latest;

	if (!stream->interval)
		return true;
	now = bpf_ktime_get_ns() << TIME_SHIFT;
	if (!progress->due)
		progress->due = now;
	late = now - progress->due;
	if ((__s64)late < 0)
		return false;
	if (latest < stream->interval)
		latest = stream->interval;
	if (late > latest) {
		progress->missed += late - latest;
		progress->due = now - latest;
	}
	progress->due += stream->interval;
	return true;
}

/* The kernel recycles frames as the receiver left them. */
static __always_inline bool write_frame(struct xdp_md *ctx,
					const struct stream *stream)
{
	__u64 *words;
	int i;

	if (stream->cut && bpf_xdp_adjust_tail(ctx, -(int)stream->cut))
		return false;
	words = (void *)(long)ctx->data;
	if ((void *)(words + HEADER_WORDS) > (void *)(long)ctx->data_end)
		return false;
	for (i = 0; i < HEADER_WORDS; i++)
		words[i] = stream->words[i];
	return true;
}

SEC("xdp.frags")
int perf_flood(struct xdp_md *ctx)
{
	const struct stream *stream;
	struct progress *progress;
	struct turn *turn;
	__u32 at = 0;

	turn = bpf_map_lookup_elem(&perf_turn, &at);
	if (!turn)
		return XDP_ABORTED;
	at = turn->next;
	turn->next = at + 1 < turn->streams ? at + 1 : 0;
	stream = bpf_map_lookup_elem(&perf_streams, &at);
	progress = bpf_map_lookup_elem(&perf_progress, &at);
	if (!turn->streams || !stream || !progress || !is_due(stream, progress))
		return XDP_DROP;
	if (!write_frame(ctx, stream))
		return XDP_ABORTED;
	progress->sent++;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
