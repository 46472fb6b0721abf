// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * xdp/ingress for an array of programs whose owner does not know frames in pieces:
 * the kernel lets no program with "frags" into it, and such an owner sees none.
 */
#define ILAX_XDP_SECTION "xdp"
#include "ingress.bpf.c"
