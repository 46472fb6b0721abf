/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ilax map contract: every struct, enum, limit and name that two programs
 * share. It needs <linux/types.h> only, so that BPF programs, C and C++ daemons
 * and binding generators all read this one file.
 *
 * Rules of this file
 *  - sized integers only; __be* means network byte order, everything else is
 *    the host's order; padding is explicit and must be zero;
 *  - no bitfields, bool, long, pointers or packed structs;
 *  - every field says its unit, range and writer. "control" is the loader or
 *    any daemon that manages rows; "datapath" is the BPF programs. Nobody
 *    writes what the other side writes;
 *  - numbers are append-only. A retired number keeps its slot;
 *  - a new minor only appends maps, enum values, or meanings of padding whose
 *    zero keeps the old meaning. Everything else is a new major, which lives
 *    in its own pin folder.
 *
 * maps_schema/abi.lock is the canonical text of the layouts below; it is
 * regenerated and compared by the lint.
 */
#ifndef ILAX_ABI_H
#define ILAX_ABI_H

#include <linux/types.h>

#ifdef __cplusplus
#define ILAX_STATIC_ASSERT(expr, text) static_assert(expr, text)
#else
#define ILAX_STATIC_ASSERT(expr, text) _Static_assert(expr, text)
#endif

/* Numbers are enums, not macros, so that BTF carries them to every language. */
enum ilax_version {
	ILAX_ABI_MAGIC = 0x696c6178, /* "ilax" */
	ILAX_ABI_MAJOR = 1,
	ILAX_ABI_MINOR = 1,
	ILAX_TAGGED_MAGIC = 0x696c6174, /* "ilat" */
};

/* Pins: <bpffs>/ilax/<instance>/v<major>/maps/<map name> */
#define ILAX_PIN_ROOT "/sys/fs/bpf/ilax"
#define ILAX_DEFAULT_INSTANCE "default"

#define ILAX_MAP_ENDPOINTS "ilax_endpoints"
#define ILAX_MAP_MAPPINGS "ilax_mappings"
#define ILAX_MAP_PORTS "ilax_ports"
#define ILAX_MAP_PREFIXES "ilax_prefixes"
#define ILAX_MAP_CONFIG "ilax_config"
#define ILAX_MAP_COUNTERS "ilax_counters"
#define ILAX_MAP_TRAFFIC "ilax_traffic"
#define ILAX_MAP_EVENTS "ilax_events"
#define ILAX_MAP_DEVICES "ilax_devices"
#define ILAX_MAP_LIMITS "ilax_limits"
#define ILAX_MAP_BACKLOGS "ilax_backlogs"
#define ILAX_MAP_CHUNKS "ilax_chunks"
#define ILAX_MAP_CLOCK "ilax_clock"
#define ILAX_MAP_CGROUPS "ilax_cgroups"
#define ILAX_MAP_ATTACHED "ilax_attached"
#define ILAX_MAP_ABI "ilax_abi"

enum ilax_size {
	/* Defaults that a loader may change before load. */
	ILAX_DEFAULT_ENDPOINTS = 65536,	 /* rows */
	ILAX_DEFAULT_MAPPINGS = 1048576, /* rows */
	ILAX_DEFAULT_LIMITS = 16384,	 /* rows, the unused row 0 included */
	/* Fixed. */
	ILAX_MAX_PREFIXES = 16,		/* rows */
	ILAX_EVENTS_BYTES = 256 * 1024, /* of the ring; a power of two */
	ILAX_EVENT_DATA_BYTES = 128,	/* first bytes of a sampled packet */
	ILAX_LAYOUT_HASH_BYTES = 32,	/* SHA-256 of abi.lock */
	ILAX_LIMIT_PARENTS = 4,		/* levels above a limit */
	ILAX_CHUNK_ROWS = 1024,		/* of each CPU; a power of two */
};

/*
 * An IPv6 address, as its two halves. Both are in network byte order, so a
 * struct in6_addr can be copied over it byte for byte.
 */
struct ilax_addr {
	__be64 prefix;	   /* SIR prefix or locator; control */
	__be64 identifier; /* names the task; its last 16 bits carry the
			    * checksum adjustment on the wire; control
			    */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_addr) == 16, "struct ilax_addr");

