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
	ILAX_ABI_MINOR = 0,
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
#define ILAX_MAP_ABI "ilax_abi"

enum ilax_size {
	/* Defaults that a loader may change before load. */
	ILAX_DEFAULT_ENDPOINTS = 65536,	 /* rows */
	ILAX_DEFAULT_MAPPINGS = 1048576, /* rows */
	/* Fixed. */
	ILAX_MAX_PREFIXES = 16,		/* rows */
	ILAX_EVENTS_BYTES = 256 * 1024, /* of the ring; a power of two */
	ILAX_EVENT_DATA_BYTES = 128,	/* first bytes of a sampled packet */
	ILAX_LAYOUT_HASH_BYTES = 32,	/* SHA-256 of abi.lock */
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
 * Example: key 2001:db8:42:7:3000:7:a1b2:de7 ->
 *          sir 2001:db8:5a5a:1:2000:7:a1b2:c3d4, ifindex 12, mtu 1500
 */
struct ilax_endpoint {
	struct ilax_addr wire; /* this row's own key again. The kernel may
				* recycle a deleted row while a program still
				* looks at it; the programs compare this last.
				*/
	struct ilax_addr sir;  /* destination that the task sees */
	__u32 ifindex;	       /* host-side device, 0 for ILAX_DELIVERY_HOST */
	__u32 slot;	       /* row of ilax_traffic; 0 = not counted apart */
	__u32 limit;	       /* ingress limit; reserved, must be 0 */
	__u32 generation;      /* rises with each change of this row */
	__u16 mtu;	       /* bytes of an IPv6 packet for the device,
				* 0 = not checked
				*/
	__u8 delivery;	       /* enum ilax_delivery */
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
	struct ilax_addr wire; /* rewritten destination, ready to store */
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
 * first row that matches decides, so longer prefixes stand first. Rows are
 * appended before they count: `kind` is the last field, so it is written last.
 */
struct ilax_prefix {
	__be64 prefix;	   /* upper half of the addresses */
	__be64 mask;	   /* of 1 to 64 bits, contiguous */
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
	ILAX_HOOK_USER = 4, /* programs of third parties */
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
	ILAX_DROP_MALFORMED = 73,	   /* broken IPv6 header of a task */
	ILAX_DROP_REWRITE = 74,		   /* the kernel refused the rewrite */

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
	__u64 bytes;	   /* of frames, without the checksum */
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
	__u64 rx_bytes; /* of frames, without the checksum */
	__u64 rx_drops; /* packets */
	__u64 tx_packets;
	__u64 tx_bytes;
	__u64 tx_drops;
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_traffic) == 48, "struct ilax_traffic");

/*
 * ilax_events: RINGBUF of sampled drops: at most one per reason, hook, CPU and
 * tick of the kernel's clock. Writer: datapath.
 */
struct ilax_event {
	__u64 time;	/* CLOCK_MONOTONIC, ns */
	__u32 ifindex;	/* device it arrived on or leaves by */
	__u32 len;	/* bytes of the frame */
	__u32 slot;	/* of the endpoint or port, 0 = unknown */
	__u16 captured; /* valid bytes of data, 0..ILAX_EVENT_DATA_BYTES */
	__u8 hook;	/* enum ilax_hook */
	__u8 reason;	/* enum ilax_reason */
	__u8 data[ILAX_EVENT_DATA_BYTES]; /* the frame as it was dropped */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_event) == 152, "struct ilax_event");

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
	__u32 ifindex; /* host-side device of the endpoint; datapath */
};
ILAX_STATIC_ASSERT(sizeof(struct ilax_handover) == 8, "struct ilax_handover");

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
