// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * An object without programs: the loader creates the maps from it and derives
 * every layout from its BTF.
 */
#include "ilax_maps.bpf.h"

/*
 * Types that no map carries must stand here by value: clang writes the full
 * BTF of a struct only where an object of it exists. libbpf ignores sections
 * it does not know, so this costs no map.
 */
struct {
	struct ilax_event event;
	struct ilax_handover handover;
	struct ilax_handover_tagged handover_tagged;
	enum ilax_version version;
	enum ilax_size size;
	enum ilax_delivery delivery;
	enum ilax_endpoint_flag endpoint_flag;
	enum ilax_port_flag port_flag;
	enum ilax_prefix_flag prefix_flag;
	enum ilax_action action;
	enum ilax_prefix_kind prefix_kind;
	enum ilax_limit_action limit_action;
	enum ilax_limit_flag limit_flag;
	enum ilax_limit_unit limit_unit;
	enum ilax_hook hook;
	enum ilax_reason reason;
	enum ilax_reason_block reason_block;
} ilax_types SEC(".ilax_types");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