/* How a packet reaches its endpoint. */
enum ilax_delivery {
	/* Into the container's stack by bpf_redirect_peer; GRO is kept. */
	ILAX_DELIVERY_STACK = 0,
	/* XDP redirect into the container's device; needs a row in
	 * ilax_devices and NAPI on the container's side (GRO on).
	 */
	ILAX_DELIVERY_XDP = 1,
	/* The host's own stack: the task lives in the host's namespace. */
	ILAX_DELIVERY_HOST = 2,
};

enum ilax_endpoint_flag {
	/* The loader made this endpoint's veth pair and removes it again. */
	ILAX_ENDPOINT_OWNS_LINK = 1 << 0,
};

/*
 * ilax_endpoints: HASH, key struct ilax_addr = the destination as it arrives on
 * the wire. Writer: control. Exactly one cache line.
 *
 * The kernel gives the room of a row that was deleted or replaced to the next row
 * at once, while programs may still read it. So after that a writer waits until
 * they are done (membarrier(MEMBARRIER_CMD_GLOBAL)) before anybody writes another
 * row; writers hold the lock meanwhile.
 *
 * Example: key 2001:db8:42:7:3000:7:a1b2:de7 ->
 *          sir 2001:db8:5a5a:1:2000:7:a1b2:c3d4, ifindex 12, mtu 1500
 */
struct ilax_endpoint {
	struct ilax_addr wire; /* this row's own key again, outside of all SIR
				* prefixes. The programs compare it last, should
				* a writer not have waited (see below)
				*/
	struct ilax_addr sir;  /* destination that the task sees */
	__u32 ifindex;	       /* host-side device, 0 for ILAX_DELIVERY_HOST */
	__u32 slot;	       /* row of ilax_traffic; 0 = not counted apart */
	__u32 limit;	       /* row of ilax_limits; 0 = not limited.
				* Since 1.1
				*/
	__u32 generation;      /* rises with each change of this row */
	__u16 mtu;	       /* bytes of an IPv6 packet for the device,
				* 0 = not checked
				*/
	__u8 delivery;	       /* enum ilax_delivery; others mean STACK */
	__u8 flags;	       /* ILAX_ENDPOINT_* */
	__u8 mac[6];	       /* of the container's device */
	__u8 host_mac[6];      /* of the host-side device */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_endpoint) == 64, "struct ilax_endpoint");

enum ilax_action {
	ILAX_ACTION_NONE = 0,	 /* never valid: a zeroed row drops */
	ILAX_ACTION_LOCAL = 1,	 /* wire is a key of this host's endpoints */
	ILAX_ACTION_FORWARD = 2, /* rewrite, then route by the locator */
};

/*
 * ilax_mappings: HASH, key struct ilax_addr = SIR address. Writer: control (the
 * owner of the address publishes the value; everybody else copies it). Keys lie
 * inside a SIR prefix of ilax_prefixes.
 *
 * Example: key 2001:db8:5a5a:1:2000:7:a1b2:c3d4 ->
 *          wire 2001:db8:42:7:3000:7:a1b2:de7, action FORWARD
 */
struct ilax_mapping {
	struct ilax_addr wire; /* rewritten destination, ready to store;
				* outside of all SIR prefixes, or the packet is
				* translated again and again
				*/
	__u8 action;	       /* enum ilax_action */
	__u8 pad[3];	       /* 0 */
	__u32 parameter;       /* of future actions, 0 */
	__u64 generation;      /* orders the moves of a task; not read by
				* the datapath
				*/
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_mapping) == 32, "struct ilax_mapping");

enum ilax_port_flag {
	/* Accept any source address (a router, a load balancer). */
	ILAX_PORT_ANY_SOURCE = 1 << 0,
};

/*
 * ilax_ports: HASH, key __u32 = ifindex of the host-side device (host order).
 * Writer: control. A packet from a device without a row is dropped.
 */
struct ilax_port {
	struct ilax_addr sir; /* the only unicast source this port may use */
	__u32 slot;	      /* row of ilax_traffic; 0 = not counted apart */
	__u32 flags;	      /* ILAX_PORT_* */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_port) == 24, "struct ilax_port");

enum ilax_prefix_kind {
	ILAX_PREFIX_END = 0,	 /* no further rows */
	ILAX_PREFIX_SIR = 1,	 /* destinations are looked up in mappings */
	ILAX_PREFIX_LOCATOR = 2, /* this host's own: an identifier without an
				  * endpoint is dropped
				  */
	ILAX_PREFIX_BLOCK = 3,	 /* locators of the fabric: tasks may never
				  * address anything in here
				  */
};

