// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The same for an array of programs whose owner does not know frames in pieces. */
#include "uplink_xdp.h"

/* The kernel lets no program with "frags" into it, and such an owner sees none. */
SEC("xdp")
int ilax_uplink_xdp(struct xdp_md *ctx)
{
	return uplink_xdp(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
