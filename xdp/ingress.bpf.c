// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* XDP on the uplink's hook. */
#include "uplink_xdp.h"

/* "frags": without it the kernel caps the MTU of the device at one page. */
SEC("xdp.frags")
int ilax_uplink_xdp(struct xdp_md *ctx)
{
	return uplink_xdp(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