enum ilax_prefix_flag {
	/* Wire identifiers carry the C-bit (kernel ILA: neutral-map; without
	 * it: neutral-map-auto).
	 */
	ILAX_PREFIX_CBIT = 1 << 0,
	/* Identifiers carry a type; type 0 is an ordinary host address. */
	ILAX_PREFIX_TYPED = 1 << 1,
};

/*
 * ilax_prefixes: ARRAY, index 0..ILAX_MAX_PREFIXES-1. Writer: control. The
 * first row that matches decides, so longer prefixes stand first. A row may be
 * read while it is half written: docs/map-contract.md has an order of writes in
 * which that does no harm. There a row with mask 0 and a prefix that is not 0
 * matches nothing.
 */
struct ilax_prefix {
	__be64 prefix;	   /* upper half of the addresses */
	__be64 mask;	   /* of 1 to 64 bits, contiguous; 0 only as above */
	__be64 sir_prefix; /* the SIR domain of a LOCATOR or BLOCK; 0 for SIR */
	__u32 flags;	   /* ILAX_PREFIX_* flags */
	__u32 kind;	   /* enum ilax_prefix_kind */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_prefix) == 32, "struct ilax_prefix");

/*
 * ilax_config: ARRAY of one row. Writer: control.
 */
struct ilax_config {
	struct ilax_addr gateway; /* next hop for wire addresses; :: = ask the
				   * kernel's routes for each packet
				   */
	__u64 netns;		  /* inode number of the host's network
				   * namespace; not read by the datapath
				   */
	__u32 uplink_ifindex;	  /* where FORWARD leaves */
	__u32 uplink_mtu;	  /* bytes of an IPv6 packet; 0 = not checked */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_config) == 32, "struct ilax_config");

/* Where a verdict was reached; upper part of an index of ilax_counters. */
enum ilax_hook {
	ILAX_HOOK_XDP_INGRESS = 0,
	ILAX_HOOK_UPLINK_INGRESS = 1,
	ILAX_HOOK_UPLINK_EGRESS = 2,
	ILAX_HOOK_CONTAINER = 3,
	ILAX_HOOK_USER = 4,   /* programs of third parties */
	ILAX_HOOK_CGROUP = 5, /* cgroup_skb/ingress */
	ILAX_HOOK_COUNT = 8,
};

/*
 * Why a packet got its verdict: drop code, counter index and metric label in
 * one. The block says the verdict: PASS leaves the packet to the host's stack,
 * SEND is on its way by us, DROP ends it. Append-only within each block.
 */
enum ilax_reason {
	ILAX_PASS_NOT_IPV6 = 0,	   /* other protocols are untouched */
	ILAX_PASS_NOT_OURS = 1,	   /* no SIR address, no wire address of ours */
	ILAX_PASS_LINK_SCOPE = 2,  /* multicast, ND, link-local */
	ILAX_PASS_HOST = 3,	   /* for a task in the host's namespace */
	ILAX_PASS_HOP_LIMIT = 4,   /* hop limit used up: the stack answers */
	ILAX_PASS_TOO_BIG = 5,	   /* above the next MTU: the stack answers */
	ILAX_PASS_WIRE = 6,	   /* leaves as a wire address already */
	ILAX_PASS_NOT_LINEAR = 7,  /* headers out of reach of this hook */
	ILAX_PASS_NO_METADATA = 8, /* no room for metadata: tc does the job */
	ILAX_PASS_MALFORMED = 9,   /* broken IPv6 header: the stack counts it */
	ILAX_PASS_OTHER_HOST = 10, /* frame for another station */
	ILAX_PASS_MANY_TAGS = 11,  /* VLAN tags beyond the two looked behind */
	ILAX_PASS_HANDOVER =
		12, /* XDP has done its part: the stack comes next */

	ILAX_SEND_META = 32,	 /* rewritten, handed on to tc by metadata */
	ILAX_SEND_XDP = 33,	 /* redirected into a device by XDP */
	ILAX_SEND_PEER = 34,	 /* into a container's stack */
	ILAX_SEND_HANDOVER = 35, /* same, the work was done in XDP */
	ILAX_SEND_LOCAL = 36,	 /* container to container on one host */
	ILAX_SEND_FORWARD = 37,	 /* rewritten and sent to another host */

