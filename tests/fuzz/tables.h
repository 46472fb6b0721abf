/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of the contract in user space, with the rows of tests/datapath/plan.py. */
#ifndef FUZZ_TABLES_H
#define FUZZ_TABLES_H

#include <stdbool.h>

#include "case.h"
#include "ilax_abi.h"

/* Make the tables, once. */
void tables_init(void);

/* Change rows for one case. */
void tables_edit(const struct case_edit *edits, int count);

/* As they were, without what the datapath wrote. */
void tables_reset(void);

/* The only counter that rose; abort if it was not exactly one, by one packet. */
struct ilax_counter *tables_counted(int *hook, int *reason);

/* Add what limits have counted in this case; one total for each slot. */
void tables_add_policed(struct ilax_policed *totals);

/* Rows as they are in this case, or NULL. */
const struct ilax_endpoint *tables_endpoint(const struct ilax_addr *wire);
const struct ilax_mapping *tables_mapping(const struct ilax_addr *sir);
bool tables_has_device(__u32 ifindex);

/* An address that means something, out of all rows. */
const __u8 *tables_some_address(__u64 random);

/* Source address of a port, or NULL. */
const __u8 *tables_source_of(__u32 ifindex);

/* A row of ilax_limits, for targets that write rules of their own. */
struct ilax_limit *tables_limit(__u32 slot);

/* Other CPUs have their own rows of ilax_chunks and ilax_clock. */
#define TABLES_CPUS 4
extern int tables_cpu;

extern __u32 tables_attached; /* the value of ilax_attached */

#endif /* FUZZ_TABLES_H */