	ILAX_DROP_UNKNOWN_IDENTIFIER = 64, /* own locator, no endpoint */
	ILAX_DROP_SPOOFED_SOURCE = 65,	   /* not the port's own address */
	ILAX_DROP_LOCATOR_REFUSED = 66,	   /* a task addressed a locator */
	ILAX_DROP_NO_MAPPING = 67,	   /* SIR address without a row */
	ILAX_DROP_BAD_ACTION = 68,	   /* mapping with an unknown action */
	ILAX_DROP_UNKNOWN_PORT = 69,	   /* device without a row in ports */
	ILAX_DROP_ROW_CHANGED = 70,	   /* row recycled while in use */
	ILAX_DROP_ICMP_INNER = 71,	   /* error about an old mapping */
	ILAX_DROP_NO_DEVICE = 72,	   /* XDP delivery without a device */
	ILAX_DROP_MALFORMED = 73,	   /* broken IPv6 header of a task; too
					    * many tags for a check
					    */
	ILAX_DROP_REWRITE = 74,		   /* the kernel refused the rewrite */
	ILAX_DROP_LIMIT = 75,		   /* over the limit of its cgroup */
	ILAX_DROP_NO_LOCAL_ROUTE = 76,	   /* for a task here, routed out */
	ILAX_DROP_REDIRECT = 77,	   /* to the next hop of SIR routes */

	/* 112..127 are for stages of third parties and never given out here. */
	ILAX_DROP_USER = 112,

	ILAX_REASON_COUNT = 128,
};

enum ilax_reason_block {
	ILAX_SEND_FIRST = 32,
	ILAX_DROP_FIRST = 64,
};

enum ilax_counter_row {
	/* Casts: C++20 refuses arithmetic between two enums. */
	ILAX_COUNTER_ROWS = (int)ILAX_HOOK_COUNT * (int)ILAX_REASON_COUNT,
};

/*
 * ilax_counters: PERCPU_ARRAY, index hook * ILAX_REASON_COUNT + reason.
 * Writer: datapath.
 */
struct ilax_counter {
	__u64 packets;
	__u64 bytes;	   /* of frames, without the checksum; of packets from
			    * their IP header on at ILAX_HOOK_CGROUP, and
			    * where a device has no Ethernet header; of what
			    * a driver hands to XDP in pieces only the first
			    * one where the IPv6 header promises no more
			    */
	__u64 sampled;	   /* events written to ilax_events */
	__u64 lost;	   /* events that found the ring full */
	__u64 last_sample; /* jiffies of the newest event */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_counter) == 40, "struct ilax_counter");

/*
 * ilax_traffic: PERCPU_ARRAY, index = slot of an endpoint and of its port.
 * Slot 0 is shared by all that are not counted apart. Writer: datapath. "rx" is
 * what the task receives, "tx" what it sends.
 */
struct ilax_traffic {
	__u64 rx_packets;
	__u64 rx_bytes; /* of frames, as in struct ilax_counter */
	__u64 rx_drops; /* packets */
	__u64 tx_packets;
	__u64 tx_bytes;
	__u64 tx_drops;
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_traffic) == 48, "struct ilax_traffic");

/*
 * ilax_events: RINGBUF of samples: dropped packets, and those that a limit marked
 * or tagged; at most one per reason, hook, CPU and tick of the kernel's clock.
 * Writer: datapath.
 */
struct ilax_event {
	__u64 time;	/* CLOCK_MONOTONIC, ns */
	__u32 ifindex;	/* device it arrived on or leaves by */
	__u32 len;	/* bytes, as in struct ilax_counter; see `data` */
	__u32 slot;	/* of the endpoint or port, 0 = unknown */
	__u16 captured; /* valid bytes of data, 0..ILAX_EVENT_DATA_BYTES */
	__u8 hook;	/* enum ilax_hook */
	__u8 reason;	/* enum ilax_reason; not of a drop: marked or tagged */
	__u8 data[ILAX_EVENT_DATA_BYTES]; /* the frame as it is dropped, or goes
					   * on; from its IP header on at
					   * ILAX_HOOK_CGROUP, and where it has
					   * no Ethernet header
					   */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_event) == 152, "struct ilax_event");

/* What happens to packets over a limit. "Backlog" is that of a virtual queue
 * which drains at the rate of the limit (struct ilax_limit), and "over" a
 * threshold: as much as that, or more. What is queued in front of a packet is
 * compared, without what the packet costs itself.
 */
enum ilax_limit_action {
	/* Over the drop threshold: dropped. The mark threshold is not read. */
	ILAX_LIMIT_DROP = 0,
	/* Over the mark threshold: ECN CE, if the packet is ECN-capable. Over
	 * the drop threshold: dropped.
	 */
	ILAX_LIMIT_MARK = 1,
	/* Over the mark threshold: skb->mark and skb->priority are set for
	 * later stages. Never dropped.
	 */
	ILAX_LIMIT_TAG = 2,
	/* Dry run: counted as dropped or marked, and left alone. */
	ILAX_LIMIT_COUNT = 3,
};

enum ilax_limit_flag {
	/* Another limited cgroup lies below this one: the program at the cgroup
	 * has to see whether the packet is that one's, and short frames have
	 * nothing to spare (ilax_limit.small).
	 */
	ILAX_LIMIT_NESTED = 1 << 0,
};

enum ilax_limit_unit {
	/* Times of the datapath have 1/64 ns: a frame of 64 bytes takes 12.8 ns
	 * at 40 Gbit/s, and whole nanoseconds would be wrong by 6 %.
	 */
	ILAX_TIME_SHIFT = 6,
	/* byte_cost has 10 further bits. */
	ILAX_BYTE_COST_SHIFT = 10,
	/* Bytes that a link spends on each frame around it: preamble 8, checksum
	 * 4, gap 12. They are charged, too, and a short frame counts as 60.
	 */
	ILAX_FRAME_OVERHEAD = 24,
	ILAX_FRAME_SHORTEST = 60,
	/* What ilax_chunks hold for an earlier use of a slot is void. */
	ILAX_GENERATION_SHIFT = 16,
	/* Frames up to this length may have ilax_limit.small to spare: pure ACKs
	 * and SYNs, whose loss costs most and saves least.
	 */
	ILAX_SMALL_FRAME = 128,
};

/*
 * ilax_limits: ARRAY (mmapable, so that a row is one cache line), index = slot
 * of a limit, row 0 unused. Writer: control. What a cgroup may receive. A packet
 * of `bytes` on the wire costs max(bytes * byte_cost, packet_cost): the time that
 * it would take at the allowed rate. It is charged to its limit and to all
 * parents, or to none of them.
 *
 * A row without any cost limits nothing itself; its parents still do.
 *
 * Example: 200 Mbit/s and 50 k packets/s -> byte_cost 2621440 (40 ns a byte),
 * packet_cost 1280000 (20 us), burst 1000000 (1 ms of the rate).
 */
struct ilax_limit {
	__u64 byte_cost;   /* (1/64 ns << 10) for a byte, 0..2^44; 0 = bytes
			    * are free
			    */
	__u64 packet_cost; /* 1/64 ns for a packet, 0..2^44; 0 = packets are
			    * free
			    */
	__u32 burst;	   /* ns of the rate that may be saved up when idle;
			    * where burst and drop are 0, nothing passes
			    */
	__u32 mark;	   /* ns of backlog from which on packets are marked */
	__u32 drop;	   /* ns of backlog from which on they are dropped */
	__u32 small;	   /* ns added to `drop` for ILAX_SMALL_FRAME: not
			    * where the limit is a parent's of the packet's,
			    * nor with ILAX_LIMIT_NESTED. While more of them
			    * come than the rate, nothing longer passes
			    */
	__u32 parents[ILAX_LIMIT_PARENTS]; /* slots, nearest first; 0 ends */
	__u32 generation;		   /* upper half: which use of the slot;
					    * lower half: which change since
					    */
	__u32 tag_mark;			   /* skb->mark of ILAX_LIMIT_TAG */
	__u32 tag_prio;			   /* skb->priority of ILAX_LIMIT_TAG */
	__u8 action;			   /* enum ilax_limit_action; others
					    * mean MARK
					    */
	__u8 flags;			   /* ILAX_LIMIT_* flags */
	__u8 depth; /* of the cgroup below the root, 0..255 */
	__u8 chunk; /* a CPU borrows 2^chunk ns of the rate at a time,
			    * 0..30; 0 = each packet by itself
			    */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_limit) == 64, "struct ilax_limit");

/* What came of packets. Those of the wire: a super-packet counts all of its
 * segments. Bytes are what was charged, ILAX_FRAME_OVERHEAD included.
 */
struct ilax_policed {
	__u64 passed_packets; /* marked and tagged ones, too */
	__u64 passed_bytes;
	__u64 dropped_packets;
	__u64 dropped_bytes;
	__u64 marked_packets;
	__u64 marked_bytes;
	__u64 tagged_packets;
	__u64 tagged_bytes;
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_policed) == 64, "struct ilax_policed");

/*
 * ilax_backlogs: ARRAY (mmapable, likewise), index = slot of a limit. Writer:
 * datapath; control may zero a row that no limit uses. All CPUs write the first
 * line, so they do it rarely: see struct ilax_chunk.
 *
 * A refused packet counts at the level that refused it and at the limit that it
 * belongs to.
 */
struct ilax_backlog {
	__u64 until;	/* CLOCK_MONOTONIC, 1/64 ns: when the virtual queue will
			 * be empty (GCRA's theoretical arrival time). Before
			 * now: idle
			 */
	__u64 refilled; /* CLOCK_MONOTONIC, ns: last charge to `until` */
	struct ilax_policed total; /* without what ilax_chunks still hold */
	__u64 pad[6];		   /* 0 */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_backlog) == 128, "struct ilax_backlog");

/*
 * ilax_chunks: PERCPU_ARRAY of ILAX_CHUNK_ROWS, index = low bits of the slot.
 * Writer: datapath. Time of the rate that this CPU has paid for and not yet
 * spent: as long as it lasts, a packet needs neither clock nor ilax_backlogs.
 * What it counts meanwhile stands here; a limit's counters are its `total` and
 * those of all rows here that have its slot.
 */
struct ilax_chunk {
	__u32 slot;	  /* of the limit that owns this row; 0 = none */
	__u32 generation; /* of its row when the time was borrowed */
	__s64 left;	  /* 1/64 ns */
	__u32 used;	  /* low bits of jiffies of the last loan */
	__u32 marking;	  /* 1 while the backlog is over the mark threshold */
	__u32 candidate;  /* slot that wanted this row last */
	__u32 pad;	  /* 0 */
	struct ilax_policed policed;
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_chunk) == 96, "struct ilax_chunk");

/*
 * ilax_clock: PERCPU_ARRAY of one row. Writer: datapath. The clock as this CPU
 * last read it. Reading it waits for all loads on the way, so a limit that is not
 * in ilax_chunks lets packets pass by an older reading, as long as they cost less
 * than its chunk, and refuses by a fresh one only.
 */
struct ilax_clock {
	__u64 now;   /* CLOCK_MONOTONIC, 1/64 ns */
	__u64 spent; /* 1/64 ns, on packets of all limits since then */
	__u32 tick;  /* low bits of jiffies of that reading */
	__u32 pad;   /* 0 */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_clock) == 24, "struct ilax_clock");

/*
 * ilax_cgroups: HASH, key __u64 = id of a cgroup v2 (inode number of its folder),
 * value __u32 = slot of its limit. Writer: control.
 *
 * ilax_attached: CGROUP_STORAGE, key __u64 = id of a cgroup to which the program
 * is attached, value __u32 = slot of its limit. The kernel makes a row when the
 * program is attached and removes it with the cgroup. Writer: control.
 */

/*
 * ilax_devices: DEVMAP_HASH, key and value __u32 = ifindex: devices that
 * ILAX_DELIVERY_XDP may redirect into. The kernel removes a device that goes
 * away. Writer: control.
 */

/*
 * XDP metadata in front of a rewritten packet, from xdp/ingress to
 * tc/uplink_ingress. Packets of one endpoint carry equal bytes, or GRO would
 * not merge them.
 */
struct ilax_handover {
	__u32 magic;   /* ILAX_ABI_MAGIC; datapath */
	__u32 ifindex; /* host-side device of the endpoint, 0 = for the host's
			* stack; datapath
			*/
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_handover) == 8, "struct ilax_handover");

/* The same in front of a packet that a limit has tagged. */
struct ilax_handover_tagged {
	__u32 magic;   /* ILAX_TAGGED_MAGIC; datapath */
	__u32 ifindex; /* as above; datapath */
	__u32 mark;    /* for skb->mark; datapath */
	__u32 prio;    /* for skb->priority; datapath */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_handover_tagged) == 16,
		   "struct ilax_handover_tagged");

/*
 * ilax_abi: ARRAY of one row, frozen once written. Writer: control, at `up`.
 */
struct ilax_abi {
	__u32 magic;			     /* ILAX_ABI_MAGIC */
	__u16 major;			     /* ILAX_ABI_MAJOR */
	__u16 minor;			     /* ILAX_ABI_MINOR */
	__u8 layout[ILAX_LAYOUT_HASH_BYTES]; /* hash of the layouts */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_abi) == 40, "struct ilax_abi");

#endif /* ILAX_ABI_H */
